//! Runs candidates to compare what they do: the signals that consensus selectors need.

mod runner;
mod slow;

use crate::observations::Observations;
use crate::{Note, Result, Watch};
use records::{Candidate, Observation, Problem};
use runner::Runner;
use selection::guess::best;
use selection::{Behaviour, Pool};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use verify::{Client, Domain, Guess, Inputs, Task};

/// Most inputs that are made up for a problem: each is a call of every candidate.
pub const MOST_OWN_INPUTS: usize = 1000;

/// What selectors may know of a problem's tests, and how many inputs they make themselves.
#[derive(Clone, Copy, Debug)]
pub struct Knowledge {
    /// What selectors may know of the tests: 0 nothing, 1 the visible tests' inputs, 2 the inputs of
    /// all tests, 3 the visible tests with their values.
    pub level: u8,
    /// Inputs to generate for each problem, variations of those that are known or guessed.
    pub own_inputs: usize,
    /// Seed of these inputs.
    pub seed: u64,
}

/// What running the candidates took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Calls made of candidates.
    pub calls: usize,
    /// Calls whose results were known from earlier.
    pub known: usize,
}

/// What each task gave on each input, by problem and index.
type Results<'a> = HashMap<(&'a str, usize), Vec<Observation>>;

/// Inputs by problem.
type InputsOf<'a> = HashMap<&'a str, Arc<[String]>>;

/// Runs every candidate of the pools and notes how they agree, what they answer and what their text
/// tells, and at level 3 whether they pass the visible tests. What is known already is not run again.
/// A problem whose tests tell no input is looked at as at level 0, and the watch is told. None if it was
/// stopped.
///
/// # Errors
/// Where what was observed cannot be kept.
pub fn observe(
    watch: Watch,
    client: &Client,
    known: &mut Observations,
    problems: &[Problem],
    candidates: &[Candidate],
    knowledge: Knowledge,
    pools: &mut [Pool],
) -> Result<Option<Effort>> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let tasks = candidates.iter().filter_map(|candidate| {
        let problem = by_id.get(candidate.problem.as_str())?;
        Some(Task { problem, index: candidate.index, solution: &candidate.code })
    });
    let tasks: Vec<Task> = tasks.collect();
    let mut runner = Runner { watch, client, known, effort: Effort::default() };
    let Some(mut inputs) = inputs_of(&mut runner, &tasks, knowledge)? else { return Ok(None) };
    if !slow::leave_out(&mut runner, &tasks, &mut inputs)? {
        return Ok(None);
    }
    let shared: InputsOf =
        inputs.iter().map(|(id, known)| (*id, known.inputs.inputs.as_slice().into())).collect();
    let Some(mut observed) = runner.run("behaviour", &tasks, &shared)? else { return Ok(None) };
    let mut visible = HashMap::new();
    if knowledge.level == 3 {
        let shown: Vec<Task> =
            tasks.iter().filter(|task| !task.problem.shown.visible().is_empty()).copied().collect();
        let Some(passes) = runner.visible_passes(&shown)? else { return Ok(None) };
        visible = passes;
    }
    let effort = runner.effort;
    let mut indices: HashMap<&str, Vec<usize>> = HashMap::new();
    tasks.iter().for_each(|task| indices.entry(id(task)).or_default().push(task.index));
    indices.values_mut().for_each(|indices| indices.sort_unstable());
    for pool in pools {
        if let Some(problem) = by_id.get(pool.problem.as_str())
            && let Some(domain) = domain_of(client, problem)
        {
            let features = pool.codes.iter().map(|code| domain.static_features(problem, code));
            pool.static_features = Some(features.collect());
        }
        let Some((id, indices)) = indices.get_key_value(pool.problem.as_str()) else { continue };
        let Found { level, inputs: Inputs { inputs, given } } = inputs.get(id).cloned().unwrap_or_default();
        let rows = indices.iter().map(|&index| observed.remove(&(*id, index)).unwrap_or_default());
        let behaviour = Behaviour { observed: rows.collect(), given, inputs };
        pool.agreement = Some(behaviour.agreement());
        pool.answers = Some(behaviour.answer_classes());
        pool.answer_profiles = Some(behaviour.answer_profiles());
        pool.agreement_level = if level == 3 { 1 } else { level };
        // Of a problem that shows no test none of them is known to pass any.
        let passes = |&index: &usize| visible.get(&(*id, index)).copied().unwrap_or(false);
        pool.passes_visible = (knowledge.level == 3).then(|| indices.iter().map(passes).collect());
    }
    Ok(Some(effort))
}

