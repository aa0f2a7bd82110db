//! EvalPlus's comparison of a candidate's outputs with its reference's.
//!
//! The rules are those of EvalPlus 0.3.1: `unsafe_execute`, `is_floats` and `untrusted_check` in
//! `evalplus/eval/__init__.py`, the oracles in `evalplus/eval/_special_oracle.py`, `trusted_exec` in
//! `evalplus/gen/util/__init__.py`. A problem has two parts, base and plus, and each is judged alone:
//!
//! - The reference is executed once a part, and called on a deep copy of each input in the part's
//!   order; so is the candidate, in a process of its own. Neither gets imports or helpers that it does
//!   not have itself.
//! - A part passes where every call returns in time ([`time_limits`]) and every output is accepted by
//!   [`Comparison::accepts`]. A part without inputs (plus of `Mbpp/793`) passes where the program
//!   loads and defines the function.
//!
//! Three differences are known. EvalPlus 0.3.1 fails every solution of HumanEval/32, the reference too:
//! it leaves calls that pass out of its count (github.com/evalplus/evalplus/pull/201). EvalPlus hands an
//! oracle the arguments that the candidate may have changed; here it gets them as they were. EvalPlus
//! demands Python's very type before it compares within a tolerance; plain data does not tell
//! `numpy.float64` from `float`, or a named tuple from a tuple.

mod close;

use crate::check::Plus;
use close::{all_close, number};
use pydata::{BigInt, Value};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Set once an expected value is a float or floats, where a problem has no tolerance of its own
/// (`unsafe_execute`).
const TOLERANCE_OF_FLOATS: f64 = 1e-6;

/// `DEFAULT_MIN_TIME_LIMIT` in `evalplus/config.py`.
const MIN_SECONDS_OF_CALL: f64 = 1.0;
/// `DEFAULT_GT_TIME_LIMIT_FACTOR` in `evalplus/config.py`.
const FACTOR_OF_CALL: f64 = 4.0;
/// `EVALPLUS_TIMEOUT_PER_TASK` of `untrusted_check`.
const MAX_SECONDS_OF_PART: f64 = 60.0;
/// What `untrusted_check` adds to a part's time, and again when it waits.
const EXTRA_SECONDS_OF_PART: f64 = 2.0;

/// A task's own way of comparing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Oracle {
    /// Only whether the output is `None` counts; an output that is a boolean is compared with whether
    /// the reference's is not (`MBPP_OUTPUT_NOT_NONE_TASKS`).
    Presence,
    /// `set(output) == set(expected)` (`MBPP_OUTPUT_SET_EQ_TASKS`).
    Elements,
    /// Any output is right (Mbpp/164, `are_equivalent`).
    Anything,
    /// 0 is right as well (Mbpp/295, `sum_div`).
    OrZero,
    /// The area of a pyramid whose second argument is its height is right as well (Mbpp/581,
    /// `_surface_Area`).
    OrSurfaceArea,
    /// The distance of numbers padded with zeros is right as well (Mbpp/558,
    /// `_digit_distance_nums`).
    OrDigitDistance,
    /// The output is a root of the polynomial with the argument's coefficients, within the tolerance
    /// (HumanEval/32, `_poly`).
    Root,
}

impl Oracle {
    /// The oracle of MBPP+'s task with this function.
    pub fn of_mbpp(entry_point: &str) -> Option<Self> {
        Some(match entry_point {
            "check_str" | "text_match_three" | "text_starta_endb" => Oracle::Presence,
            "similar_elements"
            | "find_char_long"
            | "common_in_nested_lists"
            | "extract_singly"
            | "larg_nnum"
            | "intersection_array"
            | "find_dissimilar"
            | "Diff" => Oracle::Elements,
            "are_equivalent" => Oracle::Anything,
            "sum_div" => Oracle::OrZero,
            "surface_Area" => Oracle::OrSurfaceArea,
            "digit_distance_nums" => Oracle::OrDigitDistance,
            _ => return None,
        })
    }

