//! What decides whether a Python program is right.

use crate::plus::Oracle;
use records::Problem;
use serde::{Deserialize, Serialize};
use verify::ProblemError;

/// The payload of a problem's check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The function that the tests call.
    pub entry_point: String,
    /// Code that stands before the candidate: imports, classes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub setup: String,
    /// The text that the set asks to be continued (HumanEval): its helper functions are the
    /// problem's, whatever a candidate defines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Code that stands between the candidate and its tests, and may use the candidate's names.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub test_setup: String,
    /// The tests, in their order: each a piece of Python that raises when the candidate is wrong.
    /// There are none where `plus` decides.
    pub tests: Vec<String>,
    /// EvalPlus's inputs, where the problem is of one of its sets: they alone decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plus: Option<Plus>,
}

/// EvalPlus's inputs for one problem. The expected values come from running its first reference; how
/// they are compared is said in [`plus`](crate::plus).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plus {
    /// Calls of the base inputs, in their order, as Python's text: the function with literals.
    pub base: Vec<String>,
    /// Calls of the plus inputs, likewise.
    pub plus: Vec<String>,
    /// Absolute tolerance; with 0 all is compared exactly up to the first expected value that is a
    /// float or floats.
    #[serde(default)]
    pub tolerance: f64,
    /// The task's own way of comparing, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oracle: Option<Oracle>,
}

impl Check {
    /// The check of a problem of this domain.
    ///
    /// # Errors
    /// Where the problem is another domain's, or its payload is not this record.
    pub fn of(problem: &Problem) -> Result<Self, ProblemError> {
        let fail = |message: String| ProblemError { problem: problem.id.clone(), message };
        if problem.check.domain != crate::NAME {
            return Err(fail(format!(
                "check.domain: expected {}, found {}",
                crate::NAME,
                problem.check.domain
            )));
        }
        let check: Check = serde_json::from_str(problem.check.payload.get())
            .map_err(|error| fail(format!("check.payload: {error}")))?;
        Ok(check.without_marks())
    }

    /// Without the byte order marks that its texts begin with where they were read from files.
    fn without_marks(mut self) -> Self {
        let prompt = self.prompt.iter_mut();
        for text in [&mut self.setup, &mut self.test_setup].into_iter().chain(&mut self.tests).chain(prompt) {
            if let Some(rest) = text.strip_prefix('\u{feff}') {
                *text = rest.to_owned();
            }
        }
        self
    }

    /// As a problem carries it.
    pub fn into_record(&self) -> records::Check {
        // Texts, numbers and lists: there is nothing that JSON cannot hold.
        records::Check::new(crate::NAME, self).unwrap_or_default()
    }
}
