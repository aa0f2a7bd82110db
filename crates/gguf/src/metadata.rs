//! Typed access to a file's metadata.

use crate::{Array, Error, Place, Problem, Strings, Value};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

/// A file's metadata: keys and values, in the order of the file.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Named in errors.
    path: PathBuf,
    entries: Vec<(String, Value)>,
    by_key: HashMap<String, usize>,
}

impl Metadata {
    /// Expects distinct keys.
    pub(crate) fn new(path: PathBuf, entries: Vec<(String, Value)>) -> Self {
        let by_key = entries.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)).collect();
        Metadata { path, entries, by_key }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of a key, if it is present.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.by_key.get(key).map(|&at| &self.entries[at].1)
    }

    /// The value of a key as `T`; `None` if the key is absent.
    ///
    /// # Errors
    /// If the value has another type or does not fit.
    pub fn optional<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let problem = || Problem::UnexpectedValue { found: value.describe(), expected: T::EXPECTED };
        T::from_value(value).map(Some).ok_or_else(|| self.error(key, problem()))
    }

    /// The value of a key as `T`.
    ///
    /// # Errors
    /// If the key is absent, or the value has another type or does not fit.
    pub fn required<'a, T: FromValue<'a>>(&'a self, key: &str) -> Result<T, Error> {
        self.optional(key)?.ok_or_else(|| self.error(key, Problem::MissingKey(T::EXPECTED)))
    }

    /// A problem with a key of this file.
    pub(crate) fn error(&self, key: &str, problem: Problem) -> Error {
        problem.at(Place::Key(key.to_owned())).of(&self.path)
    }
}

macro_rules! getters {
    ($($(#[$documentation:meta])* $name:ident: $type:ty;)*) => {
        /// Values of required keys; use [`Metadata::optional`] for a key that may be absent.
        ///
        /// All return an error if the key is absent, or the value has another type or does not fit.
        #[expect(clippy::missing_errors_doc, reason = "said once for all")]
        impl Metadata {
            $(
                $(#[$documentation])*
                pub fn $name(&self, key: &str) -> Result<$type, Error> {
                    self.required(key)
                }
            )*
        }
    };
}

getters! {
    /// An integer of any type, if it fits: writers differ in the types of counts.
    u32: u32;
    /// An integer of any type, if it fits.
    u64: u64;
    /// A floating-point number; double precision is rounded to nearest.
    f32: f32;
    /// A boolean.
    bool: bool;
    /// A string.
    str: &str;
    /// An array of strings.
    strings: &Strings;
    /// An array of integers of any type, if all fit; borrowed if the type is the same.
    u32s: Cow<'_, [u32]>;
    /// An array of integers of any type, if all fit; borrowed if the type is the same.
    i32s: Cow<'_, [i32]>;
    /// An array of floating-point numbers; double precision is rounded to nearest.
    f32s: Cow<'_, [f32]>;
}

/// A type that a metadata value can be read as.
pub trait FromValue<'a>: Sized + sealed::Sealed {
    /// The accepted values in words, for errors.
    const EXPECTED: &'static str;

    /// The value as this type; `None` if it has another type or does not fit.
    fn from_value(value: &'a Value) -> Option<Self>;
}

mod sealed {
    use std::borrow::Cow;

    /// Keeps the trait from being implemented elsewhere, so that it can grow.
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
    impl Sealed for f32 {}
    impl Sealed for bool {}
    impl Sealed for &str {}
    impl Sealed for &crate::Strings {}
    impl Sealed for &crate::Array {}
    impl Sealed for Cow<'_, [u32]> {}
    impl Sealed for Cow<'_, [i32]> {}
    impl Sealed for Cow<'_, [f32]> {}
}

impl FromValue<'_> for u32 {
    const EXPECTED: &'static str = "an integer from 0 to 4294967295";
    fn from_value(value: &Value) -> Option<Self> {
        value.integer()?.try_into().ok()
    }
}

impl FromValue<'_> for u64 {
    const EXPECTED: &'static str = "an integer from 0 to 18446744073709551615";
    fn from_value(value: &Value) -> Option<Self> {
        value.integer()?.try_into().ok()
    }
}

impl FromValue<'_> for f32 {
    const EXPECTED: &'static str = "a FLOAT32 or FLOAT64";
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::F32(value) => Some(value),
            Value::F64(value) => Some(value as f32),
            _ => None,
        }
    }
}

