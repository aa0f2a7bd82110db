//! Reading Python literals and the asserts made of them.
//!
//! The grammar is the part of Python's that `ast.literal_eval` accepts, plus `set()`,
//! `frozenset(…)` and `float("nan")`-style calls, which tests use to write values that have no
//! literal. Sources: the Python Language Reference, sections 2.4 (literals) and 6.2 (displays).

use crate::Value;
use num_bigint::BigInt;
use std::fmt;

/// Nesting deeper than this is refused, so that hostile text cannot exhaust the stack.
const MAX_DEPTH: usize = 100;

/// Where and why a text is not a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Byte offset in the text.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: expected {}", self.offset, self.expected)
    }
}

impl std::error::Error for ParseError {}

/// A call with literal arguments: `function(args…, name=value…)`.
#[derive(Clone, Debug)]
pub struct Call {
    /// The called name; dots are not accepted.
    pub function: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments, in order.
    pub keywords: Vec<(String, Value)>,
    /// The call as it was written.
    pub source: String,
}

/// `assert call == expected`, taken apart.
#[derive(Clone, Debug)]
pub struct Assert {
    /// The left side.
    pub call: Call,
    /// The right side.
    pub expected: Value,
}

/// Reads one literal; nothing but white space may follow.
///
/// # Errors
/// Where the text is not a literal.
pub fn parse_literal(text: &str) -> Result<Value, ParseError> {
    let mut parser = Parser::new(text);
    let value = parser.value(0)?;
    parser.end()?;
    Ok(value)
}

/// Reads one call with literal arguments.
///
/// # Errors
/// Where the text is anything else.
pub fn parse_call(text: &str) -> Result<Call, ParseError> {
    let mut parser = Parser::new(text);
    let call = parser.call()?;
    parser.end()?;
    Ok(call)
}

