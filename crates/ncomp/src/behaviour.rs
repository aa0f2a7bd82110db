//! Runs candidates to compare what they do: the signals that consensus selectors need.

use crate::progress::{Progress, interrupted};
use executor::{Executor, Observed, Task};
use pydata::{Call, parse_call};
use records::{Candidate, Problem};
use selection::guess::{best, guesses};
use selection::inputs::{Inputs, known_calls};
use selection::{Behaviour, Pool};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

/// What selectors may know of a problem's tests, and how many inputs they make themselves.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Knowledge {
    /// What selectors may know of the tests: 0 nothing, 1 the visible tests' calls, 2 the calls of
    /// all tests, 3 the visible tests with their values
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=3))]
    pub level: u8,
    /// Inputs of our own making for each problem, like the calls that are known or guessed
    #[arg(long = "inputs", default_value_t = 40)]
    pub own_inputs: usize,
    /// Seed of these inputs
    #[arg(long = "input-seed", default_value_t = 0)]
    pub seed: u64,
}

/// What running the candidates took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Programs that differ.
    pub programs: usize,
    /// Calls made of them.
    pub calls: usize,
}

/// What each task gave on each call, by problem and index.
type Results<'a> = HashMap<(&'a str, usize), Vec<Observed>>;

impl Knowledge {
    fn inputs(&self, given: &[Call]) -> Inputs {
        Inputs::around(given, self.own_inputs, self.seed)
    }
}

/// Runs every candidate of the pools and notes how they agree and what they answer, and at level 3
/// whether they pass the visible tests. None if Ctrl-C stopped it.
pub fn observe(
    executor: &Executor,
    problems: &[Problem],
    candidates: &[Candidate],
    knowledge: Knowledge,
    pools: &mut [Pool],
) -> Option<Effort> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let tasks = candidates.iter().filter_map(|candidate| {
        let problem = by_id.get(candidate.problem.as_str())?;
        Some(Task { problem, index: candidate.index, code: &candidate.code })
    });
    let tasks: Vec<Task> = tasks.collect();
    let mut effort = Effort::default();
    let inputs: HashMap<&str, Inputs> = if knowledge.level == 0 {
        guessed(executor, &tasks, knowledge, &mut effort)?
    } else {
        one_for_each_problem(&tasks)
            .map(|task| (id(task), knowledge.inputs(&known_calls(task.problem, knowledge.level))))
            .collect()
    };
    let calls = |problem: &Problem| inputs.get(problem.id.as_str()).map_or(&[][..], |inputs| &inputs.calls);
    let mut observed = run(executor, "behaviour", &tasks, &calls, &mut effort)?;
    let visible = match knowledge.level {
        3 => visible_passes(executor, &tasks)?,
        _ => HashMap::new(),
    };
    let mut indices: HashMap<&str, Vec<usize>> = HashMap::new();
    tasks.iter().for_each(|task| indices.entry(id(task)).or_default().push(task.index));
    indices.values_mut().for_each(|indices| indices.sort_unstable());
    for pool in pools {
        let Some((id, indices)) = indices.get_key_value(pool.problem.as_str()) else { continue };
        let Inputs { calls, given } = inputs.get(id).cloned().unwrap_or_default();
        let rows = indices.iter().map(|&index| observed.remove(&(*id, index)).unwrap_or_default());
        let behaviour = Behaviour { observed: rows.collect(), given, calls };
        pool.agreement = Some(behaviour.agreement());
        pool.conduct = Some(behaviour.conduct());
        pool.agreement_level = knowledge.level.min(2);
        if knowledge.level == 3 {
            pool.agreement_level = 1;
            let passes = |&index: &usize| visible.get(&(*id, index)).copied().unwrap_or(false);
            pool.passes_visible = Some(indices.iter().map(passes).collect());
        }
    }
    Some(effort)
}

fn id<'a>(task: &Task<'a>) -> &'a str {
    &task.problem.id
}

