//! Methods of Python's strings, lists and dictionaries that minijinja's table lacks, or has otherwise: there
//! places in a text count bytes.

use super::arguments::{bind_all, flag, text, whole};
use minijinja::value::{Rest, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

/// A method of a value: ours first, then what minijinja's own table has.
pub(super) fn call(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let ours = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) => of_text(text, name, arguments),
        (ValueKind::Seq | ValueKind::Map, _) if name == "copy" => {
            bind_all([], arguments).map(|[]| value.clone())
        }
        (ValueKind::Seq, _) if name == "index" => {
            let (wanted,): (Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == wanted);
            at.map(Value::from).ok_or_else(|| invalid("index: the list has no such element"))
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    };
    match ours {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => {
            minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments)
        }
        known => known,
    }
}

pub(super) fn invalid(message: &'static str) -> Error {
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
    if let Some(is) = property(name) {
        return none().map(|()| is(text).into());
    }
    Ok(match name {
        "casefold" => none().map(|()| text.to_lowercase().replace('ß', "ss"))?.into(),
        "swapcase" => none().map(|()| text.chars().map(swapped).collect::<String>())?.into(),
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
        "find" | "rfind" | "index" | "rindex" | "count" | "startswith" | "endswith" => {
            let [wanted, start, end] = bind_all(["sub", "start", "end"], arguments)?;
            within(text, name, &wanted, (whole(&start)?, whole(&end)?))?
        }
        "split" => split(text, arguments)?,
        "rsplit" => rsplit(text, arguments)?,
        "splitlines" => {
            let [keeps] = bind_all(["keepends"], arguments)?;
            lines(text, flag(&keeps, false)).into_iter().map(Value::from).collect::<Vec<Value>>().into()
        }
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

/// What `isalpha` and its like ask of a text; of an empty one little is true.
fn property(name: &str) -> Option<fn(&str) -> bool> {
    fn all(text: &str, is: impl Fn(char) -> bool) -> bool {
        !text.is_empty() && text.chars().all(is)
    }
    Some(match name {
        "isalpha" => |text| all(text, char::is_alphabetic),
        "isalnum" => |text| all(text, char::is_alphanumeric),
        "isnumeric" => |text| all(text, char::is_numeric),
        "isdecimal" => |text| all(text, |c| is_digit(c) && !is_raised(c)),
        "isdigit" => |text| all(text, is_digit),
        "isspace" => |text| all(text, char::is_whitespace),
        "isascii" => str::is_ascii,
        "isprintable" => |text| !text.chars().any(|c| c.is_control() || c.is_whitespace() && c != ' '),
        "islower" => |text| text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        "isupper" => |text| text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "istitle" => is_title,
        "isidentifier" => |text| {
            let is_first = |c: char| c.is_alphabetic() || c == '_';
            text.starts_with(is_first) && text.chars().all(|c| c.is_alphanumeric() || c == '_')
        },
        _ => return None,
    })
}

/// A digit, raised or not: no fraction, and no numeral of letters or signs.
fn is_digit(character: char) -> bool {
    let is_other = matches!(
        character,
        '¼'..='¾' | '\u{2150}'..='\u{218b}' | '\u{2460}'..='\u{24ff}' | '\u{2776}'..='\u{2793}' | '\u{3007}'..='\u{9fff}'
    );
    character.is_numeric() && !is_other
}

fn is_raised(character: char) -> bool {
    matches!(character, '²' | '³' | '¹' | '\u{2070}'..='\u{2089}')
}

/// Capitals where words begin, and there alone.
fn is_title(text: &str) -> bool {
    let (mut inside, mut any) = (false, false);
    for character in text.chars() {
        let is_capital = character.is_uppercase();
        if is_capital && inside || character.is_lowercase() && !inside {
            return false;
        }
        inside = is_capital || character.is_lowercase();
        any |= inside;
    }
    any
}

/// Looks for a text in part of another, whose places count characters.
fn within(
    text: &str,
    name: &str,
    wanted: &Value,
    (start, end): (Option<i64>, Option<i64>),
) -> Result<Value, Error> {
    let count = text.chars().count();
    // From the end where it is below 0.
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) => at,
        Err(_) => count.saturating_sub(at.unsigned_abs() as usize),
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place).min(count));
    let missing = || match name {
        "find" | "rfind" => Ok(Value::from(-1)),
        "count" => Ok(Value::from(0)),
        "index" | "rindex" => Err(invalid("index: the text has no such part")),
        _ => Ok(Value::from(false)),
    };
    if start > end {
        return missing();
    }
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    let part = &text[byte(start)..byte(end)];
    if matches!(name, "startswith" | "endswith") {
        let is_there = |wanted: &str| match name {
            "startswith" => part.starts_with(wanted),
            _ => part.ends_with(wanted),
        };
        let one = |wanted: &Value| {
            wanted.as_str().map(is_there).ok_or_else(|| invalid("expected a text, or several in a tuple"))
        };
        return match wanted.kind() {
            ValueKind::Seq => {
                let all = wanted.try_iter()?.map(|wanted| one(&wanted)).collect::<Result<Vec<bool>, _>>()?;
                Ok(all.contains(&true).into())
            }
            _ => one(wanted).map(Value::from),
        };
    }
    let wanted = self::text(wanted, name)?.ok_or_else(|| invalid("expected a text to look for"))?;
    let found = match name {
        "count" => return Ok(part.matches(wanted).count().into()),
        "find" | "index" => part.find(wanted),
        _ => part.rfind(wanted),
    };
    found.map_or_else(missing, |at| Ok((start + part[..at].chars().count()).into()))
}