/// The inputs of a problem, and the level of what they tell.
#[derive(Clone, Default)]
struct Found {
    level: u8,
    inputs: Inputs,
}

/// The inputs of each problem: those that its tests tell, or else guesses, and variations of them. None
/// if it was stopped.
fn inputs_of<'a>(
    runner: &mut Runner,
    tasks: &[Task<'a>],
    knowledge: Knowledge,
) -> Result<Option<HashMap<&'a str, Found>>> {
    let Knowledge { level, own_inputs, seed } = knowledge;
    let mut solutions: HashMap<&str, Vec<&str>> = HashMap::new();
    tasks.iter().for_each(|task| solutions.entry(id(task)).or_default().push(task.solution));
    let (mut found, mut silent) = (HashMap::new(), Vec::new());
    for task in one_for_each_problem(tasks) {
        let Some(domain) = domain_of(runner.client, task.problem) else { continue };
        let known = domain.known_inputs(task.problem, level);
        if known.is_empty() {
            silent.push(id(task));
            continue;
        }
        let inputs = domain.vary(task.problem, &solutions[id(task)], &known, own_inputs, seed);
        found.insert(id(task), Found { level, inputs });
    }
    if let Some(first) = silent.first().filter(|_| level > 0) {
        let first = (*first).to_owned();
        runner.watch.note(&Note::NoKnownInputs { count: silent.len(), first });
    }
    let silent: HashSet<&str> = silent.into_iter().collect();
    let unknown: Vec<Task> = tasks.iter().filter(|task| silent.contains(id(task))).copied().collect();
    let Some(guessed) = guessed(runner, &unknown, &solutions, knowledge)? else { return Ok(None) };
    found.extend(guessed.into_iter().map(|(id, inputs)| (id, Found { level: 0, inputs })));
    Ok(Some(found))
}

fn id<'a>(task: &Task<'a>) -> &'a str {
    &task.problem.id
}

fn one_for_each_problem<'t, 'a>(tasks: &'t [Task<'a>]) -> impl Iterator<Item = &'t Task<'a>> {
    let mut seen = HashSet::new();
    tasks.iter().filter(move |task| seen.insert(id(task)))
}

/// The domain that a problem's check is of.
fn domain_of<'a>(client: &'a Client, problem: &Problem) -> Option<&'a Arc<dyn Domain>> {
    client.pool().domain(&problem.check.domain)
}

/// Inputs for problems of which nothing but the text is known: guesses are tried on the candidates,
/// and the one that most of them take is varied.
fn guessed<'a>(
    runner: &mut Runner,
    tasks: &[Task<'a>],
    solutions: &HashMap<&str, Vec<&str>>,
    knowledge: Knowledge,
) -> Result<Option<HashMap<&'a str, Inputs>>> {
    let mut guesses: HashMap<&str, (&Task, Vec<Guess>)> = HashMap::new();
    for task in one_for_each_problem(tasks) {
        if let Some(domain) = domain_of(runner.client, task.problem) {
            guesses.insert(id(task), (task, domain.guesses(task.problem, &solutions[id(task)])));
        }
    }
    let inputs: InputsOf = guesses
        .iter()
        .map(|(id, (_, guesses))| (*id, guesses.iter().flat_map(|guess| guess.inputs.clone()).collect()))
        .collect();
    let Some(seen) =
        (if tasks.is_empty() { Some(Results::new()) } else { runner.run("guesses", tasks, &inputs)? })
    else {
        return Ok(None);
    };
    let mut rows: HashMap<&str, Vec<Vec<Observation>>> = HashMap::new();
    for ((id, _), row) in seen {
        rows.entry(id).or_default().push(row);
    }
    let mut found = HashMap::new();
    for (problem, (task, guesses)) in &guesses {
        let given = best(guesses, rows.get(problem).map_or(&[][..], Vec::as_slice));
        if let Some(domain) = domain_of(runner.client, task.problem) {
            let Knowledge { own_inputs, seed, .. } = knowledge;
            let inputs = domain.vary(task.problem, &solutions[problem], &given, own_inputs, seed);
            found.insert(id(task), inputs);
        }
    }
    Ok(Some(found))
}
