//! A canonical hash: one for all values that Python finds equal.
//!
//! A value is written as bytes in a form that is the same for equal values, sets and dictionaries
//! by the sorted digests of their members, and the bytes are hashed with SHA-256. Nothing else goes
//! in, so that a class is the same in every run and on every machine.

use crate::number::{Exact, Number, float_as_small, parts};
use crate::{Budget, TooMuchWork, Value};
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use sha2::{Digest, Sha256};

/// Raised whenever the form changes.
const VERSION: &[u8] = b"pydata class 1";
/// About what a digest of a few bytes takes, in steps.
const DIGEST_STEPS: u64 = 80;

impl Value {
    /// A hash of 128 bits that is equal for values that are [`python_eq`](Value::python_eq), and
    /// differs for others. What is unequal to itself has a class too: NaN that of every NaN of its
    /// type, an opaque object that of its sort and number.
    ///
    /// # Errors
    /// Where it takes more steps than the budget has.
    pub fn canonical_class(&self, budget: &mut Budget) -> Result<u128, TooMuchWork> {
        let mut hasher = Sha256::new_with_prefix(VERSION);
        budget.spend(DIGEST_STEPS)?;
        write(self, &mut hasher, 0, budget)?;
        Ok(digest(hasher))
    }
}

fn digest(hasher: Sha256) -> u128 {
    let digest: [u8; 32] = hasher.finalize().into();
    let (half, _) = digest.split_at(16);
    half.iter().fold(0, |all, &byte| all << 8 | u128::from(byte))
}

/// Writes the canonical form, which tells where it ends; whether the value equals itself.
fn write(value: &Value, hasher: &mut Sha256, depth: usize, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    budget.enter(depth)?;
    budget.spend(8)?;
    match value {
        Value::None => hasher.update(b"0"),
        Value::Str(text) => write_bytes(b's', text.as_bytes(), hasher, budget)?,
        Value::Bytes(bytes) => write_bytes(b'b', bytes, hasher, budget)?,
        Value::List(items) => return write_sequence(b'l', items, hasher, depth, budget),
        Value::Tuple(items) => return write_sequence(b't', items, hasher, depth, budget),
        Value::Deque(items) => return write_sequence(b'q', items, hasher, depth, budget),
        Value::Set(items) | Value::FrozenSet(items) | Value::KeysView(items) => {
            return write_set(items, hasher, depth, budget);
        }
        Value::Dict(pairs) => return write_dict(pairs, hasher, depth, budget),
        Value::Range(range) => {
            let (length, start, step) = range.contents(budget)?;
            hasher.update(b"r");
            write_integer(&length, hasher, budget)?;
            for part in [start, step].into_iter().flatten() {
                write_integer(part, hasher, budget)?;
            }
        }
        Value::Opaque { sort, number } => {
            write_bytes(b'o', sort.as_bytes(), hasher, budget)?;
            hasher.update(number.to_le_bytes());
            return Ok(false);
        }
        _ => return write_scalar(value, hasher, budget),
    }
    Ok(true)
}

fn write_scalar(value: &Value, hasher: &mut Sha256, budget: &mut Budget) -> Result<bool, TooMuchWork> {
    match (Number::of(value, budget)?, value) {
        (Some(number), Value::Decimal(text)) if number.is_nan() => {
            write_bytes(b'D', text.as_bytes(), hasher, budget)?;
            Ok(false)
        }
        (Some(number), _) => {
            write_number(&number, hasher, budget)?;
            Ok(!number.is_nan())
        }
        (None, Value::Decimal(text)) => write_bytes(b'X', text.as_bytes(), hasher, budget).map(|()| true),
        // Every other kind has its own form.
        (None, _) => Ok(true),
    }
}

fn write_number(number: &Number, hasher: &mut Sha256, budget: &mut Budget) -> Result<(), TooMuchWork> {
    match number {
        Number::Small(value) => write_small(*value, hasher),
        Number::Float(value) if !value.is_finite() => write_float(b'f', *value, hasher),
        Number::Float(value) => match float_as_small(*value) {
            Some(small) => write_small(small, hasher),
            None if value.fract() == 0.0 => write_exact(number, hasher, budget)?,
            None => {
                let (mantissa, exponent) = parts(*value);
                write_ratio(u64::from(exponent.unsigned_abs()), 0, hasher);
                write_small(mantissa, hasher);
                write_small(1, hasher);
            }
        },
        Number::Complex(real, imaginary) => {
            write_float(b'c', *real, hasher);
            write_float(b'c', *imaginary, hasher);
        }
        _ => write_exact(number, hasher, budget)?,
    }
    Ok(())
}

