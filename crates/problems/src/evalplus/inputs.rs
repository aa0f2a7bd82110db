//! EvalPlus's inputs: what JSON cannot hold is made of what it can, by task, and written as calls.

use pydata::Value;
use std::fmt::Write;

/// `mbpp_deserialize_inputs` of EvalPlus 0.3.1 (`evalplus/data/mbpp.py`), for one input: the arguments
/// of a call, as JSON has them.
///
/// # Errors
/// Where Python would raise: what was expected, and what was found.
pub(super) fn deserialize(task: u64, arguments: Value) -> Result<Value, String> {
    match task {
        2 | 116 | 132 | 143 | 222 | 261 | 273 | 394 | 399 | 421 | 424 | 429 | 470 | 560 | 579 | 596 | 616
        | 630 | 726 | 740 | 744 | 809 => each(arguments, tuple),
        63 | 64 | 70 | 94 | 120 | 237 | 272 | 299 | 400 | 409 | 417 | 438 | 473 | 614 | 780 => {
            each(arguments, |argument| each(argument, tuple))
        }
        75 | 413 | 444 | 753 => {
            let [first, second] = take(arguments)?;
            Ok(Value::List(vec![each(first, tuple)?, second]))
        }
        106 | 750 => {
            let [first, second] = take(arguments)?;
            Ok(Value::List(vec![first, tuple(second)?]))
        }
        115 => {
            let [first] = take(arguments)?;
            Ok(Value::List(vec![each(first, set)?]))
        }
        124 => {
            let [first, second] = take(arguments)?;
            Ok(Value::List(vec![float(&first)?, complex(&second)?]))
        }
        250 | 405 | 446 | 617 | 720 | 763 | 808 => {
            let [first, second] = take(arguments)?;
            Ok(Value::List(vec![tuple(first)?, second]))
        }
        252 => {
            let [first] = take(arguments)?;
            Ok(Value::List(vec![complex(&first)?]))
        }
        259 | 401 | 445 => each(arguments, |argument| tuple(each(argument, tuple)?)),
        278 => {
            let [first] = take(arguments)?;
            let item = |item| if matches!(item, Value::List(_)) { tuple(item) } else { Ok(item) };
            Ok(Value::List(vec![tuple(each(first, item)?)?]))
        }
        307 => {
            let [first, second, third] = take(arguments)?;
            Ok(Value::List(vec![tuple(first)?, second, third]))
        }
        580 | 615 | 791 => Ok(tuples(arguments)),
        722 => {
            let mut arguments = elements(arguments)?;
            let first = arguments.first_mut().ok_or("expected one argument or more, found none")?;
            *first = tuple_values(std::mem::replace(first, Value::None))?;
            Ok(Value::List(arguments))
        }
        _ => Ok(arguments),
    }
}

fn unexpected(expected: &str, found: &Value) -> String {
    let found: String = found.to_string().chars().take(60).collect();
    format!("expected {expected}, found {found}")
}

/// What Python iterates over.
fn elements(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::List(items) | Value::Tuple(items) => Ok(items),
        Value::Dict(pairs) => Ok(pairs.into_iter().map(|(key, _)| key).collect()),
        Value::Str(text) => Ok(text.chars().map(|c| Value::Str(c.to_string())).collect()),
        other => Err(unexpected("a list", &other)),
    }
}

/// The first arguments; as in EvalPlus, further ones are left out.
fn take<const N: usize>(arguments: Value) -> Result<[Value; N], String> {
    let mut arguments = elements(arguments)?;
    arguments.truncate(N);
    let found = arguments.len();
    arguments.try_into().map_err(|_| format!("expected {N} arguments, found {found}"))
}

/// A list of what a function makes of the elements.
fn each(value: Value, change: impl Fn(Value) -> Result<Value, String>) -> Result<Value, String> {
    elements(value)?.into_iter().map(change).collect::<Result<_, _>>().map(Value::List)
}

fn tuple(value: Value) -> Result<Value, String> {
    elements(value).map(Value::Tuple)
}

/// Every list within, and the value itself, as a tuple.
fn tuples(value: Value) -> Value {
    match value {
        Value::List(items) => Value::Tuple(items.into_iter().map(tuples).collect()),
        other => other,
    }
}

fn tuple_values(value: Value) -> Result<Value, String> {
    let Value::Dict(pairs) = value else { return Err(unexpected("an object", &value)) };
    let pairs = pairs.into_iter().map(|(key, value)| Ok((key, tuple(value)?)));
    pairs.collect::<Result<_, String>>().map(Value::Dict)
}

