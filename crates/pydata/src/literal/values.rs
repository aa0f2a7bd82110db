//! Values of every kind, and the containers.

use super::{ParseError, Parser};
use crate::equality::first_equals;
use crate::{MAX_DEPTH, Value};

impl Parser<'_> {
    /// A value, or a sum such as `1+2j`, or signed.
    pub(super) fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.error("fewer nested brackets"));
        }
        self.skip_space();
        let value = match self.peek() {
            b'[' => self.list(depth),
            b'(' => self.parenthesised(depth),
            b'{' => self.braces(depth),
            b'-' | b'+' => self.signed(depth),
            b'"' | b'\'' => self.strings(),
            b'.' | b'0'..=b'9' => self.number(),
            _ => self.named(depth),
        }?;
        self.skip_space();
        match self.peek() {
            b'+' | b'-' => self.sum(value),
            _ => Ok(value),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.take_open("[");
        let mut items = Vec::new();
        self.items("]", &mut items, depth)?;
        Ok(Value::List(items))
    }

    /// A tuple, or one value in parentheses.
    pub(super) fn parenthesised(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.take_open("(");
        let mut items = Vec::new();
        let trailing_comma = self.items(")", &mut items, depth)?;
        match items.pop() {
            Some(item) if items.is_empty() && !trailing_comma => Ok(item),
            last => {
                items.extend(last);
                Ok(Value::Tuple(items))
            }
        }
    }

    /// Items up to `close`; whether a comma followed the last.
    fn items(&mut self, close: &str, items: &mut Vec<Value>, depth: usize) -> Result<bool, ParseError> {
        let mut trailing_comma = false;
        while !self.take_close(close) {
            items.push(self.value(depth + 1)?);
            trailing_comma = self.take(",");
            if !trailing_comma {
                return self.close(close, "',' or a closing bracket").map(|()| false);
            }
        }
        Ok(trailing_comma)
    }

    fn close(&mut self, bracket: &str, expected: &'static str) -> Result<(), ParseError> {
        if self.take_close(bracket) { Ok(()) } else { Err(self.error(expected)) }
    }

    /// A set or a dictionary. One function reads both: its frames are as many as the brackets.
    fn braces(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.take_open("{");
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        while !self.take_close("}") {
            keys.push(self.value(depth + 1)?);
            if self.is_pair(keys.len(), values.len())? {
                values.push(self.value(depth + 1)?);
            }
            if !self.take(",") {
                self.close("}", "',' or '}'")?;
                break;
            }
        }
        match keys.len() == values.len() {
            true => self.pairs(keys, values),
            false => self.distinct(keys).map(Value::Set),
        }
    }

    /// Whether a value follows the key just read; a colon after the first key makes a dictionary.
    fn is_pair(&mut self, keys: usize, values: usize) -> Result<bool, ParseError> {
        match (self.take(":"), keys == 1, keys == values + 1) {
            (colon, true, _) => Ok(colon),
            (true, false, true) => Ok(true),
            (false, false, false) => Ok(false),
            (false, false, true) => Err(self.error("':'")),
            (true, false, false) => Err(self.error("',' or '}'")),
        }
    }

    /// As in Python, a repeated key keeps its first place and takes the last value.
    #[inline(never)]
    fn pairs(&mut self, keys: Vec<Value>, values: Vec<Value>) -> Result<Value, ParseError> {
        let firsts = self.firsts(&keys)?;
        let mut pairs: Vec<Option<(Value, Value)>> = Vec::with_capacity(keys.len());
        for ((key, value), first) in keys.into_iter().zip(values).zip(firsts) {
            match pairs.get_mut(first) {
                Some(Some(pair)) => {
                    pair.1 = value;
                    pairs.push(None);
                }
                _ => pairs.push(Some((key, value))),
            }
        }
        Ok(Value::Dict(pairs.into_iter().flatten().collect()))
    }

    /// The elements of a set: of equal ones the first.
    #[inline(never)]
    fn distinct(&mut self, items: Vec<Value>) -> Result<Vec<Value>, ParseError> {
        let firsts = self.firsts(&items)?;
        let items = items.into_iter().zip(firsts).enumerate();
        Ok(items.filter(|(at, (_, first))| at == first).map(|(_, (item, _))| item).collect())
    }

    fn firsts(&mut self, keys: &[Value]) -> Result<Vec<usize>, ParseError> {
        if !keys.iter().all(Value::is_hashable) {
            return Err(self.error("hashable elements and keys"));
        }
        first_equals(keys.iter(), &mut self.budget).map_err(|_| self.error("a literal that takes less work"))
    }

    /// `None`, `True`, `False`, a string with a prefix, or a call that stands for a value.
    pub(super) fn named(&mut self, depth: usize) -> Result<Value, ParseError> {
        let start = self.at;
        let name = self.name().ok_or_else(|| self.error("a value"))?;
        match name {
            "None" => return Ok(Value::None),
            "True" => return Ok(Value::Bool(true)),
            "False" => return Ok(Value::Bool(false)),
            _ => {}
        }
        if matches!(self.peek(), b'"' | b'\'') {
            self.at = start;
            return self.strings();
        }
        if !["set", "frozenset", "float"].contains(&name) || !self.take_open("(") {
            self.at = start;
            return Err(self.error("a literal, not a name or a call"));
        }
        let mut items = Vec::new();
        self.items(")", &mut items, depth)?;
        self.called(name, items)
    }

    /// What a call of one of the builtins gives.
    #[inline(never)]
    fn called(&mut self, name: &str, mut items: Vec<Value>) -> Result<Value, ParseError> {
        let count = items.len();
        match (name, items.pop()) {
            ("set", None) => Ok(Value::Set(Vec::new())),
            ("frozenset", None) => Ok(Value::FrozenSet(Vec::new())),
            ("set", Some(Value::List(items) | Value::Tuple(items) | Value::Set(items))) if count == 1 => {
                self.distinct(items).map(Value::Set)
            }
            ("frozenset", Some(Value::List(items) | Value::Tuple(items) | Value::Set(items)))
                if count == 1 =>
            {
                self.distinct(items).map(Value::FrozenSet)
            }
            ("float", Some(Value::Str(text))) if count == 1 => {
                text.trim().parse().map(Value::Float).map_err(|_| self.error("float('nan') or float('inf')"))
            }
            _ => Err(self.error("an argument that is a list, a tuple, a set or, for float, a string")),
        }
    }
}
