//! Runs candidates to compare what they do: the signals that consensus selectors need.

use crate::progress::{Progress, interrupted};
use executor::{Executor, Observed, Task};
use pydata::{Call, parse_assert};
use records::{Candidate, Problem, Test};
use selection::inputs::variations;
use selection::{Behaviour, Pool};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// What selectors may know of a problem's tests, and how many inputs they make themselves.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge {
    /// 1: the visible tests' calls; 2: all tests' calls; 3: the visible tests with their values.
    pub level: u8,
    /// Calls of our own making for each problem.
    pub own_inputs: usize,
    /// Seed of these.
    pub seed: u64,
}

impl Knowledge {
    /// The calls that may be made for a problem: those given, then those of our own making.
    fn calls(&self, problem: &Problem) -> (Vec<String>, usize) {
        let call = |test: &Test| parse_assert(&test.source).ok().map(|assert| assert.call);
        let given: Vec<Call> = match self.level {
            2 => problem.tests.iter().filter_map(call).collect(),
            _ => problem.visible().filter_map(call).collect(),
        };
        let mut calls: Vec<String> = given.iter().map(|call| call.source.clone()).collect();
        let count = calls.len();
        calls.extend(variations(&given, self.own_inputs, self.seed));
        (calls, count)
    }
}

/// Runs every candidate of the pools and notes how they agree, and at level 3 whether they pass the
/// visible tests. Returns how many calls were made of how many programs; none if Ctrl-C stopped it.
pub fn observe(
    executor: &Executor,
    problems: &[Problem],
    candidates: &[Candidate],
    knowledge: Knowledge,
    pools: &mut [Pool],
) -> Option<(usize, usize)> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let tasks = candidates.iter().filter_map(|candidate| {
        let problem = by_id.get(candidate.problem.as_str())?;
        Some(Task { problem, index: candidate.index, code: &candidate.code })
    });
    let tasks: Vec<Task> = tasks.collect();
    let plans: HashMap<&str, (Vec<String>, usize)> =
        tasks.iter().map(|task| (task.problem.id.as_str(), knowledge.calls(task.problem))).collect();
    let calls =
        |problem: &Problem| plans.get(problem.id.as_str()).map(|plan| plan.0.clone()).unwrap_or_default();
    let mut progress = Progress::start("behaviour", tasks.len(), 0);
    let mut observed: HashMap<(&str, usize), Vec<Observed>> = HashMap::new();
    let mut programs = std::collections::HashSet::new();
    executor.observe_all(&tasks, &calls, &mut |at, seen| {
        let task = &tasks[at];
        programs.insert((task.problem.id.as_str(), task.code));
        // Where the executor itself failed, nothing is known: as if it had given nothing.
        let nothing =
            || vec![Observed::Nothing; plans.get(task.problem.id.as_str()).map_or(0, |p| p.0.len())];
        observed.insert((&task.problem.id, task.index), seen.map_or_else(nothing, <[Observed]>::to_vec));
        progress.advance(1);
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    if interrupted() {
        return None;
    }
    let made = programs.iter().map(|(problem, _)| plans.get(problem).map_or(0, |plan| plan.0.len())).sum();
    let visible = if knowledge.level == 3 { visible_passes(executor, &tasks) } else { HashMap::new() };
    let mut indices: HashMap<&str, Vec<usize>> = HashMap::new();
    tasks.iter().for_each(|task| indices.entry(&task.problem.id).or_default().push(task.index));
    indices.values_mut().for_each(|indices| indices.sort_unstable());
    for pool in pools {
        let Some((id, indices)) = indices.get_key_value(pool.problem.as_str()) else { continue };
        let given = plans.get(id).map_or(0, |plan| plan.1);
        let rows = indices.iter().map(|&index| observed.remove(&(*id, index)).unwrap_or_default());
        pool.agreement = Some(Behaviour { observed: rows.collect(), given }.agreement());
        pool.agreement_level = if knowledge.level == 2 { 2 } else { 1 };
        if knowledge.level == 3 {
            let passes = |&index: &usize| visible.get(&(*id, index)).copied().unwrap_or(false);
            pool.passes_visible = Some(indices.iter().map(passes).collect());
        }
    }
    Some((made, programs.len()))
}

/// Whether each candidate passes the tests that a prompt shows.
fn visible_passes<'a>(executor: &Executor, tasks: &[Task<'a>]) -> HashMap<(&'a str, usize), bool> {
    let mut shown: HashMap<&str, Problem> = HashMap::new();
    for task in tasks {
        shown.entry(&task.problem.id).or_insert_with(|| {
            let tests = task.problem.visible().cloned().collect();
            // The reference is no candidate's business: without it the plan needs no other tests.
            Problem { tests, references: Vec::new(), ..task.problem.clone() }
        });
    }
    let visible = |task: &Task<'a>| Task { problem: &shown[task.problem.id.as_str()], ..*task };
    let visible: Vec<Task> = tasks.iter().map(visible).collect();
    let mut passed = HashMap::new();
    let ids: HashMap<&str, &'a str> =
        tasks.iter().map(|task| (task.problem.id.as_str(), task.problem.id.as_str())).collect();
    executor.judge_all(&visible, &mut |verdict| {
        if let Some(&id) = ids.get(verdict.problem.as_str()) {
            passed.insert((id, verdict.index), verdict.passed());
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    passed
}
