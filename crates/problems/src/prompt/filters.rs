//! Filters and tests of Jinja that minijinja lacks, or has otherwise.

use super::arguments::{bind, flag, text, whole};
use super::as_python;
use super::methods::{LONGEST, invalid, lines, padded_to_middle};
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, State, Value, filters};
use std::cmp::Ordering;

/// Adds filters and tests.
pub(super) fn add(environment: &mut Environment) {
    environment.add_filter("tojson", as_python::tojson);
    environment.add_filter("string", |value: &Value| as_python::str(value));
    environment.add_filter("pprint", as_python::repr);
    environment.add_filter("join", join);
    environment
        .add_filter("center", |text: &str, width: Option<i64>| padded_to_middle(text, width.unwrap_or(80)));
    for name in ["escape", "e"] {
        environment.add_filter(name, |value: &Value| match value.is_safe() {
            true => Ok(value.to_string()),
            false => escaped(value),
        });
    }
    environment.add_filter("forceescape", escaped);
    for name in ["length", "count"] {
        environment.add_filter(name, |value: &Value| match value.is_undefined() {
            true => Ok(0),
            false => filters::length(value),
        });
    }
    environment.add_filter("title", |text: &str| title(text));
    environment.add_filter("striptags", striptags);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("truncate", truncate);
    environment.add_filter("indent", indent);
    environment.add_filter("replace", replace);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("sum", sum);
    environment.add_filter("sort", sort);
    environment.add_filter("dictsort", dictsort);
    environment.add_filter("min", |items: &Value, placed: Rest<Value>, named: Kwargs| {
        extreme(items, &placed, &named, Ordering::Less)
    });
    environment.add_filter("max", |items: &Value, placed: Rest<Value>, named: Kwargs| {
        extreme(items, &placed, &named, Ordering::Greater)
    });
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
    });
    environment
        .add_test("number", |value: &Value| matches!(value.kind(), ValueKind::Number | ValueKind::Bool));
    environment.add_test("callable", |value: &Value| {
        value.as_object().is_some() && matches!(value.kind(), ValueKind::Plain)
    });
}

/// Elements, or an attribute of each, as texts with another between.
fn join(items: &Value, placed: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [between, attribute] = bind(["d", "attribute"], &placed, &named)?;
    let between = text(&between, "join")?.unwrap_or_default();
    let mut joined = String::new();
    for (at, item) in items.try_iter()?.enumerate() {
        joined += if at > 0 { between } else { "" };
        joined += &as_python::str(&of(&item, &attribute)?)?;
    }
    Ok(joined)
}

/// An element's attribute of a name with points, or the element where none is named.
fn of(item: &Value, attribute: &Value) -> Result<Value, Error> {
    match attribute.as_str() {
        Some(path) => path.split('.').try_fold(item.clone(), |item, name| match name.parse::<usize>() {
            Ok(at) => item.get_item(&Value::from(at)),
            Err(_) => item.get_item(&Value::from(name)),
        }),
        None if attribute.is_undefined() || attribute.is_none() => Ok(item.clone()),
        None => item.get_item(attribute),
    }
}

fn escaped(value: &Value) -> Result<String, Error> {
    let text = as_python::str(value)?;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    Ok(out)
}

/// Words begin after white space, a hyphen, or an opening bracket.
fn title(text: &str) -> String {
    let separates = |c: char| c.is_whitespace() || "-({[<".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut begins = true;
    for character in text.chars() {
        match begins {
            true => out.extend(character.to_uppercase()),
            false => out.extend(character.to_lowercase()),
        }
        begins = separates(character);
    }
    out
}

