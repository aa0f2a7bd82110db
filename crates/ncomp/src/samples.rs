//! What verbs on files read: problem sets by name, files of candidates and of verdicts.

use crate::context::{advised, hub, watch};
use anyhow::{Result, anyhow, bail, ensure};
use pipeline::{Note, problem_sets, verdicts};
use problems::samples::{Error, Samples};
use records::{Candidate, Outcome, Problem, Split, Verdict};
use std::collections::{HashMap, HashSet};
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

/// The verdicts in a file on these candidates. Candidates that have none, or that could not be judged,
/// are neither right nor wrong: they are left out, which stderr says.
///
/// # Errors
/// Where no candidate has a verdict, or the verdicts are of other programs.
pub fn verdicts_on(path: &Path, candidates: &mut Vec<Candidate>) -> Result<Vec<Verdict>> {
    let verdicts = read_verdicts(path)?;
    let left_out =
        keep_judged(candidates, &verdicts).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    if left_out > 0 {
        errln!("{left_out} of the candidates were not judged in {} and are left out", path.display());
    }
    Ok(verdicts)
}

/// Length of a verdict's fingerprint.
const KEY: usize = 32;

/// Leaves out the candidates that were not judged; how many there were.
fn keep_judged(candidates: &mut Vec<Candidate>, verdicts: &[Verdict]) -> Result<usize> {
    let judged: HashMap<(&str, usize), &Verdict> = verdicts
        .iter()
        .filter(|verdict| verdict.outcome != Outcome::Infrastructure)
        .map(|verdict| ((verdict.problem.as_str(), verdict.index), verdict))
        .collect();
    let before = candidates.len();
    candidates.retain(|candidate| judged.contains_key(&(candidate.problem.as_str(), candidate.index)));
    ensure!(!candidates.is_empty(), "none of its verdicts is of these samples; `ncomp execute` writes them");
    // A fingerprint is of a problem and a program; that of an earlier version was of the judge alone.
    let mut programs = HashMap::new();
    let mut fingerprints = HashMap::new();
    for candidate in candidates.iter() {
        let fingerprint = judged[&(candidate.problem.as_str(), candidate.index)].fingerprint.as_str();
        let program = (candidate.problem.as_str(), candidate.code.as_str());
        if fingerprint.len() != KEY {
            continue;
        }
        let is_known = *programs.entry(fingerprint).or_insert(program) == program;
        if !(is_known && *fingerprints.entry(program).or_insert(fingerprint) == fingerprint) {
            bail!(
                "its verdicts are of other programs than the samples, as {} {} shows; `ncomp execute` judges these",
                candidate.problem,
                candidate.index
            );
        }
    }
    Ok(before - candidates.len())
}

/// Says on stderr where what is learned from is of test problems: nothing that is measured on them tells how good it
/// is. A run never learns from them.
pub fn tell_of_test_problems(problems: &[Problem], candidates: &[Candidate]) {
    if let Some((count, first)) = test_problems(problems, candidates) {
        errln!(
            "{count} of the problems to learn from are test problems, {first} for one: do not measure by them what is \
             learned here"
        );
    }
}

/// How many test problems the candidates are of, and the first of them.
fn test_problems<'a>(problems: &'a [Problem], candidates: &[Candidate]) -> Option<(usize, &'a str)> {
    let used: HashSet<&str> = candidates.iter().map(|candidate| candidate.problem.as_str()).collect();
    let of_test = problems.iter().filter(|problem| problem.split == Split::Test);
    let mut of_test = of_test.map(|problem| problem.id.as_str()).filter(|id| used.contains(id));
    let first = of_test.next()?;
    Some((1 + of_test.count(), first))
}

/// Refuses to write where an input is read from.
///
/// # Errors
/// Names the file.
pub fn ensure_no_input(out: &Path, inputs: &[&Path]) -> Result<()> {
    let same = |input: &&Path| match (out.canonicalize(), input.canonicalize()) {
        (Ok(out), Ok(input)) => out == input,
        _ => false,
    };
    ensure!(!inputs.iter().any(same), "--out {}: this file is read; name another", out.display());
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates() -> Vec<Candidate> {
        let programs = ["a", "b", "a"].into_iter().enumerate();
        let of = |(index, code): (usize, &str)| Candidate {
            problem: "p".to_owned(),
            index,
            code: code.to_owned(),
            ..Candidate::default()
        };
        programs.map(of).collect()
    }

    fn verdict(index: usize, fingerprint: &str) -> Verdict {
        let fingerprint = fingerprint.repeat(KEY);
        Verdict { outcome: Outcome::Failed, fingerprint, ..Verdict::infrastructure("p", index, "") }
    }

    #[test]
    fn test_problems_to_learn_from_are_counted() {
        let problem = |id: &str, split| Problem { id: id.into(), split, ..Problem::default() };
        let problems = [problem("q", Split::Test), problem("p", Split::Train)];
        assert_eq!(test_problems(&problems, &candidates()), None);
        let problems = [problem("q", Split::Test), problem("p", Split::Test)];
        assert_eq!(test_problems(&problems, &candidates()), Some((1, "p")));
    }

    #[test]
    fn only_what_was_judged_counts() {
        let mut judged = candidates();
        let all = [verdict(0, "x"), verdict(1, "y"), verdict(2, "x")];
        assert_eq!(keep_judged(&mut judged, &all).expect("verdicts"), 0);
        let broken = [verdict(0, "x"), Verdict::infrastructure("p", 1, "")];
        assert_eq!(keep_judged(&mut judged, &broken).expect("verdicts"), 2);
        assert_eq!(judged.len(), 1);
    }

    #[test]
    fn verdicts_on_other_programs_are_refused() {
        let other_problem = Verdict { problem: "q".to_owned(), ..verdict(0, "x") };
        let of_another_order = vec![verdict(0, "x"), verdict(1, "x"), verdict(2, "y")];
        let of_a_changed_program = vec![verdict(0, "x"), verdict(1, "y"), verdict(2, "z")];
        for verdicts in [vec![], vec![other_problem], of_another_order, of_a_changed_program] {
            assert!(keep_judged(&mut candidates(), &verdicts).is_err(), "{verdicts:?}");
        }
    }

    #[test]
    fn an_input_is_never_written_over() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let beside = file.path().with_extension("choices");
        assert!(ensure_no_input(file.path(), &[Path::new("/nowhere"), file.path()]).is_err());
        assert!(ensure_no_input(&beside, &[file.path()]).is_ok());
    }
}
