//! Methods of Python's strings and lists, and filters of Jinja, that minijinja lacks.

use super::as_python;
use minijinja::value::{Rest, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// Adds the filters.
pub(super) fn add_filters(environment: &mut Environment) {
    environment.add_filter("tojson", as_python::tojson);
    environment.add_filter("string", |value: &Value| as_python::str(value));
    environment.add_filter("join", join);
    environment.add_filter("center", |text: &str, width: Option<i64>| {
        padded(text, width.unwrap_or(80), ' ', Side::Both)
    });
    environment.add_filter("forceescape", |value: &Value| Ok::<_, Error>(escaped(&as_python::str(value)?)));
    environment.add_filter("striptags", striptags);
    environment.add_filter("wordcount", wordcount);
    environment.add_filter("truncate", truncate);
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
}

/// Elements, or an attribute of each, as texts with another between.
fn join(items: &Value, between: Option<&str>, options: minijinja::value::Kwargs) -> Result<String, Error> {
    let attribute = options.get::<Option<Value>>("attribute")?;
    let named = options.get::<Option<String>>("d")?;
    options.assert_all_used()?;
    let between = between.map(str::to_owned).or(named).unwrap_or_default();
    let mut joined = String::new();
    for (at, item) in items.try_iter()?.enumerate() {
        joined += if at > 0 { &between } else { "" };
        joined += &as_python::str(&match &attribute {
            Some(attribute) => item.get_item(attribute)?,
            None => item,
        })?;
    }
    Ok(joined)
}

fn escaped(text: &str) -> String {
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
fn truncate(
    text: &str,
    length: Option<usize>,
    cuts_words: Option<bool>,
    end: Option<&str>,
    leeway: Option<usize>,
) -> Result<String, Error> {
    let (length, end) = (length.unwrap_or(255), end.unwrap_or("..."));
    if text.chars().count() <= length.saturating_add(leeway.unwrap_or(5)) {
        return Ok(text.to_owned());
    }
    let room = length.checked_sub(end.chars().count());
    let room = room.ok_or_else(|| invalid("truncate: expected a length of at least the end's"))?;
    let cut: String = text.chars().take(room).collect();
    match cut.rsplit_once(' ') {
        Some((words, _)) if cuts_words != Some(true) => Ok(format!("{words}{end}")),
        _ => Ok(cut + end),
    }
}

fn wordcount(text: &str) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).count()
}

