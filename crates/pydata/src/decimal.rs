//! The text of a `decimal.Decimal`, taken apart without writing out its power of ten.

use std::borrow::Cow;

/// What the text of a decimal says.
pub(crate) enum Decimal<'a> {
    Finite(Finite<'a>),
    Zero,
    Infinite { negative: bool },
    NotANumber,
}

/// A number other than 0: `±digits · 10^exponent`.
#[derive(PartialEq, Eq)]
pub(crate) struct Finite<'a> {
    pub negative: bool,
    /// Neither the first nor the last is 0, so that equal numbers have equal fields.
    pub digits: Cow<'a, str>,
    pub exponent: i64,
}

/// Reads what Python's `str` writes of a decimal; none where it is anything else, or its exponent
/// is beyond 64 bits.
pub(crate) fn parse(text: &str) -> Option<Decimal<'_>> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return special(unsigned, negative);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let whole = whole.trim_start_matches('0');
    let digits = match (whole, fraction) {
        ("", fraction) => Cow::Borrowed(fraction.trim_start_matches('0')),
        (whole, "") => Cow::Borrowed(whole),
        (whole, fraction) => Cow::Owned([whole, fraction].concat()),
    };
    let length = digits.trim_end_matches('0').len();
    if length == 0 {
        return Some(Decimal::Zero);
    }
    let exponent = exponent.checked_add(i64::try_from(digits.len() - length).ok()?)?;
    let digits = match digits {
        Cow::Borrowed(digits) => Cow::Borrowed(&digits[..length]),
        Cow::Owned(mut digits) => {
            digits.truncate(length);
            Cow::Owned(digits)
        }
    };
    Some(Decimal::Finite(Finite { negative, digits, exponent }))
}

fn special(unsigned: &str, negative: bool) -> Option<Decimal<'_>> {
    let lower = unsigned.to_ascii_lowercase();
    let payload = lower.strip_prefix('s').unwrap_or(&lower).strip_prefix("nan");
    match lower.as_str() {
        "inf" | "infinity" => Some(Decimal::Infinite { negative }),
        _ if payload.is_some_and(|payload| payload.bytes().all(|byte| byte.is_ascii_digit())) => {
            Some(Decimal::NotANumber)
        }
        _ => None,
    }
}

/// Whether this is text that Python's `str` can write of a decimal.
pub(crate) fn is_pythons(text: &str) -> bool {
    // Python's own range: MIN_ETINY to MAX_EMAX of the decimal module on 64-bit machines.
    const EXPONENTS: std::ops::RangeInclusive<i64> = -1_999_999_999_999_999_997..=999_999_999_999_999_999;
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let payload = unsigned.strip_prefix('s').unwrap_or(unsigned).strip_prefix("NaN");
    let is_number = || {
        let (mantissa, exponent) = unsigned.split_once('E').unwrap_or((unsigned, "+0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        [whole, fraction, unsigned].iter().all(|part| !part.is_empty() && is_digits(part))
            && exponent.parse::<i64>().is_ok_and(|exponent| EXPONENTS.contains(&exponent))
    };
    unsigned == "Infinity" || payload.is_some_and(is_digits) || is_number()
}
