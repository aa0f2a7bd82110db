//! Numbers of all of Python's types, compared exactly and hashed as CPython hashes them.
//!
//! Numbers of different types are equal only if their hashes are, and hashing takes time linear in
//! what is written: a power of ten is taken modulo 2^61 - 1, never written out. Only where the
//! hashes agree are the exact values compared, in a form that has no large powers of ten either.
//! Source: "Hashing of numeric types", Python's library reference.

use crate::decimal::{self, Decimal, Finite};
use crate::{Budget, TooMuchWork, Value};
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{FromPrimitive, One, Signed, ToPrimitive, Zero};

/// The modulus of CPython's hash of numbers.
const MODULUS: u64 = (1 << 61) - 1;
/// CPython's hash of infinity.
const HASH_OF_INFINITY: u64 = 314_159;
/// What CPython multiplies the hash of an imaginary part by.
const IMAGINARY: u64 = 1_000_003;
const INVERSE_OF_TEN: u64 = inverse(10);

/// A number of any of Python's types.
pub(crate) enum Number<'a> {
    Small(i64),
    /// Outside the range of `i64`.
    Int(&'a BigInt),
    Float(f64),
    /// The imaginary part is not 0, or the real part is not a number.
    Complex(f64, f64),
    Fraction(&'a BigInt, &'a BigInt),
    Decimal(Finite<'a>),
}

/// The exact value of a number: equal numbers have equal fields.
#[derive(PartialEq, Eq)]
pub(crate) enum Exact {
    /// Not a multiple of 10^[`LARGE`], or 0.
    Integer(BigInt),
    /// Another integer: the first is not a multiple of 10, the second is the exponent of 10.
    Scientific(BigInt, u64),
    /// No integer: `numerator / (2^twos · 5^fives · denominator)` in lowest terms; `denominator`
    /// has no factors 2 and 5.
    Ratio { numerator: BigInt, twos: u64, fives: u64, denominator: BigInt },
}

/// Integers that end in this many zeros are kept as digits and an exponent.
const LARGE: u64 = 1_000;

impl<'a> Number<'a> {
    /// The number that a value is, if it is one.
    #[inline]
    pub fn of(value: &'a Value, budget: &mut Budget) -> Result<Option<Self>, TooMuchWork> {
        Ok(Some(match value {
            Value::Bool(value) => Number::Small(i64::from(*value)),
            Value::Int(value) => match value.to_i64() {
                Some(small) => Number::Small(small),
                None => Number::Int(value),
            },
            Value::Float(value) => Number::Float(*value),
            Value::Complex(real, imaginary) if *imaginary == 0.0 && !real.is_nan() => Number::Float(*real),
            Value::Complex(real, imaginary) => Number::Complex(*real, *imaginary),
            Value::Fraction(numerator, denominator) => Number::Fraction(numerator, denominator),
            Value::Decimal(text) => {
                budget.spend(10 + text.len() as u64)?;
                match decimal::parse(text) {
                    Some(Decimal::Finite(finite)) => Number::Decimal(finite),
                    Some(Decimal::Zero) => Number::Small(0),
                    Some(Decimal::Infinite { negative: true }) => Number::Float(f64::NEG_INFINITY),
                    Some(Decimal::Infinite { negative: false }) => Number::Float(f64::INFINITY),
                    Some(Decimal::NotANumber) => Number::Float(f64::NAN),
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        }))
    }

    /// Whether it is unequal to itself.
    pub fn is_nan(&self) -> bool {
        match self {
            Number::Float(value) => value.is_nan(),
            Number::Complex(real, imaginary) => real.is_nan() || imaginary.is_nan(),
            _ => false,
        }
    }

    /// Whether Python's `self == other` is true.
    pub fn equals(&self, other: &Number, budget: &mut Budget) -> Result<bool, TooMuchWork> {
        Ok(match (self, other) {
            (Number::Small(a), Number::Small(b)) => a == b,
            (Number::Float(a), Number::Float(b)) => a == b,
            (Number::Int(a), Number::Int(b)) => {
                budget.spend(limbs(a).min(limbs(b)))?;
                a == b
            }
            (Number::Small(_), Number::Int(_)) | (Number::Int(_), Number::Small(_)) => false,
            (Number::Small(integer), Number::Float(float))
            | (Number::Float(float), Number::Small(integer)) => float_as_small(*float) == Some(*integer),
            (Number::Complex(a, b), Number::Complex(c, d)) => a == c && b == d,
            (Number::Complex(..), _) | (_, Number::Complex(..)) => false,
            (Number::Float(float), _) | (_, Number::Float(float)) if !float.is_finite() => false,
            (Number::Decimal(a), Number::Decimal(b)) => a == b,
            (Number::Fraction(a, b), Number::Fraction(c, d)) => {
                (a == c && b == d) || {
                    budget.spend(limbs(a) * limbs(d) + limbs(b) * limbs(c))?;
                    *a * *d == *b * *c
                }
            }
            _ => self.hash(budget)? == other.hash(budget)? && self.exact(budget)? == other.exact(budget)?,
        })
    }

    /// CPython's `hash`; of what is not a number, a constant.
    pub fn hash(&self, budget: &mut Budget) -> Result<u64, TooMuchWork> {
        let (residue, negative) = match self {
            Number::Small(value) => (value.unsigned_abs() % MODULUS, *value < 0),
            Number::Int(value) => (residue(value, budget)?, value.is_negative()),
            Number::Float(value) => (float_residue(*value), *value < 0.0),
            Number::Complex(real, imaginary) => {
                let part = |value: f64| signed(float_residue(value), value < 0.0);
                let hash = part(*real).wrapping_add(part(*imaginary).wrapping_mul(IMAGINARY));
                return Ok(if hash == u64::MAX { hash - 1 } else { hash });
            }
            Number::Fraction(a, b) => (fraction_residue(a, b, budget)?, a.is_negative()),
            Number::Decimal(finite) => {
                budget.spend(200 + finite.digits.len() as u64)?;
                (decimal_residue(finite), finite.negative)
            }
        };
        Ok(signed(residue, negative))
    }

    /// The exact value; none of what is infinite, complex or not a number.
    pub fn exact(&self, budget: &mut Budget) -> Result<Option<Exact>, TooMuchWork> {
        Ok(Some(match self {
            Number::Small(value) => Exact::Integer(BigInt::from(*value)),
            Number::Int(value) => integer((*value).clone(), budget)?,
            Number::Float(value) if value.fract() == 0.0 => match BigInt::from_f64(*value) {
                Some(value) => Exact::Integer(value),
                None => return Ok(None),
            },
            Number::Float(value) if value.is_finite() => {
                let (mantissa, exponent) = parts(*value);
                let twos = u64::from(exponent.unsigned_abs());
                Exact::Ratio { numerator: mantissa.into(), twos, fives: 0, denominator: BigInt::one() }
            }
            Number::Float(_) | Number::Complex(..) => return Ok(None),
            Number::Fraction(numerator, denominator) => exact_fraction(numerator, denominator, budget)?,
            Number::Decimal(finite) => exact_decimal(finite, budget)?,
        }))
    }
}

/// A float as a small integer, where it is exactly one.
pub(crate) fn float_as_small(value: f64) -> Option<i64> {
    // Every float of this range that is whole converts without loss; 2^63 itself is outside.
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    (in_range && value.fract() == 0.0).then_some(value as i64)
}

/// A finite float is exactly the first times two to the power of the second; the first is odd or 0.
pub(crate) fn parts(value: f64) -> (i64, i32) {
    let bits = value.abs().to_bits();
    let (raw_exponent, raw_mantissa) = ((bits >> 52) as i32, (bits & ((1 << 52) - 1)) as i64);
    let (mantissa, exponent) = match raw_exponent {
        0 => (raw_mantissa, -1074),
        _ => (raw_mantissa | (1 << 52), raw_exponent - 1075),
    };
    if mantissa == 0 {
        return (0, 0);
    }
    let zeros = mantissa.trailing_zeros();
    let mantissa = mantissa >> zeros;
    (if value < 0.0 { -mantissa } else { mantissa }, exponent + zeros as i32)
}

fn limbs(value: &BigInt) -> u64 {
    1 + value.bits() / 64
}

/// As CPython folds a sign into a hash: -1 marks an error there, and is not a hash.
fn signed(residue: u64, negative: bool) -> u64 {
    match (residue, negative) {
        (1, true) => (-2i64) as u64,
        (_, true) => residue.wrapping_neg(),
        (_, false) => residue,
    }
}

/// A number modulo the modulus: 2^61 is 1 there.
const fn reduce(value: u128) -> u64 {
    let folded = (value & MODULUS as u128) + (value >> 61);
    let folded = ((folded & MODULUS as u128) + (folded >> 61)) as u64;
    if folded >= MODULUS { folded - MODULUS } else { folded }
}

const fn multiply(a: u64, b: u64) -> u64 {
    reduce(a as u128 * b as u128)
}

const fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = multiply(result, base);
        }
        base = multiply(base, base);
        exponent >>= 1;
    }
    result
}

