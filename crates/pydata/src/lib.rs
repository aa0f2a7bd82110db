//! Python's plain data in Rust.
//!
//! A test such as `assert f([1, 2]) == {"a": 1.5}` is data: a name, arguments and an expected
//! value. This crate reads such literals ([`parse_literal`], [`parse_assert`]), writes them back
//! as Python would (`Display` gives `repr`), and compares them by Python's rules
//! ([`Value::python_eq_within`]: `1 == 1.0 == True`, sets without order, `nan != nan`).
//!
//! Values come from untrusted programs. What may take more than linear time takes a [`Budget`] and
//! gives up with [`TooMuchWork`]; nesting is limited by [`MAX_DEPTH`].
//!
//! ```
//! use pydata::{Budget, parse_assert, parse_literal};
//!
//! let assert = parse_assert("assert add(1, [2, 3]) == (True, 2.0)").unwrap();
//! assert_eq!(assert.call.function, "add");
//! let value = parse_literal("(1, 2)").unwrap();
//! assert_eq!(assert.holds(&value, &mut Budget::default()), Ok(true));
//! ```

mod budget;
mod class;
mod comparison;
mod decimal;
mod equality;
mod hash;
mod literal;
mod number;
mod range;
mod repr;

pub use budget::{Budget, TooMuchWork};
pub use comparison::Comparison;
pub use literal::{Assert, Call, ParseError, parse_assert, parse_call, parse_literal};
pub use num_bigint::BigInt;
pub use range::Range;

/// How deep values may be nested: a list in a list has depth 1. Deeper literals are refused, and
/// operations on deeper values give up, so that hostile values cannot exhaust the stack. Whoever
/// builds a value by other means keeps to it too: cloning and dropping one recurse.
pub const MAX_DEPTH: usize = 500;

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
    /// `b"…"`; a `bytearray` is equal to it in Python.
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
    /// `range(start, stop, step)`, in a box to keep other values small; [`Value::range`] makes one.
    Range(Box<Range>),
    /// The view that `dict.keys()` or `dict.items()` gives: equal to a set or view of equal elements.
    KeysView(Vec<Value>),
    /// An object that is not plain data: equal to nothing, not even to itself.
    Opaque {
        /// The name of its type.
        sort: String,
        /// Which object of its sort it is.
        number: u64,
    },
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

    /// A dictionary; none where two keys are equal or a key cannot be one, as never in Python's, or
    /// where to see this takes more work than the default budget allows.
    pub fn dict(pairs: Vec<(Value, Value)>) -> Option<Value> {
        Value::dict_within(pairs, &mut Budget::default()).unwrap_or(None)
    }

    /// A dictionary; none where two keys are equal or a key cannot be one, as never in Python's.
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn dict_within(
        pairs: Vec<(Value, Value)>,
        budget: &mut Budget,
    ) -> Result<Option<Value>, TooMuchWork> {
        if !pairs.iter().all(|(key, _)| key.is_hashable()) {
            return Ok(None);
        }
        let firsts = equality::first_equals(pairs.iter().map(|(key, _)| key), budget)?;
        let distinct = firsts.iter().enumerate().all(|(at, &first)| at == first);
        Ok(distinct.then_some(Value::Dict(pairs)))
    }

    /// A decimal number from what Python's `str` makes of one; none where it could not have, or has
    /// more digits than Python would write of an integer.
    pub fn decimal(text: String) -> Option<Value> {
        (text.len() <= LARGEST_DIGITS && decimal::is_pythons(&text)).then_some(Value::Decimal(text))
    }

    /// A range; none where the step is 0.
    pub fn range(start: BigInt, stop: BigInt, step: BigInt) -> Option<Value> {
        (step != BigInt::ZERO).then(|| Value::Range(Box::new(Range { start, stop, step })))
    }

    /// Whether it can be an element of a set or a key.
    pub fn is_hashable(&self) -> bool {
        // Only tuples are looked into: a frozen set exists only if its elements are hashable.
        fn at_depth(value: &Value, depth: usize) -> bool {
            match value {
                Value::List(_) | Value::Set(_) | Value::Dict(_) | Value::Deque(_) | Value::KeysView(_) => {
                    false
                }
                Value::Tuple(items) => {
                    depth < MAX_DEPTH && items.iter().all(|item| at_depth(item, depth + 1))
                }
                _ => true,
            }
        }
        at_depth(self, 0)
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
    /// Python's name of the value's type; of a view that of keys, of an opaque object `object`.
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
            Value::Range(_) => "range",
            Value::KeysView(_) => "dict_keys",
            Value::Opaque { .. } => "object",
        }
    }
}
