//! What verbs on files read: problem sets by name, and files of candidates.

use anyhow::{Result, anyhow};
use problems::basics::World;
use problems::samples::{Error, Samples};
use records::{Problem, Split};
use std::path::Path;

/// The problems of a set; the built-in one gives 1,000 of each split.
///
/// # Errors
/// Where there is no such set, or a record of it is malformed.
pub fn problem_set(source: &str) -> Result<Vec<Problem>> {
    if source != "basics" {
        return Ok(problems::sets::load(source)?);
    }
    let world = World::new();
    let splits = [Split::Train, Split::Validation, Split::Test];
    Ok(splits.into_iter().flat_map(|split| world.problems(split, 1000, 1)).collect())
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
        eprintln!("{} {}; the first is {}", note.count, note.what, note.first);
    }
    Ok(samples)
}