    /// The oracle of HumanEval+'s task with this function.
    pub fn of_humaneval(entry_point: &str) -> Option<Self> {
        (entry_point == "find_zero").then_some(Oracle::Root)
    }
}

/// What has to be handed over of an output that is not plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Nothing: EvalPlus's `==` with plain data is false.
    Plain,
    /// That it is there: any plain value stands for it, except `None` and a boolean.
    Presence,
    /// A list of its elements, where it can be iterated.
    Elements,
}

impl Plus {
    /// How outputs that are not plain data are handed over.
    pub fn reading(&self) -> Reading {
        match self.oracle {
            Some(Oracle::Presence | Oracle::Anything) => Reading::Presence,
            Some(Oracle::Elements) => Reading::Elements,
            _ => Reading::Plain,
        }
    }
}

/// How long a candidate may take for one part.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeLimits {
    /// For each call, in wall time. EvalPlus calls a part `fail` whose call takes longer.
    pub calls: Vec<Duration>,
    /// For the part, loading included, in wall time. EvalPlus calls it `timeout` where it takes longer.
    pub part: Duration,
}

/// The limits that follow from how long the reference took for each call of a part.
pub fn time_limits(reference: &[Duration]) -> TimeLimits {
    let limit = |time: &Duration| (time.as_secs_f64() * FACTOR_OF_CALL).max(MIN_SECONDS_OF_CALL);
    let calls: Vec<Duration> = reference.iter().map(|time| Duration::from_secs_f64(limit(time))).collect();
    let sum = calls.iter().map(Duration::as_secs_f64).sum::<f64>();
    TimeLimits { calls, part: Duration::from_secs_f64(sum.min(MAX_SECONDS_OF_PART) + EXTRA_SECONDS_OF_PART) }
}

/// Compares the outputs of one part, in its order: EvalPlus's tolerance depends on the expected values
/// before.
#[derive(Clone, Debug)]
pub struct Comparison {
    oracle: Option<Oracle>,
    tolerance: f64,
}

impl Comparison {
    /// For the first call of a part.
    pub fn new(plus: &Plus) -> Self {
        Comparison { oracle: plus.oracle, tolerance: plus.tolerance }
    }

    /// Whether the candidate's output of a call is right. Both outputs are as [`Reading`] says.
    pub fn accepts(&mut self, call: &str, candidate: &Value, reference: &Value) -> bool {
        self.judge(call, candidate, reference).unwrap_or(false)
    }

    /// None where EvalPlus's comparison raises.
    fn judge(&mut self, call: &str, candidate: &Value, reference: &Value) -> Option<bool> {
        let exact = match self.oracle {
            Some(Oracle::Root) => return Some(residual(call, candidate)?.abs() <= self.tolerance),
            Some(Oracle::Presence) => return Some(same_presence(candidate, reference)),
            Some(Oracle::Elements) => elements(candidate)?.python_eq(&elements(reference)?),
            Some(Oracle::Anything) => true,
            None => candidate.python_eq(reference),
            Some(oracle) => {
                candidate.python_eq(reference) || self.is_right_as_well(oracle, call, candidate)?
            }
        };
        if self.tolerance == 0.0 && is_floats(reference) {
            self.tolerance = TOLERANCE_OF_FLOATS;
        }
        Some(exact || (self.tolerance != 0.0 && self.is_close(candidate, reference)))
    }

    fn is_right_as_well(&self, oracle: Oracle, call: &str, candidate: &Value) -> Option<bool> {
        match oracle {
            Oracle::OrZero => Some(candidate.python_eq(&Value::from(0))),
            Oracle::OrSurfaceArea => {
                let (real, imaginary) = number(candidate)?;
                Some((real - surface_area(call)?).hypot(imaginary) <= self.tolerance)
            }
            Oracle::OrDigitDistance => Some(candidate.python_eq(&Value::from(digit_distance(call)?))),
            _ => Some(false),
        }
    }

