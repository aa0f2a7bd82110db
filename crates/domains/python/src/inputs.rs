//! Inputs of our own making: calls like a given one, with other arguments of the same types.
//!
//! Two programs that differ show it on some input; which, nobody knows beforehand. Variations keep
//! the types and the rough shape, because a program is only asked about inputs that it is meant
//! for, and look where programs differ: boundaries, empties, repeats, signs, order.

use crate::{Check, calls};
use pydata::{BigInt, Call, Value, parse_call};
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use records::Problem;
use std::cmp::Ordering;
use std::collections::HashSet;
use verify::Inputs;

/// Nesting below which values stay as they are.
const MAX_DEPTH: usize = 6;

/// Share of the inputs of our own making that hold a value found in solutions or in the text.
const MINED_SHARE: usize = 4;
/// How far beyond the given numbers a number that was found may be.
const REACH: i32 = 10;

/// The calls that the tests known at a level make. Level 0 knows none, 1 and 3 the examples that a
/// prompt shows by default, 2 all tests. None where the problem tells none.
pub fn known_calls(problem: &Problem, level: u8) -> Vec<String> {
    let Ok(check) = Check::of(problem) else { return Vec::new() };
    let of_tests = |tests: &[String]| calls::of_tests(tests, &check.entry_point);
    match level {
        0 => Vec::new(),
        2 => {
            let base: Vec<String> = check.plus.iter().flat_map(|plus| plus.base.clone()).collect();
            let all = if base.is_empty() { of_tests(&check.tests) } else { base };
            if all.is_empty() { of_tests(problem.shown.visible()) } else { all }
        }
        _ => of_tests(problem.shown.visible()),
    }
}

/// Given calls and up to `own` others like them, some of which hold literals that were found elsewhere.
/// What is not a call with literal arguments is kept and not varied.
pub fn vary(given: &[String], mined: &[Value], own: usize, seed: u64) -> Inputs {
    let calls: Vec<Call> = given.iter().filter_map(|call| parse_call(call).ok()).collect();
    // Each by a random stream of its own: what is varied stays the same whoever the other candidates are.
    let with_mined = Varier::of(&calls, !seed).with_mined(&calls, mined, own / MINED_SHARE);
    let mut varier = Varier::of(&calls, seed);
    let mut inputs = given.to_vec();
    inputs.extend(varier.variations(&calls, &with_mined, own - with_mined.len()));
    // Last: a value that a program is not meant for may take all its time.
    inputs.extend(with_mined);
    Inputs { inputs, given: given.len() }
}

/// A call as Python's text.
fn text(call: &Call) -> String {
    let arguments = call.args.iter().map(Value::to_string);
    let keywords = call.keywords.iter().map(|(name, value)| format!("{name}={value}"));
    format!("{}({})", call.function, arguments.chain(keywords).collect::<Vec<_>>().join(", "))
}

/// Changes values at random, within what the given calls suggest that a program is meant for.
struct Varier {
    random: ChaCha8Rng,
    /// Whether some given number is below zero.
    negatives: bool,
}

impl Varier {
    fn of(calls: &[Call], seed: u64) -> Self {
        let values = calls.iter().flat_map(|call| &call.args);
        Varier { random: ChaCha8Rng::seed_from_u64(seed), negatives: values.into_iter().any(has_negative) }
    }

    /// Up to `count` different calls like the given ones, none of them among these or among `known`, as
    /// Python's text.
    fn variations(&mut self, calls: &[Call], known: &[String], count: usize) -> Vec<String> {
        let mut seen: HashSet<String> = calls.iter().map(text).chain(known.iter().cloned()).collect();
        let mut found = Vec::new();
        for _ in 0..count * 20 {
            if found.len() >= count {
                break;
            }
            let Some(call) = calls.choose(&mut self.random) else { break };
            let varied = text(&self.call(call));
            if seen.insert(varied.clone()) {
                found.push(varied);
            }
        }
        found
    }

