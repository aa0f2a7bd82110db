//! What a merge of a byte-pair encoding must be.

use std::collections::HashSet;

/// Both parts, and what they become, are tokens.
///
/// # Errors
/// Says what was expected.
pub(super) fn check(vocabulary: &HashSet<&str>, left: &str, right: &str) -> Result<(), String> {
    for part in [left, right] {
        if !vocabulary.contains(part) {
            let part = crate::error::quoted(part);
            return Err(format!("two tokens of the vocabulary, of which '{part}' is none"));
        }
    }
    match vocabulary.contains(format!("{left}{right}").as_str()) {
        true => Ok(()),
        false => Err("two tokens that together are one of the vocabulary".to_owned()),
    }
}
