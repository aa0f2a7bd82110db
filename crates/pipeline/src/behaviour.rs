//! Runs candidates to compare what they do: the signals that consensus selectors need.

use crate::Watch;
use records::{Candidate, Observation, Problem};
use selection::guess::best;
use selection::{Behaviour, Pool};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use verify::{Client, Domain, Guess, Inputs, Task};

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
    /// Programs that differ.
    pub programs: usize,
    /// Calls made of them.
    pub calls: usize,
}

/// What each task gave on each input, by problem and index.
type Results<'a> = HashMap<(&'a str, usize), Vec<Observation>>;

/// Runs every candidate of the pools and notes how they agree, what they answer and what their text
/// tells, and at level 3 whether they pass the visible tests. None if it was stopped.
pub fn observe(
    watch: Watch,
    client: &Client,
    problems: &[Problem],
    candidates: &[Candidate],
    knowledge: Knowledge,
    pools: &mut [Pool],
) -> Option<Effort> {
    let by_id: HashMap<&str, &Problem> = problems.iter().map(|p| (p.id.as_str(), p)).collect();
    let tasks = candidates.iter().filter_map(|candidate| {
        let problem = by_id.get(candidate.problem.as_str())?;
        Some(Task { problem, index: candidate.index, solution: &candidate.code })
    });
    let tasks: Vec<Task> = tasks.collect();
    let mut effort = Effort::default();
    let inputs: HashMap<&str, Inputs> = if knowledge.level == 0 {
        guessed(watch, client, &tasks, knowledge, &mut effort)?
    } else {
        let Knowledge { level, own_inputs, seed } = knowledge;
        one_for_each_problem(&tasks)
            .filter_map(|task| {
                let inputs = domain_of(client, task.problem)?.inputs(task.problem, level, own_inputs, seed);
                Some((id(task), inputs))
            })
            .collect()
    };
    let shared: HashMap<&str, Arc<[String]>> =
        inputs.iter().map(|(id, inputs)| (*id, inputs.inputs.as_slice().into())).collect();
    let mut observed = run(watch, client, "behaviour", &tasks, &shared, &mut effort)?;
    let visible = match knowledge.level {
        3 => visible_passes(watch, client, &tasks)?,
        _ => HashMap::new(),
    };
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
        let Inputs { inputs, given } = inputs.get(id).cloned().unwrap_or_default();
        let rows = indices.iter().map(|&index| observed.remove(&(*id, index)).unwrap_or_default());
        let behaviour = Behaviour { observed: rows.collect(), given, inputs };
        pool.agreement = Some(behaviour.agreement());
        pool.answer_profiles = Some(behaviour.answer_profiles());
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

/// The domain that a problem's check is of.
fn domain_of<'a>(client: &'a Client, problem: &Problem) -> Option<&'a Arc<dyn Domain>> {
    client.pool().domain(&problem.check.domain)
}

/// Inputs for problems of which nothing but the text is known: guesses are tried on the candidates,
/// and the one that most of them take is varied.
fn guessed<'a>(
    watch: Watch,
    client: &Client,
    tasks: &[Task<'a>],
    knowledge: Knowledge,
    effort: &mut Effort,
) -> Option<HashMap<&'a str, Inputs>> {
    let mut solutions: HashMap<&str, Vec<&str>> = HashMap::new();
    tasks.iter().for_each(|task| solutions.entry(id(task)).or_default().push(task.solution));
    let of_problem = |task: &Task<'a>| {
        let domain = domain_of(client, task.problem)?;
        Some((id(task), (domain, domain.guesses(task.problem, &solutions[id(task)]))))
    };
    let guesses: HashMap<&str, (&Arc<dyn Domain>, Vec<Guess>)> =
        one_for_each_problem(tasks).filter_map(of_problem).collect();
    let inputs: HashMap<&str, Arc<[String]>> = guesses
        .iter()
        .map(|(id, (_, guesses))| (*id, guesses.iter().flat_map(|guess| guess.inputs.clone()).collect()))
        .collect();
    let mut rows: HashMap<&str, Vec<Vec<Observation>>> = HashMap::new();
    for ((id, _), row) in run(watch, client, "guesses", tasks, &inputs, effort)? {
        rows.entry(id).or_default().push(row);
    }
    let inputs = guesses.iter().map(|(id, (domain, guesses))| {
        let given = best(guesses, rows.get(id).map_or(&[][..], Vec::as_slice));
        (*id, domain.vary(&given, knowledge.own_inputs, knowledge.seed))
    });
    Some(inputs.collect())
}

/// Runs every task's solution on its problem's inputs. None if it was stopped.
fn run<'a>(
    watch: Watch,
    client: &Client,
    label: &str,
    tasks: &[Task<'a>],
    inputs: &HashMap<&str, Arc<[String]>>,
    effort: &mut Effort,
) -> Option<Results<'a>> {
    let none: Arc<[String]> = Arc::default();
    let inputs = |problem: &Problem| inputs.get(problem.id.as_str()).unwrap_or(&none).clone();
    let mut progress = watch.begin(label, tasks.len(), 0);
    let mut results = Results::new();
    let mut programs = HashSet::new();
    client.observe_all(tasks, &inputs, &mut |at, seen| {
        let task = &tasks[at];
        let count = inputs(task.problem).len();
        if programs.insert((id(task), task.solution)) {
            effort.calls += count;
        }
        // Where the verifier itself failed, nothing is known: as if it had given nothing.
        let nothing = || vec![Observation::default(); count];
        results.insert((id(task), task.index), seen.map_or_else(nothing, <[Observation]>::to_vec));
        progress.advance(1);
        watch.flow(false)
    });
    progress.finish();
    effort.programs = effort.programs.max(programs.len());
    (!watch.interrupted()).then_some(results)
}

/// Whether each candidate passes the tests that a prompt shows. None if it was stopped.
fn visible_passes<'a>(
    watch: Watch,
    client: &Client,
    tasks: &[Task<'a>],
) -> Option<HashMap<(&'a str, usize), bool>> {
    let ids: HashMap<&str, &'a str> = tasks.iter().map(|task| (id(task), id(task))).collect();
    let mut passed = HashMap::new();
    client.judge_visible(tasks, &mut |verdict| {
        if let Some(&id) = ids.get(verdict.problem.as_str()) {
            passed.insert((id, verdict.index), verdict.passed());
        }
        watch.flow(false)
    });
    (!watch.interrupted()).then_some(passed)
}