    /// Up to `count` different calls like the given ones, in each of which one value is one of the
    /// literals, or near it.
    fn with_mined(&mut self, calls: &[Call], literals: &[Value], count: usize) -> Vec<String> {
        let mut seen: HashSet<String> = calls.iter().map(text).collect();
        let mut found = Vec::new();
        // Literals in their turn: which come first is who found them's decision.
        for turn in 0..count * 4 {
            if found.len() >= count || literals.is_empty() {
                break;
            }
            let Some(call) = calls.choose(&mut self.random) else { break };
            let literal = &literals[turn % literals.len()];
            let Some(changed) = self.put(call, literal) else { continue };
            let changed = text(&changed);
            if seen.insert(changed.clone()) {
                found.push(changed);
            }
        }
        found
    }

    /// A call with a literal in place of one of its values of that type, if it has any.
    fn put(&mut self, call: &Call, literal: &Value) -> Option<Call> {
        let mut changed = call.clone();
        let mut places: Vec<&mut Value> = Vec::new();
        let arguments = changed.args.iter_mut().chain(changed.keywords.iter_mut().map(|(_, value)| value));
        arguments.for_each(|argument| places_for(literal, argument, 0, &mut places));
        if places.is_empty() {
            return None;
        }
        let at = self.random.random_range(0..places.len());
        let place = places.swap_remove(at);
        *place = match (&*place, literal) {
            (Value::Str(text), Value::Str(found)) if self.chance(0.6) => self.joined(text, found),
            (_, Value::Int(found)) => Value::Int(found + self.random.random_range(-1..2)),
            _ => literal.clone(),
        };
        Some(changed)
    }

    /// A text with another one somewhere in it.
    fn joined(&mut self, text: &str, found: &str) -> Value {
        let characters: Vec<char> = text.chars().collect();
        let at = self.random.random_range(0..=characters.len());
        Value::Str(
            characters[..at]
                .iter()
                .copied()
                .chain(found.chars())
                .chain(characters[at..].iter().copied())
                .collect(),
        )
    }

    /// True so often.
    fn chance(&mut self, share: f64) -> bool {
        self.random.random_bool(share)
    }

    /// One argument changed, sometimes all of them. What the call suggests between its arguments
    /// mostly stays so: a number that is a list's length, two lists as long as each other.
    fn call(&mut self, call: &Call) -> Call {
        let mut varied = call.clone();
        let total = varied.args.len() + varied.keywords.len();
        let only = (total > 0 && self.chance(0.6)).then(|| self.random.random_range(0..total));
        let arguments = varied.args.iter_mut().chain(varied.keywords.iter_mut().map(|(_, value)| value));
        for (at, value) in arguments.enumerate() {
            if only.is_none_or(|only| only == at) {
                *value = self.value(value, 0);
            }
        }
        if self.chance(0.9) {
            keep_lengths(&call.args, &mut varied.args);
        }
        varied
    }

