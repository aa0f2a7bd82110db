//! From what a candidate's process sent to a verdict.

use crate::backend::{Backend, Conversation, Ended, Silence, Workplace};
use crate::plan::{Plan, PreparedTest};
use crate::test_judge::{Checked, TestJudge};
use crate::wire::{Message, decode};
use crate::{Settings, Task};
use pydata::Value;
use records::{Outcome, Problem, TestResult, Verdict};
use rustix::process::Pid;
use serde_json::{Value as Json, json};
use std::io;
use std::time::Instant;

const SIGXCPU: i32 = 24;
const SIGKILL: i32 = 9;
/// How much of a wrong value a verdict keeps.
const DETAIL: usize = 200;

/// The interpreters of one worker; started when they are first needed.
#[derive(Default)]
pub struct Slot {
    /// Forks candidates.
    pub backend: Option<Box<dyn Backend>>,
    /// Holds the tests that are more than a comparison.
    pub test_judge: Option<TestJudge>,
}

impl Slot {
    /// The judge's interpreter; a new one if there is none.
    pub fn test_judge(&mut self, at: &Workplace) -> io::Result<&mut TestJudge> {
        let judge = match self.test_judge.take() {
            Some(judge) => judge,
            None => TestJudge::start(&at.settings, at.tier).map_err(io::Error::other)?,
        };
        Ok(self.test_judge.insert(judge))
    }

    /// The processes of its interpreters.
    pub fn processes(&self) -> impl Iterator<Item = Pid> + use<> {
        let backend = self.backend.as_ref().and_then(|backend| backend.process());
        let judge = self.test_judge.as_ref().map(TestJudge::process);
        backend.into_iter().chain(judge)
    }

    /// The backend; a fresh one if there is none or it is worn.
    fn backend(&mut self, at: &Workplace) -> io::Result<&mut Box<dyn Backend>> {
        let backend = match self.backend.take() {
            Some(backend) if !backend.is_worn() => backend,
            _ => (at.start)(&at.settings, at.tier).map_err(io::Error::other)?,
        };
        Ok(self.backend.insert(backend))
    }
}

/// What a run showed besides its verdict.
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// A test turned out to need the candidate's own objects.
    pub unfit: bool,
    /// Its time was over, but alone on the machine it might not have been: this does not count yet.
    pub near_miss: bool,
}

/// Whether a candidate may be run again if its time runs out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Beside others, whatever they do to its speed. It gets [`GRACE`] times its CPU time, so that
    /// what is slow is told from what never ends, and only the former is run again.
    Beside,
    /// Alone: what this gives, counts.
    Last,
}

/// What a turn beside others gets of the CPU time of a candidate.
const GRACE: f64 = 1.5;

impl Turn {
    /// CPU seconds until the kernel stops the candidate; it knows whole ones only.
    fn cpu_limit(self, settings: &Settings) -> f64 {
        match self {
            Turn::Beside => (settings.cpu_seconds * GRACE).ceil(),
            Turn::Last => settings.cpu_seconds.ceil(),
        }
    }
}

/// Judges one candidate by a plan. An interpreter that fails is replaced once; if that fails too,
/// the verdict is [`Outcome::Infrastructure`].
pub fn judge(at: &Workplace, slot: &mut Slot, task: &Task, plan: &Plan, turn: Turn) -> Judged {
    let job = job_of_plan(&at.settings, task, plan, turn);
    let started = Instant::now();
    let mut judged = Judged { verdict: empty_verdict(task, plan, at), unfit: false, near_miss: false };
    for _ in 0..2 {
        if let Ok(run) = run(at, slot, task.problem, plan, job.as_bytes()) {
            judged.unfit = run.unfit;
            let cpu = run.ended.cpu.as_secs_f64();
            let silence = run.silence;
            conclude(&mut judged.verdict, plan, run, turn.cpu_limit(&at.settings));
            let outcome = &mut judged.verdict.outcome;
            let late = *outcome == Outcome::Passed && cpu > Turn::Last.cpu_limit(&at.settings);
            let starved = *outcome == Outcome::Timeout
                && silence == Some(Silence::OutOfTime)
                && cpu < turn.cpu_limit(&at.settings);
            judged.near_miss = turn == Turn::Beside && (late || starved);
            if late {
                *outcome = Outcome::Timeout;
            }
            break;
        }
        *slot = Slot::default();
    }
    judged.verdict.wall_milliseconds = started.elapsed().as_secs_f64() * 1e3;
    judged
}

