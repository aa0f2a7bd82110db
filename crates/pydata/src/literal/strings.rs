//! String and bytes literals.

use super::{ParseError, Parser};
use crate::Value;

/// What stands before the opening quote.
#[derive(Clone, Copy)]
struct Prefix {
    raw: bool,
    binary: bool,
}

impl Parser<'_> {
    /// One or more adjacent string literals, joined as Python joins them.
    pub(super) fn strings(&mut self) -> Result<Value, ParseError> {
        let mut contents = Vec::new();
        let mut is_bytes = None;
        loop {
            let before = self.at;
            self.skip_space();
            let Some(prefix) = self.prefix() else {
                self.at = before;
                break;
            };
            if is_bytes.is_some_and(|is_bytes| is_bytes != prefix.binary) {
                return Err(self.error("strings of one kind"));
            }
            is_bytes = Some(prefix.binary);
            self.body(prefix, &mut contents)?;
        }
        match is_bytes {
            Some(true) => Ok(Value::Bytes(contents)),
            // What was put in was text.
            Some(false) => String::from_utf8(contents).map(Value::Str).map_err(|_| self.error("text")),
            None => Err(self.error("a string")),
        }
    }

    /// Takes a prefix, if one stands here before a quote.
    fn prefix(&mut self) -> Option<Prefix> {
        let length = self.rest().bytes().take(3).position(|byte| matches!(byte, b'"' | b'\''))?;
        let (raw, binary) = match self.rest()[..length].to_ascii_lowercase().as_str() {
            "" | "u" => (false, false),
            "r" => (true, false),
            "b" => (false, true),
            "br" | "rb" => (true, true),
            _ => return None,
        };
        self.at += length;
        Some(Prefix { raw, binary })
    }

    fn body(&mut self, prefix: Prefix, contents: &mut Vec<u8>) -> Result<(), ParseError> {
        let quote = self.peek();
        let triple = self.rest().as_bytes().get(..3).is_some_and(|start| start.iter().all(|&b| b == quote));
        let width = if triple { 3 } else { 1 };
        self.at += width;
        loop {
            let rest = self.rest().as_bytes();
            let is_plain = |byte: u8| byte != quote && byte != b'\\' && (byte != b'\n' || triple);
            let plain = rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len());
            if prefix.binary && !rest[..plain].is_ascii() {
                return Err(self.error("ASCII in a bytes literal"));
            }
            contents.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                b'\\' if prefix.raw => self.raw_escape(prefix, contents)?,
                b'\\' => self.escape(prefix, contents)?,
                byte if byte == quote => {
                    let closes =
                        rest[plain..].iter().take(width).filter(|&&byte| byte == quote).count() == width;
                    self.at += if closes { width } else { 1 };
                    if closes {
                        return Ok(());
                    }
                    contents.push(quote);
                }
                _ => return Err(self.error("a closing quote")),
            }
        }
    }

    /// A raw string keeps the backslash and whatever follows it, quotes included.
    fn raw_escape(&mut self, prefix: Prefix, contents: &mut Vec<u8>) -> Result<(), ParseError> {
        let mut characters = self.rest().chars();
        let next = characters.nth(1).ok_or_else(|| self.error("a closing quote"))?;
        if prefix.binary && !next.is_ascii() {
            return Err(self.error("ASCII in a bytes literal"));
        }
        let length = 1 + next.len_utf8();
        contents.extend_from_slice(&self.rest().as_bytes()[..length]);
        self.at += length;
        Ok(())
    }

    fn escape(&mut self, prefix: Prefix, contents: &mut Vec<u8>) -> Result<(), ParseError> {
        self.at += 1;
        let c = self.peek();
        let simple = match c {
            b'\n' => {
                // A continued line.
                self.at += 1;
                return Ok(());
            }
            b'\\' | b'\'' | b'"' => c,
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                let digits = self.rest().bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte));
                let length = digits.count();
                return self.code(length, 8, prefix, contents);
            }
            b'x' => {
                self.at += 1;
                return self.code(2, 16, prefix, contents);
            }
            b'u' | b'U' if !prefix.binary => {
                self.at += 1;
                let length = if c == b'u' { 4 } else { 8 };
                return self.code(length, 16, prefix, contents);
            }
            b'N' if !prefix.binary => {
                return Err(self.error("a character without a name from Unicode's table"));
            }
            // An unknown escape stands for itself.
            _ => {
                contents.push(b'\\');
                return Ok(());
            }
        };
        self.at += 1;
        contents.push(simple);
        Ok(())
    }

    /// The character, or the byte, whose number stands here.
    fn code(
        &mut self,
        length: usize,
        radix: u32,
        prefix: Prefix,
        contents: &mut Vec<u8>,
    ) -> Result<(), ParseError> {
        let digits = self.rest().get(..length).filter(|text| text.chars().all(|c| c.is_digit(radix)));
        let digits = digits.ok_or_else(|| self.error("more digits"))?;
        let code = u32::from_str_radix(digits, radix).map_err(|_| self.error("a character's code"))?;
        self.at += length;
        if prefix.binary {
            contents.push(u8::try_from(code).map_err(|_| self.error("the code of a byte"))?);
            return Ok(());
        }
        // A lone surrogate is no character.
        let c = char::from_u32(code).ok_or_else(|| self.error("a character's code"))?;
        contents.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }
}
