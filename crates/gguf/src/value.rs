//! Metadata values.

use std::collections::TryReserveError;
use std::fmt;

macro_rules! value_types {
    ($($variant:ident $name:literal = $id:literal;)*) => {
        /// The type of a metadata value, named as in the specification.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the names are the specification's")]
        pub enum ValueType {
            $($variant,)*
        }

        impl ValueType {
            /// The type's number in files.
            pub const fn id(self) -> u32 {
                match self { $(ValueType::$variant => $id,)* }
            }

            /// The type with this number in files, if there is one.
            pub const fn from_id(id: u32) -> Option<ValueType> {
                match id { $($id => Some(ValueType::$variant),)* _ => None }
            }
        }

        impl fmt::Display for ValueType {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $(ValueType::$variant => $name,)* })
            }
        }
    };
}

value_types! {
    Uint8 "UINT8" = 0;
    Int8 "INT8" = 1;
    Uint16 "UINT16" = 2;
    Int16 "INT16" = 3;
    Uint32 "UINT32" = 4;
    Int32 "INT32" = 5;
    Float32 "FLOAT32" = 6;
    Bool "BOOL" = 7;
    String "STRING" = 8;
    Array "ARRAY" = 9;
    Uint64 "UINT64" = 10;
    Int64 "INT64" = 11;
    Float64 "FLOAT64" = 12;
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the specification's types")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A metadata array; all elements have the same type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are the specification's types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    Strings(Strings),
    /// Nested arrays; each has its own element type.
    Arrays(Vec<Array>),
}

impl Value {
    /// The value's type.
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::Uint8,
            Value::I8(_) => ValueType::Int8,
            Value::U16(_) => ValueType::Uint16,
            Value::I16(_) => ValueType::Int16,
            Value::U32(_) => ValueType::Uint32,
            Value::I32(_) => ValueType::Int32,
            Value::U64(_) => ValueType::Uint64,
            Value::I64(_) => ValueType::Int64,
            Value::F32(_) => ValueType::Float32,
            Value::F64(_) => ValueType::Float64,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
        }
    }

    /// The value, if it is an integer of any type.
    pub(crate) fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(value) => value.into(),
            Value::I8(value) => value.into(),
            Value::U16(value) => value.into(),
            Value::I16(value) => value.into(),
            Value::U32(value) => value.into(),
            Value::I32(value) => value.into(),
            Value::U64(value) => value.into(),
            Value::I64(value) => value.into(),
            _ => return None,
        })
    }

    /// The value in a few words, for an error message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::F32(value) => format!("{value} (FLOAT32)"),
            Value::F64(value) => format!("{value} (FLOAT64)"),
            Value::Bool(value) => format!("{value} (BOOL)"),
            Value::String(text) => format!("a STRING of {} bytes", text.len()),
            Value::Array(array) => format!("an ARRAY of {} {}", array.len(), array.element_type()),
            _ => format!("{} ({})", self.integer().unwrap_or_default(), self.value_type()),
        }
    }
}

impl Array {
    /// The type of the elements.
    pub fn element_type(&self) -> ValueType {
        match self {
            Array::U8(_) => ValueType::Uint8,
            Array::I8(_) => ValueType::Int8,
            Array::U16(_) => ValueType::Uint16,
            Array::I16(_) => ValueType::Int16,
            Array::U32(_) => ValueType::Uint32,
            Array::I32(_) => ValueType::Int32,
            Array::U64(_) => ValueType::Uint64,
            Array::I64(_) => ValueType::Int64,
            Array::F32(_) => ValueType::Float32,
            Array::F64(_) => ValueType::Float64,
            Array::Bool(_) => ValueType::Bool,
            Array::Strings(_) => ValueType::String,
            Array::Arrays(_) => ValueType::Array,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(values) => values.len(),
            Array::I8(values) => values.len(),
            Array::U16(values) => values.len(),
            Array::I16(values) => values.len(),
            Array::U32(values) => values.len(),
            Array::I32(values) => values.len(),
            Array::U64(values) => values.len(),
            Array::I64(values) => values.len(),
            Array::F32(values) => values.len(),
            Array::F64(values) => values.len(),
            Array::Bool(values) => values.len(),
            Array::Strings(values) => values.len(),
            Array::Arrays(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An array of strings, stored in two allocations: a vocabulary of 150,000 tokens is cheap to read.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Strings {
    /// All strings, concatenated.
    text: String,
    /// The end of each one, in bytes.
    ends: Vec<usize>,
}

impl Strings {
    /// No strings, with room for `count`.
    fn with_capacity(count: usize) -> Self {
        Strings { text: String::new(), ends: Vec::with_capacity(count) }
    }

    /// Makes room for so many more strings, and so many more bytes of them.
    pub(crate) fn try_reserve(&mut self, count: usize, bytes: usize) -> Result<(), TryReserveError> {
        self.ends.try_reserve(count)?;
        self.text.try_reserve(bytes)
    }

    /// Appends a string.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// The number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at an index.
    pub fn get(&self, number: usize) -> Option<&str> {
        let end = *self.ends.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.text[start..end])
    }

    /// All strings, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.text[std::mem::replace(&mut start, end)..end])
    }
}

impl fmt::Debug for Strings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl<T: AsRef<str>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let texts = texts.into_iter();
        let mut strings = Strings::with_capacity(texts.size_hint().0);
        texts.for_each(|text| strings.push(text.as_ref()));
        strings
    }
}

macro_rules! conversions {
    ($($type:ty => $value:ident $(, $array:ident)?;)*) => {
        $(
            impl From<$type> for Value {
                fn from(value: $type) -> Self {
                    Value::$value(value)
                }
            }
            $(impl From<Vec<$type>> for Value {
                fn from(values: Vec<$type>) -> Self {
                    Value::Array(Array::$array(values))
                }
            })?
        )*
    };
}

conversions! {
    u8 => U8, U8;
    i8 => I8, I8;
    u16 => U16, U16;
    i16 => I16, I16;
    u32 => U32, U32;
    i32 => I32, I32;
    u64 => U64, U64;
    i64 => I64, I64;
    f32 => F32, F32;
    f64 => F64, F64;
    bool => Bool, Bool;
    String => String;
    Array => Array, Arrays;
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.to_owned())
    }
}

impl From<Strings> for Value {
    fn from(strings: Strings) -> Self {
        Value::Array(Array::Strings(strings))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_by_number() {
        let texts = ["", "ab", "", "ü", "z"];
        let strings: Strings = texts.iter().collect();
        assert_eq!(strings.iter().collect::<Vec<_>>(), texts);
        assert_eq!(strings.iter().len(), 5);
        for (number, text) in texts.iter().enumerate() {
            assert_eq!(strings.get(number), Some(*text));
        }
        assert_eq!(strings.get(5), None);
        assert_eq!(format!("{strings:?}"), r#"["", "ab", "", "ü", "z"]"#);
    }

    #[test]
    fn types_and_numbers_correspond() {
        for id in 0..13 {
            assert_eq!(ValueType::from_id(id).map(ValueType::id), Some(id));
        }
        assert_eq!(ValueType::from_id(13), None);
    }
}
