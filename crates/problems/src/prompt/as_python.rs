//! Values of a template as Python writes them: `str`, `repr`, `json.dumps`.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

/// Levels of lists in lists: Python refuses about a thousand.
const DEEPEST: usize = 500;

/// `str(value)`; of what is undefined nothing, as Jinja has it.
pub(super) fn str(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String | ValueKind::Bytes => Ok(value.to_string()),
        _ => {
            let mut out = String::new();
            write_repr(&mut out, value, 0)?;
            Ok(out)
        }
    }
}

/// `repr(value)`.
pub(super) fn repr(value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    write_repr(&mut out, value, 0)?;
    Ok(out)
}

fn write_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::String => {
            *out += &pydata::Value::Str(value.as_str().unwrap_or_default().to_owned()).to_string();
        }
        ValueKind::Number if !value.is_integer() => {
            *out += &pydata::Value::Float(f64::try_from(value.clone())?).to_string();
        }
        ValueKind::Seq | ValueKind::Iterable => {
            *out += "[";
            for (at, item) in value.try_iter()?.enumerate() {
                *out += if at > 0 { ", " } else { "" };
                write_repr(out, &item, depth + 1)?;
            }
            *out += "]";
        }
        ValueKind::Map if is_data(value) => {
            *out += "{";
            for (at, key) in value.try_iter()?.enumerate() {
                *out += if at > 0 { ", " } else { "" };
                write_repr(out, &key, depth + 1)?;
                *out += ": ";
                write_repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            *out += "}";
        }
        _ => *out += &value.to_string(),
    }
    Ok(())
}

/// Whether it is a dictionary, and not an object that only has attributes.
fn is_data(value: &Value) -> bool {
    value.as_object().is_none_or(|object| matches!(object.repr(), minijinja::value::ObjectRepr::Map))
}

fn check_depth(depth: usize) -> Result<(), Error> {
    match depth > DEEPEST {
        true => Err(Error::new(ErrorKind::InvalidOperation, "lists within lists, too deep to be written")),
        false => Ok(()),
    }
}

/// How `json.dumps` writes.
struct Dumps {
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item: String,
    key: String,
}

/// The filter `tojson` as transformers has it: `json.dumps` with `ensure_ascii=False`.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(indent) if !indent.is_none() => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(i64::try_from(indent)?.max(0) as usize),
        }),
        _ => None,
    };
    let (item, key) = match options.get::<Option<Value>>("separators")? {
        Some(both) if !both.is_none() => {
            let both: Vec<String> = both.try_iter()?.map(|text| text.to_string()).collect();
            match <[String; 2]>::try_from(both) {
                Ok([item, key]) => (item, key),
                Err(_) => {
                    return Err(Error::new(ErrorKind::InvalidOperation, "separators: expected two texts"));
                }
            }
        }
        _ => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let flag = |name: &str| Ok::<bool, Error>(options.get::<Option<bool>>(name)?.unwrap_or(false));
    let dumps =
        Dumps { ensure_ascii: flag("ensure_ascii")?, sort_keys: flag("sort_keys")?, indent, item, key };
    options.assert_all_used()?;
    let mut out = String::new();
    dumps.write(&mut out, value, 0)?;
    Ok(out)
}

impl Dumps {
    fn write(&self, out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::None => *out += "null",
            ValueKind::Bool => *out += if value.is_true() { "true" } else { "false" },
            ValueKind::Number if value.is_integer() => *out += &value.to_string(),
            ValueKind::Number => {
                let number = f64::try_from(value.clone())?;
                *out += &match number.is_finite() {
                    true => pydata::Value::Float(number).to_string(),
                    false if number.is_nan() => "NaN".to_owned(),
                    false => if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
                };
            }
            ValueKind::String => self.write_text(out, value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.write_all(out, ("[", "]"), depth, items, |out, item| self.write(out, &item, depth + 1))?;
            }
            ValueKind::Map if is_data(value) => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.write_all(out, ("{", "}"), depth, keys.into_iter(), |out, key| {
                    match key.as_str() {
                        Some(text) => self.write_text(out, text),
                        // Numbers and the like become texts.
                        None => {
                            let mut text = String::new();
                            self.write(&mut text, &key, depth + 1)?;
                            self.write_text(out, &text);
                        }
                    }
                    *out += &self.key;
                    self.write(out, &value.get_item(&key)?, depth + 1)
                })?;
            }
            kind => {
                let message = format!("tojson: what is of the kind {kind} cannot be written as JSON");
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        Ok(())
    }

    fn write_all(
        &self,
        out: &mut String,
        (open, close): (&str, &str),
        depth: usize,
        items: impl Iterator<Item = Value>,
        write: impl Fn(&mut String, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                *out += "\n";
                (0..depth).for_each(|_| *out += indent);
            }
        };
        *out += open;
        let mut any = false;
        for item in items {
            *out += if any { &self.item } else { "" };
            any = true;
            line(out, depth + 1);
            write(out, item)?;
        }
        if any {
            line(out, depth);
        }
        *out += close;
        Ok(())
    }

    fn write_text(&self, out: &mut String, text: &str) {
        let quoted = Json::from(text).to_string();
        if !self.ensure_ascii {
            *out += &quoted;
            return;
        }
        for character in quoted.chars() {
            match character.is_ascii() {
                true => out.push(character),
                false => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        *out += &format!("\\u{unit:04x}");
                    }
                }
            }
        }
    }
}
