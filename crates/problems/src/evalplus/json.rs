//! JSON as Python's `json` reads it, into Python's data: with `Infinity`, `-Infinity` and `NaN`,
//! integers of any size, floats rounded correctly. `serde_json` refuses the first and rounds the rest.

use pydata::{BigInt, Value};
use std::collections::HashMap;

/// Nesting deeper than this is refused, so that no text exhausts the stack; what is read here is
/// written as calls, which `pydata` reads 100 deep.
const MAX_DEPTH: usize = 96;
/// Python refuses to read longer integers: the time grows with the square of the digits.
const MAX_DIGITS: usize = 4_300;

/// Where and why a text is not JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonError {
    /// Byte offset in the text.
    pub(super) offset: usize,
    /// What was expected there.
    pub(super) expected: &'static str,
}

/// Reads one value; nothing but white space may follow. An object becomes a dictionary whose keys
/// are distinct: the last value of a repeated key counts.
pub(super) fn parse(text: &str) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at < text.len() { Err(reader.error("the end of the record")) } else { Ok(value) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn error(&self, expected: &'static str) -> JsonError {
        JsonError { offset: self.at, expected }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Takes a token that white space may precede.
    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn require(&mut self, token: &str, expected: &'static str) -> Result<(), JsonError> {
        if self.take(token) { Ok(()) } else { Err(self.error(expected)) }
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        const NAMED: [(&str, Value); 6] = [
            ("null", Value::None),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("NaN", Value::Float(f64::NAN)),
            ("Infinity", Value::Float(f64::INFINITY)),
            ("-Infinity", Value::Float(f64::NEG_INFINITY)),
        ];
        if depth > MAX_DEPTH {
            return Err(self.error("at most 96 nested brackets"));
        }
        if self.take("[") {
            return self.array(depth);
        }
        if self.take("{") {
            return self.object(depth);
        }
        if self.take("\"") {
            return self.string().map(Value::Str);
        }
        for (name, value) in NAMED {
            if self.take(name) {
                return Ok(value);
            }
        }
        self.number()
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.take("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take("]") {
                return Ok(Value::List(items));
            }
            self.require(",", "',' or ']'")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        let mut pairs: Vec<(Value, Value)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        if self.take("}") {
            return Ok(Value::Dict(pairs));
        }
        loop {
            self.require("\"", "a key in double quotes")?;
            let key = self.string()?;
            self.require(":", "':'")?;
            let value = self.value(depth + 1)?;
            match places.get(&key) {
                Some(&place) => pairs[place].1 = value,
                None => {
                    places.insert(key.clone(), pairs.len());
                    pairs.push((Value::Str(key), value));
                }
            }
            if self.take("}") {
                return Ok(Value::Dict(pairs));
            }
            self.require(",", "',' or '}'")?;
        }
    }

    fn digits(&self, from: usize) -> usize {
        self.text[from..].bytes().take_while(u8::is_ascii_digit).count()
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let whole_start = start + usize::from(self.rest().starts_with('-'));
        let whole = self.digits(whole_start);
        if whole == 0 || (whole > 1 && self.text[whole_start..].starts_with('0')) {
            return Err(self.error("a value"));
        }
        let mut end = whole_start + whole;
        if self.text[end..].starts_with('.') {
            let fraction = self.digits(end + 1);
            end += if fraction > 0 { 1 + fraction } else { 0 };
        }
        if self.text[end..].starts_with(['e', 'E']) {
            let sign = usize::from(self.text[end + 1..].starts_with(['+', '-']));
            let exponent = self.digits(end + 1 + sign);
            end += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
        let text = &self.text[start..end];
        if end > whole_start + whole {
            let value = text.parse().map_err(|_| self.error("a number"))?;
            self.at = end;
            return Ok(Value::Float(value));
        }
        if whole > MAX_DIGITS {
            return Err(self.error("an integer of at most 4,300 digits"));
        }
        let value: BigInt = text.parse().map_err(|_| self.error("a number"))?;
        self.at = end;
        Ok(Value::Int(value))
    }

    /// A string after its opening quote.
    fn string(&mut self) -> Result<String, JsonError> {
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ');
            let plain = plain.ok_or_else(|| self.error("a closing quote"))?;
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                _ => return Err(self.error("an escape, not a control character")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let simple = match self.rest()[1..].chars().next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.code_point(),
            _ => return Err(self.error("one of JSON's escapes")),
        };
        self.at += 2;
        Ok(simple)
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn code_point(&mut self) -> Result<char, JsonError> {
        let unit = |at: usize| {
            let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit())
                .then(|| u32::from_str_radix(digits, 16).ok())?
        };
        let first = unit(self.at).ok_or_else(|| self.error("four hexadecimal digits"))?;
        let (code, length) = match (first, unit(self.at + 6)) {
            (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) => {
                (0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00), 12)
            }
            _ => (first, 6),
        };
        let c = char::from_u32(code).ok_or_else(|| self.error("a character; a lone surrogate is none"))?;
        self.at += length;
        Ok(c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        parse(text).expect("JSON").to_string()
    }

    #[test]
    fn reads_what_python_writes() {
        assert_eq!(read("[Infinity, -Infinity, NaN, -0, -0.0, 1E400]"), "[inf, -inf, nan, 0, -0.0, inf]");
        assert_eq!(read("123456789012345678901234567890"), "123456789012345678901234567890");
        // One unit in the last place off where it is not rounded correctly.
        assert_eq!(read("7.3177701707893310e+15"), "7317770170789331.0");
        assert_eq!(read(" { \"a\" : [ ] , \"b\" : { } , \"a\" : null } "), "{'a': None, 'b': {}}");
        assert_eq!(read(r#""a\n\u00e9\ud83d\ude00 Infinity \"x\"""#), "'a\\né😀 Infinity \"x\"'");
    }

    #[test]
    fn what_is_no_json_is_refused_with_its_place() {
        let cases = [
            ("", 0, "a value"),
            ("[1", 2, "',' or ']'"),
            ("[1,]", 3, "a value"),
            ("{1: 2}", 1, "a key in double quotes"),
            ("01", 0, "a value"),
            ("[1] 2", 4, "the end of the record"),
            ("\"a", 1, "a closing quote"),
            ("\"a\nb\"", 2, "an escape, not a control character"),
            (r#""\ud83d""#, 1, "a character; a lone surrogate is none"),
            (r#""\u+0e9""#, 1, "four hexadecimal digits"),
            (r#""\é""#, 1, "one of JSON's escapes"),
            ("-", 0, "a value"),
            ("nan", 0, "a value"),
        ];
        for (text, offset, expected) in cases {
            assert_eq!(parse(text).expect_err("refused"), JsonError { offset, expected }, "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&"1".repeat(MAX_DIGITS + 1)).is_err());
    }
}
