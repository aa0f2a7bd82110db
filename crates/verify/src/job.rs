//! What a verifier is asked, what it answers, and the traits that a domain implements.

use records::{Observation, Problem, Verdict};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is asked of a solution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Whether it solves the problem.
    Judge,
    /// Whether it passes the tests that a prompt may show by default, and no others.
    JudgeVisible,
    /// What it gives on inputs in the domain's notation (for Python, calls).
    Observe(Arc<[String]>),
}

/// One piece of work: everything that a verifier needs, on this machine or another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// What the solution answers.
    pub problem: Arc<Problem>,
    /// The proposed solution: for Python, a program.
    pub solution: Arc<str>,
    /// What is asked.
    pub ask: Ask,
}

/// Names a job by its content: equal keys mean equal checks, references, solutions, questions and
/// domain fingerprints, and for [`Ask::JudgeVisible`] equal visible examples. A problem's id, split
/// and words are not part of it, so a verifier must not let a verdict depend on them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobKey(pub String);

impl Job {
    /// Names the job for a verifier with this [fingerprint](Domain::fingerprint). The same on every
    /// machine and in every build.
    pub fn key(&self, domain_fingerprint: &str) -> JobKey {
        Question::new(&self.problem, &self.ask, domain_fingerprint).key(&self.solution)
    }
}

/// A digest of all that a key names besides the solution, so that a large problem is read once for
/// many solutions.
pub(crate) struct Question([u8; 32]);

impl Question {
    pub(crate) fn new(problem: &Problem, ask: &Ask, domain_fingerprint: &str) -> Self {
        let mut parts = Parts::default();
        parts.text(domain_fingerprint);
        parts.text(&problem.check.domain);
        parts.text(problem.check.payload.get());
        parts.list(&problem.references);
        match ask {
            Ask::Judge => parts.text("judge"),
            Ask::JudgeVisible => {
                parts.text("judge_visible");
                parts.list(problem.shown.visible());
            }
            Ask::Observe(inputs) => {
                parts.text("observe");
                parts.list(inputs);
            }
        }
        Question(parts.0.finalize().into())
    }

    pub(crate) fn key(&self, solution: &str) -> JobKey {
        let mut parts = Parts::default();
        parts.0.update(self.0);
        parts.text(solution);
        let mut text = String::with_capacity(32);
        for byte in &parts.0.finalize()[..16] {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        JobKey(text)
    }
}

/// Texts and lists of texts, hashed with their lengths: no two sequences of them are the same bytes.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn list(&mut self, texts: &[String]) {
        self.0.update((texts.len() as u64).to_le_bytes());
        for text in texts {
            self.text(text);
        }
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a verifier answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// To [`Ask::Judge`] and [`Ask::JudgeVisible`]; its `index` is for the caller to fill in.
    Verdict(Verdict),
    /// To [`Ask::Observe`]: one for each input.
    Observations(Vec<Observation>),
}

/// The verifier itself failed: nothing is known of the solution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// A problem that no solution can be judged by.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}: {message}")]
pub struct ProblemError {
    /// The problem's id.
    pub problem: String,
    /// Which part of it, what is wrong, and what to do.
    pub message: String,
}

/// A domain's verifiers cannot be started.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// How a running job and its pool talk.
#[derive(Clone, Debug)]
pub struct Watch {
    pub(crate) cancelled: Arc<AtomicBool>,
    pub(crate) long_running: Arc<AtomicBool>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) slice: Duration,
    pub(crate) on_long_running: Arc<dyn OnLongRunning>,
}

/// What the pool does once a job has outrun its slice.
pub(crate) trait OnLongRunning: Send + Sync + fmt::Debug {
    fn release(&self);
}

impl Watch {
    /// Whether nobody waits for the answer any more: the verifier ends the job and answers anything.
    /// To be asked every few tens of milliseconds while a job runs.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.deadline.is_some_and(|at| at <= Instant::now())
    }

    /// When [`is_cancelled`](Self::is_cancelled) turns true by itself, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Time after which a job that still runs is to call [`long_running`](Self::long_running). Shorter
    /// for a client whose other jobs already run long.
    pub fn slice(&self) -> Duration {
        self.slice
    }

    /// Gives the job's place to others: it goes on, but no longer keeps another from starting. The
    /// verifier lowers its processes' priority. Calls after the first do nothing.
    pub fn long_running(&self) {
        if !self.long_running.swap(true, Ordering::Relaxed) {
            self.on_long_running.release();
        }
    }

    /// For work outside a pool, as in tests: never cancelled, its place never given away.
    pub fn detached() -> Self {
        #[derive(Debug)]
        struct Nobody;
        impl OnLongRunning for Nobody {
            fn release(&self) {}
        }
        Watch {
            cancelled: Arc::default(),
            long_running: Arc::default(),
            deadline: None,
            slice: Duration::from_millis(100),
            on_long_running: Arc::new(Nobody),
        }
    }
}

/// Answers one job after the other, on one thread of a pool, which outlives it: it is made, used and
/// dropped there. Dropping it ends its processes.
pub trait Verifier: Send {
    /// Answers a job.
    ///
    /// # Errors
    /// Where the verifier itself failed; the pool then drops it and tries the job again on a fresh
    /// one.
    fn run(&mut self, job: &Job, watch: &Watch) -> Result<Reply, Failure>;

    /// Ids of the processes that it keeps between jobs, so that a pool can keep them on the
    /// processor of its thread.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// Inputs to observe solutions on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// In the domain's notation. The given ones come first.
    pub inputs: Vec<String>,
    /// How many of them the problem gives; the rest are variations.
    pub given: usize,
}

/// One guess at the inputs that a problem without known ones takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guess {
    /// A few inputs of one form.
    pub inputs: Vec<String>,
}

