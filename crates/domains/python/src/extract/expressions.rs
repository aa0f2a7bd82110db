//! Names in targets and expressions.

use super::names::Walk;
use super::tokens::{Kind, is_keyword};
use super::vocabulary::only_reads;
use std::ops::Range;

impl<'t> Walk<'_, 't> {
    /// A target of an assignment: names are bound, objects with a subscript or an attribute change.
    pub(super) fn target(&mut self, tokens: Range<usize>) {
        let mut index = tokens.start;
        while index < tokens.end {
            if !self.is_name(index) {
                index += 1;
                continue;
            }
            let mut next = index + 1;
            while next < tokens.end && matches!(self.word(next), "." | "[" | "(") {
                next = if self.word(next) == "." { next + 2 } else { self.closed_at(next) + 1 };
            }
            let next = next.min(tokens.end);
            if next == index + 1 {
                self.bind(index);
            } else {
                self.scope.changed.insert(self.word(index));
                self.expression(index..next);
            }
            index = next;
        }
    }

    pub(super) fn expression(&mut self, tokens: Range<usize>) {
        for index in tokens.clone() {
            let Some(token) = self.module.tokens.get(index) else { return };
            if let Kind::Text { formatted: true, .. } = token.kind {
                self.replacement_fields(token.of(self.module.text));
                continue;
            }
            let previous = if index > tokens.start { self.word(index - 1) } else { "" };
            if !self.is_name(index) || previous == "." {
                continue;
            }
            let (name, next) = (self.word(index), self.word(index + 1));
            let keyword = next == "=" && matches!(previous, "(" | ",") && index + 1 < tokens.end;
            if keyword || previous == "as" || self.local.contains(name) {
                continue;
            }
            if next == ":=" {
                self.bind(index);
                continue;
            }
            self.scope.used.insert(name);
            self.chain(index, tokens.end);
        }
    }

    /// What follows a name: a call of it, or a method's that may change its object.
    fn chain(&mut self, name: usize, end: usize) {
        let mut method = "";
        let mut index = name + 1;
        while index < end {
            match self.word(index) {
                "." => {
                    method = self.word(index + 1);
                    index += 2;
                }
                "[" => index = self.closed_at(index) + 1,
                "(" => {
                    let word = self.word(name);
                    if index == name + 1 {
                        self.scope.called.insert(word);
                    } else if !only_reads(method) {
                        self.scope.changed.insert(word);
                    }
                    return;
                }
                _ => return,
            }
        }
    }

    /// Names in the braces of a formatted string.
    fn replacement_fields(&mut self, text: &'t str) {
        let mut fields = Fields::default();
        let mut start = None;
        for (at, c) in text.char_indices() {
            let inside = c.is_alphanumeric() || c == '_';
            if inside && start.is_none() {
                start = Some((at, fields.has_names()));
            } else if !inside && let Some((from, named)) = start.take() {
                let word = &text[from..at];
                let named = named && !word.starts_with(|c: char| c.is_ascii_digit());
                // A prefix of a string in the field.
                let prefix = matches!(c, '"' | '\'');
                if named && !prefix && !is_keyword(word) && !self.local.contains(word) {
                    self.scope.used.insert(word);
                    if c == '(' {
                        self.scope.called.insert(word);
                    }
                }
            }
            fields.take(c);
        }
    }
}

/// Where in a formatted string a character stands.
#[derive(Default)]
struct Fields {
    /// Open braces of fields, and of dictionaries and sets in them.
    braces: usize,
    brackets: usize,
    quote: Option<char>,
    /// Whether a format follows, as after `{value:`.
    format: bool,
    previous: char,
}

impl Fields {
    /// Whether a word that begins here is a name.
    fn has_names(&self) -> bool {
        let value = self.braces > 0 && self.quote.is_none() && !(self.format && self.braces == 1);
        value && !matches!(self.previous, '.' | '!')
    }

    fn take(&mut self, c: char) {
        match (self.quote, c) {
            (Some(quote), _) if c == quote => self.quote = None,
            (None, '"' | '\'') if self.braces > 0 => self.quote = Some(c),
            (None, '{') => self.braces += 1,
            (None, '}') => {
                self.braces = self.braces.saturating_sub(1);
                if self.braces == 0 {
                    (self.format, self.brackets) = (false, 0);
                }
            }
            (None, '(' | '[') if self.braces > 0 => self.brackets += 1,
            (None, ')' | ']') => self.brackets = self.brackets.saturating_sub(1),
            (None, ':') if self.braces == 1 && self.brackets == 0 => self.format = true,
            _ => {}
        }
        self.previous = c;
    }
}
