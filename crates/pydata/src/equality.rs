//! Python's `==` on plain data.
//!
//! Sets and dictionaries are matched through a hash that agrees with `==` (equal numbers of
//! different types hash alike), so that comparing two sets of a million elements takes a million
//! steps: the values come from untrusted programs. For the same reason nothing may collide on
//! purpose: what is not a number, which equals nothing, is left out of the index, and numbers are
//! hashed by their exact values.

use crate::Value;
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{FromPrimitive, ToPrimitive};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

impl Value {
    /// Whether Python's `self == other` would be true.
    pub fn python_eq(&self, other: &Value) -> bool {
        if let (Some(a), Some(b)) = (Number::of(self), Number::of(other)) {
            return a.equals(&b);
        }
        match (self, other) {
            (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b))
            | (Value::Tuple(a), Value::Tuple(b))
            | (Value::Deque(a), Value::Deque(b)) => sequence_eq(a, b),
            (Value::Set(a) | Value::FrozenSet(a), Value::Set(b) | Value::FrozenSet(b)) => set_eq(a, b),
            (Value::Dict(a), Value::Dict(b)) => dict_eq(a, b),
            _ => false,
        }
    }

    /// Whether it is or holds what is not a number, and so equals nothing, itself included.
    fn holds_nan(&self) -> bool {
        match self {
            Value::Float(value) => value.is_nan(),
            Value::Complex(real, imaginary) => real.is_nan() || imaginary.is_nan(),
            Value::Decimal(text) => special_decimal(text).is_some_and(f64::is_nan),
            Value::List(items)
            | Value::Tuple(items)
            | Value::Set(items)
            | Value::FrozenSet(items)
            | Value::Deque(items) => items.iter().any(Value::holds_nan),
            Value::Dict(pairs) => pairs.iter().any(|(key, value)| key.holds_nan() || value.holds_nan()),
            _ => false,
        }
    }

    /// A hash equal for values that are [`python_eq`](Value::python_eq).
    pub fn python_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_into(&mut hasher);
        hasher.finish()
    }

    fn hash_into(&self, hasher: &mut DefaultHasher) {
        if let Some(number) = Number::of(self) {
            return number.hash_into(hasher);
        }
        match self {
            Value::Str(text) => ("str", text).hash(hasher),
            Value::Bytes(bytes) => ("bytes", bytes).hash(hasher),
            Value::List(items) => hash_sequence("list", items, hasher),
            Value::Tuple(items) => hash_sequence("tuple", items, hasher),
            Value::Deque(items) => hash_sequence("deque", items, hasher),
            Value::Set(items) | Value::FrozenSet(items) => {
                let keys = items.iter().map(Value::python_hash);
                ("set", keys.fold(0u64, u64::wrapping_add)).hash(hasher);
            }
            Value::Dict(pairs) => {
                let keys = pairs.iter().map(|(key, _)| key.python_hash());
                ("dict", keys.fold(0u64, u64::wrapping_add)).hash(hasher);
            }
            _ => "none".hash(hasher),
        }
    }
}

fn hash_sequence(tag: &str, items: &[Value], hasher: &mut DefaultHasher) {
    (tag, items.len()).hash(hasher);
    items.iter().for_each(|item| item.hash_into(hasher));
}

fn sequence_eq(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.python_eq(y))
}

fn set_eq(a: &[Value], b: &[Value]) -> bool {
    let (a, b) = (Distinct::of(a.iter()), Distinct::of(b.iter()));
    a.not_a_number + b.not_a_number == 0
        && a.values.len() == b.values.len()
        && a.values.iter().all(|value| b.find(value).is_some())
}

fn dict_eq(a: &[(Value, Value)], b: &[(Value, Value)]) -> bool {
    let index = Distinct::of(b.iter().map(|(key, _)| key));
    // Whoever repeats a key on one side could leave one of the other's out.
    a.len() == b.len()
        && index.values.len() == b.len()
        && are_distinct(a.iter().map(|(key, _)| key))
        && a.iter().all(|(key, value)| index.find(key).is_some_and(|at| b[at].1.python_eq(value)))
}