fn striptags(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else { break };
        out.push_str(&rest[..start]);
        rest = &rest[start + end + 1..];
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// Cuts a text, at a space unless words may be cut.
fn truncate(text: &str, placed: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [length, cuts_words, end, leeway] = bind(["length", "killwords", "end", "leeway"], &placed, &named)?;
    let size = |value: &Value, default: usize| -> Result<usize, Error> {
        Ok(whole(value)?.map_or(default, |value| usize::try_from(value).unwrap_or(0)))
    };
    let (length, end) = (size(&length, 255)?, super::arguments::text(&end, "truncate")?.unwrap_or("..."));
    if text.chars().count() <= length.saturating_add(size(&leeway, 5)?) {
        return Ok(text.to_owned());
    }
    let room = length.checked_sub(end.chars().count());
    let room = room.ok_or_else(|| invalid("truncate: expected a length of at least the end's"))?;
    let cut: String = text.chars().take(room).collect();
    match cut.rsplit_once(' ') {
        Some((words, _)) if !flag(&cuts_words, false) => Ok(format!("{words}{end}")),
        _ => Ok(cut + end),
    }
}

fn wordcount(text: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).count()
}

/// Lines after the first, or all, behind so many spaces or a text.
fn indent(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [width, first, blank] = bind(["width", "first", "blank"], &placed, &named)?;
    let before = match width.as_str() {
        Some(text) => text.to_owned(),
        None => " ".repeat(match usize::try_from(whole(&width)?.unwrap_or(4)).unwrap_or(0) {
            wide if wide > LONGEST => return Err(invalid("indent: a width beyond a million characters")),
            width => width,
        }),
    };
    let text = as_python::str(value)? + "\n";
    let mut out = String::new();
    for (at, line) in lines(&text, false).into_iter().enumerate() {
        out += if at > 0 { "\n" } else { "" };
        let is_behind = if at == 0 { flag(&first, false) } else { flag(&blank, false) || !line.is_empty() };
        out += if is_behind { &before } else { "" };
        out += line;
    }
    Ok(out)
}

fn replace(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<String, Error> {
    let [old, new, count] = bind(["old", "new", "count"], &placed, &named)?;
    let (text, old, new) = (as_python::str(value)?, as_python::str(&old)?, as_python::str(&new)?);
    Ok(match whole(&count)?.and_then(|count| usize::try_from(count).ok()) {
        None => text.replace(&old, &new),
        Some(count) => text.replacen(&old, &new, count),
    })
}

/// A text as part of an address; a mapping, or pairs, as its query.
fn urlencode(value: &Value) -> Result<String, Error> {
    let quoted = |value: &Value, kept: &str, space: &str| -> Result<String, Error> {
        let mut out = String::new();
        for byte in as_python::str(value)?.into_bytes() {
            match byte {
                b' ' => out += space,
                _ if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) => out.push(byte.into()),
                _ if kept.as_bytes().contains(&byte) => out.push(byte.into()),
                _ => out += &format!("%{byte:02X}"),
            }
        }
        Ok(out)
    };
    let pair =
        |key: &Value, value: &Value| Ok(format!("{}={}", quoted(key, "", "+")?, quoted(value, "", "+")?));
    let pairs: Result<Vec<String>, Error> = match value.kind() {
        ValueKind::Map => value.try_iter()?.map(|key| pair(&key, &value.get_item(&key)?)).collect(),
        ValueKind::Seq | ValueKind::Iterable => {
            let part = |item: &Value, at: usize| item.get_item(&Value::from(at));
            value.try_iter()?.map(|item| pair(&part(&item, 0)?, &part(&item, 1)?)).collect()
        }
        _ => return quoted(value, "/", "%20"),
    };
    Ok(pairs?.join("&"))
}

/// A whole number, or the default of what is none.
fn int(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default, base] = bind(["default", "base"], &placed, &named)?;
    let default = || if default.is_undefined() { Value::from(0) } else { default.clone() };
    let base = u32::try_from(whole(&base)?.unwrap_or(10)).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| invalid("int: expected a base from 2 to 36"))?;
    match value.kind() {
        ValueKind::Number if value.is_integer() => Ok(value.clone()),
        ValueKind::Number => Ok(truncated(f64::try_from(value.clone())?).unwrap_or_else(default)),
        ValueKind::Bool => Ok(i64::from(value.is_true()).into()),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            let prefix = match base {
                16 => "0x",
                8 => "0o",
                2 => "0b",
                _ => "",
            };
            let lower = text.to_lowercase();
            let digits = lower.strip_prefix(prefix).unwrap_or(&lower);
            let number = i64::from_str_radix(digits, base).ok().map(Value::from);
            let decimal = || text.parse().ok().and_then(truncated);
            Ok(number.or_else(decimal).unwrap_or_else(default))
        }
        _ => Ok(default()),
    }
}

