//! What a model says of candidates: a reviewer's likelihoods, and tests that it wrote.

use crate::error::learning;
use crate::{Result, Watch};
use generator::{Generator, Request};
use python::Check;
use records::{Outcome, Problem, paired};
use selection::{Pool, generated_tests};
use std::collections::{BTreeSet, HashMap};
use verify::{Client, Task};

/// Longest question to a reviewer, in tokens.
const REVIEW_TOKENS: usize = 1024;

/// What tests of a model's own took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Calls made of candidates.
    pub executions: usize,
    /// Tokens of the tests.
    pub tokens: usize,
}

/// Asks the reviewer about every pool. Equal programs of a problem are asked about once. Returns how
/// many tokens it read; none if it was stopped.
///
/// # Errors
/// Where the model fails, or does not answer for every program.
pub fn review(
    watch: Watch,
    reviewer: &Generator,
    problems: &[Problem],
    pools: &mut [Pool],
) -> Result<Option<usize>> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut progress = watch.begin("reviews", pools.len(), 0);
    let mut tokens = 0;
    for pool in pools {
        let Some(problem) = by_id.get(pool.problem.as_str()) else { continue };
        let distinct: Vec<String> = pool.codes.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let found = reviewer.review(&problem.shown, &distinct, REVIEW_TOKENS).map_err(learning)?;
        let values: HashMap<&String, f64> = paired(&distinct, found, ["programs", "likelihoods"])?.collect();
        let of = |code: &String| values.get(code).copied().unwrap_or(f64::NEG_INFINITY);
        pool.reviewer = Some(pool.codes.iter().map(of).collect());
        let text = reviewer.tokenizer.encode(&problem.shown.statement).len();
        tokens += distinct.iter().map(|code| reviewer.tokenizer.encode(code).len() + text).sum::<usize>();
        progress.advance(1);
        if watch.interrupted() {
            return Ok(None);
        }
    }
    progress.finish();
    Ok(Some(tokens))
}

/// Has the model write tests for every pool's problem, runs the candidates on them, and notes how
/// they agree. Returns what it took; none if it was stopped.
///
/// # Errors
/// Where the model fails, or a problem's check cannot be read.
pub fn test(
    watch: Watch,
    author: &Generator,
    request: &Request,
    shown: bool,
    client: &Client,
    problems: &[Problem],
    pools: &mut [Pool],
) -> Result<Option<Effort>> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut progress = watch.begin("tests of its own", pools.len(), 0);
    let mut effort = Effort::default();
    for pool in pools {
        let Some(problem) = by_id.get(pool.problem.as_str()) else { continue };
        let written = author.write_tests(&problem.id, &problem.shown, request, shown).map_err(learning)?;
        let written: BTreeSet<String> = written.into_iter().collect();
        effort.tokens += written.iter().map(|test| author.tokenizer.encode(test).len()).sum::<usize>();
        // What is no comparison with a value, or not Python, is no test.
        let tests = written.into_iter().filter(|test| pydata::parse_assert(test).is_ok());
        let tests: Vec<String> = tests.collect();
        let asked = asked_by(problem, tests.clone())?;
        let tasks = pool.codes.iter().enumerate();
        let tasks: Vec<Task> =
            tasks.map(|(index, solution)| Task { problem: &asked, index, solution }).collect();
        let mut passes = vec![vec![false; tests.len()]; tasks.len()];
        if !tests.is_empty() {
            client.judge_all(&tasks, &mut |verdict| {
                // A verdict without results of tests says that none passed.
                for (passes, result) in passes[verdict.index].iter_mut().zip(&verdict.tests) {
                    *passes = result.outcome == Outcome::Passed;
                }
                watch.flow(false)
            });
        }
        if watch.interrupted() {
            return Ok(None);
        }
        effort.executions += tests.len() * pool.codes.iter().collect::<BTreeSet<_>>().len();
        let weights = generated_tests::weights(&passes);
        pool.generated_tests = Some(generated_tests::agreement(&passes, &weights));
        progress.advance(1);
    }
    progress.finish();
    Ok(Some(effort))
}

/// A problem with other tests in place of its own. Its reference is no judge of them: they may be
/// wrong.
fn asked_by(problem: &Problem, tests: Vec<String>) -> Result<Problem> {
    let check = Check { tests, plus: None, ..Check::of(problem)? };
    let id = format!("{}, written tests", problem.id);
    Ok(Problem { id, check: check.into_record(), references: Vec::new(), ..problem.clone() })
}