/// Whether no two of them are equal.
pub(crate) fn are_distinct<'a>(values: impl ExactSizeIterator<Item = &'a Value>) -> bool {
    let count = values.len();
    let distinct = Distinct::of(values);
    distinct.values.len() + distinct.not_a_number == count
}

/// The different ones of some values, found by hash: a literal such as `{1, 1.0}` may repeat
/// itself.
struct Distinct<'a> {
    values: Vec<&'a Value>,
    by_hash: HashMap<u64, Vec<usize>>,
    /// How many hold what is not a number: they equal nothing.
    not_a_number: usize,
}

impl<'a> Distinct<'a> {
    fn of(values: impl Iterator<Item = &'a Value>) -> Self {
        let mut distinct = Distinct { values: Vec::new(), by_hash: HashMap::new(), not_a_number: 0 };
        for value in values {
            if value.holds_nan() {
                distinct.not_a_number += 1;
            } else if distinct.find(value).is_none() {
                distinct.by_hash.entry(value.python_hash()).or_default().push(distinct.values.len());
                distinct.values.push(value);
            }
        }
        distinct
    }

    /// Where the value equal to this one stands.
    fn find(&self, value: &Value) -> Option<usize> {
        let candidates = self.by_hash.get(&value.python_hash())?;
        candidates.iter().copied().find(|&at| self.values[at].python_eq(value))
    }
}

/// Powers of ten beyond this are not written out: such a decimal equals only decimals.
const LARGEST_EXPONENT: i64 = 10_000;

/// A decimal's text as the number it is.
fn decimal(text: &str) -> Option<Number<'static>> {
    if let Some(special) = special_decimal(text) {
        return Some(Number::Float(special));
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = (digits.len() - significant.len()) as i64;
    if ["", "-", "+"].contains(&significant) {
        return Some(Number::Small(0));
    }
    let value = significant.parse::<BigInt>().ok()?;
    let exponent = exponent.checked_sub(fraction.len() as i64)?.checked_add(zeros)?;
    if exponent.abs() > LARGEST_EXPONENT {
        return Some(Number::Scientific(value, exponent));
    }
    let power = BigInt::from(10).pow(exponent.unsigned_abs() as u32);
    Some(match exponent {
        0.. => Number::Rational(value * power, BigInt::from(1)),
        // The value does not end in 0, so this is no integer.
        _ => Number::Rational(value, power),
    })
}

/// Infinities and what is not a number.
fn special_decimal(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.trim_start_matches(['-', '+']) {
        "inf" | "infinity" if lower.starts_with('-') => Some(f64::NEG_INFINITY),
        "inf" | "infinity" => Some(f64::INFINITY),
        other if other.starts_with("nan") || other.starts_with("snan") => Some(f64::NAN),
        _ => None,
    }
}

/// A number of any of Python's types, ready for an exact comparison across types.
enum Number<'a> {
    Small(i64),
    Int(&'a BigInt),
    Float(f64),
    Complex(f64, f64),
    Fraction(&'a BigInt, &'a BigInt),
    /// A decimal; not always in lowest terms.
    Rational(BigInt, BigInt),
    /// A decimal too large or too small to write out: significant digits and a power of ten.
    Scientific(BigInt, i64),
}

