//! Python's `==` on plain data.
//!
//! Sets and dictionaries are matched through a hash that agrees with `==` (equal numbers of
//! different types hash alike), so that comparing two sets of a million elements takes a few
//! million steps. Values that collide on purpose are compared in pairs, until the budget ends.

use crate::hash::{Hashed, hashed, spend_sorting};
use crate::number::Number;
use crate::{Budget, TooMuchWork, Value};

impl Value {
    /// Whether Python's `self == other` is true, within the default budget: what takes more work is
    /// not equal. Use [`python_eq_within`](Value::python_eq_within) to tell the two apart.
    pub fn python_eq(&self, other: &Value) -> bool {
        self.python_eq_within(other, &mut Budget::default()).unwrap_or(false)
    }

    /// Whether Python's `self == other` is true.
    ///
    /// Two values never share an object here, so NaN is unequal to NaN in containers too. An opaque
    /// object equals nothing.
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn python_eq_within(&self, other: &Value, budget: &mut Budget) -> Result<bool, TooMuchWork> {
        equal(self, other, 0, budget)
    }
}

fn equal(a: &Value, b: &Value, depth: usize, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    budget.enter(depth)?;
    match (a, b) {
        (Value::None, Value::None) => Ok(true),
        (Value::Int(a), Value::Int(b)) => {
            budget.spend(a.bits().min(b.bits()) / 64)?;
            Ok(a == b)
        }
        (Value::Str(a), Value::Str(b)) => {
            budget.spend_bytes(a.len().min(b.len()))?;
            Ok(a == b)
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            budget.spend_bytes(a.len().min(b.len()))?;
            Ok(a == b)
        }
        (Value::List(a), Value::List(b))
        | (Value::Tuple(a), Value::Tuple(b))
        | (Value::Deque(a), Value::Deque(b)) => sequences_equal(a, b, depth, budget),
        (
            Value::Set(a) | Value::FrozenSet(a) | Value::KeysView(a),
            Value::Set(b) | Value::FrozenSet(b) | Value::KeysView(b),
        ) => sets_equal(a, b, depth, budget),
        (Value::Dict(a), Value::Dict(b)) => dicts_equal(a, b, depth, budget),
        (Value::Range(a), Value::Range(b)) => Ok(a.contents(budget)? == b.contents(budget)?),
        _ => scalars_equal(a, b, budget),
    }
}

fn scalars_equal(a: &Value, b: &Value, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    match (Number::of(a, budget)?, Number::of(b, budget)?) {
        (Some(a), Some(b)) => a.equals(&b, budget),
        // Only a decimal whose text Python does not write is no number: it equals its own text.
        (None, None) => Ok(matches!((a, b), (Value::Decimal(a), Value::Decimal(b)) if a == b)),
        _ => Ok(false),
    }
}

