//! Arguments of filters and methods as Python binds them: by place or by name.

use minijinja::value::{Kwargs, Rest, from_args};
use minijinja::{Error, ErrorKind, Value};

/// Arguments by their names; undefined where one is left out.
pub(super) fn bind<const N: usize>(
    names: [&str; N],
    placed: &[Value],
    named: &Kwargs,
) -> Result<[Value; N], Error> {
    if placed.len() > N {
        return Err(ErrorKind::TooManyArguments.into());
    }
    let mut bound = [const { Value::UNDEFINED }; N];
    for (at, (name, place)) in names.into_iter().zip(&mut bound).enumerate() {
        let by_name = named.get::<Option<Value>>(name)?;
        *place = match (placed.get(at), by_name) {
            (Some(_), Some(_)) => return Err(ErrorKind::TooManyArguments.into()),
            (Some(value), None) => value.clone(),
            (None, by_name) => by_name.unwrap_or(Value::UNDEFINED),
        };
    }
    named.assert_all_used()?;
    Ok(bound)
}

/// Those of a method.
pub(super) fn bind_all<const N: usize>(names: [&str; N], arguments: &[Value]) -> Result<[Value; N], Error> {
    let (placed, named): (Rest<Value>, Kwargs) = from_args(arguments)?;
    bind(names, &placed, &named)
}

/// Whether a flag is set.
pub(super) fn flag(value: &Value, default: bool) -> bool {
    if value.is_undefined() { default } else { value.is_true() }
}

/// A whole number, or none.
pub(super) fn whole(value: &Value) -> Result<Option<i64>, Error> {
    if value.is_undefined() || value.is_none() { Ok(None) } else { i64::try_from(value.clone()).map(Some) }
}

/// A text, or none.
pub(super) fn text<'v>(value: &'v Value, name: &str) -> Result<Option<&'v str>, Error> {
    if value.is_undefined() || value.is_none() {
        return Ok(None);
    }
    let message = || Error::new(ErrorKind::InvalidOperation, format!("{name}: expected a text"));
    value.as_str().map(Some).ok_or_else(message)
}
