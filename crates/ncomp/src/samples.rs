//! What verbs on files read: problem sets by name, files of candidates and of verdicts.

use crate::context::{advised, hub, watch};
use anyhow::{Result, anyhow};
use pipeline::{Note, problem_sets, verdicts};
use problems::samples::{Error, Samples};
use records::{Problem, Verdict};
use std::path::Path;

/// The problems of a set; the built-in one gives 1,000 of each split.
///
/// # Errors
/// Where there is no such set, or a record of it is malformed.
pub fn problem_set(source: &str) -> Result<Vec<Problem>> {
    problem_sets::problem_set(source, hub()).map_err(advised)
}

/// The verdicts in a file.
///
/// # Errors
/// Where the file cannot be read, or a line is no verdict: names file, line and field.
pub fn read_verdicts(path: &Path) -> Result<Vec<Verdict>> {
    verdicts::read(path, watch()).map_err(advised)
}

/// The candidates in a file or directory; what is odd about them is counted and named on stderr.
///
/// # Errors
/// Where something is no sample at all, or no sample is of a problem of the set.
pub fn read(path: &Path, problems: &[Problem]) -> Result<Samples> {
    let samples = problems::samples::read(path, problems).map_err(|error| match error {
        Error::Foreign(_) => anyhow!("{error}: give it with --problems"),
        Error::Empty(_) if path.ends_with("stdin") => {
            anyhow!("standard input is empty; expected a sample a line")
        }
        error => error.into(),
    })?;
    for note in &samples.notes {
        watch().progress.note(&Note::Samples(note.clone()));
    }
    Ok(samples)
}
