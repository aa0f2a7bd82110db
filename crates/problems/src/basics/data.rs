//! The values of the built-in world, and random ones of each kind.

use pydata::Value;
use rand::Rng;
use rand::seq::IndexedRandom;

/// The kinds of value that primitives take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An integer.
    Int,
    /// Text.
    Text,
    /// A list of integers.
    Ints,
    /// Two lists of integers, as two arguments.
    TwoLists,
    /// A tuple of integers.
    Tuple,
    /// A dictionary from text to integer.
    Dict,
    /// A list of words.
    Words,
    /// True or False; nothing follows it.
    Truth,
}

impl Kind {
    /// The kinds that a function of this world may take.
    pub const INPUTS: [Kind; 7] =
        [Kind::Ints, Kind::Text, Kind::Int, Kind::TwoLists, Kind::Tuple, Kind::Dict, Kind::Words];

    /// How a problem's text names a value of this kind.
    pub fn noun(self) -> &'static str {
        match self {
            Kind::Int => "an integer",
            Kind::Text => "a string",
            Kind::Ints => "a list of integers",
            Kind::TwoLists => "two lists of integers",
            Kind::Tuple => "a tuple of integers",
            Kind::Dict => "a dictionary",
            Kind::Words => "a list of words",
            Kind::Truth => "a truth value",
        }
    }

    /// Parameter names that programmers give a value of this kind.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Kind::Int => &["n", "num"],
            Kind::Text => &["s", "text"],
            Kind::Ints => &["nums", "items"],
            Kind::TwoLists => &["a, b"],
            Kind::Tuple => &["t", "tup"],
            Kind::Dict => &["d", "data"],
            Kind::Words => &["words"],
            Kind::Truth => &["flag"],
        }
    }
}

/// A value of the built-in world.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the same as the kinds")]
pub enum Data {
    Int(i64),
    Text(String),
    Ints(Vec<i64>),
    TwoLists(Vec<i64>, Vec<i64>),
    Tuple(Vec<i64>),
    Dict(Vec<(String, i64)>),
    Words(Vec<String>),
    Truth(bool),
}

const WORDS: &[&str] = &[
    "apple", "Bird", "cat", "dog", "Echo", "fig", "go", "hat", "ice", "Jam", "kite", "level", "moon", "noon",
    "owl", "Pine", "queen", "red", "sun", "tree", "up", "Van", "wow", "box", "yes", "zoo", "a", "b2", "x9",
    "7up",
];

impl Data {
    /// A random value of a kind.
    pub fn random(kind: Kind, random: &mut impl Rng) -> Data {
        match kind {
            Kind::Int => Data::Int(random.random_range(1..=60)),
            Kind::Text => Data::Text(random_words(random, 1, 3).join(" ")),
            Kind::Ints => Data::Ints(random_ints(random, 3, 7)),
            Kind::TwoLists => {
                let length = random.random_range(3..=5);
                Data::TwoLists(random_ints(random, length, length), random_ints(random, length, length))
            }
            Kind::Tuple => Data::Tuple(random_ints(random, 3, 5)),
            Kind::Dict => {
                let mut keys = random_words(random, 2, 4);
                keys.sort();
                keys.dedup();
                Data::Dict(keys.into_iter().map(|key| (key, random.random_range(-5..=20))).collect())
            }
            Kind::Words => Data::Words(random_words(random, 2, 5)),
            Kind::Truth => Data::Truth(random.random()),
        }
    }

    /// As the arguments of a call.
    pub fn arguments(&self) -> String {
        match self {
            Data::TwoLists(a, b) => format!("{}, {}", list(a), list(b)),
            other => other.value().to_string(),
        }
    }

    /// As a Python value.
    pub fn value(&self) -> Value {
        match self {
            Data::Int(value) => Value::from(*value),
            Data::Text(text) => Value::from(text.as_str()),
            Data::Ints(items) => list(items),
            Data::TwoLists(a, b) => Value::Tuple(vec![list(a), list(b)]),
            Data::Tuple(items) => Value::Tuple(items.iter().map(|&item| Value::from(item)).collect()),
            Data::Dict(pairs) => {
                let pairs = pairs.iter().map(|(key, value)| (Value::from(key.as_str()), Value::from(*value)));
                Value::Dict(pairs.collect())
            }
            Data::Words(words) => Value::List(words.iter().map(|word| Value::from(word.as_str())).collect()),
            Data::Truth(truth) => Value::Bool(*truth),
        }
    }

    /// Whether it is small enough to be shown in a test.
    pub fn is_presentable(&self) -> bool {
        match self {
            Data::Int(value) => value.abs() < 1_000_000,
            Data::Text(text) => text.len() <= 40,
            Data::Ints(items) | Data::Tuple(items) => {
                items.len() <= 16 && items.iter().all(|item| item.abs() < 100_000)
            }
            Data::TwoLists(a, b) => a.len() + b.len() <= 16,
            Data::Dict(pairs) => pairs.len() <= 8,
            Data::Words(words) => words.len() <= 8,
            Data::Truth(_) => true,
        }
    }
}

fn list(items: &[i64]) -> Value {
    Value::List(items.iter().map(|&item| Value::from(item)).collect())
}

fn random_ints(random: &mut impl Rng, shortest: usize, longest: usize) -> Vec<i64> {
    let length = random.random_range(shortest..=longest);
    (0..length).map(|_| random.random_range(-9..=20)).collect()
}

fn random_words(random: &mut impl Rng, fewest: usize, most: usize) -> Vec<String> {
    let count = random.random_range(fewest..=most);
    (0..count).filter_map(|_| WORDS.choose(random)).map(|word| (*word).to_owned()).collect()
}
