//! Inputs of our own making: calls like a given one, with other arguments of the same types.
//!
//! Two programs that differ show it on some input; which, nobody knows beforehand. Variations keep
//! the types and the rough shape, because a program is only asked about inputs that it is meant
//! for, and look where programs differ: boundaries, empties, repeats, signs, order.

use pydata::{BigInt, Call, Value};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Nesting below which values stay as they are.
const MAX_DEPTH: usize = 6;

/// Up to `count` different calls like the given ones, none of them among these, as Python's text.
/// The same seed gives the same calls.
pub fn variations(calls: &[Call], count: usize, seed: u64) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut seen: Vec<String> = calls.iter().map(text).collect();
    let known = seen.len();
    for _ in 0..count * 20 {
        if seen.len() >= known + count {
            break;
        }
        let Some(call) = calls.choose(&mut random) else { break };
        let varied = text(&vary_call(call, &mut random));
        if !seen.contains(&varied) {
            seen.push(varied);
        }
    }
    seen.split_off(known)
}

/// A call as Python's text.
fn text(call: &Call) -> String {
    let arguments = call.args.iter().map(Value::to_string);
    let keywords = call.keywords.iter().map(|(name, value)| format!("{name}={value}"));
    format!("{}({})", call.function, arguments.chain(keywords).collect::<Vec<_>>().join(", "))
}

/// One argument changed, sometimes all of them.
fn vary_call(call: &Call, random: &mut ChaCha8Rng) -> Call {
    let mut varied = call.clone();
    let total = varied.args.len() + varied.keywords.len();
    let only = (total > 0 && random.random_bool(0.6)).then(|| random.random_range(0..total));
    let arguments = varied.args.iter_mut().chain(varied.keywords.iter_mut().map(|(_, value)| value));
    for (at, value) in arguments.enumerate() {
        if only.is_none_or(|only| only == at) {
            *value = vary(value, random, 0);
        }
    }
    varied
}

fn vary(value: &Value, random: &mut ChaCha8Rng, depth: usize) -> Value {
    if depth > MAX_DEPTH {
        return value.clone();
    }
    match value {
        Value::Bool(value) => Value::Bool(!value),
        Value::Int(value) => Value::Int(vary_integer(value, random)),
        Value::Float(value) => Value::Float(match random.random_range(0..5) {
            0 => -value,
            1 => value + 1.0,
            2 => value / 2.0,
            3 => value.round(),
            _ => value + f64::from(random.random_range(-100..100)) / 10.0,
        }),
        Value::Str(text) => Value::Str(vary_text(text, random)),
        Value::List(items) => Value::List(vary_items(items, random, depth)),
        Value::Set(items) => Value::Set(vary_items(items, random, depth)),
        // A tuple's length often has a meaning: a point, a record.
        Value::Tuple(items) if items.len() <= 3 && random.random_bool(0.8) => {
            Value::Tuple(items.iter().map(|item| vary(item, random, depth + 1)).collect())
        }
        Value::Tuple(items) => Value::Tuple(vary_items(items, random, depth)),
        Value::Dict(pairs) => Value::Dict(vary_pairs(pairs, random, depth)),
        other => other.clone(),
    }
}

fn vary_integer(value: &BigInt, random: &mut ChaCha8Rng) -> BigInt {
    let small: i64 = random.random_range(0..20);
    match random.random_range(0..8) {
        0 => value + 1,
        1 => value - 1,
        2 => value * 2,
        3 => value / 2,
        4 => -value,
        5 => BigInt::from(small),
        6 => value + small,
        _ => BigInt::from(random.random_range(0..3)),
    }
}

fn vary_text(text: &str, random: &mut ChaCha8Rng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let alphabet: Vec<char> =
        if characters.is_empty() { vec!['a', 'B', '1', ' '] } else { characters.clone() };
    let at = random.random_range(0..=characters.len());
    match random.random_range(0..10) {
        0 => characters.clear(),
        1 => characters.reverse(),
        2 => characters.shuffle(random),
        3 => characters.truncate(at),
        4 => characters = characters.split_off(at),
        5 => characters.extend(characters.clone()),
        6 => characters.insert(at, *['a', 'Z', '7', ' ', '_'].choose(random).unwrap_or(&'a')),
        7 => characters.insert(at, *alphabet.choose(random).unwrap_or(&'a')),
        8 => return if random.random_bool(0.5) { text.to_uppercase() } else { text.to_lowercase() },
        _ => {
            if at < characters.len() {
                characters.remove(at);
            }
        }
    }
    characters.into_iter().collect()
}

fn vary_items(items: &[Value], random: &mut ChaCha8Rng, depth: usize) -> Vec<Value> {
    let mut items = items.to_vec();
    let at = random.random_range(0..=items.len());
    match random.random_range(0..10) {
        0 => items.truncate(at),
        1 => items.reverse(),
        2 => items.shuffle(random),
        3 => items = items.split_off(at),
        4 if at < items.len() => {
            let repeated = items[at].clone();
            items.push(repeated);
        }
        5 if at < items.len() => {
            items.remove(at);
        }
        6 if random.random_bool(0.3) => items.clear(),
        7 => items.iter_mut().for_each(|item| *item = vary(item, random, depth + 1)),
        _ => {
            if let Some(item) = items.get_mut(at) {
                *item = vary(item, random, depth + 1);
            } else if let Some(last) = items.last() {
                let another = vary(last, random, depth + 1);
                items.push(another);
            }
        }
    }
    items
}

fn vary_pairs(pairs: &[(Value, Value)], random: &mut ChaCha8Rng, depth: usize) -> Vec<(Value, Value)> {
    let mut pairs = pairs.to_vec();
    let at = random.random_range(0..=pairs.len());
    match random.random_range(0..4) {
        0 => pairs.truncate(at),
        1 if at < pairs.len() => {
            pairs.remove(at);
        }
        2 => pairs.shuffle(random),
        _ => pairs.iter_mut().for_each(|(_, value)| *value = vary(value, random, depth + 1)),
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variations_keep_types_and_differ() {
        let call = pydata::parse_call("f([1, 2, 3], 'ab', {'k': 2.5}, n=(1, True))").expect("a call");
        let varied = variations(std::slice::from_ref(&call), 60, 1);
        assert!(varied.len() > 40, "{}", varied.len());
        assert_eq!(varied, variations(std::slice::from_ref(&call), 60, 1));
        let distinct: std::collections::HashSet<&String> = varied.iter().collect();
        assert_eq!(distinct.len(), varied.len());
        for text in &varied {
            assert_ne!(text, &call.source);
            let again = pydata::parse_call(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let types = |call: &Call| call.args.iter().map(Value::type_name).collect::<Vec<_>>();
            assert_eq!(types(&again), types(&call), "{text}");
            assert_eq!(again.keywords.len(), 1);
        }
    }

    #[test]
    fn a_call_without_arguments_has_no_variations() {
        let call = pydata::parse_call("f()").expect("a call");
        assert!(variations(&[call], 10, 1).is_empty());
    }
}
