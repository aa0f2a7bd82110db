//! Numeric literals.

use super::{ParseError, Parser};
use crate::{BigInt, LARGEST_DIGITS, Value};
use num_traits::ToPrimitive;

impl Parser<'_> {
    /// A number with a sign.
    pub(super) fn signed(&mut self, depth: usize) -> Result<Value, ParseError> {
        let negative = self.peek() == b'-';
        self.at += 1;
        self.skip_space();
        let operand = match self.peek() {
            b'(' => self.parenthesised(depth)?,
            b'.' | b'0'..=b'9' => self.number()?,
            _ => self.named(depth)?,
        };
        match operand {
            Value::Int(value) if negative => Ok(Value::Int(-value)),
            Value::Float(value) if negative => Ok(Value::Float(-value)),
            Value::Complex(real, imaginary) if negative => Ok(Value::Complex(-real, -imaginary)),
            value @ (Value::Int(_) | Value::Float(_) | Value::Complex(..)) => Ok(value),
            _ => Err(self.error("a number after a sign")),
        }
    }

    /// The rest of a complex number, such as `1+2j`.
    pub(super) fn sum(&mut self, real: Value) -> Result<Value, ParseError> {
        let real = match &real {
            // Python raises OverflowError for an integer beyond the range of a float.
            Value::Int(value) => value.to_f64().filter(|value| value.is_finite()),
            Value::Float(value) => Some(*value),
            _ => None,
        };
        let real = real.ok_or_else(|| self.error("a number before '+' or '-'"))?;
        let negative = self.peek() == b'-';
        self.at += 1;
        self.skip_space();
        let is_number = matches!(self.peek(), b'.' | b'0'..=b'9');
        match is_number.then(|| self.number()).transpose()? {
            Some(Value::Complex(_, imaginary)) if negative => Ok(Value::Complex(real - 0.0, 0.0 - imaginary)),
            Some(Value::Complex(_, imaginary)) => Ok(Value::Complex(real + 0.0, 0.0 + imaginary)),
            _ => Err(self.error("an imaginary number")),
        }
    }

    /// A number without a sign.
    pub(super) fn number(&mut self) -> Result<Value, ParseError> {
        let prefix = self.rest().as_bytes().get(..2).map(<[u8]>::to_ascii_lowercase);
        match prefix.as_deref() {
            Some(b"0x") => self.with_radix(16),
            Some(b"0o") => self.with_radix(8),
            Some(b"0b") => self.with_radix(2),
            _ => self.decimal(),
        }
    }

    fn with_radix(&mut self, radix: u32) -> Result<Value, ParseError> {
        self.at += 2;
        // An underscore may follow the prefix.
        self.at += usize::from(self.peek() == b'_');
        let digits = self.digits(radix)?;
        let value = BigInt::parse_bytes(digits.as_bytes(), radix);
        value.map(Value::Int).ok_or_else(|| self.error("digits"))
    }

    fn decimal(&mut self) -> Result<Value, ParseError> {
        let mut text = if self.peek() == b'.' { String::new() } else { self.digits(10)? };
        let mut is_float = self.peek() == b'.';
        if is_float {
            self.at += 1;
            text.push('.');
            // Digits may lack on one side of the point.
            if text.len() == 1 || self.peek().is_ascii_digit() {
                text.push_str(&self.digits(10)?);
            }
        }
        let rest = self.rest().as_bytes();
        let sign = rest.get(1).filter(|byte| matches!(byte, b'+' | b'-'));
        let first = rest.get(1 + usize::from(sign.is_some()));
        if matches!(self.peek(), b'e' | b'E') && first.is_some_and(u8::is_ascii_digit) {
            self.at += 1 + usize::from(sign.is_some());
            text.push('e');
            text.extend(sign.map(|&byte| char::from(byte)));
            text.push_str(&self.digits(10)?);
            is_float = true;
        }
        if matches!(self.peek(), b'j' | b'J') {
            self.at += 1;
            let imaginary = text.parse().map_err(|_| self.error("a number"))?;
            return Ok(Value::Complex(0.0, imaginary));
        }
        if is_float {
            return text.parse().map(Value::Float).map_err(|_| self.error("a number"));
        }
        if text.len() > LARGEST_DIGITS {
            return Err(self.error("at most 4,300 digits, as in Python"));
        }
        if text.starts_with('0') && text.bytes().any(|byte| byte != b'0') {
            return Err(self.error("an integer without leading zeros"));
        }
        text.parse().map(Value::Int).map_err(|_| self.error("a number"))
    }

    /// At least one digit; single underscores may stand between digits.
    fn digits(&mut self, radix: u32) -> Result<String, ParseError> {
        let is_digit = |byte: u8| char::from(byte).is_digit(radix);
        let mut digits = String::new();
        loop {
            if !is_digit(self.peek()) {
                return Err(self.error("a digit"));
            }
            while is_digit(self.peek()) {
                digits.push(char::from(self.peek()));
                self.at += 1;
            }
            if self.peek() != b'_' {
                return Ok(digits);
            }
            self.at += 1;
        }
    }
}
