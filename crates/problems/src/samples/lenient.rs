//! JSON as Python's `json` module writes it, which is a little more than JSON.
//!
//! By default it writes `NaN`, `Infinity` and `-Infinity`, and a lone surrogate, which is a
//! character of a Python string but of no text, as an escape (`\ud800`). One such line must not cost
//! the whole file.

use serde_json::Value;

/// A value, and what was mended to read it.
#[derive(Debug)]
pub struct Parsed {
    /// The value: `null` stands for a number that JSON has none for, U+0000 for a lone surrogate.
    pub value: Value,
    /// Whether a text in it holds a lone surrogate.
    pub lone_surrogates: bool,
}

/// Reads one line.
///
/// # Errors
/// Where it is not JSON, even so.
pub fn parse(line: &str) -> Result<Parsed, serde_json::Error> {
    let error = match serde_json::from_str(line) {
        Ok(value) => return Ok(Parsed { value, lone_surrogates: false }),
        Err(error) => error,
    };
    let Mended { text, lone_surrogates, numbers } = mend(line);
    if !lone_surrogates && !numbers {
        return Err(error);
    }
    Ok(Parsed { value: serde_json::from_str(&text)?, lone_surrogates })
}

struct Mended {
    text: String,
    lone_surrogates: bool,
    numbers: bool,
}

/// What Python writes for numbers that JSON has none for.
const NOT_NUMBERS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

fn mend(line: &str) -> Mended {
    let mut mended =
        Mended { text: String::with_capacity(line.len()), lone_surrogates: false, numbers: false };
    let (mut rest, mut in_text) = (line, false);
    while let Some(first) = rest.chars().next() {
        let mut taken = first.len_utf8();
        match first {
            '"' => in_text = !in_text,
            '\\' if in_text => {
                taken = escape_length(rest);
                if surrogate(rest).is_some() && taken == 6 {
                    mended.lone_surrogates = true;
                    mended.text.push_str("\\u0000");
                    rest = &rest[taken..];
                    continue;
                }
            }
            _ if !in_text => {
                if let Some(word) = NOT_NUMBERS.into_iter().find(|word| rest.starts_with(word)) {
                    mended.numbers = true;
                    mended.text.push_str("null");
                    rest = &rest[word.len()..];
                    continue;
                }
            }
            _ => {}
        }
        mended.text.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    mended
}

/// Length in bytes of the escape that a text begins with, a pair of surrogates as one.
fn escape_length(text: &str) -> usize {
    match surrogate(text) {
        Some(0xd800..=0xdbff) if matches!(surrogate(&text[6..]), Some(0xdc00..=0xdfff)) => 12,
        Some(_) => 6,
        // The backslash and the character after it, which may be a quote.
        None => text.chars().take(2).map(char::len_utf8).sum(),
    }
}

/// The surrogate that a text begins with, as an escape.
fn surrogate(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let unit = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16));
    unit?.ok().filter(|unit| (0xd800..=0xdfff).contains(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn value(line: &str) -> Value {
        parse(line).unwrap_or_else(|error| panic!("{line}: {error}")).value
    }

    #[test]
    fn lone_surrogates_are_found_and_pairs_stay() {
        assert_eq!(value(r#"{"a": "x\ud800y"}"#), json!({"a": "x\0y"}));
        assert_eq!(value(r#"{"a": "\ud83d\ud83d\ude00\udc00"}"#), json!({"a": "\0😀\0"}));
        assert_eq!(value(r#"{"a": "\ud83d\ude00"}"#), json!({"a": "😀"}));
        assert!(parse(r#""\uD800""#).expect("mended").lone_surrogates);
        assert!(!parse(r#""\\ud800 \" NaN""#).expect("as it is").lone_surrogates);
        assert_eq!(value(r#"["\\ud800", "\"\ud800", NaN]"#), json!(["\\ud800", "\"\0", null]));
    }

    #[test]
    fn numbers_that_are_none_become_null_outside_of_texts_only() {
        let line = r#"{"p": NaN, "q": [-Infinity, Infinity, 1], "code": "x = 'NaN, -Infinity'"}"#;
        let expected = json!({"p": null, "q": [null, null, 1], "code": "x = 'NaN, -Infinity'"});
        assert_eq!(value(line), expected);
    }

    #[test]
    fn what_is_not_json_stays_an_error() {
        for line in [
            "[1",
            "{\"a\": NaN",
            "\"\\ud800",
            "NaNs",
            "\\",
            "\"\\",
            "\"\\u",
            "{\"a\": \"\\ud8\"}",
            "é\\ud800",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
