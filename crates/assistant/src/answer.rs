//! What is answered, and why.

use records::Candidate;
use serde::Serialize;

/// How sure an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It passes every test that came with the question.
    Verified,
    /// No tests came with the question: it is the likeliest one.
    Unverified,
    /// No candidate passes the tests, or none gives anything when it is called.
    NoneFound,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// How sure it is.
    pub status: Status,
    /// The chosen program; none where none was found.
    pub code: Option<String>,
    /// Why.
    pub evidence: Evidence,
    /// Every candidate, best first.
    pub candidates: Vec<Judged>,
}

/// Why to believe an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// Candidates that were proposed.
    pub candidates: usize,
    /// Different programs among them.
    pub distinct: usize,
    /// Different behaviours among them, on the inputs that were tried.
    pub behaviours: usize,
    /// Candidates that behave as the chosen one does.
    pub agreeing: usize,
    /// Inputs on which they were compared.
    pub inputs: usize,
    /// Tests that came with the question.
    pub tests: usize,
    /// How many of them the chosen one passes.
    pub tests_passed: usize,
    /// Candidates that pass all of them.
    pub passing: usize,
    /// Estimated probability that the chosen one is right.
    pub probability: f64,
    /// The critic's probability that the chosen one is right, where it was asked about all candidates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub critic: Option<f64>,
    /// Whether this estimate was set right by verdicts on candidates of the same model. Otherwise it may
    /// be far off, mostly too high.
    pub calibrated: bool,
    /// The model that proposed the candidates, as they name it.
    pub generator: String,
    /// What the choice rests on: 0 the text, 3 tests with their values.
    pub level: u8,
    /// The first test that the best candidate fails, where none passes all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedTest>,
    /// The best candidate that behaves otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_up: Option<RunnerUp>,
    /// Whether it was sure enough before all candidates were there.
    pub stopped_early: bool,
    /// What went wrong on the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Tokens that all candidates have together.
    pub tokens: usize,
    /// Seconds from question to answer.
    pub seconds: f64,
}

/// A test that a candidate fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedTest {
    /// The test.
    pub test: String,
    /// How: the verifier's reason, and what came instead.
    pub how: String,
}

/// The best candidate that behaves otherwise than the chosen one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunnerUp {
    /// Its program.
    pub code: String,
    /// Its probability of being right.
    pub probability: f64,
    /// A call on which the two differ.
    pub input: String,
    /// What the chosen one gives there.
    pub chosen_gives: String,
    /// What this one gives there.
    pub runner_up_gives: String,
}

/// A candidate with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// Its place in the order of proposals.
    pub index: usize,
    /// Its program.
    pub code: String,
    /// Probability of being right.
    pub probability: f64,
    /// Number of its behaviour: candidates with the same number behave alike.
    pub behaviour: usize,
    /// Tests that it passes; none where there are no tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tests_passed: Option<usize>,
    /// The first test that it fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedTest>,
    /// What it gives on the first input.
    pub gives: String,
    /// The candidate as it was proposed.
    #[serde(skip)]
    pub candidate: Candidate,
}

impl Answer {
    /// Why to believe it, in a few lines of text.
    pub fn explanation(&self) -> String {
        let e = &self.evidence;
        let percent = |share: f64| format!("{:.0} %", 100.0 * share);
        let mut lines = vec![match self.status {
            Status::Verified => format!("verified by {} of {} tests", e.tests_passed, e.tests),
            Status::Unverified => {
                format!(
                    "not verified: no tests were given; estimated probability of being right {}",
                    percent(e.probability)
                )
            }
            Status::NoneFound if e.tests > 0 => {
                format!(
                    "none found: the best of {} candidates passes {} of {} tests",
                    e.candidates, e.tests_passed, e.tests
                )
            }
            Status::NoneFound => {
                format!("none found: none of {} candidates gives a value when called", e.candidates)
            }
        }];
        lines.push(format!(
            "{} candidates, {} distinct, {} behaviours on {} inputs; {} agree with the best; {:.1} s{}",
            e.candidates,
            e.distinct,
            e.behaviours,
            e.inputs,
            e.agreeing,
            e.seconds,
            if e.stopped_early { ", stopped early" } else { "" }
        ));
        if self.status == Status::Unverified && !e.calibrated {
            let of_model =
                if e.generator.is_empty() { String::new() } else { format!(" for {}", e.generator) };
            lines.push(format!("the estimate is not calibrated{of_model}: it may be far off"));
        }
        if let Some(failed) = &e.failed {
            lines.push(format!("it fails {}: {}", failed.test, failed.how));
        }
        if let Some(other) = &e.runner_up {
            lines.push(format!(
                "runner-up ({}) disagrees: {} {}, runner-up {}",
                percent(other.probability),
                other.input,
                returns(&other.chosen_gives),
                returns(&other.runner_up_gives)
            ));
        }
        lines.extend(e.notes.iter().map(|note| format!("note: {note}")));
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// What evidence shows of an input, with its verb: `raises ValueError`, `returns 2`.
fn returns(gives: &str) -> String {
    let has_verb = gives.starts_with("raises ") || gives.starts_with("gives nothing");
    if has_verb { gives.to_owned() } else { format!("returns {gives}") }
}
