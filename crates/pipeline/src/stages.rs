//! The stages that work on records: generate, execute, score. Each resumes where it stopped.

use crate::error::learning;
use crate::verdicts::StoredVerdict;
use crate::{Done, Error, Note, Result, Watch};
use critic::{Critic, Question};
use generator::{Generator, Request};
use problems::prompt::PromptTests;
use problems::samples::solution_in;
use records::jsonl::{self, Appender};
use records::{Candidate, Outcome, Problem, Score, Verdict, paired};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use verify::{Ask, Client, Task};

/// Opens a stage's file to go on with.
fn resume<T: DeserializeOwned>(path: &Path) -> Result<(Appender, Vec<T>)> {
    Appender::resume(path).map_err(Error::Resume)
}

/// Candidates for every problem, into a file.
///
/// # Errors
/// Where the file cannot be read or written, or the generator fails.
pub fn generate(
    watch: Watch,
    label: &str,
    generator: &Generator,
    problems: &[Problem],
    request: &Request,
    path: &Path,
) -> Result<Done> {
    let (mut file, old) = resume::<Candidate>(path)?;
    let mut present: HashMap<&str, HashSet<usize>> = HashMap::new();
    for candidate in &old {
        present.entry(&candidate.problem).or_default().insert(candidate.index);
    }
    let mut wanted: Vec<(&Problem, usize, usize)> = Vec::new();
    for problem in problems {
        let has = present.get(problem.id.as_str());
        let missing = (0..request.samples).filter(|index| has.is_none_or(|has| !has.contains(index)));
        for index in missing {
            match wanted.last_mut() {
                Some((last, first, count)) if std::ptr::eq(*last, problem) && *first + *count == index => {
                    *count += 1
                }
                _ => wanted.push((problem, index, 1)),
            }
        }
    }
    let total = problems.len() * request.samples;
    let missing: usize = wanted.iter().map(|(_, _, count)| count).sum();
    let mut progress = watch.begin(label, total, total - missing);
    let mut failed = None;
    let generated = generator.generate_some(&wanted, request, &solution_in, &mut |candidate| {
        failed = file.append(&candidate).err();
        progress.advance(1);
        watch.flow(failed.is_some())
    });
    generated.map_err(learning)?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    file.flush()?;
    progress.finish();
    Ok(Done::now(watch))
}

