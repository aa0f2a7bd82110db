//! From what a process sent to results.

use crate::plan::Expectation;
use crate::wire::{Message, decode};
use crate::zygote::{Ended, Silence};
use pydata::{Budget, Comparison};
use records::{Outcome, Resource, TestResult};

const SIGKILL: i32 = 9;
const SIGXCPU: i32 = 24;
/// How much of a wrong value a result keeps, in characters.
const DETAIL: usize = 200;

/// What a candidate's answer to a call says of one expectation.
pub fn compared(expectation: &Expectation, message: &Message) -> TestResult {
    match message.tag {
        b'V' => value(expectation, message),
        b'E' => TestResult::failed(Outcome::Failed, "exception", message.text()),
        _ => other(message),
    }
}

fn value(expectation: &Expectation, message: &Message) -> TestResult {
    let Some(value) = decode(&message.payload) else {
        return TestResult::failed(Outcome::Failed, "crash", "it sent what is not a value");
    };
    let wrong = |value: String| TestResult::failed(Outcome::Failed, "wrong answer", shorten(value));
    // In proportion to what it sent, which has a limit of its own.
    let mut budget = Budget::new(Budget::DEFAULT_STEPS + 100 * message.payload.len() as u64);
    match expectation.comparison.holds(&value, &expectation.expected, &mut budget) {
        Ok(true) => TestResult::passed(),
        Ok(false) => match expectation.comparison {
            // The call was `not not (…)`, whose value says nothing.
            Comparison::Truthy | Comparison::Falsy => wrong(String::new()),
            _ => wrong(value.to_string()),
        },
        Err(_) => TestResult::failed(
            Outcome::Limit(Resource::Time),
            "comparison limit",
            "comparing its value takes too much work",
        ),
    }
}

/// What a test that ran, in whichever process, says.
pub fn ran(message: &Message) -> TestResult {
    match message.tag {
        b'P' => TestResult::passed(),
        b'E' if message.payload.starts_with(b"AssertionError") => {
            TestResult::failed(Outcome::Failed, "wrong answer", message.text())
        }
        b'E' if message.payload.starts_with(b"PermissionError") => {
            TestResult::failed(Outcome::Refused, "refused", message.text())
        }
        b'E' | b'T' => TestResult::failed(Outcome::Failed, "exception", message.text()),
        b'A' => TestResult::failed(Outcome::Failed, "crash", "the candidate's process ended"),
        b'G' => TestResult::failed(Outcome::Failed, "crash", "it sent what is not a message"),
        _ => other(message),
    }
}

fn other(message: &Message) -> TestResult {
    match message.tag {
        b'F' => TestResult::failed(Outcome::Refused, "refused", message.text()),
        b'M' => TestResult::failed(Outcome::Limit(Resource::Memory), "memory limit", ""),
        b'N' => TestResult::failed(Outcome::Failed, "not plain data", strip_class(&message.text())),
        b'O' => TestResult::failed(Outcome::Limit(Resource::Output), "output limit", ""),
        _ => TestResult::failed(Outcome::Failed, "crash", "it sent what is not an answer"),
    }
}

/// `NotPlain: a value of type Node` without the class.
fn strip_class(text: &str) -> String {
    text.strip_prefix("NotPlain: ").unwrap_or(text).to_owned()
}

/// Why a program was never loaded; none if it was.
pub fn not_loaded(message: &Message) -> Option<TestResult> {
    Some(match message.tag {
        b'L' => return None,
        b'S' => TestResult::failed(Outcome::Invalid, "syntax error", message.text()),
        b'X' => TestResult::failed(Outcome::Invalid, "load error", message.text()),
        _ => other(message),
    })
}

/// What cut a process short that should have said more. `cpu_limit` is the kernel's, in seconds.
pub fn cut_short(silence: Silence, ended: &Ended, cpu_limit: f64) -> TestResult {
    let out_of_time = || TestResult::failed(Outcome::Limit(Resource::Time), "timeout", "");
    match (silence, ended.signal) {
        (Silence::OutOfTime, _) | (_, Some(SIGXCPU)) => out_of_time(),
        (Silence::Garbage, _) => TestResult::failed(Outcome::Limit(Resource::Output), "output limit", ""),
        (_, Some(SIGKILL)) if ended.cpu.as_secs_f64() >= cpu_limit => out_of_time(),
        (_, Some(signal)) if signal != SIGKILL => {
            TestResult::failed(Outcome::Failed, "crash", format!("signal {signal}"))
        }
        _ => TestResult::failed(Outcome::Failed, "crash", "its process ended"),
    }
}

/// The first failure; passed if there is none and every test has its result.
pub fn overall(results: &[TestResult], expected: usize) -> (Outcome, String) {
    match results.iter().find(|result| result.outcome != Outcome::Passed) {
        Some(failed) => (failed.outcome, failed.reason.clone()),
        None if expected > 0 && results.len() == expected => (Outcome::Passed, String::new()),
        // No tests can never be a pass.
        None => (Outcome::Infrastructure, "there are no tests".to_owned()),
    }
}

/// A text's beginning.
pub fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(DETAIL) {
        text.truncate(end);
        text.push('…');
    }
    text
}
