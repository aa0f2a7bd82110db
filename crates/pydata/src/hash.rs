//! A hash that agrees with Python's `==`; of numbers it is CPython's own.

use crate::number::Number;
use crate::{Budget, TooMuchWork, Value};
use num_bigint::BigInt;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// A hash, and whether the value equals itself: what holds NaN or an opaque object does not.
#[derive(Clone, Copy)]
pub(crate) struct Hashed {
    pub hash: u64,
    pub reflexive: bool,
}

impl Value {
    /// A hash equal for values that are [`python_eq`](Value::python_eq), within the default budget.
    /// Of a number it is CPython's `hash` (as `u64`). A value beyond the budget hashes to 0.
    pub fn python_hash(&self) -> u64 {
        self.python_hash_within(&mut Budget::default()).unwrap_or(0)
    }

    /// A hash equal for values that are [`python_eq`](Value::python_eq).
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn python_hash_within(&self, budget: &mut Budget) -> Result<u64, TooMuchWork> {
        Ok(hashed(self, 0, budget)?.hash)
    }
}

/// What a hash of one kind starts with, so that equal contents of different kinds differ.
#[derive(Clone, Copy)]
enum Kind {
    None,
    Str,
    Bytes,
    List,
    Tuple,
    Deque,
    Set,
    Dict,
    Range,
    Opaque,
    Invalid,
}

pub(crate) fn hashed(value: &Value, depth: usize, budget: &mut Budget) -> Result<Hashed, TooMuchWork> {
    budget.enter(depth)?;
    if let Some(number) = Number::of(value, budget)? {
        return Ok(Hashed { hash: number.hash(budget)?, reflexive: !number.is_nan() });
    }
    let plain = |hash| Ok(Hashed { hash, reflexive: true });
    match value {
        Value::Str(text) => plain(of_bytes(Kind::Str, text.as_bytes(), budget)?),
        Value::Bytes(bytes) => plain(of_bytes(Kind::Bytes, bytes, budget)?),
        Value::List(items) => sequence(Kind::List, items, depth, budget),
        Value::Tuple(items) => sequence(Kind::Tuple, items, depth, budget),
        Value::Deque(items) => sequence(Kind::Deque, items, depth, budget),
        Value::Set(items) | Value::FrozenSet(items) | Value::KeysView(items) => set(items, depth, budget),
        Value::Dict(pairs) => dict(pairs, depth, budget),
        Value::Range(range) => {
            let (length, start, step) = range.contents(budget)?;
            let part = |value: Option<&BigInt>, budget: &mut Budget| match value {
                Some(value) => hashed(&Value::Int(value.clone()), depth, budget).map(|part| part.hash),
                None => Ok(0),
            };
            let parts = [part(Some(&length), budget)?, part(start, budget)?, part(step, budget)?];
            plain(mix(Kind::Range, &parts))
        }
        Value::Opaque { number, .. } => Ok(Hashed { hash: mix(Kind::Opaque, &[*number]), reflexive: false }),
        Value::Decimal(text) => plain(of_bytes(Kind::Invalid, text.as_bytes(), budget)?),
        _ => plain(mix(Kind::None, &[])),
    }
}

fn of_bytes(kind: Kind, bytes: &[u8], budget: &mut Budget) -> Result<u64, TooMuchWork> {
    budget.spend(10 + bytes.len() as u64 / 2)?;
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(kind as u8);
    bytes.hash(&mut hasher);
    Ok(hasher.finish())
}

fn mix(kind: Kind, hashes: &[u64]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(kind as u8);
    hashes.iter().for_each(|&hash| hasher.write_u64(hash));
    hasher.finish()
}

fn sequence(kind: Kind, items: &[Value], depth: usize, budget: &mut Budget) -> Result<Hashed, TooMuchWork> {
    budget.spend(10 + 4 * items.len() as u64)?;
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(kind as u8);
    let mut reflexive = true;
    for item in items {
        let item = hashed(item, depth + 1, budget)?;
        hasher.write_u64(item.hash);
        reflexive &= item.reflexive;
    }
    Ok(Hashed { hash: hasher.finish(), reflexive })
}

/// Of a set the order says nothing, nor does it how often a literal repeats an element.
fn set(items: &[Value], depth: usize, budget: &mut Budget) -> Result<Hashed, TooMuchWork> {
    spend_sorting(items.len(), budget)?;
    let mut hashes = Vec::with_capacity(items.len());
    let mut reflexive = true;
    for item in items {
        let item = hashed(item, depth + 1, budget)?;
        hashes.push(item.hash);
        reflexive &= item.reflexive;
    }
    hashes.sort_unstable();
    hashes.dedup();
    Ok(Hashed { hash: mix(Kind::Set, &hashes), reflexive })
}

fn dict(pairs: &[(Value, Value)], depth: usize, budget: &mut Budget) -> Result<Hashed, TooMuchWork> {
    spend_sorting(pairs.len(), budget)?;
    let mut hashes = Vec::with_capacity(pairs.len());
    let mut reflexive = true;
    for (key, value) in pairs {
        let (key, value) = (hashed(key, depth + 1, budget)?, hashed(value, depth + 1, budget)?);
        hashes.push(mix(Kind::Tuple, &[key.hash, value.hash]));
        reflexive &= key.reflexive && value.reflexive;
    }
    hashes.sort_unstable();
    Ok(Hashed { hash: mix(Kind::Dict, &hashes), reflexive })
}

/// Takes the steps of hashing, sorting and mixing this many hashes.
pub(crate) fn spend_sorting(count: usize, budget: &mut Budget) -> Result<(), TooMuchWork> {
    let count = count as u64;
    budget.spend(20 + count * (10 + u64::from(count.max(1).ilog2())))
}
