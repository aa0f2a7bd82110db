//! Reading Python literals and the asserts made of them.
//!
//! The grammar is the part of Python's that `ast.literal_eval` accepts, plus `set()`,
//! `set([…])`, `frozenset([…])` and `float("nan")`-style calls of a literal, which tests use to
//! write values that have no literal. Whatever else Python accepts is refused: a text that is
//! accepted means the same in Python. Sources: the Python Language Reference, sections 2.1 (lines),
//! 2.4 (literals) and 6.2 (displays).

mod numbers;
mod statement;
mod strings;
mod values;

pub use statement::{Assert, Call, parse_assert, parse_call};

use crate::{Budget, Value};
use std::borrow::Cow;

/// Where and why a text is not a literal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: expected {expected}")]
pub struct ParseError {
    /// Byte offset in the text, in which every line ends in `\n`.
    pub offset: usize,
    /// What was expected there.
    pub expected: &'static str,
}

/// Reads one literal; nothing but white space may follow.
///
/// # Errors
/// Where the text is not a literal.
pub fn parse_literal(text: &str) -> Result<Value, ParseError> {
    let text = source(text)?;
    let mut parser = Parser::new(&text);
    let value = parser.value(0)?;
    parser.end()?;
    Ok(value)
}

/// The text as Python's tokenizer reads it: every line ends in `\n`, and no byte is 0.
fn source(text: &str) -> Result<Cow<'_, str>, ParseError> {
    if let Some(offset) = text.find('\0') {
        return Err(ParseError { offset, expected: "text without a byte 0" });
    }
    Ok(match text.contains('\r') {
        true => Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")),
        false => Cow::Borrowed(text),
    })
}

/// A place in a text.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Open brackets: a line ends in them without ending the statement.
    brackets: usize,
    budget: Budget,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut parser = Parser { text, at: 0, brackets: 0, budget: Budget::default() };
        parser.skip_lines();
        parser
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next byte; 0 at the end.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn error(&self, expected: &'static str) -> ParseError {
        ParseError { offset: self.at, expected }
    }

    /// Skips white space, continued lines and comments, and ends of lines in brackets.
    fn skip_space(&mut self) {
        loop {
            match self.peek() {
                b' ' | b'\t' | b'\x0c' => self.at += 1,
                b'\n' if self.brackets > 0 => self.at += 1,
                b'\\' if self.rest().starts_with("\\\n") && self.rest().len() > 2 => self.at += 2,
                b'#' => self.at += self.rest().find('\n').unwrap_or(self.rest().len()),
                _ => return,
            }
        }
    }

    /// Skips white space and ends of lines, where a statement may start or has ended.
    fn skip_lines(&mut self) {
        self.skip_space();
        while self.peek() == b'\n' {
            self.at += 1;
            self.skip_space();
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

    fn take_open(&mut self, bracket: &str) -> bool {
        let found = self.take(bracket);
        self.brackets += usize::from(found);
        found
    }

    fn take_close(&mut self, bracket: &str) -> bool {
        let found = self.take(bracket);
        self.brackets -= usize::from(found);
        found
    }

    fn end(&mut self) -> Result<(), ParseError> {
        self.skip_lines();
        if self.rest().is_empty() { Ok(()) } else { Err(self.error("the end")) }
    }

    /// A name, which may be a keyword. Python changes names outside ASCII; they are refused.
    fn name(&mut self) -> Option<&'a str> {
        self.skip_space();
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !(byte.is_ascii_alphanumeric() || byte == b'_'));
        let name = &rest[..end.unwrap_or(rest.len())];
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return None;
        }
        self.at += name.len();
        Some(name)
    }

    /// Takes a word, if it stands here.
    fn take_word(&mut self, word: &str) -> bool {
        let start = self.at;
        let found = self.name() == Some(word);
        if !found {
            self.at = start;
        }
        found
    }
}