/// A set of a list that is not empty; an empty dictionary of anything else.
fn set(value: Value) -> Result<Value, String> {
    match value {
        Value::List(items) if !items.is_empty() => {
            match items.iter().find(|item| matches!(item, Value::List(_) | Value::Dict(_))) {
                Some(item) => Err(unexpected("an element of a set", item)),
                None => Ok(Value::Set(items)),
            }
        }
        _ => Ok(Value::Dict(Vec::new())),
    }
}

fn float(value: &Value) -> Result<Value, String> {
    let number = match value {
        Value::Str(text) => text.trim().parse().ok(),
        Value::Int(number) => number.to_string().parse().ok(),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    number.map(Value::Float).ok_or_else(|| unexpected("a number or its text", value))
}

fn complex(value: &Value) -> Result<Value, String> {
    let parts = match value {
        Value::Str(text) => complex_parts(text),
        _ => match float(value)? {
            Value::Float(real) => Some((real, 0.0)),
            _ => None,
        },
    };
    let (real, imaginary) = parts.ok_or_else(|| unexpected("a complex number's text", value))?;
    Ok(Value::Complex(real, imaginary))
}

/// The texts that Python's `complex` reads: `1`, `2j`, `(1+2j)`, `1-j`.
fn complex_parts(text: &str) -> Option<(f64, f64)> {
    let text = text.trim();
    let text = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(text).trim();
    let Some(body) = text.strip_suffix(['j', 'J']) else { return Some((text.parse().ok()?, 0.0)) };
    let is_sign = |(at, _): &(usize, &str)| !body[..*at].ends_with(['e', 'E']);
    let split = body.rmatch_indices(['+', '-']).find(is_sign).map_or(0, |(at, _)| at);
    let (real, imaginary) = body.split_at(split);
    let real = if real.is_empty() { 0.0 } else { real.parse().ok()? };
    let imaginary = match imaginary {
        "" | "+" => 1.0,
        "-" => -1.0,
        number => number.parse().ok()?,
    };
    Some((real, imaginary))
}

/// A call with these arguments, as Python's text.
pub(super) fn call(function: &str, arguments: &Value) -> String {
    let mut text = format!("{function}(");
    if let Value::List(items) | Value::Tuple(items) = arguments {
        write_items(&mut text, items);
    }
    text.push(')');
    text
}

fn write_items(text: &mut String, items: &[Value]) {
    for (index, item) in items.iter().enumerate() {
        text.push_str(if index > 0 { ", " } else { "" });
        write_value(text, item);
    }
}

/// As `repr`, where that gives back the value: a literal, which means the same whatever a program
/// calls `float`, `set` or `complex`.
fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Float(number) => write_float(text, *number),
        Value::Complex(real, imaginary) => write_complex(text, *real, *imaginary),
        Value::List(items) => {
            text.push('[');
            write_items(text, items);
            text.push(']');
        }
        Value::Tuple(items) => {
            text.push('(');
            write_items(text, items);
            text.push_str(if items.len() == 1 { ",)" } else { ")" });
        }
        Value::Set(items) if !items.is_empty() => {
            text.push('{');
            write_items(text, items);
            text.push('}');
        }
        Value::Dict(pairs) => {
            text.push('{');
            for (index, (key, value)) in pairs.iter().enumerate() {
                text.push_str(if index > 0 { ", " } else { "" });
                write_value(text, key);
                text.push_str(": ");
                write_value(text, value);
            }
            text.push('}');
        }
        // Writing to a text does not fail.
        other => drop(write!(text, "{other}")),
    }
}

fn write_float(text: &mut String, number: f64) {
    match number {
        f64::INFINITY => text.push_str("1e999"),
        f64::NEG_INFINITY => text.push_str("-1e999"),
        // There is no literal for it.
        number if number.is_nan() => text.push_str("float('nan')"),
        number => text.push_str(&Value::Float(number).to_string()),
    }
}

/// `a+bj` is an addition, which loses the sign of a negative zero; a minus before the brackets gives
/// both parts theirs. There is no literal for zeros of two signs.
fn write_complex(text: &mut String, real: f64, imaginary: f64) {
    let is_negative_zero = |part: f64| part == 0.0 && part.is_sign_negative();
    match (is_negative_zero(real), is_negative_zero(imaginary)) {
        (true, false) if imaginary == 0.0 => text.push_str("complex(-0.0, 0.0)"),
        (false, true) if real == 0.0 => text.push_str("complex(0.0, -0.0)"),
        (false, false) => write_complex_sum(text, real, imaginary),
        _ => {
            text.push('-');
            write_complex_sum(text, -real, -imaginary);
        }
    }
}

