//! The stages that work on records: generate, execute, score. Each resumes where it stopped.

use crate::progress::{Progress, interrupted};
use crate::verdicts::{StoredVerdict, with_advice};
use anyhow::{Result, bail};
use critic::{Critic, Question};
use generator::{Generator, Request};
use problems::prompt::PromptTests;
use problems::samples::solution_in;
use records::jsonl::{self, Appender};
use records::{Candidate, Outcome, Problem, Score, Verdict};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use verify::{Ask, Client, Task};

/// Whether a stage came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// All is there.
    Whole,
    /// Ctrl-C; the next call resumes.
    Interrupted,
}

impl Done {
    fn now() -> Self {
        if interrupted() { Done::Interrupted } else { Done::Whole }
    }
}

/// Opens a stage's file to go on with.
fn resume<T: DeserializeOwned>(path: &Path) -> Result<(Appender, Vec<T>)> {
    Appender::resume(path).map_err(|error| match error {
        jsonl::Error::Io { .. } => anyhow::anyhow!("{error}; another file can be named with --out"),
        error => with_advice(
            error,
            "delete the line, and the same command makes again what it held; or name another file with --out",
        ),
    })
}

/// Candidates for every problem, into a file.
pub fn generate(
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
    let mut progress = Progress::start(label, total, total - missing);
    let mut failed = None;
    generator.generate_some(&wanted, request, &solution_in, &mut |candidate| {
        failed = file.append(&candidate).err();
        progress.advance(1);
        if failed.is_some() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    file.flush()?;
    progress.finish();
    Ok(Done::now())
}

/// Verdicts on every candidate of a file, into another. Those of an earlier call are kept where they
/// are on the same program, tests, verifier and limits; others, and what the verifier failed on, are
/// made anew.
pub fn execute(
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
        bail!(
            "{} of the candidates' problems are not in the problem set, {example} for one; give the set they belong to",
            unknown.len()
        );
    }
    let mut file = keep_verdicts(label, client, &mut tasks, path)?;
    let mut progress = Progress::start(label, candidates.len(), candidates.len() - tasks.len());
    let mut failed = None;
    client.judge_all(&tasks, &mut |verdict| {
        failed = failed.take().or(file.append(&verdict).err());
        progress.advance(1);
        if failed.is_some() || interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    file.flush()?;
    progress.finish();
    Ok(Done::now())
}

/// Opens a file of verdicts to append to: drops from it what does not hold for the task of its name,
/// and from the tasks what is judged already.
fn keep_verdicts(label: &str, client: &Client, tasks: &mut Vec<Task>, path: &Path) -> Result<Appender> {
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
    let path_text = path.display();
    if old > 0 {
        eprintln!("{label}: {old} verdicts in {path_text} are by an earlier version: judged anew");
    }
    if stale > 0 {
        eprintln!(
            "{label}: {stale} verdicts in {path_text} are on other programs, tests, interpreters or limits: \
             judged anew"
        );
    }
    drop(file);
    jsonl::write(path, &kept)?;
    Ok(Appender::resume::<Verdict>(path)?.0)
}

/// Questions to a critic: one for each problem that has candidates, in the problems' order.
pub fn questions<'a>(
    prompt: &dyn Fn(&Problem) -> Result<String>,
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
pub fn scores_of(critic: &Critic, questions: &[(Question, Vec<&Candidate>)]) -> Result<Vec<Score>> {
    let asked: Vec<Question> = questions.iter().map(|(question, _)| question.clone()).collect();
    let values = questions.iter().zip(critic.score(&asked)?);
    let scores = values.flat_map(|((_, group), values)| {
        group.iter().zip(values).map(|(candidate, critic)| Score {
            problem: candidate.problem.clone(),
            index: candidate.index,
            critic,
        })
    });
    Ok(scores.collect())
}

/// The critic's score of every candidate, into a file.
pub fn score(
    label: &str,
    critic: &Critic,
    generator: &Generator,
    problems: &[Problem],
    candidates: &[Candidate],
    path: &Path,
) -> Result<Done> {
    let prompt = |problem: &Problem| generator.prompt(&problem.shown, PromptTests::Visible);
    let questions = questions(&prompt, problems, candidates)?;
    let mut progress = Progress::start(label, candidates.len(), 0);
    let mut scores = Vec::with_capacity(candidates.len());
    for chunk in questions.chunks(16) {
        if interrupted() {
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