/// A kind of problem: what its checks mean, how answers are asked for, found and judged.
pub trait Domain: Send + Sync {
    /// The name that a problem's check carries.
    fn name(&self) -> &'static str;

    /// Tells the verifier's version, interpreter and limits from others.
    fn fingerprint(&self) -> String;

    /// Looks at a problem before any solution is judged. What shows only when its tests run it may say
    /// after that: whoever gets no verdict can ask again whether the problem is the reason.
    ///
    /// # Errors
    /// Where no solution can be judged by it.
    fn prepare(&self, problem: &Problem) -> Result<(), ProblemError>;

    /// Makes a verifier for one thread.
    ///
    /// # Errors
    /// Where it cannot be started on this machine.
    fn verifier(&self) -> Result<Box<dyn Verifier>, StartError>;

    /// The solution in what a generator wrote.
    fn extract(&self, problem: &Problem, completion: &str) -> String;

    /// Inputs that the tests known at a level tell: 1 and 3 the visible tests', 2 all tests'. Empty
    /// where the problem tells none.
    fn known_inputs(&self, problem: &Problem, level: u8) -> Vec<String> {
        let _ = (problem, level);
        Vec::new()
    }

    /// Guesses at the inputs of a problem that tells none, from its text and what candidates define;
    /// likelier ones first.
    fn guesses(&self, problem: &Problem, solutions: &[&str]) -> Vec<Guess> {
        let _ = (problem, solutions);
        Vec::new()
    }

    /// Inputs that are known or were guessed, and up to `own` others like them. What values matter may
    /// show in the problem's text and in solutions. The same arguments give the same inputs.
    fn vary(&self, problem: &Problem, solutions: &[&str], given: &[String], own: usize, seed: u64) -> Inputs {
        let _ = (problem, solutions, own, seed);
        Inputs { inputs: given.to_vec(), given: given.len() }
    }

    /// Signs in a solution's text, as named numbers, the same names for every solution.
    fn static_features(&self, problem: &Problem, solution: &str) -> Vec<(&'static str, f64)> {
        let _ = (problem, solution);
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::{Check, Shown};

    fn job() -> Job {
        let shown = Shown {
            statement: "Add.".into(),
            examples: vec!["add(1, 2) == 3".into(), "add(0, 0) == 0".into()],
            default_examples: 1,
            ..Shown::default()
        };
        let check = Check::new("sums", &serde_json::json!({"answer": [1, 2.5, "é"]})).expect("JSON");
        let references = vec!["x + y".into()];
        let problem = Problem { id: "sums/1".into(), shown, check, references, ..Problem::default() };
        Job { problem: Arc::new(problem), solution: "y + x".into(), ask: Ask::Judge }
    }

    #[test]
    fn a_job_is_the_same_after_a_way_through_json() {
        let observe = Ask::Observe(["add(1, 2)".to_owned(), String::new()].into());
        for ask in [Ask::Judge, Ask::JudgeVisible, observe] {
            let job = Job { ask, ..job() };
            let text = serde_json::to_string(&job).expect("a job is JSON");
            let back: Job = serde_json::from_str(&text).expect("and back");
            assert_eq!(back, job);
            assert_eq!(back.key("f"), job.key("f"));
        }
    }

    #[test]
    fn keys_stay_the_same() {
        let observe = Ask::Observe(["add(1, 2)".to_owned()].into());
        let keys = [Ask::Judge, Ask::JudgeVisible, observe].map(|ask| Job { ask, ..job() }.key("sums 1").0);
        // Files of verdicts hold such keys: another value here makes all of them stale.
        let expected = [
            "1597432dd69f39f04a41c69424f2c182",
            "8dc947c218344e43269909d128fa5154",
            "525f25bab4d2b0ff046663bdbbb3a19a",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn every_part_that_decides_is_in_the_key() {
        let visible = Job { ask: Ask::JudgeVisible, ..job() };
        let with = |base: &Job, change: &dyn Fn(&mut Problem)| {
            let mut problem = Problem::clone(&base.problem);
            change(&mut problem);
            Job { problem: Arc::new(problem), ..base.clone() }.key("f").0
        };
        let observe = |inputs: &[&str]| {
            let inputs: Vec<String> = inputs.iter().map(|&input| input.to_owned()).collect();
            Job { ask: Ask::Observe(inputs.into()), ..job() }.key("f").0
        };
        let keys = [
            job().key("f").0,
            job().key("g").0,
            visible.key("f").0,
            Job { solution: "x".into(), ..job() }.key("f").0,
            with(&job(), &|problem| problem.check.domain = "other".into()),
            with(&job(), &|problem| problem.check = Check::new("sums", &1).expect("JSON")),
            with(&job(), &|problem| problem.references.push(String::new())),
            with(&visible, &|problem| problem.shown.default_examples = 2),
            with(&visible, &|problem| problem.shown.examples[0].push(' ')),
            // A text that moves from one list to the other.
            with(&visible, &|problem| {
                problem.references.append(&mut problem.shown.examples.split_off(1));
                problem.shown.examples.clear();
            }),
            observe(&[]),
            observe(&["ab"]),
            observe(&["a", "b"]),
        ];
        for (place, key) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(key), "{place}");
        }
    }

    #[test]
    fn what_decides_nothing_is_not_in_the_key() {
        let mut problem = Problem::clone(&job().problem);
        problem.id = "sums/2".into();
        problem.shown.statement.clear();
        problem.shown.examples.pop();
        let other = Job { problem: Arc::new(problem), ..job() };
        assert_eq!(other.key("f"), job().key("f"));
        let visible = |job: Job| Job { ask: Ask::JudgeVisible, ..job }.key("f");
        assert_eq!(visible(other), visible(job()));
    }
}
