//! The four records that flow through the loop.
//!
//! A [`Problem`] goes into the generator, [`Candidate`]s come out; a verifier gives each a
//! [`Verdict`], the critic and the selectors a [`Score`]. Each is a plain struct in memory and one
//! JSON line on disk; [`jsonl`] reads and writes such files so that nothing half-written is ever
//! taken for whole.
//!
//! ```
//! use records::{Check, Problem, Shown};
//!
//! let shown = Shown { statement: "What is 17 times 3?".into(), ..Shown::default() };
//! let check = Check::new("math", &"51").expect("a text is JSON");
//! let problem = Problem { id: "sums/1".into(), shown, check, ..Problem::default() };
//! // A prompt is made of what is shown, and the answer is not.
//! assert!(!serde_json::to_string(&problem.shown).expect("JSON").contains("51"));
//! ```

pub mod fields;
pub mod jsonl;
mod paired;

pub use paired::{Unpaired, paired, same_length};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

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

/// What decides whether a solution is right, in the words of one domain. Nobody else reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Check {
    /// The domain that reads the payload: `python`, `math`, `command`.
    pub domain: String,
    /// The domain's own record.
    pub payload: Box<RawValue>,
}

impl Check {
    /// A check of a domain.
    ///
    /// # Errors
    /// Where the payload is not to be had as JSON.
    pub fn new(domain: impl Into<String>, payload: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Check { domain: domain.into(), payload: serde_json::value::to_raw_value(payload)? })
    }
}

impl Default for Check {
    /// A check of no domain, which nothing passes.
    fn default() -> Self {
        Check { domain: String::new(), payload: RawValue::NULL.to_owned() }
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        self.domain == other.domain && self.payload.get() == other.payload.get()
    }
}

/// What a prompt may show of a problem. Prompts are made of this alone: what is not here, a hidden
/// test or an answer to be found, no prompt can show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// What is asked for, in words.
    pub statement: String,
    /// Examples that may be shown, each as the set writes it: for Python, tests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
    /// How many of the examples, from the first, a prompt shows unless its protocol shows all.
    #[serde(default)]
    pub default_examples: usize,
    /// The text that an answer continues, where the set asks for a continuation (HumanEval).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<String>,
    /// What the answer must define, where the examples need a name: for Python, the function.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

impl Shown {
    /// The examples that a prompt shows unless its protocol shows all.
    pub fn visible(&self) -> &[String] {
        &self.examples[..self.default_examples.min(self.examples.len())]
    }
}

/// A problem whose answers can be checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Unique within its set: `Mbpp/11`, `HumanEval/0`, `basics/test/17`.
    pub id: String,
    /// What prompts may show.
    pub shown: Shown,
    /// What decides.
    pub check: Check,
    /// Solutions known to be right, the set's own first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Which part of the set it belongs to.
    pub split: Split,
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
    /// The sum of the tokens' log-probabilities and their number, where a file says these alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summed_likelihood: Option<(f64, usize)>,
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
        self.likelihood().map(|(sum, _)| sum)
    }

    /// The sum of the tokens' log-probabilities, and the number of tokens.
    fn likelihood(&self) -> Option<(f64, usize)> {
        if self.log_probabilities.is_empty() {
            return self.summed_likelihood;
        }
        let sum = self.log_probabilities.iter().map(|&value| f64::from(value)).sum();
        Some((sum, self.log_probabilities.len()))
    }

    /// The mean of the tokens' log-probabilities, where the generator gave them.
    pub fn mean_log_probability(&self) -> Option<f64> {
        self.likelihood().map(|(sum, tokens)| sum / tokens.max(1) as f64)
    }
}

/// What a solution ran out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// CPU time or wall time.
    Time,
    /// Memory.
    Memory,
    /// The size of what it gave.
    Output,
}

/// What became of a candidate, or of one of its tests; the same few in every domain. A domain's own
/// reason stands beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It is right.
    Passed,
    /// It is wrong.
    Failed,
    /// It is no answer at all: it does not parse, load or define what was asked for.
    Invalid,
    /// It ran into a limit.
    Limit(Resource),
    /// The sandbox refused what it tried.
    Refused,
    /// The verifier itself failed. Not a judgement: never a fail, never a reward of 0.
    Infrastructure,
}

