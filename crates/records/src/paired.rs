//! Pairing by place without cutting short: a zip of lists of different lengths gives one's work to another.

use std::iter::Zip;

/// Two lists that belong together differ in length.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of the {what} for each of the {expected} {of}, found {found}")]
pub struct Unpaired {
    /// What there should be one of for each.
    pub what: &'static str,
    /// How many there are.
    pub found: usize,
    /// What they belong to.
    pub of: &'static str,
    /// How many of those.
    pub expected: usize,
}

/// Fails unless there are as many of one as of the other.
///
/// # Errors
/// Names both, with how many there are.
pub fn same_length(
    what: &'static str,
    found: usize,
    of: &'static str,
    expected: usize,
) -> Result<(), Unpaired> {
    if found == expected { Ok(()) } else { Err(Unpaired { what, found, of, expected }) }
}

/// As `zip`, for lists that belong together; `what` names both.
///
/// ```
/// let error = records::paired(&[1, 2, 3], &[0.5, 0.2], ["candidates", "scores"]).err().expect("too few");
/// assert_eq!(error.to_string(), "expected one of the scores for each of the 3 candidates, found 2");
/// ```
///
/// # Errors
/// Where they differ in length.
pub fn paired<A, B>(a: A, b: B, what: [&'static str; 2]) -> Result<Zip<A::IntoIter, B::IntoIter>, Unpaired>
where
    A: IntoIterator<IntoIter: ExactSizeIterator>,
    B: IntoIterator<IntoIter: ExactSizeIterator>,
{
    let (a, b) = (a.into_iter(), b.into_iter());
    same_length(what[1], b.len(), what[0], a.len())?;
    Ok(a.zip(b))
}
