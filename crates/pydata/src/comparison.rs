//! What an assert asks of a value.

use crate::decimal::{self, Decimal};
use crate::{BigInt, Budget, TooMuchWork, Value};
use num_traits::ToPrimitive;

/// How an assert compares the value of its call with what it expects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// `assert f(x) == expected`
    Equal,
    /// `assert f(x) is expected`, where that is `True`, `False` or `None`: 1 is not `True`.
    Identical,
    /// `assert f(x)`: the expected value is `True`, but any true value passes.
    Truthy,
    /// `assert not f(x)`: the expected value is `False`, but any false value passes.
    Falsy,
    /// `assert abs(f(x) - expected) < tolerance`, where what is expected is a number.
    Near {
        /// How far off the value may be.
        tolerance: f64,
        /// Whether it may be just as far: `<=`.
        inclusive: bool,
    },
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
            Comparison::Near { tolerance, inclusive } => {
                budget.spend(1)?;
                Ok(distance(value, expected).is_some_and(|distance| match inclusive {
                    true => distance <= tolerance,
                    false => distance < tolerance,
                }))
            }
        }
    }
}

/// `abs(value - expected)` as Python computes it, rounded to a float; none where Python raises. What is
/// expected is an integer or a float.
fn distance(value: &Value, expected: &Value) -> Option<f64> {
    // Between integers the difference is exact.
    if let (Some(value), Some(expected)) = (integer(value), integer(expected)) {
        return (value - expected).to_f64().map(f64::abs);
    }
    let expected_float = real(expected)?;
    match value {
        Value::Complex(real, imaginary) => Some((real - expected_float).hypot(*imaginary)),
        // A decimal and a float do not mix.
        Value::Decimal(text) if integer(expected).is_some() => {
            Some((text.parse::<f64>().ok()? - expected_float).abs())
        }
        _ => Some((real(value)? - expected_float).abs()),
    }
}

fn integer(value: &Value) -> Option<BigInt> {
    match value {
        Value::Bool(value) => Some(BigInt::from(u8::from(*value))),
        Value::Int(value) => Some(value.clone()),
        _ => None,
    }
}

/// A number as a float; none where Python's conversion overflows.
fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        Value::Fraction(above, below) => Some(above.to_f64()? / below.to_f64()?),
        _ => integer(value)?.to_f64().filter(|float| float.is_finite()),
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
            Value::Int(value) | Value::Fraction(value, _) => *value != BigInt::ZERO,
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
            Value::Range(range) => range.contents(budget)?.0 != BigInt::ZERO,
            Value::Opaque { .. } => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_literal;

    #[test]
    fn nearness_is_pythons() {
        let near = |value: &str, expected: &str, tolerance: f64, inclusive: bool| {
            let comparison = Comparison::Near { tolerance, inclusive };
            let (value, expected) =
                (parse_literal(value).expect("a value"), parse_literal(expected).expect("a value"));
            comparison.holds(&value, &expected, &mut Budget::default()).expect("little work")
        };
        assert!(near("0.33", "0.33000001", 1e-6, false));
        assert!(!near("0.33", "0.34", 1e-6, false));
        assert!(near("True", "1.0", 1e-6, false));
        // In floats the difference of these two would be 0.
        assert!(!near("9007199254740993", "9007199254740992", 0.5, false));
        assert!(near("3", "2", 1.0, true) && !near("3", "2", 1.0, false));
        assert!(near("0.5j", "0.0", 0.6, false) && !near("0.5j", "1.0", 0.6, false));
        // What Python cannot subtract fails.
        for value in ["'a'", "None", "[0.5]", "1e999"] {
            assert!(!near(value, "0.5", 10.0, false), "{value}");
        }
        assert!(!near(&format!("1{}", "0".repeat(400)), "0.5", 1e300, false));
    }
}
