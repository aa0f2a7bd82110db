//! How a problem's tests are judged.
//!
//! The plan is a function of the problem alone: no candidate, no time and no size has a part in it.
//! As far as possible a test is data: calls, and values to compare with ([`Kind::Compared`]). What is
//! more than that runs in a process of its own, which calls the candidate by messages
//! ([`Kind::Proxied`]). Only what even that cannot carry, as the problem's reference shows, runs
//! beside the candidate ([`Kind::Shared`]), and the verdict says so.

use crate::marshal::Calls;
use crate::{Check, PROTOCOL_IMPORTS};
use pydata::{Comparison, Value, parse_assert, parse_literal};
use records::Separation;
use serde::Deserialize;
use serde_json::json;

/// One comparison of a test.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// `f(1, 2)`, as the candidate's process evaluates it.
    pub call: String,
    /// How its value is compared.
    pub comparison: Comparison,
    /// With what.
    pub expected: Value,
}

/// How the tests run.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Each test is one or more comparisons.
    Compared {
        /// The tests.
        tests: Vec<Vec<Expectation>>,
        /// Their calls, in order.
        calls: Calls,
    },
    /// The tests run in a process of their own.
    Proxied {
        /// Names in the tests that are the candidate's.
        names: Vec<String>,
        /// What the tests may do with the candidate's objects: what they do with the reference's.
        allowed: Vec<String>,
        /// How often they call the reference.
        calls: u32,
    },
    /// The tests run in the candidate's process.
    Shared,
    /// EvalPlus's inputs, compared with what the reference gives on them.
    Plus(crate::plus_run::Expected),
}

impl Kind {
    /// Of tests that are data.
    pub fn compared(tests: Vec<Vec<Expectation>>) -> Self {
        let calls = Calls::of(tests.iter().flatten().map(|expectation| &expectation.call));
        Kind::Compared { tests, calls }
    }
}

/// How a problem is judged.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Number of its tests.
    pub tests: usize,
    /// How they run.
    pub kind: Kind,
}

/// Operators of the candidate's own objects that do not decide a comparison.
const NOT_DECIDING: [&str; 8] = [
    "operator __getitem__",
    "operator __iter__",
    "operator __setitem__",
    "operator __delitem__",
    "operator __enter__",
    "operator __exit__",
    "operator __isinstance__",
    "operator __hash__",
];

impl Plan {
    /// Where the expected values are.
    pub fn separation(&self) -> Separation {
        match &self.kind {
            Kind::Compared { .. } | Kind::Plus(_) => Separation::Compared,
            // An object of the candidate's own that is compared decides by its own methods.
            Kind::Proxied { allowed, .. }
                if allowed
                    .iter()
                    .any(|use_| use_.starts_with("operator ") && !NOT_DECIDING.contains(&use_.as_str())) =>
            {
                Separation::Shared
            }
            Kind::Proxied { .. } => Separation::Proxied,
            Kind::Shared => Separation::Shared,
        }
    }
}

/// A check whose tests have been looked at, but whose reference has not run.
#[derive(Clone, Debug)]
pub enum Lowered {
    /// All of it is comparisons.
    Compared(Vec<Vec<Expectation>>),
    /// It asserted no more than comparisons when it ran without a candidate.
    Recorded {
        /// What it asserted.
        tests: Vec<Vec<Expectation>>,
        /// As in `Names`, for tests that a reference fails as they were recorded.
        names: Vec<String>,
    },
    /// The tests have to run; these of their names are the candidate's.
    Names(Vec<String>),
}

impl Lowered {
    /// Where every test is one comparison that can be read here, without an interpreter.
    pub fn of_comparisons(check: &Check) -> Option<Self> {
        // A setup of the problem's own has to run once before it can be relied on.
        let has_setup = check.setup.lines().any(|line| !PROTOCOL_IMPORTS.contains(line.trim()));
        if has_setup || !check.test_setup.trim().is_empty() || check.tests.is_empty() {
            return None;
        }
        let tests = check.tests.iter().map(|test| Some(vec![expectation(test)?]));
        tests.collect::<Option<_>>().map(Lowered::Compared)
    }