/// A method of a value; what minijinja's own table has comes first.
pub(super) fn call(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    match minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {}
        known => return known,
    }
    match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_text(text, name, arguments),
        (ValueKind::Seq, _) if name == "index" => {
            let (wanted,): (Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == wanted);
            at.map(Value::from).ok_or_else(|| invalid("index: the list has no such element"))
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn of_text(text: &str, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let one = || from_args::<(&str,)>(arguments).map(|(argument,)| argument);
    let none = || {
        from_args::<(Rest<Value>,)>(arguments).and_then(|(rest,)| match rest.is_empty() {
            true => Ok(()),
            false => Err(Error::from(ErrorKind::TooManyArguments)),
        })
    };
    Ok(match name {
        "casefold" => none().map(|()| text.to_lowercase())?.into(),
        "swapcase" => none().map(|()| text.chars().map(swapped).collect::<String>())?.into(),
        "isdecimal" => none().map(|()| !text.is_empty() && text.chars().all(char::is_numeric))?.into(),
        "isprintable" => none().map(|()| !text.chars().any(char::is_control))?.into(),
        "removeprefix" => text.strip_prefix(one()?).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(one()?).unwrap_or(text).into(),
        "partition" => {
            let between = one()?;
            let parts = text.split_once(between).map(|(before, after)| [before, between, after]);
            parts.unwrap_or([text, "", ""]).map(Value::from).to_vec().into()
        }
        "rpartition" => {
            let between = one()?;
            let parts = text.rsplit_once(between).map(|(before, after)| [before, between, after]);
            parts.unwrap_or(["", "", text]).map(Value::from).to_vec().into()
        }
        "index" | "rindex" => {
            let found = if name == "index" { text.find(one()?) } else { text.rfind(one()?) };
            let at = found.ok_or_else(|| invalid("index: the text has no such part"))?;
            text[..at].chars().count().into()
        }
        "rsplit" => rsplit(text, arguments)?,
        "zfill" => zfill(text, from_args::<(i64,)>(arguments)?.0)?.into(),
        "ljust" | "rjust" | "center" => {
            let (width, fill): (i64, Option<char>) = from_args(arguments)?;
            let side = match name {
                "ljust" => Side::Right,
                "rjust" => Side::Left,
                _ => Side::Both,
            };
            padded(text, width, fill.unwrap_or(' '), side)?.into()
        }
        "expandtabs" => expandtabs(text, from_args::<(Option<usize>,)>(arguments)?.0.unwrap_or(8))?.into(),
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

fn swapped(character: char) -> char {
    let mut other: Box<dyn Iterator<Item = char>> = match character.is_uppercase() {
        true => Box::new(character.to_lowercase()),
        false => Box::new(character.to_uppercase()),
    };
    // A letter that becomes several stays.
    match (other.next(), other.next()) {
        (Some(one), None) => one,
        _ => character,
    }
}

fn rsplit(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (between, most): (Option<Value>, Option<i64>) = from_args(arguments)?;
    let most = most.filter(|&most| most >= 0).map_or(usize::MAX, |most| most as usize);
    let between = between.filter(|between| !between.is_none());
    let mut parts: Vec<&str> = match between.as_ref().map(|between| between.as_str().unwrap_or_default()) {
        Some("") => return Err(invalid("rsplit: expected a text to split at, found an empty one")),
        Some(between) => text.rsplitn(most.saturating_add(1), between).collect(),
        None => {
            let (mut parts, mut rest) = (Vec::new(), text.trim_end());
            while !rest.is_empty() && parts.len() < most {
                let (before, word) = rest.rsplit_once(char::is_whitespace).unwrap_or(("", rest));
                parts.push(word);
                rest = before.trim_end();
            }
            parts.extend((!rest.is_empty()).then_some(rest));
            parts
        }
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect::<Vec<Value>>().into())
}

/// Where a text is filled up.
#[derive(Clone, Copy)]
enum Side {
    Left,
    Right,
    Both,
}

/// Longest text that is filled up: no prompt is longer.
const LONGEST: usize = 1 << 20;

fn missing(text: &str, width: i64) -> Result<usize, Error> {
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count());
    if missing > LONGEST {
        Err(invalid("a text is filled up to more than a million characters"))
    } else {
        Ok(missing)
    }
}

fn padded(text: &str, width: i64, fill: char, side: Side) -> Result<String, Error> {
    let missing = missing(text, width)?;
    let left = match side {
        Side::Left => missing,
        Side::Right => 0,
        // As Python rounds it.
        Side::Both => missing / 2 + (missing & width as usize & 1),
    };
    let fill = |count: usize| std::iter::repeat_n(fill, count);
    Ok(fill(left).chain(text.chars()).chain(fill(missing - left)).collect())
}

fn zfill(text: &str, width: i64) -> Result<String, Error> {
    let zeros = "0".repeat(missing(text, width)?);
    let sign = text.strip_prefix(['+', '-']).map_or(0, |rest| text.len() - rest.len());
    Ok(format!("{}{zeros}{}", &text[..sign], &text[sign..]))
}

fn expandtabs(text: &str, width: usize) -> Result<String, Error> {
    let (mut out, mut column) = (String::new(), 0);
    for character in text.chars() {
        match character {
            '\t' => {
                let count = if width == 0 { 0 } else { width - column % width };
                out += &" ".repeat(missing("", count as i64)?);
                column += count;
            }
            other => {
                column = if matches!(other, '\n' | '\r') { 0 } else { column + 1 };
                out.push(other);
            }
        }
    }
    Ok(out)
}