/// Lines as Python tells them apart.
pub(super) fn lines(text: &str, keeps_ends: bool) -> Vec<&str> {
    let is_end = |c: char| {
        matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let (mut all, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(is_end) {
        let character = rest[at..].chars().next().map_or(1, char::len_utf8);
        let length = if rest[at..].starts_with("\r\n") { 2 } else { character };
        all.push(&rest[..if keeps_ends { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    all.extend((!rest.is_empty()).then_some(rest));
    all
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

/// What to split at, white space if none, and how often at most.
fn splits(arguments: &[Value]) -> Result<(Value, usize), Error> {
    let [between, most] = bind_all(["sep", "maxsplit"], arguments)?;
    let most = whole(&most)?.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
    Ok((between, most))
}

fn split(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (between, most) = splits(arguments)?;
    let parts: Vec<&str> = match self::text(&between, "split")? {
        Some("") => return Err(invalid("split: expected a text to split at, found an empty one")),
        Some(between) => text.splitn(most.saturating_add(1), between).collect(),
        None => {
            let (mut parts, mut rest) = (Vec::new(), text.trim_start());
            while !rest.is_empty() && parts.len() < most {
                let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                parts.push(word);
                rest = after.trim_start();
            }
            parts.extend((!rest.is_empty()).then_some(rest));
            parts
        }
    };
    Ok(parts.into_iter().map(Value::from).collect::<Vec<Value>>().into())
}

fn rsplit(text: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (between, most) = splits(arguments)?;
    let mut parts: Vec<&str> = match self::text(&between, "rsplit")? {
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
pub(super) const LONGEST: usize = 1 << 20;

fn missing(text: &str, width: i64) -> Result<usize, Error> {
    let missing = usize::try_from(width).unwrap_or(0).saturating_sub(text.chars().count());
    if missing > LONGEST {
        Err(invalid("a text is filled up to more than a million characters"))
    } else {
        Ok(missing)
    }
}

/// A text in the middle of so many characters.
pub(super) fn padded_to_middle(text: &str, width: i64) -> Result<String, Error> {
    padded(text, width, ' ', Side::Both)
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