fn write_exact(number: &Number, hasher: &mut Sha256, budget: &mut Budget) -> Result<(), TooMuchWork> {
    match number.exact(budget)? {
        Some(Exact::Integer(value)) => write_integer(&value, hasher, budget),
        Some(Exact::Scientific(value, exponent)) => {
            hasher.update(b"e");
            hasher.update(exponent.to_le_bytes());
            write_integer(&value, hasher, budget)
        }
        Some(Exact::Ratio { numerator, twos, fives, denominator }) => {
            write_ratio(twos, fives, hasher);
            write_integer(&numerator, hasher, budget)?;
            write_integer(&denominator, hasher, budget)
        }
        // Only floats and complex numbers have no exact value.
        None => Ok(()),
    }
}

fn write_small(value: i64, hasher: &mut Sha256) {
    let mut bytes = [b'i'; 9];
    bytes[1..].copy_from_slice(&value.to_le_bytes());
    hasher.update(bytes);
}

fn write_integer(value: &BigInt, hasher: &mut Sha256, budget: &mut Budget) -> Result<(), TooMuchWork> {
    match value.to_i64() {
        Some(small) => {
            write_small(small, hasher);
            Ok(())
        }
        None => {
            budget.spend(value.bits() / 8)?;
            write_bytes(b'I', &value.to_signed_bytes_le(), hasher, budget)
        }
    }
}

fn write_ratio(twos: u64, fives: u64, hasher: &mut Sha256) {
    hasher.update(b"/");
    hasher.update(twos.to_le_bytes());
    hasher.update(fives.to_le_bytes());
}

/// A float by its bits: -0.0 equals 0.0, and all NaN are alike.
fn write_float(tag: u8, value: f64, hasher: &mut Sha256) {
    let bits = if value.is_nan() { u64::MAX } else { (value + 0.0).to_bits() };
    hasher.update([tag]);
    hasher.update(bits.to_le_bytes());
}

fn write_bytes(tag: u8, bytes: &[u8], hasher: &mut Sha256, budget: &mut Budget) -> Result<(), TooMuchWork> {
    budget.spend(8 + bytes.len() as u64)?;
    write_length(tag, bytes.len(), hasher);
    hasher.update(bytes);
    Ok(())
}

fn write_length(tag: u8, length: usize, hasher: &mut Sha256) {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&(length as u64).to_le_bytes());
    hasher.update(bytes);
}

fn write_sequence(
    tag: u8,
    items: &[Value],
    hasher: &mut Sha256,
    depth: usize,
    budget: &mut Budget,
) -> Result<bool, TooMuchWork> {
    write_length(tag, items.len(), hasher);
    let mut reflexive = true;
    for item in items {
        reflexive &= write(item, hasher, depth + 1, budget)?;
    }
    Ok(reflexive)
}

fn write_set(
    items: &[Value],
    hasher: &mut Sha256,
    depth: usize,
    budget: &mut Budget,
) -> Result<bool, TooMuchWork> {
    budget.spend(20 + DIGEST_STEPS * items.len() as u64)?;
    let mut members = Vec::with_capacity(items.len());
    for item in items {
        let mut member = Sha256::new();
        let reflexive = write(item, &mut member, depth + 1, budget)?;
        members.push((digest(member), reflexive));
    }
    members.sort_unstable();
    // A literal may repeat an element; two that are unequal to themselves are two elements.
    members.dedup_by(|one, other| one == other && one.1);
    write_length(b'{', members.len(), hasher);
    members.iter().for_each(|(member, _)| hasher.update(member.to_le_bytes()));
    Ok(members.iter().all(|(_, reflexive)| *reflexive))
}

fn write_dict(
    pairs: &[(Value, Value)],
    hasher: &mut Sha256,
    depth: usize,
    budget: &mut Budget,
) -> Result<bool, TooMuchWork> {
    budget.spend(20 + DIGEST_STEPS * pairs.len() as u64)?;
    let mut members = Vec::with_capacity(pairs.len());
    let mut reflexive = true;
    for (key, value) in pairs {
        let mut member = Sha256::new();
        reflexive &= write(key, &mut member, depth + 1, budget)?;
        reflexive &= write(value, &mut member, depth + 1, budget)?;
        members.push(digest(member));
    }
    members.sort_unstable();
    write_length(b'm', members.len(), hasher);
    members.iter().for_each(|member| hasher.update(member.to_le_bytes()));
    Ok(reflexive)
}
