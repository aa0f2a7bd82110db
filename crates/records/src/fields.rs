//! What is wrong with a record, in JSON's words: the field, what was expected, what was found.
//!
//! `serde` speaks of Rust's types (`expected usize`), and of a place in the text where a reader needs
//! the name of a field.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use std::fmt;

/// Longest text that is quoted from what was found, in characters.
const QUOTED: usize = 60;

/// A field that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FieldError {
    /// Its path: `tests[2].outcome`. Empty where the whole is not as expected.
    pub field: String,
    /// What was expected, and what was found.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}", self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// A record of a JSON text.
///
/// # Errors
/// Where it is not JSON, or a field is not as expected.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, FieldError> {
    if let Ok(record) = serde_json::from_slice(text) {
        return Ok(record);
    }
    // To keep track of paths takes time, which only errors are worth.
    let mut reader = serde_json::Deserializer::from_slice(text);
    let record = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| explain(&error.path().to_string(), error.inner()))?;
    reader.end().map_err(|error| explain("", &error))?;
    Ok(record)
}

/// A record of a JSON value.
///
/// # Errors
/// Where a field is not as expected.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, FieldError> {
    serde_path_to_error::deserialize(value).map_err(|error| explain(&error.path().to_string(), error.inner()))
}

/// What `serde_json` says of a text or a value.
impl From<&serde_json::Error> for FieldError {
    fn from(error: &serde_json::Error) -> Self {
        explain("", error)
    }
}

fn explain(path: &str, error: &serde_json::Error) -> FieldError {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let path = if path == "." { "" } else { path };
    if matches!(error.classify(), Category::Syntax | Category::Eof) {
        let place = match error.line() {
            ..=1 => format!("column {}", error.column()),
            line => format!("line {line}, column {}", error.column()),
        };
        return FieldError { field: String::new(), message: format!("not JSON: {text} ({place})") };
    }
    if let Some(name) = named(text, "missing field `") {
        return FieldError { field: within(path, name), message: "missing".to_owned() };
    }
    if let Some(name) = named(text, "unknown field `") {
        let expected = text.split_once("expected ").map_or("no field", |(_, expected)| expected);
        let message = format!("there is no such field; expected {}", expected.replace('`', ""));
        return FieldError { field: within(path, name), message };
    }
    let mismatch = ["invalid type: ", "invalid value: ", "invalid length "];
    let mismatch =
        mismatch.into_iter().find_map(|prefix| text.strip_prefix(prefix)?.rsplit_once(", expected "));
    let message = match mismatch {
        Some((found, expected)) => format!("expected {}, found {}", in_json(expected), quoted(found)),
        None => text.replace('`', ""),
    };
    FieldError { field: path.to_owned(), message }
}

/// The name that a message quotes after its beginning.
fn named<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    text.strip_prefix(beginning)?.split_once('`').map(|(name, _)| name)
}

fn within(path: &str, name: &str) -> String {
    let is_there = path == name || path.ends_with(&format!(".{name}"));
    match path {
        "" => name.to_owned(),
        _ if is_there => path.to_owned(),
        _ => format!("{path}.{name}"),
    }
}

/// What a type of Rust's is in JSON.
fn in_json(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "variant identifier" | "field identifier" | "string or map" => {
            "text"
        }
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other if other.starts_with("enum ") => "text",
        other if other.starts_with("a tuple of size ") || other.starts_with("tuple ") => "a list",
        other => other,
    }
}

/// What was found, as the file has it.
fn quoted(found: &str) -> String {
    let found = match found {
        "map" => return "an object".to_owned(),
        "sequence" => return "a list".to_owned(),
        found => found,
    };
    let bare = ["integer `", "floating point `", "boolean `"].into_iter();
    let bare = bare.filter_map(|prefix| found.strip_prefix(prefix)?.strip_suffix('`')).next();
    let found = bare.or_else(|| found.strip_prefix("string ")).unwrap_or(found);
    match found.char_indices().nth(QUOTED) {
        Some((end, _)) => format!("{}…", &found[..end]),
        None => found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    const VERDICT: &str = r#"{"problem":"a","index":0,"outcome":"failed","tests":[{"outcome":"passed"}],"parts":[["base","passed"]],"separation":"compared","cpu_milliseconds":1,"wall_milliseconds":1,"peak_memory_kib":1,"isolation":"A"}"#;

    #[test]
    fn a_field_is_named_and_types_are_json_s() {
        let with = |from: &str, to: &str| {
            let text = VERDICT.replacen(from, to, 1);
            let error = from_slice::<Verdict>(text.as_bytes()).expect_err(&text).to_string();
            if let Ok(value) = serde_json::from_str(&text) {
                assert_eq!(from_value::<Verdict>(value).expect_err(&text).to_string(), error);
            }
            error
        };
        from_slice::<Verdict>(VERDICT.as_bytes()).expect("a verdict");
        let cases = [
            ("\"index\":0,", "", "index: missing"),
            ("\"index\":0", "\"index\":\"0\"", "index: expected a whole number, 0 or more, found \"0\""),
            ("\"index\":0", "\"index\":-1", "index: expected a whole number, 0 or more, found -1"),
            ("\"index\":0", "\"index\":1e30", "index: expected a whole number, 0 or more, found 1e+30"),
            ("\"problem\":\"a\"", "\"problem\":null", "problem: expected text, found null"),
            ("[{\"outcome\":\"passed\"}]", "{}", "tests: expected a list, found an object"),
            ("{\"outcome\":\"passed\"}", "7", "tests[0]: expected an object, found 7"),
            ("{\"outcome\":\"passed\"}", "{}", "tests[0].outcome: missing"),
            (
                "\"outcome\":\"failed\"",
                "\"outcome\":\"sad\"",
                "outcome: expected one of passed, failed, invalid, time_limit, memory_limit, output_limit, refused, infrastructure, found sad",
            ),
            (
                "\"compared\"",
                "\"far\"",
                "separation: unknown variant far, expected one of compared, proxied, shared",
            ),
        ];
        for (from, to, message) in cases {
            assert_eq!(with(from, to), message, "{from} → {to}");
        }
    }

    #[test]
    fn what_is_not_json_says_where() {
        let message = |text: &str| from_slice::<Verdict>(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(message("{\"a"), "not JSON: EOF while parsing a string (column 3)");
        assert_eq!(message("{\n\n]"), "not JSON: key must be a string (line 3, column 1)");
        assert_eq!(
            message(&format!("{VERDICT} x")),
            format!("not JSON: trailing characters (column {})", VERDICT.len() + 2)
        );
    }
}