fn one_for_each_problem<'t, 'a>(tasks: &'t [Task<'a>]) -> impl Iterator<Item = &'t Task<'a>> {
    let mut seen = HashSet::new();
    tasks.iter().filter(move |task| seen.insert(id(task)))
}

/// Inputs for problems of which nothing but the text is known: guesses are tried on the candidates,
/// and the one that most of them take is varied.
fn guessed<'a>(
    executor: &Executor,
    tasks: &[Task<'a>],
    knowledge: Knowledge,
    effort: &mut Effort,
) -> Option<HashMap<&'a str, Inputs>> {
    let mut codes: HashMap<&str, Vec<String>> = HashMap::new();
    tasks.iter().for_each(|task| codes.entry(id(task)).or_default().push(task.code.to_owned()));
    let guesses: HashMap<&str, _> = one_for_each_problem(tasks)
        .map(|task| (id(task), guesses(&task.problem.entry_point, &task.problem.text, &codes[id(task)])))
        .collect();
    let calls: HashMap<&str, Vec<String>> = guesses
        .iter()
        .map(|(id, guesses)| (*id, guesses.iter().flat_map(|guess| guess.calls.clone()).collect()))
        .collect();
    let calls = |problem: &Problem| calls.get(problem.id.as_str()).map_or(&[][..], Vec::as_slice);
    let mut rows: HashMap<&str, Vec<Vec<Observed>>> = HashMap::new();
    for ((id, _), row) in run(executor, "guesses", tasks, &calls, effort)? {
        rows.entry(id).or_default().push(row);
    }
    let inputs = guesses.iter().map(|(id, guesses)| {
        let chosen = best(guesses, rows.get(id).map_or(&[][..], Vec::as_slice));
        let given: Vec<Call> = chosen.iter().filter_map(|call| parse_call(call).ok()).collect();
        (*id, knowledge.inputs(&given))
    });
    Some(inputs.collect())
}

/// Makes the calls of every task's program. None if Ctrl-C stopped it.
fn run<'a, 'c>(
    executor: &Executor,
    label: &str,
    tasks: &[Task<'a>],
    calls: &(dyn Fn(&Problem) -> &'c [String] + Sync),
    effort: &mut Effort,
) -> Option<Results<'a>> {
    let mut progress = Progress::start(label, tasks.len(), 0);
    let mut results = Results::new();
    let mut programs = HashSet::new();
    executor.observe_all(tasks, calls, &mut |at, seen| {
        let task = &tasks[at];
        if programs.insert((id(task), task.code)) {
            effort.calls += calls(task.problem).len();
        }
        // Where the executor itself failed, nothing is known: as if it had given nothing.
        let nothing = || vec![Observed::Nothing; calls(task.problem).len()];
        results.insert((id(task), task.index), seen.map_or_else(nothing, <[Observed]>::to_vec));
        progress.advance(1);
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.finish();
    effort.programs = effort.programs.max(programs.len());
    (!interrupted()).then_some(results)
}

/// Whether each candidate passes the tests that a prompt shows. None if Ctrl-C stopped it.
fn visible_passes<'a>(executor: &Executor, tasks: &[Task<'a>]) -> Option<HashMap<(&'a str, usize), bool>> {
    let shown = |task: &Task<'a>| {
        let tests = task.problem.visible().cloned().collect();
        // The reference is no candidate's business: without it the plan needs no other tests.
        (id(task), Problem { tests, references: Vec::new(), ..task.problem.clone() })
    };
    let shown: HashMap<&str, Problem> = one_for_each_problem(tasks).map(shown).collect();
    let visible: Vec<Task> = tasks.iter().map(|task| Task { problem: &shown[id(task)], ..*task }).collect();
    let ids: HashMap<&str, &'a str> = tasks.iter().map(|task| (id(task), id(task))).collect();
    let mut passed = HashMap::new();
    executor.judge_all(&visible, &mut |verdict| {
        if let Some(&id) = ids.get(verdict.problem.as_str()) {
            passed.insert((id, verdict.index), verdict.passed());
        }
        if interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (!interrupted()).then_some(passed)
}
