//! Calls with literal arguments, and asserts about their values.

use super::{ParseError, Parser, source};
use crate::{Budget, Comparison, TooMuchWork, Value};

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
    /// How its value is compared.
    pub comparison: Comparison,
    /// The right side.
    pub expected: Value,
}

impl Assert {
    /// Whether the assert passes where its call gives this value.
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn holds(&self, value: &Value, budget: &mut Budget) -> Result<bool, TooMuchWork> {
        self.comparison.holds(value, &self.expected, budget)
    }
}

/// Reads one call with literal arguments.
///
/// # Errors
/// Where the text is anything else.
pub fn parse_call(text: &str) -> Result<Call, ParseError> {
    let text = source(text)?;
    let mut parser = Parser::new(&text);
    let call = parser.call()?;
    parser.end()?;
    Ok(call)
}

/// Reads an assert about the value of one call with literal arguments: `f(…) == literal`, `f(…) is`
/// `True`, `False` or `None`, `f(…)` or `not f(…)`; also with parentheses around the comparison or
/// the call, and with a literal as message.
///
/// # Errors
/// Where the text is anything else; such a test cannot be decided from data alone.
pub fn parse_assert(text: &str) -> Result<Assert, ParseError> {
    let text = source(text)?;
    let mut parser = Parser::new(&text);
    if !parser.take_word("assert") {
        return Err(parser.error("assert"));
    }
    let start = parser.at;
    // A parenthesis opens the comparison, or only the call on its left.
    let assert = match parser.in_parentheses(Parser::comparison) {
        Ok(Some(assert)) if parser.ends_assert() => assert,
        _ => {
            (parser.at, parser.brackets) = (start, 0);
            parser.comparison()?
        }
    };
    if parser.take(",") {
        parser.value(0)?;
    }
    parser.take(";");
    parser.end()?;
    Ok(assert)
}

/// Names that Python does not let a function or an argument have.
const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

impl Parser<'_> {
    /// What stands in parentheses; none where no parenthesis opens here.
    fn in_parentheses<T>(
        &mut self,
        inner: impl FnOnce(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Option<T>, ParseError> {
        if !self.take_open("(") {
            return Ok(None);
        }
        let inner = inner(self)?;
        if !self.take_close(")") {
            return Err(self.error("')'"));
        }
        Ok(Some(inner))
    }

    /// Whether the condition of an assert ends here.
    fn ends_assert(&mut self) -> bool {
        self.skip_space();
        matches!(self.peek(), b'\0' | b',' | b';' | b'\n')
    }

    fn comparison(&mut self) -> Result<Assert, ParseError> {
        if self.take_word("not") {
            let call = self.operand()?;
            return Ok(Assert { call, comparison: Comparison::Falsy, expected: Value::Bool(false) });
        }
        let call = self.operand()?;
        if self.take("==") {
            return Ok(Assert { call, comparison: Comparison::Equal, expected: self.value(0)? });
        }
        if !self.take_word("is") {
            return Ok(Assert { call, comparison: Comparison::Truthy, expected: Value::Bool(true) });
        }
        match self.value(0)? {
            expected @ (Value::Bool(_) | Value::None) => {
                Ok(Assert { call, comparison: Comparison::Identical, expected })
            }
            _ => Err(self.error("True, False or None after 'is'")),
        }
    }

    fn operand(&mut self) -> Result<Call, ParseError> {
        match self.in_parentheses(Parser::call)? {
            Some(call) => Ok(call),
            None => self.call(),
        }
    }

    fn call(&mut self) -> Result<Call, ParseError> {
        self.skip_space();
        let start = self.at;
        let function = self.name().filter(|name| !KEYWORDS.contains(name));
        let function = function.ok_or_else(|| self.error("a function's name"))?.to_owned();
        // On another line this would be a call only in brackets, but its source goes elsewhere.
        while self.peek() == b' ' {
            self.at += 1;
        }
        if self.peek() != b'(' || !self.take_open("(") {
            return Err(self.error("'('"));
        }
        let (mut args, mut keywords) = (Vec::new(), Vec::new());
        while !self.take_close(")") {
            match self.keyword()? {
                Some(name) if keywords.iter().any(|(present, _)| *present == name) => {
                    return Err(self.error("a keyword argument that is not repeated"));
                }
                Some(name) => keywords.push((name, self.value(0)?)),
                None if keywords.is_empty() => args.push(self.value(0)?),
                None => return Err(self.error("a keyword argument")),
            }
            if !self.take(",") {
                if !self.take_close(")") {
                    return Err(self.error("',' or ')'"));
                }
                break;
            }
        }
        let source = self.text[start..self.at].to_owned();
        Ok(Call { function, args, keywords, source })
    }

    /// The name of a keyword argument, where one starts here, with its `=`.
    fn keyword(&mut self) -> Result<Option<String>, ParseError> {
        let start = self.at;
        let name = self.name();
        match name.filter(|_| self.take("=") && self.peek() != b'=') {
            Some(name) if KEYWORDS.contains(&name) => Err(self.error("an argument's name")),
            Some(name) => Ok(Some(name.to_owned())),
            None => {
                self.at = start;
                Ok(None)
            }
        }
    }
}
