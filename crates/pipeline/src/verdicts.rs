//! Verdicts as files and tables have them.

use crate::{Error, Note, Result, Watch};
use python::Check;
use records::{Outcome, Problem, Resource, Separation, TestResult, Verdict, fields, jsonl};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::Path;

/// A verdict as a file has it: today's record, or that of a version that named outcomes in Python's
/// words.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredVerdict {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether an earlier version made it: what it was judged by is not known, so that it holds for
    /// nothing that is asked today.
    pub is_old: bool,
}

/// Outcomes of earlier versions, with today's outcome and reason.
const OLD_OUTCOMES: [(&str, Outcome, &str); 12] = [
    ("passed", Outcome::Passed, ""),
    ("wrong_answer", Outcome::Failed, "wrong answer"),
    ("exception", Outcome::Failed, "exception"),
    ("syntax_error", Outcome::Invalid, "syntax error"),
    ("load_error", Outcome::Invalid, "load error"),
    ("timeout", Outcome::Limit(Resource::Time), "timeout"),
    ("out_of_memory", Outcome::Limit(Resource::Memory), "memory limit"),
    ("crash", Outcome::Failed, "crash"),
    ("forbidden", Outcome::Refused, "refused"),
    ("not_plain_data", Outcome::Failed, "not plain data"),
    ("output_limit", Outcome::Limit(Resource::Output), "output limit"),
    ("infrastructure", Outcome::Infrastructure, ""),
];

/// Fields of the old record that today's lacks, or has under other names.
#[derive(Deserialize)]
struct OldVerdict {
    problem: String,
    index: usize,
    outcome: String,
    tests: Vec<OldTest>,
    mode: OldMode,
    cpu_milliseconds: f64,
    wall_milliseconds: f64,
    peak_memory_kib: u64,
    isolation: String,
    #[serde(default)]
    fingerprint: String,
}

#[derive(Deserialize)]
struct OldTest {
    outcome: String,
    #[serde(default)]
    detail: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OldMode {
    Compared,
    Proxied,
    InProcess,
}

impl<'de> Deserialize<'de> for StoredVerdict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = serde_json::Value::deserialize(deserializer)?;
        if line.get("mode").is_none() {
            let verdict = fields::from_value(line).map_err(D::Error::custom)?;
            return Ok(StoredVerdict { verdict, is_old: false });
        }
        let old: OldVerdict = fields::from_value(line).map_err(D::Error::custom)?;
        let verdict = old.into_verdict().map_err(D::Error::custom)?;
        Ok(StoredVerdict { verdict, is_old: true })
    }
}

/// Written, it is a verdict like others.
impl Serialize for StoredVerdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.verdict.serialize(serializer)
    }
}

impl OldVerdict {
    fn into_verdict(self) -> Result<Verdict, String> {
        let (outcome, reason) = old_outcome(&self.outcome)?;
        let test = |test: OldTest| {
            let (outcome, reason) = old_outcome(&test.outcome)?;
            Ok(TestResult { outcome, reason: reason.to_owned(), detail: test.detail })
        };
        Ok(Verdict {
            problem: self.problem,
            index: self.index,
            outcome,
            reason: reason.to_owned(),
            tests: self.tests.into_iter().map(test).collect::<Result<_, String>>()?,
            parts: Vec::new(),
            separation: Some(match self.mode {
                OldMode::Compared => Separation::Compared,
                OldMode::Proxied => Separation::Proxied,
                OldMode::InProcess => Separation::Shared,
            }),
            cpu_milliseconds: self.cpu_milliseconds,
            wall_milliseconds: self.wall_milliseconds,
            peak_memory_kib: self.peak_memory_kib,
            isolation: self.isolation,
            fingerprint: self.fingerprint,
        })
    }
}

fn old_outcome(word: &str) -> Result<(Outcome, &'static str), String> {
    let known = OLD_OUTCOMES.into_iter().find(|(name, ..)| *name == word);
    let (_, outcome, reason) = known.ok_or_else(|| {
        let names = OLD_OUTCOMES.map(|(name, ..)| name).join(", ");
        format!("outcome: expected one of {names}, found {word}")
    })?;
    Ok((outcome, reason))
}