    fn value(&mut self, value: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return value.clone();
        }
        match value {
            Value::Bool(value) => Value::Bool(!value),
            Value::Int(value) => Value::Int(self.integer(value)),
            Value::Float(value) => Value::Float(self.float(*value)),
            Value::Str(text) => Value::Str(self.text(text)),
            Value::List(items) => Value::List(self.items(items, depth)),
            Value::Set(items) => Value::Set(self.items(items, depth)),
            // A tuple's length often has a meaning: a point, a record.
            Value::Tuple(items) if items.len() <= 3 && self.chance(0.8) => {
                Value::Tuple(items.iter().map(|item| self.value(item, depth + 1)).collect())
            }
            Value::Tuple(items) => Value::Tuple(self.items(items, depth)),
            Value::Dict(pairs) => Value::Dict(self.pairs(pairs, depth)),
            other => other.clone(),
        }
    }

    fn integer(&mut self, value: &BigInt) -> BigInt {
        let small: i64 = self.random.random_range(0..20);
        let varied = match self.random.random_range(0..8) {
            0 => value + 1,
            1 => value - 1,
            2 => value * 2,
            3 => value / 2,
            4 => -value,
            5 => BigInt::from(small),
            6 => value + small,
            _ => BigInt::from(self.random.random_range(0..3)),
        };
        let below = varied < BigInt::from(0);
        if below && !self.negatives && self.chance(0.9) { -varied } else { varied }
    }

    fn float(&mut self, value: f64) -> f64 {
        let varied = match self.random.random_range(0..5) {
            0 => -value,
            1 => value + 1.0,
            2 => value / 2.0,
            3 => value.round(),
            _ => value + f64::from(self.random.random_range(-100..100)) / 10.0,
        };
        if varied < 0.0 && !self.negatives && self.chance(0.9) { -varied } else { varied }
    }

    fn text(&mut self, text: &str) -> String {
        let mut characters: Vec<char> = text.chars().collect();
        let alphabet: Vec<char> =
            if characters.is_empty() { vec!['a', 'B', '1', ' '] } else { characters.clone() };
        let at = self.random.random_range(0..=characters.len());
        let random = &mut self.random;
        match random.random_range(0..11) {
            0 if random.random_bool(0.5) => characters.clear(),
            1 => characters.reverse(),
            2 => characters.shuffle(random),
            3 => characters.truncate(at),
            4 => characters = characters.split_off(at),
            5 => characters.extend(characters.clone()),
            6 => characters.insert(at, *['a', 'Z', '7', ' ', '_'].choose(random).unwrap_or(&'a')),
            7 => characters.insert(at, *alphabet.choose(random).unwrap_or(&'a')),
            8 => return if random.random_bool(0.5) { text.to_uppercase() } else { text.to_lowercase() },
            9 if at < characters.len() => characters[at] = *alphabet.choose(random).unwrap_or(&'a'),
            _ => {
                if at < characters.len() {
                    characters.remove(at);
                }
            }
        }
        characters.into_iter().collect()
    }

    fn items(&mut self, given: &[Value], depth: usize) -> Vec<Value> {
        let mut items = given.to_vec();
        let at = self.random.random_range(0..=items.len());
        match self.random.random_range(0..11) {
            0 => items.truncate(at),
            1 => items.reverse(),
            2 => items.shuffle(&mut self.random),
            3 => items = items.split_off(at),
            4 if at < items.len() => {
                let repeated = items[at].clone();
                items.push(repeated);
            }
            5 if at < items.len() => {
                items.remove(at);
            }
            6 if self.chance(0.3) => items.clear(),
            7 => items.iter_mut().for_each(|item| *item = self.value(item, depth + 1)),
            // As many of its own items, some of them more than once, some not at all.
            8 => items = given.iter().filter_map(|_| given.choose(&mut self.random).cloned()).collect(),
            _ => {
                if let Some(item) = items.get_mut(at) {
                    *item = self.value(item, depth + 1);
                } else if let Some(last) = items.last() {
                    let another = self.value(last, depth + 1);
                    items.push(another);
                }
            }
        }
        // What comes sorted may have to.
        if given.len() > 2 && is_sorted(given) && self.chance(0.7) {
            sort(&mut items);
        }
        items
    }

    fn pairs(&mut self, pairs: &[(Value, Value)], depth: usize) -> Vec<(Value, Value)> {
        let mut pairs = pairs.to_vec();
        let at = self.random.random_range(0..=pairs.len());
        match self.random.random_range(0..4) {
            0 => pairs.truncate(at),
            1 if at < pairs.len() => {
                pairs.remove(at);
            }
            2 => pairs.shuffle(&mut self.random),
            _ => pairs.iter_mut().for_each(|(_, value)| *value = self.value(value, depth + 1)),
        }
        pairs
    }
}

