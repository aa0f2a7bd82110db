//! Python's plain data in Rust.
//!
//! A test such as `assert f([1, 2]) == {"a": 1.5}` is data: a name, arguments and an expected
//! value. This crate reads such literals ([`parse_literal`], [`parse_assert`]), writes them back
//! as Python would (`Display` gives `repr`), and compares them by Python's rules
//! ([`Value::python_eq`]: `1 == 1.0 == True`, sets without order, `nan != nan`).
//!
//! ```
//! use pydata::{parse_assert, parse_literal};
//!
//! let assert = parse_assert("assert add(1, [2, 3]) == (True, 2.0)").unwrap();
//! assert_eq!(assert.call.function, "add");
//! assert!(assert.expected.python_eq(&parse_literal("(1, 2)").unwrap()));
//! ```

mod equality;
mod literal;
mod repr;

pub use literal::{Assert, Call, ParseError, parse_assert, parse_call, parse_literal};
pub use num_bigint::BigInt;

/// A value built only from Python's own data types.
///
/// `Dict` keeps insertion order, as Python does; sets keep the order in which they were written.
#[derive(Clone, Debug)]
pub enum Value {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// An integer of any size.
    Int(BigInt),
    /// A double-precision number, `nan` and `inf` included.
    Float(f64),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// Text without lone surrogates.
    Str(String),
    /// `b"…"`
    Bytes(Vec<u8>),
    /// `[…]`
    List(Vec<Value>),
    /// `(…)`
    Tuple(Vec<Value>),
    /// `{…}` or `set()`
    Set(Vec<Value>),
    /// `frozenset(…)`
    FrozenSet(Vec<Value>),
    /// `{key: value, …}`; `Counter`, `defaultdict` and `OrderedDict` compare equal to it in Python.
    Dict(Vec<(Value, Value)>),
    /// `collections.deque`: equal only to another deque.
    Deque(Vec<Value>),
    /// `decimal.Decimal`, as its text; [`Value::decimal`] takes it from elsewhere.
    Decimal(String),
    /// `fractions.Fraction`: numerator and denominator, which is greater than 0. What comes from
    /// elsewhere is made with [`Value::fraction`]: `0 / 0` would be equal to every number.
    Fraction(BigInt, BigInt),
}

/// What takes time that grows with the square of the digits stops here, as Python's does.
const LARGEST_DIGITS: usize = 4_300;
/// The same in bits.
const LARGEST_BITS: u64 = 14_284;

impl Value {
    /// A fraction; none unless the denominator is greater than 0, or where bringing it to lowest
    /// terms would take long: the time grows with the square of the digits.
    pub fn fraction(numerator: BigInt, denominator: BigInt) -> Option<Value> {
        let valid = denominator > BigInt::ZERO && numerator.bits().max(denominator.bits()) <= LARGEST_BITS;
        valid.then_some(Value::Fraction(numerator, denominator))
    }

    /// A dictionary; none where two keys are equal, as they never are in one of Python's.
    pub fn dict(pairs: Vec<(Value, Value)>) -> Option<Value> {
        equality::are_distinct(pairs.iter().map(|(key, _)| key)).then_some(Value::Dict(pairs))
    }

    /// A decimal number from what Python's `str` makes of one; none where it could not have, or has
    /// more digits than Python would write of an integer.
    pub fn decimal(text: String) -> Option<Value> {
        if text.len() > LARGEST_DIGITS {
            return None;
        }
        let unsigned = text.strip_prefix('-').unwrap_or(&text);
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let payload = unsigned.strip_prefix('s').unwrap_or(unsigned).strip_prefix("NaN");
        let is_number = || {
            let (mantissa, exponent) = unsigned.split_once('E').unwrap_or((unsigned, "+0"));
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            [whole, fraction, exponent].iter().all(|part| !part.is_empty() && is_digits(part))
        };
        let valid = unsigned == "Infinity" || payload.is_some_and(is_digits) || is_number();
        valid.then_some(Value::Decimal(text))
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(BigInt::from(value))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Str(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Str(value)
    }
}

impl Value {
    /// Python's name of the value's type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Complex(..) => "complex",
            Value::Str(_) => "str",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Set(_) => "set",
            Value::FrozenSet(_) => "frozenset",
            Value::Dict(_) => "dict",
            Value::Deque(_) => "deque",
            Value::Decimal(_) => "Decimal",
            Value::Fraction(..) => "Fraction",
        }
    }
}