fn write_complex_sum(text: &mut String, real: f64, imaginary: f64) {
    text.push('(');
    write_float(text, real);
    text.push_str(if imaginary.is_sign_negative() { "-" } else { "+" });
    write_float(text, imaginary.abs());
    text.push_str("j)");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Value {
        pydata::parse_literal(text).expect("a literal")
    }

    fn calls(task: u64, input: &str) -> String {
        call("f", &deserialize(task, arguments(input)).expect("readable"))
    }

    #[test]
    fn each_rule_makes_what_evalplus_makes() {
        let cases = [
            (2, "[[1, 2], 'ab', []]", "f((1, 2), ('a', 'b'), ())"),
            (63, "[[[1, 2], [3]], []]", "f([(1, 2), (3,)], [])"),
            (75, "[[[1], [2]], 3, 4]", "f([(1,), (2,)], 3)"),
            (106, "[[1], [2]]", "f([1], (2,))"),
            (115, "[[[1, 2], [], {}, 3]]", "f([{1, 2}, {}, {}, {}])"),
            (124, "['1e-100', '(-0-2j)']", "f(1e-100, -(0.0+2.0j))"),
            (250, "[[1, [2]], 3]", "f((1, [2]), 3)"),
            (252, "['(1-2.5e+3j)']", "f((1.0-2500.0j))"),
            (259, "[[[1], [2]], [[3]]]", "f(((1,), (2,)), ((3,),))"),
            (278, "[[1, [2, [3]]]]", "f((1, (2, [3])))"),
            (307, "[[1], 2, [3]]", "f((1,), 2, [3])"),
            (580, "[[1, [2, [3]]]]", "f((1, (2, (3,))))"),
            (722, "[{'a': [1, 2]}, 5.5, 6]", "f({'a': (1, 2)}, 5.5, 6)"),
            (3, "[[1, [2]]]", "f([1, [2]])"),
        ];
        for (task, input, expected) in cases {
            assert_eq!(calls(task, input), expected, "task {task}");
        }
    }

    #[test]
    fn what_python_would_raise_on_is_refused() {
        let cases = [
            (2, "[1]", "expected a list, found 1"),
            (75, "[[[1]]]", "expected 2 arguments, found 1"),
            (115, "[[[[1]]]]", "expected an element of a set, found [1]"),
            (124, "['x', '1j']", "expected a number or its text, found 'x'"),
            (252, "['1+']", "expected a complex number's text, found '1+'"),
            (252, "[None]", "expected a number or its text, found None"),
            (722, "[[]]", "expected an object, found []"),
            (722, "[]", "expected one argument or more, found none"),
        ];
        for (task, input, expected) in cases {
            assert_eq!(deserialize(task, arguments(input)).expect_err("refused"), expected, "task {task}");
        }
    }

    #[test]
    fn every_value_is_written_so_that_it_is_read_back() {
        let values = [
            Value::Float(f64::INFINITY),
            Value::Float(f64::NEG_INFINITY),
            Value::Float(-0.0),
            Value::Complex(-0.0, -1.0),
            Value::Complex(-0.0, -0.0),
            Value::Complex(0.0, 0.0),
            Value::Complex(1.0, -0.0),
            Value::Complex(-0.0, f64::INFINITY),
            Value::Complex(f64::NEG_INFINITY, 2.0),
        ];
        for value in values {
            let text = call("f", &Value::List(vec![value.clone()]));
            let read = pydata::parse_call(&text).expect("a call").args.remove(0);
            assert_eq!(format!("{read:?}"), format!("{value:?}"), "{text}");
        }
        let unwritable = vec![Value::Float(f64::NAN), Value::Complex(-0.0, 0.0), Value::Complex(0.0, -0.0)];
        let expected = "f(float('nan'), complex(-0.0, 0.0), complex(0.0, -0.0))";
        assert_eq!(call("f", &Value::List(unwritable)), expected);
    }

    #[test]
    fn complex_numbers_are_read_as_python_reads_them() {
        let cases = [("1", (1.0, 0.0)), ("j", (0.0, 1.0)), ("-j", (0.0, -1.0)), (" ( 1-j ) ", (1.0, -1.0))];
        for (text, parts) in cases {
            assert_eq!(complex_parts(text), Some(parts), "{text}");
        }
        assert_eq!(complex_parts("1e-3-2E-4j"), Some((1e-3, -2e-4)));
        assert_eq!(complex_parts("infj"), Some((0.0, f64::INFINITY)));
        for text in ["", "(1", "1+2", "1 + 2j", "jj"] {
            assert_eq!(complex_parts(text), None, "{text}");
        }
    }
}