/// Verdicts on every candidate of a file, into another. Those of an earlier call are kept where they
/// are on the same program, tests, verifier and limits; others, and what the verifier failed on, are
/// made anew.
///
/// # Errors
/// Where a candidate's problem is unknown, or the file cannot be read or written.
pub fn execute(
    watch: Watch,
    label: &str,
    client: &Client,
    problems: &[Problem],
    candidates: &[Candidate],
    path: &Path,
) -> Result<Done> {
    let by_id: HashMap<&str, &Problem> =
        problems.iter().map(|problem| (problem.id.as_str(), problem)).collect();
    let mut tasks = Vec::new();
    let mut unknown = HashSet::new();
    for candidate in candidates {
        match by_id.get(candidate.problem.as_str()) {
            None => {
                unknown.insert(candidate.problem.as_str());
            }
            Some(problem) => tasks.push(Task { problem, index: candidate.index, solution: &candidate.code }),
        }
    }
    if let Some(example) = unknown.iter().min() {
        return Err(Error::UnknownProblems { count: unknown.len(), example: (*example).to_owned() });
    }
    let mut file = keep_verdicts(watch, label, client, &mut tasks, path)?;
    let mut progress = watch.begin(label, candidates.len(), candidates.len() - tasks.len());
    let mut failed = None;
    client.judge_all(&tasks, &mut |verdict| {
        failed = failed.take().or(file.append(&verdict).err());
        progress.advance(1);
        watch.flow(failed.is_some())
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    file.flush()?;
    progress.finish();
    Ok(Done::now(watch))
}

/// Opens a file of verdicts to append to: drops from it what does not hold for the task of its name,
/// and from the tasks what is judged already.
fn keep_verdicts(
    watch: Watch,
    label: &str,
    client: &Client,
    tasks: &mut Vec<Task>,
    path: &Path,
) -> Result<Appender> {
    let (file, stored) = resume::<StoredVerdict>(path)?;
    if stored.is_empty() {
        return Ok(file);
    }
    let wanted: HashMap<(&str, usize), String> = tasks
        .iter()
        .map(|task| ((task.problem.id.as_str(), task.index), client.pool().key(task, &Ask::Judge)))
        .collect();
    let (mut kept, mut old, mut stale, mut failed) = (Vec::new(), 0usize, 0usize, 0usize);
    for StoredVerdict { verdict, is_old } in stored {
        let wanted = wanted.get(&(verdict.problem.as_str(), verdict.index));
        let holds = wanted.is_none_or(|wanted| *wanted == verdict.fingerprint);
        match (is_old, verdict.outcome) {
            (true, _) => old += 1,
            (false, Outcome::Infrastructure) => failed += 1,
            (false, _) if !holds => stale += 1,
            (false, _) => kept.push(verdict),
        }
    }
    let kept_keys: HashSet<(&str, usize)> =
        kept.iter().map(|verdict| (verdict.problem.as_str(), verdict.index)).collect();
    tasks.retain(|task| !kept_keys.contains(&(task.problem.id.as_str(), task.index)));
    if old + stale + failed == 0 {
        return Ok(file);
    }
    let (label, at) = (|| label.to_owned(), || path.to_owned());
    if old > 0 {
        watch.note(&Note::OldVerdictsRenewed { label: label(), path: at(), count: old });
    }
    if stale > 0 {
        watch.note(&Note::StaleVerdictsRenewed { label: label(), path: at(), count: stale });
    }
    drop(file);
    jsonl::write(path, &kept)?;
    Ok(Appender::resume::<Verdict>(path)?.0)
}

/// Makes a problem's prompt.
pub type Prompt<'a> = dyn Fn(&Problem) -> Result<String> + 'a;

/// Questions to a critic: one for each problem that has candidates, in the problems' order.
///
/// # Errors
/// Where a prompt cannot be made.
pub fn questions<'a>(
    prompt: &Prompt,
    problems: &[Problem],
    candidates: &'a [Candidate],
) -> Result<Vec<(Question, Vec<&'a Candidate>)>> {
    let mut by_problem: HashMap<&str, Vec<&Candidate>> = HashMap::new();
    for candidate in candidates {
        by_problem.entry(&candidate.problem).or_default().push(candidate);
    }
    let mut questions = Vec::new();
    for problem in problems {
        let Some(mut group) = by_problem.remove(problem.id.as_str()) else { continue };
        group.sort_by_key(|candidate| candidate.index);
        let programs = group.iter().map(|candidate| candidate.code.clone()).collect();
        questions.push((Question { prompt: prompt(problem)?, programs }, group));
    }
    Ok(questions)
}

/// The critic's score of every candidate of some questions.
///
/// # Errors
/// Where the critic fails, or does not score every candidate.
pub fn scores_of(critic: &Critic, questions: &[(Question, Vec<&Candidate>)]) -> Result<Vec<Score>> {
    let asked: Vec<Question> = questions.iter().map(|(question, _)| question.clone()).collect();
    let values = critic.score(&asked).map_err(learning)?;
    let mut scores = Vec::new();
    for ((_, group), values) in paired(questions, values, ["questions", "lists of scores"])? {
        let of_group = paired(group, values, ["candidates", "scores"])?;
        scores.extend(of_group.map(|(candidate, critic)| Score {
            problem: candidate.problem.clone(),
            index: candidate.index,
            critic,
        }));
    }
    Ok(scores)
}

/// The critic's score of every candidate, into a file.
///
/// # Errors
/// As [`scores_of`], and where the file cannot be written.
pub fn score(
    watch: Watch,
    label: &str,
    critic: &Critic,
    generator: &Generator,
    problems: &[Problem],
    candidates: &[Candidate],
    path: &Path,
) -> Result<Done> {
    let prompt = |problem: &Problem| generator.prompt(&problem.shown, PromptTests::Visible).map_err(learning);
    let questions = questions(&prompt, problems, candidates)?;
    let mut progress = watch.begin(label, candidates.len(), 0);
    let mut scores = Vec::with_capacity(candidates.len());
    for chunk in questions.chunks(16) {
        if watch.interrupted() {
            return Ok(Done::Interrupted);
        }
        let found = scores_of(critic, chunk)?;
        progress.advance(found.len());
        scores.extend(found);
    }
    jsonl::write(path, &scores)?;
    progress.finish();
    Ok(Done::Whole)
}