impl Outcome {
    /// Every outcome, in the order of tables.
    pub const ALL: [Outcome; 8] = [
        Outcome::Passed,
        Outcome::Failed,
        Outcome::Invalid,
        Outcome::Limit(Resource::Time),
        Outcome::Limit(Resource::Memory),
        Outcome::Limit(Resource::Output),
        Outcome::Refused,
        Outcome::Infrastructure,
    ];

    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Invalid => "invalid",
            Outcome::Limit(Resource::Time) => "time_limit",
            Outcome::Limit(Resource::Memory) => "memory_limit",
            Outcome::Limit(Resource::Output) => "output_limit",
            Outcome::Refused => "refused",
            Outcome::Infrastructure => "infrastructure",
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Outcome::ALL.into_iter().find(|outcome| outcome.name() == text).ok_or_else(|| {
            let names = Outcome::ALL.map(Outcome::name).join(", ");
            D::Error::custom(format!("expected one of {names}, found {text}"))
        })
    }
}

/// One test's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// What became of it.
    pub outcome: Outcome,
    /// The domain's word for why: `wrong answer`, `exception`, `crash`. Empty where it passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What was seen: the value that came back, shortened, or the exception's message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl TestResult {
    /// A test that passed.
    pub fn passed() -> Self {
        TestResult { outcome: Outcome::Passed, reason: String::new(), detail: String::new() }
    }

    /// A test that did not.
    pub fn failed(outcome: Outcome, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        TestResult { outcome, reason: reason.into(), detail: detail.into() }
    }
}

/// Where the expected values were, seen from the solution: what a cheat would have to break. The
/// strongest comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Separation {
    /// In the judge, which compares data.
    #[default]
    Compared,
    /// In another process, whose tests call the solution by messages.
    Proxied,
    /// In the solution's own process, where it could interfere, or it took part in a comparison by
    /// its own objects.
    Shared,
}

impl Separation {
    /// The name used in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Separation::Compared => "compared",
            Separation::Proxied => "proxied",
            Separation::Shared => "shared",
        }
    }
}

/// A verifier's word on one candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The problem's id.
    pub problem: String,
    /// The candidate's index.
    pub index: usize,
    /// `Passed` only if every test passed and there was at least one.
    pub outcome: Outcome,
    /// The domain's word for why it did not pass: `wrong answer`, `syntax error`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// One result a test; empty if the solution never got that far.
    pub tests: Vec<TestResult>,
    /// Outcomes of named parts of the check, where it has such: EvalPlus's `base` and `plus`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<(String, Outcome)>,
    /// Where the expected values were; none where nothing was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub separation: Option<Separation>,
    /// CPU time of the candidate's process.
    pub cpu_milliseconds: f64,
    /// Wall time from hand-over to verdict.
    pub wall_milliseconds: f64,
    /// Peak resident memory of the candidate's process.
    pub peak_memory_kib: u64,
    /// The tier of isolation in force: its letter.
    pub isolation: String,
    /// Names what was judged, by whom and under which limits: a job's key. A verdict holds for what
    /// has the same.
    #[serde(default)]
    pub fingerprint: String,
}

impl Verdict {
    /// Whether every test passed.
    pub fn passed(&self) -> bool {
        self.outcome == Outcome::Passed
    }

    /// The verifier itself failed on a problem's candidate.
    pub fn infrastructure(problem: &str, index: usize, reason: impl Into<String>) -> Self {
        Verdict {
            problem: problem.to_owned(),
            index,
            outcome: Outcome::Infrastructure,
            reason: reason.into(),
            tests: Vec::new(),
            parts: Vec::new(),
            separation: None,
            cpu_milliseconds: 0.0,
            wall_milliseconds: 0.0,
            peak_memory_kib: 0,
            isolation: String::new(),
            fingerprint: String::new(),
        }
    }

    /// The first test that did not pass, with its place.
    pub fn first_failure(&self) -> Option<(usize, &TestResult)> {
        self.tests.iter().enumerate().find(|(_, test)| test.outcome != Outcome::Passed)
    }
}

/// What kind of thing a solution gave on an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObservationKind {
    /// A value.
    Value,
    /// An error of the solution's own making.
    Raised,
    /// Nothing that could be compared: it ran into a limit, crashed, was refused.
    #[default]
    Nothing,
}

/// What a solution gave on one input, where nothing is known of what it should give. Which values
/// are equal is the domain's decision: it puts equal ones into one class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// What kind of thing it gave.
    pub kind: ObservationKind,
    /// Equal for equal values, and for values alone.
    pub class: u128,
    /// For people: the value, shortened, or the error's name.
    pub text: String,
    /// The domain's word for the value's type: `list`.
    pub sort: String,
    /// Length of the value's whole text, in bytes.
    pub length: usize,
    /// Whether the value is equal to one of the input's parts.
    pub echoes: bool,
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