fn truncated(number: f64) -> Option<Value> {
    (number.abs() < 9e18).then(|| Value::from(number as i64))
}

fn float(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [default] = bind(["default"], &placed, &named)?;
    let number = match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::String => value.as_str().unwrap_or_default().trim().parse().ok(),
        _ => None,
    };
    let default = || if default.is_undefined() { Value::from(0.0) } else { default.clone() };
    Ok(number.map_or_else(default, Value::from))
}

/// As Python rounds: of two that are as near, to the even one.
fn round(value: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [precision, method] = bind(["precision", "method"], &placed, &named)?;
    let precision = i32::try_from(whole(&precision)?.unwrap_or(0)).unwrap_or(0).clamp(-300, 300);
    let number = f64::try_from(value.clone())?;
    let scale = 10f64.powi(precision);
    let rounded = match text(&method, "round")?.unwrap_or("common") {
        "common" if value.is_integer() && precision >= 0 => return Ok(value.clone()),
        "common" if precision > 0 => format!("{number:.*}", precision as usize).parse().unwrap_or(number),
        "common" => (number * scale).round_ties_even() / scale,
        "ceil" => (number * scale).ceil() / scale,
        "floor" => (number * scale).floor() / scale,
        _ => return Err(invalid("round: expected the method common, ceil or floor")),
    };
    Ok(if value.is_integer() { truncated(rounded).unwrap_or_else(|| rounded.into()) } else { rounded.into() })
}

/// The sum of numbers, or of lists.
fn sum(items: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let [attribute, start] = bind(["attribute", "start"], &placed, &named)?;
    let items: Vec<Value> = items.try_iter()?.map(|item| of(&item, &attribute)).collect::<Result<_, _>>()?;
    if start.kind() == ValueKind::Seq {
        let lists =
            std::iter::once(&start).chain(&items).map(Value::try_iter).collect::<Result<Vec<_>, _>>()?;
        return Ok(lists.into_iter().flatten().collect::<Vec<Value>>().into());
    }
    let all = || items.iter().chain((!start.is_undefined()).then_some(&start));
    if all().all(|item| item.is_integer() || item.kind() == ValueKind::Bool) {
        let whole = |item: &Value| match item.kind() {
            ValueKind::Bool => Ok(i64::from(item.is_true())),
            _ => i64::try_from(item.clone()),
        };
        let too_large = || invalid("sum: beyond the largest number");
        let add = |sum: i64, item: &Value| sum.checked_add(whole(item)?).ok_or_else(too_large);
        return all().try_fold(0, add).map(Value::from);
    }
    all().try_fold(0.0, |sum, item| Ok(sum + f64::try_from(item.clone())?)).map(Value::from)
}

fn sort(state: &State, items: Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let names = ["reverse", "case_sensitive", "attribute"];
    let given = names.into_iter().zip(bind(names, &placed, &named)?);
    filters::sort(state, items, given.filter(|(_, value)| !value.is_undefined()).collect())
}

fn dictsort(items: &Value, placed: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let names = ["case_sensitive", "by", "reverse"];
    let given = names.into_iter().zip(bind(names, &placed, &named)?);
    filters::dictsort(items, given.filter(|(_, value)| !value.is_undefined()).collect())
}

/// The first of the smallest or largest elements, by an attribute where one is named.
fn extreme(items: &Value, placed: &[Value], named: &Kwargs, wanted: Ordering) -> Result<Value, Error> {
    let [case_sensitive, attribute] = bind(["case_sensitive", "attribute"], placed, named)?;
    let mut best: Option<(Value, Value)> = None;
    for item in items.try_iter()? {
        let key = of(&item, &attribute)?;
        let key = match key.as_str() {
            Some(text) if !flag(&case_sensitive, false) => Value::from(text.to_lowercase()),
            _ => key,
        };
        if best.as_ref().is_none_or(|(known, _)| key.cmp(known) == wanted) {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, item)| item))
}
