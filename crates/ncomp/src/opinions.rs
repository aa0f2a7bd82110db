//! What a model says of candidates: a reviewer's likelihoods, and tests that it wrote.

use crate::progress::{Progress, interrupted};
use anyhow::Result;
use executor::{Executor, Observed, Task};
use generator::{Generator, Request};
use pydata::{Assert, parse_assert};
use records::Problem;
use selection::{Pool, generated_tests};
use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

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
/// many tokens it read; none if Ctrl-C stopped it.
pub fn review(reviewer: &Generator, problems: &[Problem], pools: &mut [Pool]) -> Result<Option<usize>> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut progress = Progress::start("reviews", pools.len(), 0);
    let mut tokens = 0;
    for pool in pools {
        let Some(problem) = by_id.get(pool.problem.as_str()) else { continue };
        let distinct: Vec<String> = pool.codes.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        let found = reviewer.review(problem, &distinct, REVIEW_TOKENS)?;
        let values: HashMap<&String, f64> = distinct.iter().zip(found).collect();
        let of = |code: &String| values.get(code).copied().unwrap_or(f64::NEG_INFINITY);
        pool.reviewer = Some(pool.codes.iter().map(of).collect());
        let text = reviewer.tokenizer.encode(&problem.text).len();
        tokens += distinct.iter().map(|code| reviewer.tokenizer.encode(code).len() + text).sum::<usize>();
        progress.advance(1);
        if interrupted() {
            return Ok(None);
        }
    }
    progress.finish();
    Ok(Some(tokens))
}

/// Has the model write tests for every pool's problem, runs the candidates on them, and notes how
/// they agree. Returns what it took; none if Ctrl-C stopped it.
pub fn test(
    author: &Generator,
    request: &Request,
    shown: bool,
    executor: &Executor,
    problems: &[Problem],
    pools: &mut [Pool],
) -> Result<Option<Effort>> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let mut progress = Progress::start("tests of its own", pools.len(), 0);
    let mut effort = Effort::default();
    for pool in pools {
        let Some(problem) = by_id.get(pool.problem.as_str()) else { continue };
        let written: BTreeSet<String> = author.write_tests(problem, request, shown)?.into_iter().collect();
        effort.tokens += written.iter().map(|test| author.tokenizer.encode(test).len()).sum::<usize>();
        // What is no comparison with a value, or not Python, is no test.
        let asserts: Vec<Assert> = written.iter().filter_map(|test| parse_assert(test).ok()).collect();
        let calls: Vec<String> = asserts.iter().map(|assert| assert.call.source.clone()).collect();
        let tasks = pool.codes.iter().enumerate().map(|(index, code)| Task { problem, index, code });
        let tasks: Vec<Task> = tasks.collect();
        let mut passes = vec![vec![false; asserts.len()]; tasks.len()];
        executor.observe_all(&tasks, &|_| calls.as_slice(), &mut |at, seen| {
            for ((passes, assert), observed) in passes[at].iter_mut().zip(&asserts).zip(seen.unwrap_or(&[])) {
                *passes = matches!(observed, Observed::Value(value) if value.python_eq(&assert.expected));
            }
            if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if interrupted() {
            return Ok(None);
        }
        effort.executions += asserts.len() * pool.codes.iter().collect::<BTreeSet<_>>().len();
        let weights = generated_tests::weights(&passes);
        pool.generated_tests = Some(generated_tests::agreement(&passes, &weights));
        progress.advance(1);
    }
    progress.finish();
    Ok(Some(effort))
}
