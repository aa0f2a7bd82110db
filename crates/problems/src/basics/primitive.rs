//! What one step of a program does: in words, in Python (right and wrong), and in Rust.

use super::data::{Data, Kind};

/// A piece of Python. `{x}` stands for the value it works on (`{a}` and `{b}` for two lists), `v`
/// for an element of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The elements for which a condition holds.
    Filter(&'static str),
    /// An expression for each element.
    Map(&'static str),
    /// Any other expression.
    Expression(&'static str),
}

/// What code does to a value; none where Python would raise.
pub type Meaning = Box<dyn Fn(&Data) -> Option<Data> + Send + Sync>;

/// One operation of the built-in world.
pub struct Primitive {
    /// Unique name.
    pub name: &'static str,
    /// What it takes.
    pub from: Kind,
    /// What it gives.
    pub to: Kind,
    /// Ways to ask for it, each to follow "Write a function to".
    pub phrases: &'static [&'static str],
    /// The right code.
    pub right: Code,
    /// Code with a mistake that programmers make; the first is the most common.
    pub wrong: Vec<Code>,
    /// What the right code does; none where Python would raise.
    pub meaning: Meaning,
}

type Texts = &'static [&'static str];
type IntTest = fn(i64) -> bool;
type IntMap = fn(i64) -> i64;

/// Keeps the elements of a list of integers for which `condition` holds.
pub fn filter(
    name: &'static str,
    phrases: Texts,
    condition: &'static str,
    wrong: Texts,
    meaning: IntTest,
) -> Primitive {
    let meaning = Box::new(move |data: &Data| match data {
        Data::Ints(items) => Some(Data::Ints(items.iter().copied().filter(|&v| meaning(v)).collect())),
        _ => None,
    });
    primitive(name, (Kind::Ints, Kind::Ints), phrases, Code::Filter, condition, wrong, meaning)
}

/// Replaces each element of a list of integers.
pub fn map(
    name: &'static str,
    phrases: Texts,
    expression: &'static str,
    wrong: Texts,
    meaning: IntMap,
) -> Primitive {
    let meaning = Box::new(move |data: &Data| match data {
        Data::Ints(items) => Some(Data::Ints(items.iter().map(|&v| meaning(v)).collect())),
        _ => None,
    });
    primitive(name, (Kind::Ints, Kind::Ints), phrases, Code::Map, expression, wrong, meaning)
}

/// What all primitives are made by; `form` says what kind of code the texts are.
fn primitive(
    name: &'static str,
    (from, to): (Kind, Kind),
    phrases: Texts,
    form: fn(&'static str) -> Code,
    code: &'static str,
    wrong: Texts,
    meaning: Meaning,
) -> Primitive {
    let wrong = wrong.iter().map(|code| form(code)).collect();
    Primitive { name, from, to, phrases, right: form(code), wrong, meaning }
}

macro_rules! expression_over {
    ($(#[$doc:meta])* $function:ident, $kind:ident, $input:ty) => {
        $(#[$doc])*
        pub fn $function(
            name: &'static str,
            to: Kind,
            phrases: Texts,
            code: &'static str,
            wrong: Texts,
            meaning: fn($input) -> Option<Data>,
        ) -> Primitive {
            let meaning = Box::new(move |data: &Data| match data {
                Data::$kind(value) => meaning(value),
                _ => None,
            });
            primitive(name, (Kind::$kind, to), phrases, Code::Expression, code, wrong, meaning)
        }
    };
}

expression_over!(/// An expression over a list of integers.
    of_ints, Ints, &[i64]);
expression_over!(/// An expression over an integer.
    of_int, Int, &i64);
expression_over!(/// An expression over text.
    of_text, Text, &str);
expression_over!(/// An expression over a tuple.
    of_tuple, Tuple, &[i64]);
expression_over!(/// An expression over a dictionary.
    of_dict, Dict, &[(String, i64)]);
expression_over!(/// An expression over a list of words.
    of_words, Words, &[String]);

/// An expression over two lists.
pub fn of_lists(
    name: &'static str,
    to: Kind,
    phrases: Texts,
    code: &'static str,
    wrong: Texts,
    meaning: fn(&[i64], &[i64]) -> Option<Data>,
) -> Primitive {
    let meaning = Box::new(move |data: &Data| match data {
        Data::TwoLists(a, b) => meaning(a, b),
        _ => None,
    });
    primitive(name, (Kind::TwoLists, to), phrases, Code::Expression, code, wrong, meaning)
}