    /// `type(out) == type(exp)`, equal lengths, and `np.allclose(out, exp, rtol=1e-07, atol=atol)`.
    fn is_close(&self, candidate: &Value, reference: &Value) -> bool {
        let same_length = match (candidate, reference) {
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => a.len() == b.len(),
            _ => true,
        };
        std::mem::discriminant(candidate) == std::mem::discriminant(reference)
            && same_length
            && all_close(candidate, reference, self.tolerance).unwrap_or(false)
    }
}

/// `is_floats`: a float, or a list or tuple of nothing but floats.
fn is_floats(value: &Value) -> bool {
    match value {
        Value::Float(_) => true,
        Value::List(items) | Value::Tuple(items) => {
            !items.is_empty() && items.iter().all(|item| matches!(item, Value::Float(_)))
        }
        _ => false,
    }
}

fn same_presence(candidate: &Value, reference: &Value) -> bool {
    let expected = !matches!(reference, Value::None);
    match candidate {
        Value::Bool(value) => *value == expected,
        other => !matches!(other, Value::None) == expected,
    }
}

/// `set(value)`; none where that raises.
fn elements(value: &Value) -> Option<Value> {
    let items: Vec<Value> = match value {
        Value::List(items)
        | Value::Tuple(items)
        | Value::Set(items)
        | Value::FrozenSet(items)
        | Value::Deque(items) => items.clone(),
        Value::Dict(pairs) => pairs.iter().map(|(key, _)| key.clone()).collect(),
        Value::Str(text) => text.chars().map(|c| Value::Str(c.to_string())).collect(),
        Value::Bytes(bytes) => bytes.iter().map(|&byte| Value::from(i64::from(byte))).collect(),
        _ => return None,
    };
    items.iter().all(is_hashable).then_some(Value::Set(items))
}

fn is_hashable(value: &Value) -> bool {
    match value {
        Value::List(_) | Value::Set(_) | Value::Dict(_) | Value::Deque(_) => false,
        Value::Tuple(items) => items.iter().all(is_hashable),
        _ => true,
    }
}

/// The arguments of a call, as numbers.
fn arguments(call: &str) -> Option<Vec<Value>> {
    pydata::parse_call(call).ok().map(|call| call.args)
}

/// `_poly(*inp, out)`: the polynomial's value at the candidate's root.
fn residual(call: &str, candidate: &Value) -> Option<f64> {
    let arguments = arguments(call)?;
    let [Value::List(coefficients) | Value::Tuple(coefficients)] = arguments.as_slice() else { return None };
    if coefficients.is_empty() {
        return Some(0.0);
    }
    let x = match candidate {
        Value::Complex(..) => return None,
        Value::Decimal(text) => text.parse().ok()?,
        real => number(real)?.0,
    };
    let mut sum = 0.0;
    for (exponent, coefficient) in coefficients.iter().enumerate() {
        let power = x.powf(exponent as f64);
        // `math.pow` raises OverflowError.
        if x.is_finite() && !power.is_finite() {
            return None;
        }
        sum += number(coefficient)?.0 * power;
    }
    Some(sum)
}

/// `_surface_Area(*inp)`.
fn surface_area(call: &str) -> Option<f64> {
    let arguments = arguments(call)?;
    let [base, height] = arguments.as_slice() else { return None };
    let ((base, _), (height, _)) = (number(base)?, number(height)?);
    let slant = ((base / 2.0).powi(2) + height.powi(2)).sqrt();
    let area = base.powi(2) + 4.0 * (base * slant) / 2.0;
    // `round` raises for what is not finite.
    area.is_finite().then(|| area.round_ties_even())
}

