//! From what a candidate's process sent to a verdict.

use crate::wire::{Message, decode};
use crate::zygote::{Ending, Run, Zygote};
use crate::{Settings, Task};
use pydata::{Value, parse_assert};
use records::{JudgeMode, Outcome, Problem, Test, TestResult, Verdict};
use serde_json::{Value as Json, json};
use std::time::Instant;

const SIGXCPU: i32 = 24;
const SIGKILL: i32 = 9;
/// How much of a wrong value a verdict keeps.
const DETAIL: usize = 200;

/// A test ready to be judged.
#[derive(Clone, Debug)]
pub enum PreparedTest {
    /// The call's value is compared with the expected one here.
    Compared {
        /// `f(1, 2)`
        call: String,
        /// What it shall give.
        expected: Value,
    },
    /// The test runs in the candidate's process.
    InProcess {
        /// Its source.
        source: String,
    },
}

/// Takes a test apart where that can be done: `assert call == literal`.
pub fn prepare(test: &Test) -> PreparedTest {
    match parse_assert(&test.source) {
        Ok(assert) => PreparedTest::Compared { call: assert.call.source, expected: assert.expected },
        Err(_) => PreparedTest::InProcess { source: test.source.clone() },
    }
}

impl PreparedTest {
    fn to_json(&self) -> Json {
        match self {
            PreparedTest::Compared { call, .. } => json!({ "call": call }),
            PreparedTest::InProcess { source } => json!({ "source": source }),
        }
    }

    fn result(&self, message: &Message) -> TestResult {
        let text = || String::from_utf8_lossy(&message.payload).into_owned();
        let (outcome, detail) = match (message.tag, self) {
            (b'V', PreparedTest::Compared { expected, .. }) => match decode(&message.payload) {
                Some(value) if value.python_eq(expected) => (Outcome::Passed, String::new()),
                Some(value) => (Outcome::WrongAnswer, shorten(value.to_string())),
                None => (Outcome::Crash, "it sent what is not a value".to_owned()),
            },
            (b'P', PreparedTest::InProcess { .. }) => (Outcome::Passed, String::new()),
            (b'E', PreparedTest::InProcess { .. }) if message.payload.starts_with(b"AssertionError") => {
                (Outcome::WrongAnswer, text())
            }
            (b'E', _) => (Outcome::Exception, text()),
            (b'M', _) => (Outcome::OutOfMemory, String::new()),
            (b'N', _) => (Outcome::NotPlainData, text()),
            (b'O', _) => (Outcome::OutputLimit, String::new()),
            _ => (Outcome::Crash, "it sent what is not an answer".to_owned()),
        };
        TestResult { outcome, detail }
    }
}

fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(DETAIL) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The program that the candidate's process loads.
fn program(problem: &Problem, code: &str) -> String {
    let prefix = problem.completion_prefix.as_deref().unwrap_or("");
    format!("{}\n{prefix}{code}\n{}\n", problem.setup, problem.test_setup)
}

/// Judges one candidate. A zygote that fails is replaced once; if that fails too, the verdict is
/// [`Outcome::Infrastructure`].
pub fn judge(settings: &Settings, zygote: &mut Option<Zygote>, task: &Task) -> Verdict {
    let tests: Vec<PreparedTest> = task.problem.tests.iter().map(prepare).collect();
    let job = json!({
        "program": program(task.problem, task.code),
        "tests": tests.iter().map(PreparedTest::to_json).collect::<Vec<_>>(),
        "cpu_seconds": settings.cpu_seconds,
        "memory_bytes": settings.memory_bytes,
        "output_limit": settings.output_limit,
    });
    let job = job.to_string();
    let started = Instant::now();
    let mut verdict = empty_verdict(task, &tests);
    for _ in 0..2 {
        if zygote.is_none() {
            *zygote = Zygote::start(settings).ok();
        }
        let Some(running) = zygote.as_mut() else { continue };
        match running.run(job.as_bytes(), tests.len() + 1, settings) {
            Ok(run) => {
                conclude(&mut verdict, &tests, &run, settings);
                break;
            }
            Err(_) => *zygote = None,
        }
    }
    verdict.wall_milliseconds = started.elapsed().as_secs_f64() * 1e3;
    verdict
}

fn empty_verdict(task: &Task, tests: &[PreparedTest]) -> Verdict {
    let in_process = tests.iter().any(|test| matches!(test, PreparedTest::InProcess { .. }));
    Verdict {
        problem: task.problem.id.clone(),
        index: task.index,
        outcome: Outcome::Infrastructure,
        tests: Vec::new(),
        mode: if in_process { JudgeMode::InProcess } else { JudgeMode::Compared },
        cpu_milliseconds: 0.0,
        wall_milliseconds: 0.0,
        peak_memory_kib: 0,
        isolation: "limits".to_owned(),
    }
}

fn conclude(verdict: &mut Verdict, tests: &[PreparedTest], run: &Run, settings: &Settings) {
    verdict.cpu_milliseconds = run.cpu.as_secs_f64() * 1e3;
    verdict.peak_memory_kib = run.peak_memory_kib;
    let cut_short = match (run.ending, run.signal) {
        (Ending::OutOfTime, _) | (_, Some(SIGXCPU)) => Outcome::Timeout,
        (Ending::Garbage, _) => Outcome::OutputLimit,
        (_, Some(SIGKILL)) if run.cpu.as_secs_f64() >= settings.cpu_seconds => Outcome::Timeout,
        _ => Outcome::Crash,
    };
    let Some((first, answers)) = run.messages.split_first() else {
        verdict.outcome = cut_short;
        return;
    };
    verdict.outcome = match first.tag {
        b'S' => Outcome::SyntaxError,
        b'X' => Outcome::LoadError,
        b'M' => Outcome::OutOfMemory,
        b'L' => {
            verdict.tests = tests.iter().zip(answers).map(|(test, answer)| test.result(answer)).collect();
            if verdict.tests.len() < tests.len() {
                verdict.tests.push(TestResult { outcome: cut_short, detail: String::new() });
            }
            overall(&verdict.tests, tests.len())
        }
        _ => Outcome::Crash,
    };
}

/// Passed if there was a test and all passed; otherwise the first failure's outcome.
fn overall(results: &[TestResult], expected: usize) -> Outcome {
    let failed = results.iter().map(|result| result.outcome).find(|&outcome| outcome != Outcome::Passed);
    match failed {
        Some(outcome) => outcome,
        None if expected > 0 && results.len() == expected => Outcome::Passed,
        // No tests can never be a pass.
        None => Outcome::Infrastructure,
    }
}
