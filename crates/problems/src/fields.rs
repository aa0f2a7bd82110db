//! The fields of one record, read so that errors name their place.

use records::jsonl::Error;
use serde_json::{Map, Value};
use std::path::Path;

/// What was found, as much of it as an error quotes.
pub(crate) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Somebody else's text as an error quotes it: what could move a terminal's cursor or turn the order of
/// characters is escaped, and what is long is shortened.
pub(crate) fn quoted(text: &str) -> String {
    let mut end = text.char_indices().skip(300);
    let shown = end.next().map_or(text, |(end, _)| &text[..end]);
    let mut result = String::with_capacity(shown.len());
    for character in shown.trim_end().chars() {
        let turns =
            matches!(character, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match turns || character.is_control() {
            true => result.extend(character.escape_default()),
            false => result.push(character),
        }
    }
    if shown.len() < text.len() {
        result.push('…');
    }
    result
}

/// Whether two names differ by one letter, or by two where they are long (Levenshtein's distance).
fn is_nearly(name: &str, known: &str) -> bool {
    let (name, known): (Vec<char>, Vec<char>) = (name.chars().take(100).collect(), known.chars().collect());
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (at, letter) in name.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in known.iter().enumerate() {
            let changed = diagonal + usize::from(letter != other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[known.len()] <= if known.len() > 7 { 2 } else { 1 }
}

/// The fields of a record, with the place to name in errors.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) path: &'a Path,
    /// The line, from 1, or the number of a row.
    pub(crate) line: usize,
    /// What the fields' names begin with in errors: `check.payload.`
    pub(crate) within: &'a str,
    pub(crate) fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.to_owned(), line: self.line, message: message.into() }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A field is of another type than expected, or missing.
    pub(crate) fn wrong(&self, name: &str, expected: &str) -> Error {
        let within = self.within;
        match self.fields.get(name) {
            None => self.error(format!("{within}{name}: missing; expected {expected}")),
            Some(found) => {
                self.error(format!("{within}{name}: expected {expected}, found {}", shortened(found)))
            }
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<String, Error> {
        let text = self.fields.get(name).and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| self.wrong(name, "text"))
    }

    /// Refuses a field that is one of these but for a letter or two: what a person meant would be left
    /// out without a word. Others' fields may stand beside them.
    pub(crate) fn refuse_misspelled(&self, known: &[&str]) -> Result<(), Error> {
        for name in self.fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let meant = known.iter().find(|known| !self.has(known) && is_nearly(name, known));
            if let Some(meant) = meant {
                let within = self.within;
                return Err(self.error(format!("{within}{}: unknown field; expected {meant}", quoted(name))));
            }
        }
        Ok(())
    }

    /// A problem's name within its set.
    pub(crate) fn id(&self, name: &str) -> Result<String, Error> {
        let id = self.text(name)?;
        if id.trim().is_empty() { Err(self.wrong(name, "text that names the problem")) } else { Ok(id) }
    }

    pub(crate) fn integer(&self, name: &str) -> Result<i64, Error> {
        self.fields.get(name).and_then(Value::as_i64).ok_or_else(|| self.wrong(name, "an integer"))
    }

    pub(crate) fn count(&self, name: &str) -> Result<usize, Error> {
        let count =
            self.fields.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.wrong(name, "a whole number, 0 or more"))
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let items = self.fields.get(name).and_then(Value::as_array);
        let items =
            items.and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        items.ok_or_else(|| self.wrong(name, "a list of texts"))
    }

    /// Reads a field where the record has it; `null` is not the same as leaving it out.
    pub(crate) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Self, &str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.has(name) { read(self, name).map(Some) } else { Ok(None) }
    }

    /// The fields of an object within the record; `within` is the prefix of their names in errors.
    pub(crate) fn object(&self, name: &str, within: &'a str) -> Result<Fields<'a>, Error> {
        match self.fields.get(name) {
            Some(Value::Object(fields)) => Ok(Fields { within, fields, ..*self }),
            _ => Err(self.wrong(name, "an object")),
        }
    }
}