/// `_digit_distance_nums(*inp)`; a sign or a point is no digit, and raises.
fn digit_distance(call: &str) -> Option<i64> {
    let digits = |value: &Value| match value {
        Value::Int(number) if *number >= BigInt::ZERO => Some(number.to_string().into_bytes()),
        _ => None,
    };
    let arguments = arguments(call)?;
    let [first, second] = arguments.as_slice() else { return None };
    let (first, second) = (digits(first)?, digits(second)?);
    let length = first.len().max(second.len());
    // From the last digit on; a missing one is a zero.
    let digit = |digits: &[u8], at: usize| {
        digits.len().checked_sub(at + 1).map_or(0, |at| i64::from(digits[at] - b'0'))
    };
    Some((0..length).map(|at| (digit(&first, at) - digit(&second, at)).abs()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Value {
        pydata::parse_literal(text).expect("a literal")
    }

    fn accepts(tolerance: f64, oracle: Option<Oracle>, call: &str, candidate: &str, reference: &str) -> bool {
        let plus = Plus { tolerance, oracle, ..Plus::default() };
        Comparison::new(&plus).accepts(call, &literal(candidate), &literal(reference))
    }

    #[test]
    fn a_tolerance_holds_from_the_first_expected_float_on() {
        let mut comparison = Comparison::new(&Plus::default());
        let mut accepts = |candidate: &str, reference: &str| {
            comparison.accepts("f()", &literal(candidate), &literal(reference))
        };
        assert!(!accepts("10000000001", "10000000000"));
        assert!(accepts("0.1000000001", "0.1"));
        assert!(accepts("10000000001", "10000000000"));
        assert!(!accepts("10000000001.0", "10000000000"), "another type, and not equal");
        assert!(accepts("10000000000.0", "10000000000"), "equal, so the type does not count");
    }

    #[test]
    fn oracles_accept_what_the_task_leaves_open() {
        let presence = Some(Oracle::Presence);
        assert!(accepts(0.0, presence, "f('a')", "'re.Match'", "'re.Match'"));
        assert!(accepts(0.0, presence, "f('a')", "True", "'re.Match'"));
        assert!(!accepts(0.0, presence, "f('a')", "None", "'re.Match'"));
        assert!(accepts(0.0, presence, "f('a')", "False", "None"));
        assert!(!accepts(0.0, presence, "f('a')", "0", "None"), "0 is not None");
        assert!(accepts(0.0, Some(Oracle::Elements), "f()", "{3: 1, 4: 2}", "(4, 3, 4)"));
        assert!(!accepts(0.0, Some(Oracle::Elements), "f()", "[[3]]", "(3,)"));
        assert!(accepts(0.0, Some(Oracle::Anything), "f()", "None", "True"));
        assert!(accepts(0.0, Some(Oracle::OrZero), "f(3)", "0.0", "1"));
        assert!(accepts(0.0, Some(Oracle::OrSurfaceArea), "f(3, 4)", "35", "33"));
        assert!(!accepts(0.0, Some(Oracle::OrSurfaceArea), "f(3, 4)", "'35'", "33"));
        assert!(accepts(0.0, Some(Oracle::OrDigitDistance), "f(23, 156)", "7", "3"));
        assert!(!accepts(0.0, Some(Oracle::OrDigitDistance), "f(-23, 156)", "7", "3"), "a sign is no digit");
    }

    #[test]
    fn a_root_need_not_be_the_references() {
        let root = Some(Oracle::Root);
        assert!(accepts(1e-4, root, "find_zero([-6, 11, -6, 1])", "2.0000001", "1.0"));
        assert!(!accepts(1e-4, root, "find_zero([-6, 11, -6, 1])", "1.5", "1.5"));
        for output in ["None", "1j", "'1'", "1e200", "float('nan')"] {
            assert!(!accepts(1e-4, root, "find_zero([-6, 11, -6, 1])", output, "1.0"), "{output}");
        }
    }

    #[test]
    fn time_is_four_times_the_references_and_at_least_a_second_a_call() {
        let limits = time_limits(&[Duration::from_millis(10), Duration::from_millis(500)]);
        assert_eq!(limits.calls, [Duration::from_secs(1), Duration::from_secs(2)]);
        assert_eq!(limits.part, Duration::from_secs(5));
        assert_eq!(time_limits(&[Duration::from_secs(1); 100]).part, Duration::from_secs(62));
    }
}
