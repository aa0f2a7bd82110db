//! The four records that flow through the loop.
//!
//! A [`Problem`] goes into the generator, [`Candidate`]s come out; the executor gives each a
//! [`Verdict`], the critic and the selectors a [`Score`]. Each is a plain struct in memory and one
//! JSON line on disk; [`jsonl`] reads and writes such files so that nothing half-written is ever
//! taken for whole.
//!
//! ```
//! use records::{Problem, Split, Test};
//!
//! let problem = Problem {
//!     id: "Mbpp/1".into(),
//!     text: "Write a function to add two numbers.".into(),
//!     entry_point: "add".into(),
//!     tests: vec![Test::new("assert add(1, 2) == 3")],
//!     split: Split::Test,
//!     ..Problem::default()
//! };
//! assert_eq!(problem.visible().count(), 1);
//! ```

pub mod jsonl;

use serde::{Deserialize, Serialize};

/// Which part of a set a problem belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose settings on.
    Validation,
    /// To report on, once.
    #[default]
    Test,
    /// To show as worked examples in a prompt.
    Prompt,
}

impl Split {
    /// The name used in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
            Split::Prompt => "prompt",
        }
    }
}

/// One test: a piece of Python that raises when the candidate is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Test {
    /// The test as its set writes it, usually one `assert`.
    pub source: String,
    /// The call under test, `f(1, 2)`, where the test is `assert call == literal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The expected value as a Python literal, where the test is `assert call == literal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

impl Test {
    /// A test that has not been taken apart.
    pub fn new(source: impl Into<String>) -> Self {
        Test { source: source.into(), call: None, expected: None }
    }
}

/// A problem whose answers can be checked by running them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within its set: `Mbpp/11`, `HumanEval/0`, `basics/test/17`.
    pub id: String,
    /// What the program shall do, in words.
    pub text: String,
    /// The function that the tests call.
    pub entry_point: String,
    /// Code that stands before the candidate: imports, classes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setup: String,
    /// Code that stands between the candidate and its tests, and may use the candidate's names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub test_setup: String,
    /// For a set that asks for the continuation of a given text (HumanEval), that text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_prefix: Option<String>,
    /// What decides.
    pub tests: Vec<Test>,
    /// How many of the tests, from the first, a generator may be shown.
    #[serde(default = "one")]
    pub visible_tests: usize,
    /// Programs known to be right, the set's own first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Which part of the set it belongs to.
    pub split: Split,
}

fn one() -> usize {
    1
}

impl Problem {
    /// The tests that a generator may be shown; at least one where there is one.
    pub fn visible(&self) -> impl Iterator<Item = &Test> {
        self.tests.iter().take(self.visible_tests.max(1))
    }
}

/// Why a generator stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end token or a stop string.
    #[default]
    Stop,
    /// The token limit.
    Length,
}

/// One program that a generator proposes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The problem's id.
    pub problem: String,
    /// 0, 1, 2, … within the problem.
    pub index: usize,
    /// The completion as generated.
    pub text: String,
    /// The program extracted from it.
    pub code: String,
    /// The completion's tokens, the end token included where one was drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
    /// Natural-log probability of each token under the model (temperature 1, nothing cut off).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_probabilities: Vec<f32>,
    /// Why generation stopped.
    pub finish_reason: FinishReason,
    /// Which generator proposed it.
    pub generator: String,
    /// The seed of the run; with problem and index it determines the sample.
    pub seed: u64,
}

impl Candidate {
    /// The sum of the tokens' log-probabilities, where the generator gave them.
    pub fn log_likelihood(&self) -> Option<f64> {
        let known = !self.log_probabilities.is_empty();
        known.then(|| self.log_probabilities.iter().map(|&value| f64::from(value)).sum())
    }

    /// The mean of the tokens' log-probabilities, where the generator gave them.
    pub fn mean_log_probability(&self) -> Option<f64> {
        Some(self.log_likelihood()? / self.log_probabilities.len() as f64)
    }
}

/// What became of a candidate, or of one of its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every test passed.
    Passed,
    /// A test's value differs from the expected one.
    WrongAnswer,
    /// A test raised.
    Exception,
    /// The program is not Python.
    SyntaxError,
    /// The program raised before its tests began, or does not define the entry point.
    LoadError,
    /// It ran out of CPU time or wall time.
    Timeout,
    /// It ran out of memory.
    OutOfMemory,
    /// It died of a signal, or left without an answer.
    Crash,
    /// The system refused what it tried, and it did not get over that.
    Forbidden,
    /// It returned something that is not plain data, so it cannot be compared.
    NotPlainData,
    /// It returned more data than the limit.
    OutputLimit,
    /// The executor itself failed. Not a judgement: never a fail, never a reward of 0.
    Infrastructure,
}

impl Outcome {
    /// Every outcome, in the order of tables.
    pub const ALL: [Outcome; 12] = [
        Outcome::Passed,
        Outcome::WrongAnswer,
        Outcome::Exception,
        Outcome::SyntaxError,
        Outcome::LoadError,
        Outcome::Timeout,
        Outcome::OutOfMemory,
        Outcome::Crash,
        Outcome::Forbidden,
        Outcome::NotPlainData,
        Outcome::OutputLimit,
        Outcome::Infrastructure,
    ];

    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::WrongAnswer => "wrong_answer",
            Outcome::Exception => "exception",
            Outcome::SyntaxError => "syntax_error",
            Outcome::LoadError => "load_error",
            Outcome::Timeout => "timeout",
            Outcome::OutOfMemory => "out_of_memory",
            Outcome::Crash => "crash",
            Outcome::Forbidden => "forbidden",
            Outcome::NotPlainData => "not_plain_data",
            Outcome::OutputLimit => "output_limit",
            Outcome::Infrastructure => "infrastructure",
        }
    }
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// What became of it.
    pub outcome: Outcome,
    /// The value that came back as a Python literal (shortened), or the exception.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How a problem's tests were judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeMode {
    /// Calls as data, values compared outside the candidate's process.
    Compared,
    /// At least one test ran in an interpreter of the judge's, which called the candidate by
    /// messages.
    Proxied,
    /// At least one test ran inside the candidate's process, where a candidate could interfere.
    InProcess,
}

impl JudgeMode {
    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            JudgeMode::Compared => "compared",
            JudgeMode::Proxied => "proxied",
            JudgeMode::InProcess => "in_process",
        }
    }
}

/// The executor's word on one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The problem's id.
    pub problem: String,
    /// The candidate's index.
    pub index: usize,
    /// `Passed` only if every test passed and there was at least one.
    pub outcome: Outcome,
    /// One result a test; empty if the program never got that far.
    pub tests: Vec<TestResult>,
    /// How the tests were judged.
    pub mode: JudgeMode,
    /// CPU time of the candidate's process.
    pub cpu_milliseconds: f64,
    /// Wall time from hand-over to verdict.
    pub wall_milliseconds: f64,
    /// Peak resident memory of the candidate's process.
    pub peak_memory_kib: u64,
    /// The tier of isolation in force: its letter.
    pub isolation: String,
    /// Tells what was judged: the program, the problem's code and tests, the limits. A verdict holds
    /// for what has the same.
    #[serde(default)]
    pub fingerprint: String,
}

impl Verdict {
    /// Whether every test passed.
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }
}

/// What a critic or selector thinks of one candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The problem's id.
    pub problem: String,
    /// The candidate's index.
    pub index: usize,
    /// The critic's probability that the candidate passes.
    pub critic: f64,
}
