//! What an assert asks of a value.

use crate::decimal::{self, Decimal};
use crate::{Budget, TooMuchWork, Value};

/// How an assert compares the value of its call with what it expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `assert f(x) == expected`
    Equal,
    /// `assert f(x) is expected`, where that is `True`, `False` or `None`: 1 is not `True`.
    Identical,
    /// `assert f(x)`: the expected value is `True`, but any true value passes.
    Truthy,
    /// `assert not f(x)`: the expected value is `False`, but any false value passes.
    Falsy,
}

impl Comparison {
    /// Whether the assert passes for a value.
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn holds(self, value: &Value, expected: &Value, budget: &mut Budget) -> Result<bool, TooMuchWork> {
        match self {
            Comparison::Equal => value.python_eq_within(expected, budget),
            Comparison::Identical => Ok(match (value, expected) {
                (Value::Bool(value), Value::Bool(expected)) => value == expected,
                (Value::None, Value::None) => true,
                _ => false,
            }),
            Comparison::Truthy => value.is_truthy(budget),
            Comparison::Falsy => Ok(!value.is_truthy(budget)?),
        }
    }
}

impl Value {
    /// Python's `bool(self)`. An opaque object is true, as an object is whose class says nothing
    /// else.
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn is_truthy(&self, budget: &mut Budget) -> Result<bool, TooMuchWork> {
        Ok(match self {
            Value::None => false,
            Value::Bool(value) => *value,
            Value::Int(value) | Value::Fraction(value, _) => *value != crate::BigInt::ZERO,
            // NaN is true.
            Value::Float(value) => *value != 0.0,
            Value::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::Bytes(bytes) => !bytes.is_empty(),
            Value::List(items)
            | Value::Tuple(items)
            | Value::Set(items)
            | Value::FrozenSet(items)
            | Value::Deque(items)
            | Value::KeysView(items) => !items.is_empty(),
            Value::Dict(pairs) => !pairs.is_empty(),
            Value::Decimal(text) => {
                budget.spend_bytes(text.len())?;
                !matches!(decimal::parse(text), Some(Decimal::Zero))
            }
            Value::Range(range) => range.contents(budget)?.0 != crate::BigInt::ZERO,
            Value::Opaque { .. } => true,
        })
    }
}