impl<'a> Number<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Number::Small(i64::from(*value)),
            Value::Int(value) => match value.to_i64() {
                Some(small) => Number::Small(small),
                None => Number::Int(value),
            },
            Value::Float(value) => Number::Float(*value),
            Value::Complex(real, imaginary) if *imaginary == 0.0 => Number::Float(*real),
            Value::Complex(real, imaginary) => Number::Complex(*real, *imaginary),
            Value::Fraction(numerator, denominator) => Number::Fraction(numerator, denominator),
            Value::Decimal(text) => decimal(text)?,
            _ => return None,
        })
    }

    /// The number as an exact integer, where it is one.
    fn integer(&self) -> Option<BigInt> {
        match self {
            Number::Small(value) => Some(BigInt::from(*value)),
            Number::Int(value) => Some((*value).clone()),
            Number::Float(value) if value.fract() == 0.0 => BigInt::from_f64(*value),
            _ => {
                let (numerator, denominator) = self.fraction()?;
                (numerator % denominator == BigInt::ZERO).then(|| numerator / denominator)
            }
        }
    }

    /// Numerator and denominator, where it is written so.
    fn fraction(&self) -> Option<(&BigInt, &BigInt)> {
        match self {
            Number::Fraction(numerator, denominator) => Some((numerator, denominator)),
            Number::Rational(numerator, denominator) => Some((numerator, denominator)),
            _ => None,
        }
    }

    /// Numerator and denominator of the exact value, where it has one.
    fn exact(&self) -> Option<(BigInt, BigInt)> {
        match self {
            Number::Float(value) if value.is_finite() => {
                let (mantissa, exponent) = parts(*value);
                Some((mantissa << exponent.max(0), BigInt::from(1) << (-exponent).max(0)))
            }
            _ => self.fraction().map(|(numerator, denominator)| (numerator.clone(), denominator.clone())),
        }
    }

    fn equals(&self, other: &Number) -> bool {
        match (self, other) {
            (Number::Small(a), Number::Small(b)) => a == b,
            (Number::Float(a), Number::Float(b)) => a == b,
            (Number::Complex(a, b), Number::Complex(c, d)) => a == c && b == d,
            (Number::Scientific(a, b), Number::Scientific(c, d)) => a == c && b == d,
            _ => match (self.fraction(), other.fraction()) {
                (Some(a), Some(b)) => a.0 * b.1 == b.0 * a.1,
                (Some(fraction), None) => fraction_equals(fraction, other),
                (None, Some(fraction)) => fraction_equals(fraction, self),
                (None, None) => match (self.integer(), other.integer()) {
                    (Some(a), Some(b)) => a == b,
                    _ => false,
                },
            },
        }
    }

    fn hash_into(&self, hasher: &mut DefaultHasher) {
        match (self.integer(), self) {
            (Some(integer), _) => ("integer", integer).hash(hasher),
            (None, Number::Complex(a, b)) => {
                // -0.0 equals 0.0, and so must its hash.
                ("complex", (a + 0.0).to_bits(), (b + 0.0).to_bits()).hash(hasher);
            }
            (None, Number::Scientific(digits, exponent)) => ("scientific", digits, exponent).hash(hasher),
            // A fraction equals the float of the same value, where one exists.
            (None, number) => match number.exact() {
                Some((numerator, denominator)) => {
                    let divisor = numerator.gcd(&denominator);
                    ("fraction", numerator / &divisor, denominator / &divisor).hash(hasher);
                }
                None => "infinite".hash(hasher),
            },
        }
    }
}

/// Whether a fraction equals a number that is none.
fn fraction_equals((numerator, denominator): (&BigInt, &BigInt), number: &Number) -> bool {
    match number {
        Number::Float(float) => float_is_fraction(*float, numerator, denominator),
        _ => number.integer().is_some_and(|integer| integer * denominator == *numerator),
    }
}

/// Whether a float is exactly `numerator / denominator`.
fn float_is_fraction(value: f64, numerator: &BigInt, denominator: &BigInt) -> bool {
    if !value.is_finite() {
        return false;
    }
    let (mantissa, exponent) = parts(value);
    if exponent >= 0 {
        (mantissa << exponent) * denominator == *numerator
    } else {
        mantissa * denominator == numerator << -exponent
    }
}

/// A finite float is the first times two to the power of the second, exactly.
fn parts(value: f64) -> (BigInt, i32) {
    let bits = value.abs().to_bits();
    let (raw_exponent, raw_mantissa) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    let (mantissa, exponent) = match raw_exponent {
        0 => (raw_mantissa, -1074),
        _ => (raw_mantissa | (1 << 52), raw_exponent - 1075),
    };
    let sign = if value < 0.0 { -1 } else { 1 };
    (BigInt::from(mantissa) * sign, exponent)
}