/// The job that judges a task by a plan.
fn job_of_plan(settings: &Settings, task: &Task, plan: &Plan, turn: Turn) -> String {
    let upfront = plan.tests.iter().filter_map(|test| match test {
        PreparedTest::Compared { call, .. } => Some(json!({ "call": call })),
        PreparedTest::InProcess { source } => Some(json!({ "source": source })),
        PreparedTest::Proxied { .. } => None,
    });
    let upfront: Vec<Json> = upfront.collect();
    let interactive = upfront.len() < plan.tests.len();
    job(settings, task, upfront, interactive, turn)
}

/// A job as `zygote.py` reads it.
fn job(settings: &Settings, task: &Task, tests: Vec<Json>, interactive: bool, turn: Turn) -> String {
    let job = json!({
        "setup": task.problem.setup,
        "program": program(task.problem, task.code),
        "interactive": interactive,
        "tests": tests,
        "cpu_seconds": turn.cpu_limit(settings),
        "memory_bytes": settings.memory_bytes,
        "output_limit": settings.output_limit,
    });
    job.to_string()
}

/// The program that the candidate's process loads after the problem's setup.
fn program(problem: &Problem, code: &str) -> String {
    let prefix = problem.completion_prefix.as_deref().unwrap_or("");
    format!("{prefix}{code}\n{}\n", problem.test_setup)
}

fn empty_verdict(task: &Task, plan: &Plan, at: &Workplace) -> Verdict {
    Verdict {
        problem: task.problem.id.clone(),
        index: task.index,
        outcome: Outcome::Infrastructure,
        tests: Vec::new(),
        mode: plan.mode(),
        cpu_milliseconds: 0.0,
        wall_milliseconds: 0.0,
        peak_memory_kib: 0,
        isolation: at.tier.name().to_owned(),
        fingerprint: task.fingerprint(&at.settings),
    }
}

/// What one run gave.
struct Run {
    /// What the program said when it was loaded.
    loaded: Option<Message>,
    /// For each test of the plan, as far as it came.
    results: Vec<Option<TestResult>>,
    /// Why it said no more, where it should have.
    silence: Option<Silence>,
    unfit: bool,
    ended: Ended,
}

fn run(at: &Workplace, slot: &mut Slot, problem: &Problem, plan: &Plan, job: &[u8]) -> io::Result<Run> {
    if plan.tests.iter().any(|test| matches!(test, PreparedTest::Proxied { .. })) {
        slot.test_judge(at)?;
    }
    slot.backend(at)?;
    let Slot { backend: Some(backend), test_judge } = slot else {
        return Err(io::Error::other("no interpreter"));
    };
    let mut candidate = backend.start(job, &at.settings)?;
    let mut results = vec![None; plan.tests.len()];
    let mut unfit = false;
    let first = candidate.next();
    let mut silence = first.as_ref().err().copied();
    if first.as_ref().is_ok_and(|message| message.tag == b'L') {
        silence = upfront(plan, candidate.as_mut(), &mut results).err();
        if let (None, Some(judge)) = (silence, test_judge.as_mut()) {
            match by_proxy(problem, plan, judge, candidate.as_mut(), &mut results) {
                Ok(proxied) => (silence, unfit) = (proxied.silence, proxied.unfit),
                Err(error) => {
                    backend.end()?;
                    return Err(error);
                }
            }
            if silence == Some(Silence::OutOfTime) {
                // It may still be at work on what the candidate gave it.
                *test_judge = None;
            }
        }
    }
    Ok(Run { loaded: first.ok(), results, silence, unfit, ended: backend.end()? })
}

/// What a call gave, where nothing is known of what it should give.
#[derive(Clone, Debug)]
pub enum Observed {
    /// A value.
    Value(Value),
    /// An exception, by the name of its class.
    Raised(String),
    /// Nothing that could be compared: it ran out of time or memory, crashed, was refused, or gave
    /// what is not plain data.
    Nothing,
}

/// What a candidate's calls give. None if the executor itself failed, twice.
pub fn observe(at: &Workplace, slot: &mut Slot, task: &Task, calls: &[String]) -> Option<Vec<Observed>> {
    let tests = calls.iter().map(|call| json!({ "call": call })).collect();
    let job = job(&at.settings, task, tests, false, Turn::Last);
    for _ in 0..2 {
        if let Ok(observed) = observe_once(at, slot, job.as_bytes(), calls.len()) {
            return Some(observed);
        }
        *slot = Slot::default();
    }
    None
}