fn sequences_equal(a: &[Value], b: &[Value], depth: usize, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(b) {
        if !equal(a, b, depth + 1, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sets_equal(a: &[Value], b: &[Value], depth: usize, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    let a = Index::of(a.iter(), depth + 1, budget)?;
    let b = Index::of(b.iter(), depth + 1, budget)?;
    if !a.is_reflexive || !b.is_reflexive || a.distinct.len() != b.distinct.len() {
        return Ok(false);
    }
    // Distinct elements find distinct ones: as many found as there are is all of them.
    for &(hash, at) in &a.distinct {
        if b.find(hash, a.values[at], depth + 1, budget)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

type Pair = (Value, Value);

fn dicts_equal(a: &[Pair], b: &[Pair], depth: usize, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if !keys_in_order(a, b, depth, budget)? {
        return dicts_equal_by_hash(a, b, depth, budget);
    }
    for ((_, a), (_, b)) in a.iter().zip(b) {
        if !equal(a, b, depth + 1, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether both have equal keys in the same order, as most equal dictionaries have.
fn keys_in_order(a: &[Pair], b: &[Pair], depth: usize, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    for ((a, _), (b, _)) in a.iter().zip(b) {
        if !equal(a, b, depth + 1, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn dicts_equal_by_hash(
    a: &[Pair],
    b: &[Pair],
    depth: usize,
    budget: &mut Budget,
) -> Result<bool, TooMuchWork> {
    let keys = Index::of(a.iter().map(|(key, _)| key), depth + 1, budget)?;
    let index = Index::of(b.iter().map(|(key, _)| key), depth + 1, budget)?;
    // A key repeated on one side could leave one of the other's out.
    let distinct = keys.distinct.len() == a.len() && index.distinct.len() == b.len();
    if !distinct || !keys.is_reflexive || !index.is_reflexive {
        return Ok(false);
    }
    for &(hash, at) in &keys.distinct {
        let Some(found) = index.find(hash, &a[at].0, depth + 1, budget)? else { return Ok(false) };
        if !equal(&a[at].1, &b[found].1, depth + 1, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// For each key the place of the first that is equal to it: its own, unless it repeats one.
pub(crate) fn first_equals<'a>(
    keys: impl Iterator<Item = &'a Value>,
    budget: &mut Budget,
) -> Result<Vec<usize>, TooMuchWork> {
    Ok(Index::of(keys, 0, budget)?.firsts)
}

/// Values found by their hash.
struct Index<'a> {
    values: Vec<&'a Value>,
    /// For each value the place of the first one equal to it.
    firsts: Vec<usize>,
    /// Hash and place of the first of each equal values, by hash.
    distinct: Vec<(u64, usize)>,
    /// Whether every value equals itself.
    is_reflexive: bool,
}

impl<'a> Index<'a> {
    fn of(
        values: impl Iterator<Item = &'a Value>,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Self, TooMuchWork> {
        let values: Vec<&Value> = values.collect();
        spend_sorting(values.len(), budget)?;
        let mut all: Vec<(Hashed, usize)> = Vec::with_capacity(values.len());
        for (at, value) in values.iter().enumerate() {
            all.push((hashed(value, depth, budget)?, at));
        }
        all.sort_unstable_by_key(|(hashed, at)| (hashed.hash, *at));
        let is_reflexive = all.iter().all(|(hashed, _)| hashed.reflexive);
        let firsts = (0..values.len()).collect();
        let mut index = Index { distinct: Vec::with_capacity(values.len()), values, firsts, is_reflexive };
        // Where the values of the hash at hand start in `distinct`.
        let mut start = 0;
        for (Hashed { hash, reflexive }, at) in all {
            if index.distinct.get(start).is_none_or(|(present, _)| *present != hash) {
                start = index.distinct.len();
            }
            let equal = match reflexive {
                true => index.equal_from(start, index.values[at], depth, budget)?,
                false => None,
            };
            match equal {
                Some(first) => index.firsts[at] = first,
                None => index.distinct.push((hash, at)),
            }
        }
        Ok(index)
    }

    /// The value equal to this one, among those of one hash that start here.
    fn equal_from(
        &self,
        start: usize,
        value: &Value,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Option<usize>, TooMuchWork> {
        let mut candidates = self.distinct[start..].iter();
        let hash = candidates.clone().next().map(|(hash, _)| *hash);
        while let Some((_, at)) = candidates.next().filter(|(other, _)| Some(*other) == hash) {
            // The values lie anywhere in memory.
            budget.spend(60)?;
            if equal(self.values[*at], value, depth, budget)? {
                return Ok(Some(*at));
            }
        }
        Ok(None)
    }

    /// Where the value equal to this one stands.
    fn find(
        &self,
        hash: u64,
        value: &Value,
        depth: usize,
        budget: &mut Budget,
    ) -> Result<Option<usize>, TooMuchWork> {
        budget.spend(10)?;
        let start = self.distinct.partition_point(|(other, _)| *other < hash);
        match self.distinct.get(start) {
            Some((other, _)) if *other == hash => self.equal_from(start, value, depth, budget),
            _ => Ok(None),
        }
    }
}
