//! EvalPlus's inputs: the reference runs once on all of them, each candidate once a part.

use crate::Check;
use crate::check::Plus;
use crate::clock::Clock;
use crate::conclude::shorten;
use crate::judge::{Answers, Judge};
use crate::marshal::Calls;
use crate::plus::{Comparison, Reading, time_limits};
use crate::wire::decode;
use pydata::Value;
use records::{Outcome, Separation, TestResult, Verdict};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use verify::Watch;

/// CPU time for the reference on one part, in seconds.
const REFERENCE_SECONDS: f64 = 120.0;

/// What the reference gives on the inputs of a part.
#[derive(Clone, Debug)]
struct Part {
    name: &'static str,
    calls: Arc<[String]>,
    /// The same, as they are sent.
    encoded: Arc<Calls>,
    values: Arc<[Value]>,
    /// Wall time for each call.
    limits: Arc<[Duration]>,
    /// CPU time for all of it, in seconds.
    cpu_seconds: f64,
}

/// What the reference gives on all inputs.
#[derive(Clone, Debug)]
pub struct Expected {
    plus: Arc<Plus>,
    parts: [Part; 2],
}

/// Runs the reference; an inner error says on which input it fails.
pub(crate) fn expected(
    judge: &mut Judge,
    check: &Check,
    plus: &Plus,
    reference: &str,
    watch: &Watch,
) -> io::Result<Result<Expected, String>> {
    let mut part = |name: &'static str, calls: &Vec<String>| -> io::Result<Result<Part, String>> {
        let encoded = Calls::of(calls);
        let job = judge.candidate_job(check, reference, REFERENCE_SECONDS);
        let job = job.with_calls("calls", &encoded).with_text("reading", reading(plus));
        let (mut values, mut times) = (Vec::new(), Vec::new());
        let run =
            judge.run_candidate(job, REFERENCE_SECONDS, Answers::AsTheyCome, watch, |next, _, limit| {
                for _ in calls {
                    let started = Instant::now();
                    // The reference has as long as it takes, up to its CPU time.
                    let mut clock = Clock::start(Duration::from_secs_f64(REFERENCE_SECONDS), watch, 0);
                    match next(limit, &mut clock) {
                        Ok(message) if message.tag == b'V' => values.extend(decode(&message.payload)),
                        Ok(message) => return (vec![crate::conclude::ran(&message)], None),
                        Err(silence) => return (Vec::new(), Some(silence)),
                    }
                    times.push(started.elapsed());
                }
                (Vec::new(), None)
            })?;
        if values.len() != calls.len() {
            let why = run.tests.first().map_or("", |test| test.reason.as_str());
            let call = calls.get(values.len()).map_or(String::new(), |call| shorten(call.clone()));
            return Ok(Err(format!("the reference fails on an input of {name}, {call}: {why}")));
        }
        let limits = time_limits(&times);
        Ok(Ok(Part {
            name,
            calls: calls.clone().into(),
            encoded: encoded.into(),
            values: values.into(),
            limits: limits.calls.into(),
            cpu_seconds: limits.part.as_secs_f64(),
        }))
    };
    let (base, extra) = (part("base", &plus.base)?, part("plus", &plus.plus)?);
    let plus = Plus { base: Vec::new(), plus: Vec::new(), ..plus.clone() };
    Ok(base.and_then(|base| Ok(Expected { plus: Arc::new(plus), parts: [base, extra?] })))
}

fn reading(plus: &Plus) -> &'static str {
    match plus.reading() {
        Reading::Plain => "plain",
        Reading::Presence => "presence",
        Reading::Elements => "elements",
    }
}

/// Judges a candidate: each part in a process of its own.
pub(crate) fn verdict(
    judge: &mut Judge,
    check: &Check,
    expected: &Expected,
    solution: &str,
    watch: &Watch,
) -> io::Result<Verdict> {
    let mut verdict =
        Verdict { separation: Some(Separation::Compared), ..Verdict::infrastructure("", 0, "") };
    verdict.isolation = judge.shared.tier.name().to_owned();
    for part in &expected.parts {
        let (result, ended) = run_part(judge, check, &expected.plus, part, solution, watch)?;
        verdict.parts.push((part.name.to_owned(), result.outcome));
        verdict.cpu_milliseconds += ended.cpu.as_secs_f64() * 1e3;
        verdict.peak_memory_kib = verdict.peak_memory_kib.max(ended.peak_memory_kib);
        verdict.tests.push(result);
    }
    (verdict.outcome, verdict.reason) = crate::conclude::overall(&verdict.tests, expected.parts.len());
    Ok(verdict)
}

fn run_part(
    judge: &mut Judge,
    check: &Check,
    plus: &Plus,
    part: &Part,
    solution: &str,
    watch: &Watch,
) -> io::Result<(TestResult, crate::zygote::Ended)> {
    let job = judge.candidate_job(check, solution, part.cpu_seconds).with_calls("calls", &part.encoded);
    let job = job.with_text("reading", reading(plus)).with_text("defines", &check.entry_point);
    let parent = judge.zygote()?.pid();
    let mut comparison = Comparison::new(plus);
    let run = judge.run_candidate(job, part.cpu_seconds, Answers::AsTheyCome, watch, |next, _, limit| {
        for (at, call) in part.calls.iter().enumerate() {
            let mut clock = Clock::start(part.limits[at], watch, parent);
            let message = match next(limit, &mut clock) {
                Ok(message) => message,
                Err(silence) => return (Vec::new(), Some(silence)),
            };
            let mut result = match message.tag {
                b'V' => match decode(&message.payload) {
                    Some(value) if comparison.accepts(call, &value, &part.values[at]) => continue,
                    Some(value) => {
                        TestResult::failed(Outcome::Failed, "wrong answer", shorten(value.to_string()))
                    }
                    None => TestResult::failed(Outcome::Failed, "crash", "it sent what is not a value"),
                },
                b'E' => TestResult::failed(Outcome::Failed, "exception", message.text()),
                _ => crate::conclude::ran(&message),
            };
            result.detail = shorten(format!("{}: {}", shorten(call.clone()), result.detail));
            return (vec![result], None);
        }
        (vec![TestResult::passed()], None)
    })?;
    let mut tests = run.tests;
    let missing = || TestResult::failed(Outcome::Failed, "crash", "its process ended");
    Ok((tests.pop().unwrap_or_else(missing), run.ended))
}