fn observe_once(at: &Workplace, slot: &mut Slot, job: &[u8], calls: usize) -> io::Result<Vec<Observed>> {
    let backend = slot.backend(at)?;
    let mut candidate = backend.start(job, &at.settings)?;
    let mut observed = Vec::with_capacity(calls);
    if candidate.next().is_ok_and(|message| message.tag == b'L') {
        while observed.len() < calls
            && let Ok(message) = candidate.next()
        {
            observed.push(match message.tag {
                b'V' => decode(&message.payload).map_or(Observed::Nothing, Observed::Value),
                b'E' => {
                    let text = String::from_utf8_lossy(&message.payload).into_owned();
                    Observed::Raised(text.split(':').next().unwrap_or_default().to_owned())
                }
                _ => Observed::Nothing,
            });
        }
    }
    observed.resize(calls, Observed::Nothing);
    backend.end()?;
    Ok(observed)
}

/// Takes the answers to what the job asked for.
fn upfront(
    plan: &Plan,
    candidate: &mut dyn Conversation,
    results: &mut [Option<TestResult>],
) -> Result<(), Silence> {
    for (test, result) in plan.tests.iter().zip(results) {
        if !matches!(test, PreparedTest::Proxied { .. }) {
            *result = Some(answered(test, &candidate.next()?));
        }
    }
    Ok(())
}

struct Proxied {
    silence: Option<Silence>,
    unfit: bool,
}

/// Runs the tests that the judge's interpreter holds.
fn by_proxy(
    problem: &Problem,
    plan: &Plan,
    judge: &mut TestJudge,
    candidate: &mut dyn Conversation,
    results: &mut [Option<TestResult>],
) -> io::Result<Proxied> {
    for (test, result) in plan.tests.iter().zip(results) {
        let PreparedTest::Proxied { source } = test else { continue };
        let (outcome, detail) = match judge.check(problem, source, candidate)? {
            Checked::Passed => (Outcome::Passed, String::new()),
            Checked::Raised(text) if text.starts_with("AssertionError") => (Outcome::WrongAnswer, text),
            Checked::Raised(text) => (Outcome::Exception, text),
            Checked::Refused(message) => {
                *result = Some(answered(test, &message));
                continue;
            }
            Checked::Unfit => return Ok(Proxied { silence: None, unfit: true }),
            Checked::Silent(silence) => return Ok(Proxied { silence: Some(silence), unfit: false }),
            Checked::OutOfTime => {
                return Ok(Proxied { silence: Some(Silence::OutOfTime), unfit: false });
            }
        };
        *result = Some(TestResult { outcome, detail });
    }
    Ok(Proxied { silence: None, unfit: false })
}

/// What a message says of a test.
fn answered(test: &PreparedTest, message: &Message) -> TestResult {
    let text = || String::from_utf8_lossy(&message.payload).into_owned();
    let (outcome, detail) = match (message.tag, test) {
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
        (b'F', _) => (Outcome::Forbidden, text()),
        (b'M', _) => (Outcome::OutOfMemory, String::new()),
        (b'N', _) => (Outcome::NotPlainData, text()),
        (b'O', _) => (Outcome::OutputLimit, String::new()),
        _ => (Outcome::Crash, "it sent what is not an answer".to_owned()),
    };
    TestResult { outcome, detail }
}

fn shorten(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(DETAIL) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn conclude(verdict: &mut Verdict, plan: &Plan, run: Run, cpu_limit: f64) {
    verdict.cpu_milliseconds = run.ended.cpu.as_secs_f64() * 1e3;
    verdict.peak_memory_kib = run.ended.peak_memory_kib;
    let cut_short = match (run.silence, run.ended.signal) {
        (Some(Silence::OutOfTime), _) | (_, Some(SIGXCPU)) => Outcome::Timeout,
        (Some(Silence::Garbage), _) => Outcome::OutputLimit,
        (_, Some(SIGKILL)) if run.ended.cpu.as_secs_f64() >= cpu_limit => Outcome::Timeout,
        _ => Outcome::Crash,
    };
    verdict.outcome = match run.loaded.as_ref().map(|message| message.tag) {
        None => cut_short,
        Some(b'S') => Outcome::SyntaxError,
        Some(b'X') => Outcome::LoadError,
        Some(b'F') => Outcome::Forbidden,
        Some(b'M') => Outcome::OutOfMemory,
        Some(b'L') => {
            let reached = run.results.iter().take_while(|result| result.is_some()).count();
            verdict.tests = run.results.into_iter().flatten().collect();
            if reached < plan.tests.len() && run.silence.is_some() {
                verdict.tests.push(TestResult { outcome: cut_short, detail: String::new() });
            }
            overall(&verdict.tests, plan.tests.len())
        }
        Some(_) => Outcome::Crash,
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
