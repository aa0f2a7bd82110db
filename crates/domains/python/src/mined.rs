//! Values that a problem's text and its solutions write out: what programs ask about is where they
//! differ.

use crate::extract::tokens::{Kind, Lexer};
use pydata::{Value, parse_literal};
use std::collections::{HashMap, HashSet};

/// Values that are kept, the commonest first.
const MOST: usize = 24;
/// Longest text that is a value and no sentence, in bytes.
const LONGEST: usize = 24;
/// Longest number, in digits.
const DIGITS: usize = 18;

/// Numbers and texts written out in a statement or in solutions, those that most have first; of equally
/// common ones the earlier. Small numbers are left out: inputs hold them anyway.
pub(crate) fn literals(statement: &str, solutions: &[&str]) -> Vec<Value> {
    let mut found: Vec<(usize, Value)> = Vec::new();
    let mut place_of: HashMap<String, usize> = HashMap::new();
    let mut texts = HashSet::new();
    let statement = without_marks(statement);
    for text in [statement.as_str()].iter().chain(solutions).filter(|text| texts.insert(**text)) {
        let mut here = HashSet::new();
        for value in written_in(text).filter(tells) {
            let place = *place_of.entry(value.to_string()).or_insert(found.len());
            if place == found.len() {
                found.push((0, value));
            }
            if here.insert(place) {
                found[place].0 += 1;
            }
        }
    }
    // A stable sort: the order is part of what the inputs depend on.
    found.sort_by_key(|(count, _)| usize::MAX - count);
    found.into_iter().map(|(_, value)| value).take(MOST).collect()
}

/// Prose whose marks are no Python: the apostrophe of `don't` opens no text, and the full stop after a
/// number makes it no fraction.
fn without_marks(prose: &str) -> String {
    let characters: Vec<char> = prose.chars().collect();
    let at = |place: Option<usize>| place.and_then(|place| characters.get(place)).copied().unwrap_or(' ');
    let is_mark = |place: usize| {
        let (before, after) = (at(place.checked_sub(1)), at(place.checked_add(1)));
        match characters[place] {
            '\'' => before.is_alphabetic() && after.is_alphabetic(),
            '.' => before.is_ascii_digit() && !after.is_ascii_digit(),
            _ => false,
        }
    };
    (0..characters.len()).map(|place| if is_mark(place) { ' ' } else { characters[place] }).collect()
}

/// The literals of a text that may be prose or any program.
fn written_in(text: &str) -> impl Iterator<Item = Value> {
    Lexer::new(text).filter_map(|token| {
        let source = token.of(text);
        let is_value = match token.kind {
            Kind::Number => source.len() <= DIGITS,
            // An apostrophe of prose opens no text, and a docstring is none that a program works with.
            Kind::Text { formatted, closed } => {
                closed
                    && !formatted
                    && source.len() <= LONGEST
                    && !source.starts_with("\"\"\"")
                    && !source.starts_with("'''")
            }
            _ => false,
        };
        if is_value { parse_literal(source).ok() } else { None }
    })
}

/// Whether inputs do not hold it anyway.
fn tells(value: &Value) -> bool {
    match value {
        Value::Int(value) => *value > 2.into(),
        Value::Float(_) => true,
        Value::Str(text) => !text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commonest_values_come_first() {
        let one =
            "def f(s):\n    '''Vowels 'aeiou'.'''\n    return [c for c in s if c in 'aeiou' and len(s) > 7]";
        let two = "def f(s):\n    return sum(c in \"aeiou\" for c in s) + 0 + 1 # 99\n";
        let three = "def f(s):\n    return f'{s}' + 'aeiou' + \"it's a sentence of some length\" + 2.5";
        let found = literals("Count, don't split, at most 12.", &[one, two, three, one]);
        let found: Vec<String> = found.iter().map(Value::to_string).collect();
        assert_eq!(found, ["'aeiou'", "12", "7", "2.5"]);
        assert!(literals("", &[]).is_empty());
    }
}