/// Reads `assert f(literals) == literal`, also with parentheses around the comparison, with
/// `is` before `True`, `False` or `None`, and with a message after a comma.
///
/// # Errors
/// Where the text is anything else; such a test cannot be decided from data alone.
pub fn parse_assert(text: &str) -> Result<Assert, ParseError> {
    let mut parser = Parser::new(text);
    parser.keyword("assert")?;
    let parenthesised = parser.take("(");
    let call = parser.call()?;
    let expected = if parser.take("==") {
        parser.value(0)?
    } else {
        parser.keyword("is")?;
        match parser.value(0)? {
            value @ (Value::Bool(_) | Value::None) => value,
            _ => return Err(parser.error("True, False or None after 'is'")),
        }
    };
    if parenthesised {
        parser.require(")", "')'")?;
    }
    if parser.take(",") {
        parser.value(0)?;
    }
    parser.end()?;
    Ok(Assert { call, expected })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Parser { text, at: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn error(&self, expected: &'static str) -> ParseError {
        ParseError { offset: self.at, expected }
    }

    /// Skips white space, line continuations and comments.
    fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            let trimmed = trimmed.strip_prefix("\\\n").unwrap_or(trimmed);
            let trimmed = match trimmed.strip_prefix('#') {
                Some(comment) => comment.find('\n').map_or("", |end| &comment[end..]),
                None => trimmed,
            };
            self.at += rest.len() - trimmed.len();
            if trimmed.len() == rest.len() {
                return;
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn require(&mut self, token: &str, expected: &'static str) -> Result<(), ParseError> {
        if self.take(token) { Ok(()) } else { Err(self.error(expected)) }
    }

    fn end(&mut self) -> Result<(), ParseError> {
        self.skip_space();
        self.take(";");
        self.skip_space();
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("the end")) }
    }

    fn name(&mut self) -> Option<&'a str> {
        self.skip_space();
        let rest = self.rest();
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.at += end;
        Some(&rest[..end])
    }

    fn keyword(&mut self, word: &'static str) -> Result<(), ParseError> {
        let start = self.at;
        if self.name() == Some(word) {
            return Ok(());
        }
        self.at = start;
        Err(self.error(word))
    }

    fn call(&mut self) -> Result<Call, ParseError> {
        self.skip_space();
        let start = self.at;
        let function = self.name().ok_or_else(|| self.error("a function's name"))?.to_owned();
        self.require("(", "'('")?;
        let (mut args, mut keywords) = (Vec::new(), Vec::new());
        while !self.take(")") {
            let before = self.at;
            let keyword = self.name().filter(|_| self.take("=") && !self.rest().starts_with('='));
            match keyword {
                Some(name) => keywords.push((name.to_owned(), self.value(0)?)),
                None if keywords.is_empty() => {
                    self.at = before;
                    args.push(self.value(0)?);
                }
                None => return Err(self.error("a keyword argument")),
            }
            if !self.take(",") {
                self.require(")", "',' or ')'")?;
                break;
            }
        }
        let source = self.text[start..self.at].to_owned();
        Ok(Call { function, args, keywords, source })
    }

    /// A value, or a sum such as `1+2j`, or signed.
    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.error("fewer nested brackets"));
        }
        let real = self.signed(depth)?;
        self.skip_space();
        let sign = match self.peek() {
            Some('+') => 1.0,
            Some('-') => -1.0,
            _ => return Ok(real),
        };
        let real_part = match &real {
            Value::Int(value) => num_traits::ToPrimitive::to_f64(value),
            Value::Float(value) => Some(*value),
            _ => None,
        };
        let real_part = real_part.ok_or_else(|| self.error("a number before '+' or '-'"))?;
        self.at += 1;
        match self.signed(depth)? {
            Value::Complex(0.0, imaginary) => Ok(Value::Complex(real_part, sign * imaginary)),
            _ => Err(self.error("an imaginary number")),
        }
    }

    fn signed(&mut self, depth: usize) -> Result<Value, ParseError> {
        if self.take("-") {
            return match self.atom(depth)? {
                Value::Int(value) => Ok(Value::Int(-value)),
                Value::Float(value) => Ok(Value::Float(-value)),
                Value::Complex(real, imaginary) => Ok(Value::Complex(-real, -imaginary)),
                _ => Err(self.error("a number after '-'")),
            };
        }
        self.take("+");
        self.atom(depth)
    }

    fn atom(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.skip_space();
        match self.peek().ok_or_else(|| self.error("a value"))? {
            '[' => {
                self.at += 1;
                Ok(Value::List(self.items("]", depth)?.0))
            }
            '(' => {
                self.at += 1;
                let (mut items, trailing_comma) = self.items(")", depth)?;
                if items.len() == 1 && !trailing_comma {
                    return Ok(items.remove(0));
                }
                Ok(Value::Tuple(items))
            }
            '{' => {
                self.at += 1;
                self.braces(depth)
            }
            '"' | '\'' => self.strings(),
            c if c.is_ascii_digit() || c == '.' => self.number(),
            _ => self.named(depth),
        }
    }

    /// Items up to `close`, and whether a comma followed the last.
    fn items(&mut self, close: &str, depth: usize) -> Result<(Vec<Value>, bool), ParseError> {
        let mut items = Vec::new();
        let mut trailing_comma = false;
        while !self.take(close) {
            items.push(self.value(depth + 1)?);
            trailing_comma = self.take(",");
            if !trailing_comma {
                self.require(close, "',' or a closing bracket")?;
                break;
            }
        }
        Ok((items, trailing_comma))
    }

    fn braces(&mut self, depth: usize) -> Result<Value, ParseError> {
        if self.take("}") {
            return Ok(Value::Dict(Vec::new()));
        }
        let first = self.value(depth + 1)?;
        if !self.take(":") {
            let mut items = vec![first];
            if self.take(",") {
                items.extend(self.items("}", depth)?.0);
            } else {
                self.require("}", "',' or '}'")?;
            }
            return Ok(Value::Set(items));
        }
        let mut pairs = Vec::new();
        insert(&mut pairs, first, self.value(depth + 1)?);
        while self.take(",") {
            if self.take("}") {
                return Ok(Value::Dict(pairs));
            }
            let key = self.value(depth + 1)?;
            self.require(":", "':'")?;
            let value = self.value(depth + 1)?;
            insert(&mut pairs, key, value);
        }
        self.require("}", "',' or '}'")?;
        Ok(Value::Dict(pairs))
    }

    fn named(&mut self, depth: usize) -> Result<Value, ParseError> {
        let start = self.at;
        let name = self.name().ok_or_else(|| self.error("a value"))?;
        match name {
            "None" => return Ok(Value::None),
            "True" => return Ok(Value::Bool(true)),
            "False" => return Ok(Value::Bool(false)),
            _ => {}
        }
        if matches!(self.peek(), Some('"' | '\'')) {
            self.at = start;
            return self.strings();
        }
        if !self.take("(") {
            self.at = start;
            return Err(self.error("a literal, not a name"));
        }
        let (mut items, _) = self.items(")", depth)?;
        match (name, items.len()) {
            ("set", 0) => Ok(Value::Set(Vec::new())),
            ("frozenset", 0) => Ok(Value::FrozenSet(Vec::new())),
            ("set" | "frozenset", 1) => match items.remove(0) {
                Value::List(items) | Value::Tuple(items) | Value::Set(items) => Ok(match name {
                    "set" => Value::Set(items),
                    _ => Value::FrozenSet(items),
                }),
                _ => Err(self.error("a list, tuple or set")),
            },
            ("float", 1) => match &items[0] {
                Value::Str(text) => text.trim().parse().map(Value::Float).ok(),
                _ => None,
            }
            .ok_or_else(|| self.error("float('nan') or float('inf')")),
            _ => {
                self.at = start;
                Err(self.error("a literal, not a call"))
            }
        }
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let rest = self.rest();
        let radix = match rest.get(..2).map(str::to_ascii_lowercase).as_deref() {
            Some("0x") => Some(16),
            Some("0o") => Some(8),
            Some("0b") => Some(2),
            _ => None,
        };
        if let Some(radix) = radix {
            let end = rest[2..].find(|c: char| !(c.is_digit(radix) || c == '_'));
            let digits = &rest[2..end.map_or(rest.len(), |end| end + 2)];
            let value = BigInt::parse_bytes(digits.replace('_', "").as_bytes(), radix);
            self.at += 2 + digits.len();
            return value.map(Value::Int).ok_or_else(|| self.error("digits"));
        }
        let end = number_length(rest);
        let digits = rest[..end].replace('_', "");
        self.at += end;
        if matches!(self.peek(), Some('j' | 'J')) {
            self.at += 1;
            let imaginary = digits.parse().map_err(|_| self.error("a number"))?;
            return Ok(Value::Complex(0.0, imaginary));
        }
        if digits.contains(['.', 'e', 'E']) {
            return digits.parse().map(Value::Float).map_err(|_| self.error("a number"));
        }
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().any(|b| b != b'0') {
            return Err(self.error("an integer without leading zeros"));
        }
        digits.parse().map(Value::Int).map_err(|_| self.error("a number"))
    }

    /// One or more adjacent string literals, joined as Python joins them.
    fn strings(&mut self) -> Result<Value, ParseError> {
        let (mut text, mut bytes) = (String::new(), Vec::new());
        let mut is_bytes = None;
        loop {
            let before = self.at;
            self.skip_space();
            let rest = self.rest();
            let prefix_length = rest.find(['"', '\'']).filter(|&length| length <= 2);
            let prefix = prefix_length.map(|length| rest[..length].to_ascii_lowercase());
            let (raw, binary) = match prefix.as_deref() {
                Some("" | "u") => (false, false),
                Some("r") => (true, false),
                Some("b") => (false, true),
                Some("br" | "rb") => (true, true),
                _ => {
                    self.at = before;
                    break;
                }
            };
            if is_bytes.is_some_and(|is_bytes| is_bytes != binary) {
                return Err(self.error("strings of one kind"));
            }
            is_bytes = Some(binary);
            self.at += prefix_length.unwrap_or(0);
            self.string_body(raw, binary, &mut text, &mut bytes)?;
        }
        match is_bytes {
            Some(true) => Ok(Value::Bytes(bytes)),
            Some(false) => Ok(Value::Str(text)),
            None => Err(self.error("a string")),
        }
    }

    fn string_body(
        &mut self,
        raw: bool,
        binary: bool,
        text: &mut String,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ParseError> {
        let quote = if self.rest().starts_with('"') { "\"" } else { "'" };
        let triple = quote.repeat(3);
        let close = if self.rest().starts_with(&triple) { triple.as_str() } else { quote };
        self.at += close.len();
        while !self.rest().starts_with(close) {
            let c = self.peek().ok_or_else(|| self.error("a closing quote"))?;
            if c == '\n' && close.len() == 1 {
                return Err(self.error("a closing quote"));
            }
            self.at += c.len_utf8();
            let decoded = match c {
                '\\' if raw => {
                    // A raw string keeps the backslash and whatever follows it, quotes included.
                    text.push('\\');
                    bytes.push(b'\\');
                    let next = self.peek().ok_or_else(|| self.error("a closing quote"))?;
                    self.at += next.len_utf8();
                    Some(next)
                }
                '\\' => self.escape(binary)?,
                c => Some(c),
            };
            match decoded {
                Some(c) if !binary => text.push(c),
                Some(c) if (c as u32) < 256 => bytes.push(c as u32 as u8),
                Some(_) => return Err(self.error("ASCII in a bytes literal")),
                None => {}
            }
        }
        self.at += close.len();
        Ok(())
    }

    /// The character an escape stands for; none for a continued line.
    fn escape(&mut self, binary: bool) -> Result<Option<char>, ParseError> {
        let c = self.peek().ok_or_else(|| self.error("an escape"))?;
        self.at += c.len_utf8();
        let simple = match c {
            '\n' => return Ok(None),
            '\\' | '\'' | '"' => c,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '0'..='7' => {
                self.at -= 1;
                let digits = self.rest().bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b));
                let length = digits.count();
                return self.code_point(length, 8);
            }
            'x' => return self.code_point(2, 16),
            'u' if !binary => return self.code_point(4, 16),
            'U' if !binary => return self.code_point(8, 16),
            // Named characters need Python's table; unknown escapes keep their backslash.
            _ => return Err(self.error("an escape without a name")),
        };
        Ok(Some(simple))
    }

    fn code_point(&mut self, length: usize, radix: u32) -> Result<Option<char>, ParseError> {
        let digits = self.rest().get(..length).ok_or_else(|| self.error("more digits"))?;
        let code = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        self.at += length;
        code.map(Some).ok_or_else(|| self.error("a character's code"))
    }
}

/// As in Python, a repeated key keeps its first place and takes the last value.
fn insert(pairs: &mut Vec<(Value, Value)>, key: Value, value: Value) {
    match pairs.iter_mut().find(|(present, _)| present.python_eq(&key)) {
        Some(pair) => pair.1 = value,
        None => pairs.push((key, value)),
    }
}

/// The length of the decimal number at the start of `text`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while at < bytes.len() && (bytes[at].is_ascii_digit() || bytes[at] == b'_') {
            at += 1;
        }
        at
    };
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let signed = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent_end = digits(signed);
        if exponent_end > signed {
            end = exponent_end;
        }
    }
    end
}