/// Of a number that is not a multiple of the modulus, which is prime.
const fn inverse(residue: u64) -> u64 {
    power(residue, MODULUS - 2)
}

/// The magnitude modulo the modulus.
fn residue(value: &BigInt, budget: &mut Budget) -> Result<u64, TooMuchWork> {
    budget.spend(2 * limbs(value))?;
    let fold = |residue: u64, limb: u64| reduce(u128::from(residue) << 64 | u128::from(limb));
    Ok(value.iter_u64_digits().rev().fold(0, fold))
}

fn float_residue(value: f64) -> u64 {
    if value.is_nan() {
        return 0;
    }
    if value.is_infinite() {
        return HASH_OF_INFINITY;
    }
    let (mantissa, exponent) = parts(value);
    multiply(mantissa.unsigned_abs(), 1 << exponent.rem_euclid(61))
}

fn fraction_residue(
    numerator: &BigInt,
    denominator: &BigInt,
    budget: &mut Budget,
) -> Result<u64, TooMuchWork> {
    budget.spend(200)?;
    match (residue(numerator, budget)?, residue(denominator, budget)?) {
        // Not in lowest terms: Python makes no such fraction unless it is forced to.
        (0, 0) if !denominator.is_zero() => {
            let (numerator, denominator) = lowest_terms(numerator, denominator, budget)?;
            fraction_residue(&numerator, &denominator, budget)
        }
        (_, 0) => Ok(HASH_OF_INFINITY),
        (above, below) => Ok(multiply(above, inverse(below))),
    }
}