    /// From what the planner answered: the names, and what running the tests showed.
    ///
    /// # Errors
    /// What is wrong with the problem, or with the answer.
    pub fn of_answer(names: &[u8], ran: Option<&[u8]>) -> Result<Self, String> {
        match serde_json::from_slice(names).map_err(|error| format!("the planner's answer: {error}"))? {
            Answer::Refused { error } => Err(error),
            Answer::Planned { names } => {
                // A process that ended over the tests says nothing of them.
                let ran: Ran = ran.and_then(|ran| serde_json::from_slice(ran).ok()).unwrap_or_default();
                if let Some(fault) = ran.fault {
                    return Err(fault);
                }
                let read = |test: Vec<Claim>| test.into_iter().map(Claim::expectation).collect();
                let tests = ran.claims.and_then(|tests| tests.into_iter().map(read).collect());
                Ok(match tests {
                    Some(tests) => Lowered::Recorded { tests, names },
                    None => Lowered::Names(names),
                })
            }
        }
    }
}

/// One assert as data.
fn expectation(source: &str) -> Option<Expectation> {
    let assert = parse_assert(source).ok()?;
    Some(Expectation {
        call: evaluated(assert.call.source, assert.comparison),
        comparison: assert.comparison,
        expected: assert.expected,
    })
}

/// What the candidate's process evaluates. Where truth is asked for, whatever is true passes, data or
/// not.
fn evaluated(call: String, comparison: Comparison) -> String {
    match comparison {
        Comparison::Truthy | Comparison::Falsy => format!("not not ({call})"),
        _ => call,
    }
}

/// What running the tests without a candidate showed.
#[derive(Default, Deserialize)]
struct Ran {
    /// What they assert, if that is all there is to them.
    claims: Option<Vec<Vec<Claim>>>,
    /// Why no candidate can be judged by them.
    fault: Option<String>,
}

/// What an assertion of the tests' said: a call, how its value is compared, with what, and how near.
#[derive(Deserialize)]
struct Claim(String, String, String, Option<f64>);

impl Claim {
    fn expectation(self) -> Option<Expectation> {
        let Claim(call, kind, expected, tolerance) = self;
        let comparison = match (kind.as_str(), tolerance) {
            ("==", _) => Comparison::Equal,
            ("is", _) => Comparison::Identical,
            ("true", _) => Comparison::Truthy,
            ("false", _) => Comparison::Falsy,
            ("<", Some(tolerance)) => Comparison::Near { tolerance, inclusive: false },
            ("<=", Some(tolerance)) => Comparison::Near { tolerance, inclusive: true },
            _ => return None,
        };
        let expected = parse_literal(&expected).ok()?;
        Some(Expectation { call: evaluated(call, comparison), comparison, expected })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Refused { error: String },
    Planned { names: Vec<String> },
}

/// The planner's job. With `runs` it also runs setup and tests, without a candidate. With `names` it has
/// looked at them before, and these are the candidate's.
pub fn planner_job(
    check: &Check,
    reference: Option<&String>,
    packages: &[String],
    runs: bool,
    names: Option<&[String]>,
) -> serde_json::Value {
    json!({
        "runs": runs,
        "names": names,
        "entry_point": check.entry_point,
        "setup": check.setup,
        "prompt": check.prompt,
        "test_setup": check.test_setup,
        "tests": check.tests,
        "reference": reference,
        "packages": packages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tests: &[&str]) -> Check {
        Check { tests: tests.iter().map(|test| (*test).to_owned()).collect(), ..Check::default() }
    }

    #[test]
    fn only_whole_comparisons_are_data() {
        assert!(Lowered::of_comparisons(&check(&["assert f(1) == 2", "assert f(2) is True"])).is_some());
        for more in ["assert f(1) == g(2)", "x = 1\nassert f(1) == 2", "assert f(x) == 2", "assert f(1) < 2"]
        {
            assert!(Lowered::of_comparisons(&check(&["assert f(1) == 2", more])).is_none(), "{more}");
        }
        assert!(Lowered::of_comparisons(&check(&[])).is_none());
    }

    #[test]
    fn comparing_the_candidates_own_objects_is_said() {
        let separation = |allowed: &[&str]| {
            let allowed = allowed.iter().map(|use_| (*use_).to_owned()).collect();
            Plan { tests: 1, kind: Kind::Proxied { names: Vec::new(), allowed, calls: 0 } }.separation()
        };
        assert_eq!(separation(&["object from Pair", "operator __getitem__"]), Separation::Proxied);
        assert_eq!(separation(&["object from Vector", "operator __eq__"]), Separation::Shared);
    }
}