/// The places in a value where a literal may stand instead of what stands there.
fn places_for<'v>(literal: &Value, value: &'v mut Value, depth: usize, places: &mut Vec<&'v mut Value>) {
    let fits = match (&*value, literal) {
        // A number far beyond those given may take any time or memory.
        (Value::Int(given), Value::Int(found)) => {
            let reach = BigInt::from(100).max(magnitude(given) * REACH);
            magnitude(found) <= reach && (*found >= BigInt::from(0) || *given < BigInt::from(0))
        }
        (Value::Float(_), Value::Float(_)) | (Value::Str(_), Value::Str(_)) => true,
        _ => false,
    };
    if fits {
        places.push(value);
        return;
    }
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::List(items) | Value::Tuple(items) => {
            items.iter_mut().for_each(|item| places_for(literal, item, depth + 1, places));
        }
        Value::Dict(pairs) => {
            pairs.iter_mut().for_each(|(_, value)| places_for(literal, value, depth + 1, places));
        }
        _ => {}
    }
}

fn magnitude(value: &BigInt) -> BigInt {
    if *value < BigInt::from(0) { -value } else { value.clone() }
}

/// Whether a value holds a number below zero.
fn has_negative(value: &Value) -> bool {
    match value {
        Value::Int(value) => *value < BigInt::from(0),
        Value::Float(value) => *value < 0.0,
        Value::List(items) | Value::Tuple(items) | Value::Set(items) => items.iter().any(has_negative),
        Value::Dict(pairs) => pairs.iter().any(|(key, value)| has_negative(key) || has_negative(value)),
        _ => false,
    }
}

/// The length of what has one and can be shortened.
fn length(value: &Value) -> Option<usize> {
    match value {
        Value::List(items) | Value::Tuple(items) => Some(items.len()),
        Value::Str(text) => Some(text.chars().count()),
        _ => None,
    }
}

/// Makes varied arguments agree in length where the given ones do: lists as long as the first of
/// their length, and numbers that say a length.
fn keep_lengths(given: &[Value], varied: &mut [Value]) {
    let lengths: Vec<Option<usize>> = given.iter().map(length).collect();
    for at in 1..given.len() {
        let Value::List(_) = given[at] else { continue };
        let twin =
            (0..at).find(|&other| matches!(given[other], Value::List(_)) && lengths[other] == lengths[at]);
        let Some(shared) = twin.and_then(|twin| Some(length(&varied[twin])?.min(length(&varied[at])?)))
        else {
            continue;
        };
        for at in [twin, Some(at)].into_iter().flatten() {
            if let Value::List(items) = &mut varied[at] {
                items.truncate(shared);
            }
        }
    }
    for (at, value) in given.iter().enumerate() {
        let Value::Int(value) = value else { continue };
        let says = |other: &usize| lengths[*other].is_some_and(|length| *value == BigInt::from(length));
        // The nearest before it: `f(first, m, second, n)`.
        let of = (0..at).rev().find(says).or_else(|| (at + 1..given.len()).find(says));
        if let Some(now) = of.and_then(|of| length(&varied[of])) {
            varied[at] = Value::Int(BigInt::from(now));
        }
    }
}

/// Compares numbers with numbers and text with text.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Str(a), Value::Str(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn is_sorted(items: &[Value]) -> bool {
    items.windows(2).all(|pair| order(&pair[0], &pair[1]).is_some_and(Ordering::is_le))
}

