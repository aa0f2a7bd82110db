//! `Display` for [`Value`]: what Python's `repr` prints.

use crate::{BigInt, MAX_DEPTH, Value};
use std::fmt::{self, Display, Formatter, Write};

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_value(f, self, 0)
    }
}

fn write_value(f: &mut Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    if depth > MAX_DEPTH {
        return f.write_str("...");
    }
    match value {
        Value::List(items) => write_items(f, "[", items, "]", depth),
        Value::Tuple(items) if items.len() == 1 => write_items(f, "(", items, ",)", depth),
        Value::Tuple(items) => write_items(f, "(", items, ")", depth),
        Value::Set(items) if items.is_empty() => f.write_str("set()"),
        Value::Set(items) => write_items(f, "{", items, "}", depth),
        Value::FrozenSet(items) if items.is_empty() => f.write_str("frozenset()"),
        Value::FrozenSet(items) => write_items(f, "frozenset({", items, "})", depth),
        Value::Dict(pairs) => write_dict(f, pairs, depth),
        Value::Deque(items) => write_items(f, "deque([", items, "])", depth),
        Value::KeysView(items) => write_items(f, "dict_keys([", items, "])", depth),
        _ => write_scalar(f, value),
    }
}

/// Apart from the containers, whose frames are many.
#[inline(never)]
fn write_scalar(f: &mut Formatter<'_>, value: &Value) -> fmt::Result {
    match value {
        Value::Bool(true) => f.write_str("True"),
        Value::Bool(false) => f.write_str("False"),
        Value::Int(value) => write_integer(f, value),
        Value::Float(value) => write_float(f, *value),
        Value::Complex(real, imaginary) => write_complex(f, *real, *imaginary),
        Value::Str(text) => write_str(f, text),
        Value::Bytes(bytes) => write_bytes(f, bytes),
        Value::Decimal(text) => write!(f, "Decimal('{text}')"),
        Value::Fraction(numerator, denominator) => write_integers(f, "Fraction(", &[numerator, denominator]),
        Value::Range(range) if range.step == BigInt::from(1) => {
            write_integers(f, "range(", &[&range.start, &range.stop])
        }
        Value::Range(range) => write_integers(f, "range(", &[&range.start, &range.stop, &range.step]),
        Value::Opaque { sort, number } => {
            f.write_char('<')?;
            write_escaped(f, sort, None)?;
            write!(f, " object at {number:#x}>")
        }
        _ => f.write_str("None"),
    }
}

/// Python refuses to write more digits in decimal, since the time grows with their square.
fn write_integer(f: &mut Formatter<'_>, value: &BigInt) -> fmt::Result {
    match value.bits() > crate::LARGEST_BITS {
        true => write!(f, "{value:#x}"),
        false => write!(f, "{value}"),
    }
}

fn write_integers(f: &mut Formatter<'_>, open: &str, values: &[&BigInt]) -> fmt::Result {
    f.write_str(open)?;
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_integer(f, value)?;
    }
    f.write_char(')')
}

fn write_items(f: &mut Formatter<'_>, open: &str, items: &[Value], close: &str, depth: usize) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_value(f, item, depth + 1)?;
    }
    f.write_str(close)
}

fn write_dict(f: &mut Formatter<'_>, pairs: &[(Value, Value)], depth: usize) -> fmt::Result {
    f.write_char('{')?;
    for (index, (key, value)) in pairs.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write_value(f, key, depth + 1)?;
        f.write_str(": ")?;
        write_value(f, value, depth + 1)?;
    }
    f.write_char('}')
}

/// Python switches to exponents below 1e-4 and from 1e16; both use the shortest digits that read
/// back as the same number, as Rust's formatting does.
fn write_float(f: &mut Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        return f.write_str("nan");
    }
    if value.is_infinite() {
        return f.write_str(if value > 0.0 { "inf" } else { "-inf" });
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return write!(f, "{digits}e{sign}{:02}", exponent.abs());
    }
    let text = format!("{value}");
    let suffix = if text.contains('.') { "" } else { ".0" };
    write!(f, "{text}{suffix}")
}

fn write_complex(f: &mut Formatter<'_>, real: f64, imaginary: f64) -> fmt::Result {
    let part = |value: f64| {
        let text = Value::Float(value).to_string();
        text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
    };
    if real == 0.0 && real.is_sign_positive() {
        return write!(f, "{}j", part(imaginary));
    }
    // Python writes NaN without its sign.
    let sign = if imaginary.is_sign_negative() && !imaginary.is_nan() { "" } else { "+" };
    write!(f, "({}{sign}{}j)", part(real), part(imaginary))
}

fn write_str(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    f.write_char(quote)?;
    write_escaped(f, text, Some(quote))?;
    f.write_char(quote)
}

fn write_escaped(f: &mut Formatter<'_>, text: &str, quote: Option<char>) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if Some(c) == quote => write!(f, "\\{c}")?,
            c if (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32)) => write!(f, "\\x{:02x}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    Ok(())
}

fn write_bytes(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let quote = if bytes.contains(&b'\'') && !bytes.contains(&b'"') { '"' } else { '\'' };
    write!(f, "b{quote}")?;
    for &byte in bytes {
        match byte {
            b'\\' => f.write_str("\\\\")?,
            b'\n' => f.write_str("\\n")?,
            b'\r' => f.write_str("\\r")?,
            b'\t' => f.write_str("\\t")?,
            byte if byte as char == quote => write!(f, "\\{quote}")?,
            0x20..=0x7e => f.write_char(byte as char)?,
            byte => write!(f, "\\x{byte:02x}")?,
        }
    }
    f.write_char(quote)
}
