//! The pool, with a domain whose solutions say what its verifier is to do.

mod batches;
mod clients;
mod coming;
mod endings;
mod retries;
mod streams;

use crate::{
    Ask, Client, Domain, Failure, Job, Pool, ProblemError, Replies, Reply, Settings, StartError, Verifier,
    Watch,
};
use records::{Check, Observation, Outcome, Problem, Verdict};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(30);
/// A slice that no job outruns.
pub const NO_SLICE: Duration = Duration::from_secs(3600);

/// What a fake domain has seen.
#[derive(Default)]
pub struct Log {
    /// `start SOLUTION` and `end SOLUTION`.
    events: Mutex<Vec<String>>,
    tries: Mutex<HashMap<String, usize>>,
    pub made: AtomicUsize,
    pub dropped: AtomicUsize,
    /// Verifiers cannot be started any more.
    pub broken: AtomicBool,
}

impl Log {
    fn add(&self, event: String) {
        self.events.lock().expect("no panic under the lock").push(event);
    }

    pub fn events(&self) -> Vec<String> {
        self.events.lock().expect("no panic under the lock").clone()
    }

    pub fn count(&self, beginning: &str) -> usize {
        self.events().iter().filter(|event| event.starts_with(beginning)).count()
    }

    fn nth_try(&self, solution: &str) -> usize {
        let mut tries = self.tries.lock().expect("no panic under the lock");
        let count = tries.entry(solution.to_owned()).or_default();
        *count += 1;
        *count
    }
}

/// A domain of fakes.
pub struct Fake {
    pub log: Arc<Log>,
    pub name: &'static str,
}

impl Domain for Fake {
    fn name(&self) -> &'static str {
        self.name
    }
    fn fingerprint(&self) -> String {
        "fake 1".to_owned()
    }
    fn prepare(&self, problem: &Problem) -> Result<(), ProblemError> {
        let message = "check.payload: expected null".to_owned();
        let fits = problem.check.payload.get() == "null";
        fits.then_some(()).ok_or(ProblemError { problem: problem.id.clone(), message })
    }
    fn verifier(&self) -> Result<Box<dyn Verifier>, StartError> {
        if self.log.broken.load(Ordering::SeqCst) {
            return Err(StartError("no interpreter".into()));
        }
        self.log.made.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Faker(Arc::clone(&self.log))))
    }
    fn extract(&self, _: &Problem, completion: &str) -> String {
        completion.to_owned()
    }
}

struct Faker(Arc<Log>);

impl Drop for Faker {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Verifier for Faker {
    /// The first word of the solution says what to do, the second how often or how long.
    fn run(&mut self, job: &Job, watch: &Watch) -> Result<Reply, Failure> {
        self.0.add(format!("start {}", job.solution));
        let mut words = job.solution.split(' ');
        let word = words.next().unwrap_or_default();
        let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(usize::MAX);
        let outcome = match word {
            "panic" => panic!("told to"),
            "fail" if self.0.nth_try(&job.solution) <= number => {
                self.0.add(format!("end {}", job.solution));
                return Err(Failure("told to fail".to_owned()));
            }
            "loop" => {
                run_until(watch, Instant::now() + LONG);
                Outcome::Failed
            }
            "sleep" => {
                run_until(watch, Instant::now() + Duration::from_millis(number as u64));
                Outcome::Passed
            }
            "wrong" => Outcome::Failed,
            _ => Outcome::Passed,
        };
        self.0.add(format!("end {}", job.solution));
        Ok(match &job.ask {
            Ask::Observe(_) if word == "short" => Reply::Observations(Vec::new()),
            Ask::Observe(inputs) => Reply::Observations(inputs.iter().map(|input| seen(input)).collect()),
            _ if word == "short" => Reply::Observations(Vec::new()),
            _ => Reply::Verdict(Verdict { outcome, ..Verdict::infrastructure("its own", 77, "") }),
        })
    }
}

fn run_until(watch: &Watch, end: Instant) {
    let start = Instant::now();
    while Instant::now() < end && !watch.is_cancelled() {
        sleep(Duration::from_millis(1));
        if start.elapsed() > watch.slice() {
            watch.long_running();
        }
    }
}

fn seen(input: &str) -> Observation {
    Observation { text: input.to_uppercase(), ..Observation::default() }
}

pub fn settings(workers: usize, slice: Duration) -> Settings {
    Settings { workers, slice, most_running: 12 * workers }
}

/// A pool of fakes and what they see.
pub fn start(settings: Settings) -> (Pool, Arc<Log>) {
    let log = Arc::new(Log::default());
    let fake = Fake { log: Arc::clone(&log), name: "fake" };
    (Pool::start(vec![Arc::new(fake)], settings).expect("fakes start"), log)
}

pub fn problem(id: &str) -> Problem {
    let check = Check { domain: "fake".into(), ..Check::default() };
    Problem { id: id.into(), check, ..Problem::default() }
}

pub fn job(solution: &str) -> Job {
    Job { problem: Arc::new(problem("p")), solution: solution.into(), ask: Ask::Judge }
}

pub fn submit(client: &Client, solutions: &[&str]) -> Replies {
    let jobs: Vec<Job> = solutions.iter().map(|solution| job(solution)).collect();
    client.submit(jobs.into_iter())
}

/// The outcomes' names or the failures, by place.
pub fn outcomes(replies: Replies) -> Vec<String> {
    let mut all: Vec<_> = replies.map(|(place, answer)| (place, outcome(&answer))).collect();
    all.sort();
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

pub fn outcome(answer: &Result<Reply, Failure>) -> String {
    match answer {
        Ok(Reply::Verdict(verdict)) => verdict.outcome.name().to_owned(),
        Ok(Reply::Observations(seen)) => format!("{} observations", seen.len()),
        Err(failure) => failure.to_string(),
    }
}

/// Waits for something that must come to be.
#[track_caller]
pub fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "waited too long: {what}");
        sleep(Duration::from_millis(1));
    }
}
