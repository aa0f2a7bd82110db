//! `numpy.allclose` on plain data.
//!
//! As NumPy 2.4 has it, which EvalPlus finds beside itself: lists and tuples become arrays, which are
//! broadcast; integers of any size may stand in the candidate's, not in the reference's.

use num_traits::ToPrimitive;
use pydata::{BigInt, Value};

/// The relative tolerance beside it (`unsafe_execute`; as in `numpy.testing.assert_allclose`).
const RELATIVE_TOLERANCE: f64 = 1e-7;
/// Of NumPy's arrays.
const MAX_DIMENSIONS: usize = 64;
/// Broadcasting to more elements than this is refused, as EvalPlus's limit on memory would.
const MAX_ELEMENTS: usize = 1 << 24;

/// A number that can be subtracted from a float, as real and imaginary part; none for anything else,
/// and for an integer that is too large to be made a float.
pub(super) fn number(value: &Value) -> Option<(f64, f64)> {
    let real = match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Int(value) => finite(value)?,
        Value::Float(value) => *value,
        Value::Complex(real, imaginary) => return Some((*real, *imaginary)),
        Value::Fraction(numerator, denominator) => finite(numerator)? / finite(denominator)?,
        _ => return None,
    };
    Some((real, 0.0))
}

fn finite(value: &BigInt) -> Option<f64> {
    value.to_f64().filter(|value| value.is_finite())
}

/// What NumPy makes of nested lists and tuples.
#[derive(Default)]
struct Array {
    shape: Vec<usize>,
    data: Vec<(f64, f64)>,
}

impl Array {
    /// None where NumPy refuses to make an array of it, or to subtract a float from one.
    fn of(value: &Value) -> Option<Self> {
        let mut array = Array::default();
        let mut first = value;
        while let Value::List(items) | Value::Tuple(items) | Value::Deque(items) = first {
            array.shape.push(items.len());
            let Some(item) = items.first() else { break };
            first = item;
        }
        (array.shape.len() <= MAX_DIMENSIONS && array.fill(value, 0)).then_some(array)
    }

    /// Whether the value has the array's shape and holds numbers alone.
    fn fill(&mut self, value: &Value, depth: usize) -> bool {
        match (value, self.shape.get(depth).copied()) {
            (Value::List(items) | Value::Tuple(items) | Value::Deque(items), Some(length)) => {
                items.len() == length && items.iter().all(|item| self.fill(item, depth + 1))
            }
            (_, None) => number(value).map(|number| self.data.push(number)).is_some(),
            _ => false,
        }
    }

    /// The steps through the data for an array that is broadcast to a shape.
    fn strides(&self, shape: &[usize]) -> Vec<usize> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1;
        for (at, &length) in self.shape.iter().enumerate().rev() {
            if length != 1 {
                strides[at + shape.len() - self.shape.len()] = step;
            }
            step *= length;
        }
        strides
    }
}

/// The shape that NumPy broadcasts two shapes to.
fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let dimensions = a.len().max(b.len());
    let length =
        |shape: &[usize], at: usize| (at + shape.len()).checked_sub(dimensions).map_or(1, |at| shape[at]);
    let shape = (0..dimensions).map(|at| match (length(a, at), length(b, at)) {
        (x, y) if x == y => Some(x),
        (1, other) | (other, 1) => Some(other),
        _ => None,
    });
    shape.collect()
}

/// Whether NumPy makes an array of Python's objects of it: that array is no reference, since
/// `isfinite` refuses it.
fn holds_objects(value: &Value) -> bool {
    match value {
        Value::List(items) | Value::Tuple(items) | Value::Deque(items) => items.iter().any(holds_objects),
        Value::Int(value) => value.to_i64().is_none() && value.to_u64().is_none(),
        Value::Fraction(..) => true,
        _ => false,
    }
}

/// `np.allclose(candidate, reference, rtol=1e-07, atol=tolerance)`; none where that raises.
pub(super) fn all_close(candidate: &Value, reference: &Value, tolerance: f64) -> Option<bool> {
    // An integer alone is not made an array, but a float.
    if holds_objects(reference) && !matches!(reference, Value::Int(_)) {
        return None;
    }
    let (a, b) = (Array::of(candidate)?, Array::of(reference)?);
    let shape = broadcast(&a.shape, &b.shape)?;
    let count = shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length));
    let count = count.filter(|&count| count <= MAX_ELEMENTS)?;
    let (a_strides, b_strides) = (a.strides(&shape), b.strides(&shape));
    let mut place = vec![0; shape.len()];
    let offset =
        |place: &[usize], strides: &[usize]| place.iter().zip(strides).map(|(at, step)| at * step).sum();
    for _ in 0..count {
        let (x, y): (usize, usize) = (offset(&place, &a_strides), offset(&place, &b_strides));
        if !is_element_close(a.data[x], b.data[y], tolerance) {
            return Some(false);
        }
        for at in (0..shape.len()).rev() {
            place[at] += 1;
            if place[at] < shape[at] {
                break;
            }
            place[at] = 0;
        }
    }
    Some(true)
}

/// An element of `numpy.isclose`.
fn is_element_close(x: (f64, f64), y: (f64, f64), tolerance: f64) -> bool {
    let difference = (x.0 - y.0).hypot(x.1 - y.1);
    let bound = tolerance + RELATIVE_TOLERANCE * y.0.hypot(y.1);
    (difference <= bound && y.0.is_finite() && y.1.is_finite()) || x == y
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Value {
        pydata::parse_literal(text).expect("a literal")
    }

    #[test]
    fn a_large_broadcast_is_refused_and_not_worked_through() {
        let column = Value::List(vec![Value::List(vec![Value::Float(1.0)]); 5_000]);
        let rows = Value::List(vec![Value::List(vec![Value::Float(1.0); 5_000]); 1]);
        assert_eq!(all_close(&column, &rows, 1.0), None);
    }

    #[test]
    fn fractions_of_a_candidate_are_numbers_and_decimals_are_not() {
        let half = Value::fraction(BigInt::from(1), BigInt::from(2)).expect("a fraction");
        let list = |value: &Value| Value::List(vec![value.clone()]);
        assert_eq!(all_close(&list(&half), &literal("[0.5000000001]"), 1e-6), Some(true));
        assert_eq!(all_close(&literal("[0.5]"), &list(&half), 1e-6), None);
        assert_eq!(all_close(&list(&Value::Decimal("0.5".into())), &literal("[0.5]"), 1e-6), None);
    }
}