impl FromValue<'_> for bool {
    const EXPECTED: &'static str = "a BOOL";
    fn from_value(value: &Value) -> Option<Self> {
        match *value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a str {
    const EXPECTED: &'static str = "a STRING";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a Array {
    const EXPECTED: &'static str = "an ARRAY";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for &'a Strings {
    const EXPECTED: &'static str = "an ARRAY of STRING";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::Strings(strings)) => Some(strings),
            _ => None,
        }
    }
}

impl<'a> FromValue<'a> for Cow<'a, [f32]> {
    const EXPECTED: &'static str = "an ARRAY of FLOAT32 or FLOAT64";
    fn from_value(value: &'a Value) -> Option<Self> {
        match value {
            Value::Array(Array::F32(values)) => Some(Cow::Borrowed(values)),
            Value::Array(Array::F64(values)) => Some(values.iter().map(|&value| value as f32).collect()),
            _ => None,
        }
    }
}

macro_rules! integer_arrays {
    ($($type:ident, $own:ident, $expected:literal;)*) => {$(
        impl<'a> FromValue<'a> for Cow<'a, [$type]> {
            const EXPECTED: &'static str = $expected;
            fn from_value(value: &'a Value) -> Option<Self> {
                match value {
                    Value::Array(Array::$own(values)) => Some(Cow::Borrowed(values)),
                    Value::Array(array) => integers(array),
                    _ => None,
                }
            }
        }
    )*};
}

integer_arrays! {
    u32, U32, "an ARRAY of integers from 0 to 4294967295";
    i32, I32, "an ARRAY of integers from -2147483648 to 2147483647";
}

/// The elements of an array of integers, converted; `None` if one does not fit or they have another
/// type.
fn integers<T>(array: &Array) -> Option<Cow<'static, [T]>>
where
    T: Clone + TryFrom<i128>,
{
    fn convert<S: Copy + Into<i128>, T: TryFrom<i128>>(values: &[S]) -> Option<Vec<T>> {
        values.iter().map(|&value| T::try_from(value.into()).ok()).collect()
    }
    let converted = match array {
        Array::U8(values) => convert(values),
        Array::I8(values) => convert(values),
        Array::U16(values) => convert(values),
        Array::I16(values) => convert(values),
        Array::U32(values) => convert(values),
        Array::I32(values) => convert(values),
        Array::U64(values) => convert(values),
        Array::I64(values) => convert(values),
        _ => None,
    };
    converted.map(Cow::Owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let entries: [(&str, Value); 7] = [
            ("count", 7u64.into()),
            ("negative", (-1i8).into()),
            ("double", 0.1f64.into()),
            ("name", "x".into()),
            ("flags", vec![true].into()),
            ("bytes", vec![1u8, 200].into()),
            ("numbers", vec![3i32, -4].into()),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), value)).to_vec();
        Metadata::new("model.gguf".into(), entries)
    }

    #[test]
    fn integers_of_any_type_are_read() {
        let metadata = metadata();
        assert_eq!((metadata.u32("count").unwrap(), metadata.u64("count").unwrap()), (7, 7));
        assert_eq!(metadata.f32("double").unwrap(), 0.1);
        assert_eq!(*metadata.i32s("bytes").unwrap(), [1, 200]);
        assert!(matches!(metadata.i32s("numbers").unwrap(), Cow::Borrowed([3, -4])));
        assert_eq!(metadata.optional::<u32>("absent").unwrap(), None);
    }

    #[test]
    fn errors_say_what_is_expected_and_found() {
        let metadata = metadata();
        let errors = [
            metadata.u32("absent").unwrap_err(),
            metadata.u32("negative").unwrap_err(),
            metadata.u32("name").unwrap_err(),
            metadata.strings("flags").unwrap_err(),
            metadata.u32s("numbers").unwrap_err(),
        ];
        let expected = [
            "key `absent`: absent from the metadata, expected an integer from 0 to 4294967295",
            "key `negative`: -1 (INT8), expected an integer from 0 to 4294967295",
            "key `name`: a STRING of 1 bytes, expected an integer from 0 to 4294967295",
            "key `flags`: an ARRAY of 1 BOOL, expected an ARRAY of STRING",
            "key `numbers`: an ARRAY of 2 INT32, expected an ARRAY of integers from 0 to 4294967295",
        ];
        for (error, expected) in errors.iter().zip(expected) {
            assert_eq!(error.to_string(), format!("model.gguf: {expected}"));
        }
    }
}