/// Sorts what can be compared; a mixture stays as it is.
fn sort(items: &mut [Value]) {
    if items.windows(2).all(|pair| order(&pair[0], &pair[1]).is_some()) {
        items.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::Shown;

    fn variations(calls: &[Call], count: usize, seed: u64) -> Vec<String> {
        Varier::of(calls, seed).variations(calls, &[], count)
    }

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
    fn what_arguments_share_mostly_stays_so() {
        let share = |source: &str, holds: &dyn Fn(&[Value]) -> bool| {
            let call = pydata::parse_call(source).expect("a call");
            let varied = variations(&[call], 100, 3);
            let held = varied.iter().filter(|text| holds(&pydata::parse_call(text).expect("a call").args));
            held.count() as f64 / varied.len() as f64
        };
        let says_length = |args: &[Value]| args[1].to_string() == length(&args[0]).unwrap_or(0).to_string();
        assert!(share("f([5, 1, 7, 2], 4)", &says_length) > 0.8);
        assert!(share("f([5, 1, 7, 2], 3)", &says_length) < 0.4);
        let as_long = |args: &[Value]| length(&args[0]) == length(&args[1]);
        assert!(share("f([5, 1, 7], ['a', 'b', 'c'])", &as_long) > 0.8);
        let sorted = |args: &[Value]| matches!(&args[0], Value::List(items) if is_sorted(items));
        assert!(share("f([1, 4, 6, 8, 11])", &sorted) > 0.6);
        let positive = |args: &[Value]| !args.iter().any(has_negative);
        assert!(share("f(3, [0.5])", &positive) > 0.9);
        assert!(share("f(-3, [0.5])", &positive) < 0.8);
    }

    #[test]
    fn a_call_without_arguments_has_no_variations() {
        let call = pydata::parse_call("f()").expect("a call");
        assert!(variations(&[call], 10, 1).is_empty());
    }

    fn problem(shown: &[&str], tests: &[&str]) -> Problem {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let check = Check { entry_point: "f".into(), tests: texts(tests), ..Check::default() };
        let shown =
            Shown { examples: texts(shown), default_examples: 1, name: "f".into(), ..Shown::default() };
        Problem { shown, check: check.into_record(), ..Problem::default() }
    }

    #[test]
    fn a_level_knows_the_calls_of_its_tests() {
        let tests = ["assert f(1) == 2", "assert f(2) == 3", "assert f(x) == 4"];
        let problem = problem(&tests, &tests);
        assert!(known_calls(&problem, 0).is_empty());
        assert_eq!(
            (known_calls(&problem, 1), known_calls(&problem, 3)),
            (vec!["f(1)".to_owned()], vec!["f(1)".to_owned()])
        );
        assert_eq!(known_calls(&problem, 2), ["f(1)", "f(2)"]);
    }

    #[test]
    fn the_calls_in_a_check_function_are_known_at_level_two_only() {
        let check = "def check(candidate):\n    assert candidate([1], 2) == 3\n    assert candidate(0, 1) is True, 'no'\n\
                     \x20   assert abs(candidate(2, 2) - 4) < 1e-6\ncheck(f)";
        let problem = problem(&["assert f(7) == 7"], &[check]);
        assert_eq!(known_calls(&problem, 2), ["f([1], 2)", "f(0, 1)", "f(2, 2)"]);
        assert_eq!(known_calls(&problem, 1), ["f(7)"]);
    }

    #[test]
    fn what_is_no_call_of_literals_is_kept_and_not_varied() {
        let given = ["f(x)".to_owned(), "f(3)".to_owned()];
        let inputs = vary(&given, &[], 4, 0);
        assert_eq!((&inputs.inputs[..2], inputs.given, inputs.inputs.len()), (&given[..], 2, 6));
    }

    #[test]
    fn some_inputs_hold_what_was_found_elsewhere() {
        let given = ["f('a,b', [3], 2.5)".to_owned()];
        let literal = |text: &str| pydata::parse_literal(text).expect(text);
        let mined = ["'aeiou'", "17", "1000000007"].map(literal);
        let Inputs { inputs, .. } = vary(&given, &mined, 20, 1);
        assert_eq!(inputs.len(), 21);
        let count = |part: &str| inputs.iter().filter(|input| input.contains(part)).count();
        assert!(count("aeiou") > 0 && count("[1") > 0, "{inputs:?}");
        // Far beyond what is given, nobody knows how long a program takes.
        assert_eq!(count("100000000"), 0);
        assert_eq!(inputs, vary(&given, &mined, 20, 1).inputs);
        // A call that has no value of such a type stays out of it.
        assert_eq!(vary(&["f(1)".to_owned()], &[literal("'x'")], 8, 1).inputs.len(), 9);
    }
}