/// The verdicts in a file. Those of an earlier version are read too, and noted.
///
/// # Errors
/// Where the file cannot be read, or a line is no verdict: names file, line and field.
pub fn read(path: &Path, watch: Watch) -> Result<Vec<Verdict>> {
    let stored: Vec<StoredVerdict> = jsonl::read(path).map_err(Error::Verdicts)?;
    let old = stored.iter().filter(|stored| stored.is_old).count();
    if old > 0 {
        watch.note(&Note::OldVerdicts { path: path.to_owned(), count: old });
    }
    Ok(stored.into_iter().map(|stored| stored.verdict).collect())
}

/// What became of a candidate or a test, in a word or two: the domain's reason, where it gives one.
pub fn word(outcome: Outcome, reason: &str) -> String {
    // A verifier's failure is told in a sentence of its own each time.
    if reason.is_empty() || outcome == Outcome::Infrastructure {
        return outcome.name().replace('_', " ");
    }
    reason.to_owned()
}

/// The tests of a problem, as a report shows them: a verdict has a result for each.
pub fn tests_of(problem: &Problem) -> Vec<String> {
    let check = Check::of(problem).unwrap_or_default();
    match check.plus {
        Some(plus) => {
            vec![format!("{} base inputs", plus.base.len()), format!("{} plus inputs", plus.plus.len())]
        }
        None => check.tests,
    }
}

/// How many candidates came to each end: its [word] as a name (`wrong_answer`), and the count. Ends of
/// one outcome stand together, in the order of [`Outcome::ALL`].
pub fn outcomes(verdicts: &[Verdict]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<(Outcome, String), usize> = BTreeMap::new();
    for verdict in verdicts {
        let name = word(verdict.outcome, &verdict.reason).replace(' ', "_");
        *counts.entry((verdict.outcome, name)).or_default() += 1;
    }
    counts.into_iter().map(|((_, name), count)| (name, count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"{"problem":"one","index":3,"outcome":"wrong_answer","tests":[{"outcome":"passed"},{"outcome":"wrong_answer","detail":"5"}],"mode":"in_process","cpu_milliseconds":1.5,"wall_milliseconds":2.0,"peak_memory_kib":9000,"isolation":"A","fingerprint":"00ff"}"#;

    #[test]
    fn verdicts_of_an_earlier_version_are_told_from_todays() {
        let old: StoredVerdict = serde_json::from_str(OLD).expect("an old verdict");
        assert!(old.is_old);
        assert_eq!((old.verdict.outcome, old.verdict.reason.as_str()), (Outcome::Failed, "wrong answer"));
        assert_eq!(old.verdict.separation, Some(Separation::Shared));
        let (at, failure) = old.verdict.first_failure().expect("a failure");
        assert_eq!((at, failure.reason.as_str(), failure.detail.as_str()), (1, "wrong answer", "5"));
        let text = serde_json::to_string(&old.verdict).expect("JSON");
        let again: StoredVerdict = serde_json::from_str(&text).expect("a verdict");
        assert_eq!(again, StoredVerdict { verdict: old.verdict, is_old: false });
    }

    #[test]
    fn a_word_that_no_version_wrote_is_named() {
        let wrong = OLD.replace("wrong_answer", "sad");
        let error = serde_json::from_str::<StoredVerdict>(&wrong).expect_err("no verdict").to_string();
        assert!(error.contains("outcome: expected one of passed") && error.contains("sad"), "{error}");
    }

    #[test]
    fn candidates_are_counted_by_reason() {
        let of = |outcome, reason: &str| Verdict { outcome, ..Verdict::infrastructure("p", 0, reason) };
        let verdicts = [
            of(Outcome::Infrastructure, "the interpreter died of signal 9"),
            of(Outcome::Failed, "wrong answer"),
            of(Outcome::Passed, ""),
            of(Outcome::Failed, "exception"),
            of(Outcome::Failed, "wrong answer"),
            of(Outcome::Limit(Resource::Time), ""),
        ];
        let expected =
            [("passed", 1), ("exception", 1), ("wrong_answer", 2), ("time_limit", 1), ("infrastructure", 1)];
        assert_eq!(outcomes(&verdicts), expected.map(|(name, count)| (name.to_owned(), count)));
    }
}