fn decimal_residue(finite: &Finite) -> u64 {
    let fold = |residue: u64, digit: u8| reduce(u128::from(residue) * 10 + u128::from(digit - b'0'));
    let digits = finite.digits.bytes().fold(0, fold);
    let ten = if finite.exponent < 0 { INVERSE_OF_TEN } else { 10 };
    multiply(digits, power(ten, finite.exponent.unsigned_abs()))
}

fn lowest_terms(
    numerator: &BigInt,
    denominator: &BigInt,
    budget: &mut Budget,
) -> Result<(BigInt, BigInt), TooMuchWork> {
    let steps = (numerator.bits() + denominator.bits()) * limbs(numerator).max(limbs(denominator));
    budget.spend(steps / 4)?;
    let divisor = numerator.gcd(denominator);
    Ok(match divisor.is_one() || divisor.is_zero() {
        true => (numerator.clone(), denominator.clone()),
        false => (numerator / &divisor, denominator / &divisor),
    })
}

fn exact_fraction(
    numerator: &BigInt,
    denominator: &BigInt,
    budget: &mut Budget,
) -> Result<Exact, TooMuchWork> {
    let (numerator, mut denominator) = lowest_terms(numerator, denominator, budget)?;
    if denominator.is_one() {
        return integer(numerator, budget);
    }
    let twos = denominator.trailing_zeros().unwrap_or(0);
    denominator >>= twos;
    let fives = strip(&mut denominator, 5, u64::MAX, budget)?;
    Ok(Exact::Ratio { numerator, twos, fives, denominator })
}

fn exact_decimal(finite: &Finite, budget: &mut Budget) -> Result<Exact, TooMuchWork> {
    let length = finite.digits.len() as u64;
    budget.spend(100 + length + length * length / 300)?;
    let mut value: BigInt = finite.digits.parse().unwrap_or_default();
    if finite.negative {
        value = -value;
    }
    let exponent = finite.exponent.unsigned_abs();
    if finite.exponent >= 0 {
        // Its digits do not end in 0.
        if exponent >= LARGE {
            return Ok(Exact::Scientific(value, exponent));
        }
        budget.spend(100 + limbs(&value) * exponent / 16)?;
        return Ok(Exact::Integer(value * BigInt::from(10).pow(exponent as u32)));
    }
    // Not a multiple of 10: at most one of 2 and 5 divides it, and it is no integer.
    let common_twos = value.trailing_zeros().unwrap_or(0).min(exponent);
    value >>= common_twos;
    let common_fives = if common_twos == 0 { strip(&mut value, 5, exponent, budget)? } else { 0 };
    let (twos, fives) = (exponent - common_twos, exponent - common_fives);
    Ok(Exact::Ratio { numerator: value, twos, fives, denominator: BigInt::one() })
}

fn integer(value: BigInt, budget: &mut Budget) -> Result<Exact, TooMuchWork> {
    budget.spend(limbs(&value))?;
    if value.trailing_zeros().unwrap_or(0) < LARGE {
        return Ok(Exact::Integer(value));
    }
    let mut stripped = value.clone();
    match strip(&mut stripped, 10, u64::MAX, budget)? {
        zeros if zeros >= LARGE => Ok(Exact::Scientific(stripped, zeros)),
        _ => Ok(Exact::Integer(value)),
    }
}

/// Divides by a factor as often as that leaves no rest, up to a limit; how often.
fn strip(value: &mut BigInt, factor: u64, limit: u64, budget: &mut Budget) -> Result<u64, TooMuchWork> {
    let mut count = 0;
    // The largest power in a limb first.
    let chunk = u64::from(u64::MAX.ilog(factor));
    for (divisor, step) in [(factor.pow(chunk as u32), chunk), (factor, 1)] {
        let divisor = BigInt::from(divisor);
        while !value.is_zero() && limit - count >= step {
            budget.spend(20 + 8 * limbs(value))?;
            let (quotient, rest) = value.div_rem(&divisor);
            if !rest.is_zero() {
                break;
            }
            *value = quotient;
            count += step;
        }
    }
    Ok(count)
}
