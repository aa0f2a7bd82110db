//! Inputs of our own making that take a problem's programs too long.
//!
//! A call that does not end costs a program all its time and every input after it. Where the first few
//! programs of a problem end on the same input, that input is at fault: it is left out, before the other
//! programs run.

use super::runner::Runner;
use super::{Found, InputsOf, Results, id, one_for_each_problem};
use crate::Result;
use records::{Observation, ObservationKind};
use std::collections::{HashMap, HashSet};
use verify::{Ask, Task};

/// Programs of a problem that are tried first.
const PILOTS: usize = 6;
/// Inputs that are left out at most, one after the other.
const ROUNDS: usize = 3;

/// Leaves out what takes too long. False if it was stopped.
pub(super) fn leave_out<'a>(
    runner: &mut Runner,
    tasks: &[Task<'a>],
    found: &mut HashMap<&'a str, Found>,
) -> Result<bool> {
    let mut open: HashMap<&str, Vec<String>> = HashMap::new();
    let mut keys: HashMap<&str, String> = HashMap::new();
    for task in one_for_each_problem(tasks) {
        let Some(Found { inputs, .. }) = found.get_mut(id(task)) else { continue };
        let key = runner.client.pool().key(&Task { solution: "", ..*task }, &Ask::Observe([].into()));
        match runner.known.without_slow(&key, &inputs.inputs) {
            Some(left) => inputs.inputs = left,
            None => {
                open.insert(id(task), inputs.inputs.clone());
                keys.insert(id(task), key);
            }
        }
    }
    let pilots = pilots(tasks);
    let whole = open.clone();
    for _ in 0..ROUNDS {
        let tasks: Vec<Task> = pilots.iter().filter(|task| open.contains_key(id(task))).copied().collect();
        if tasks.is_empty() {
            break;
        }
        let inputs: InputsOf =
            open.keys().map(|id| (*id, found[id].inputs.inputs.as_slice().into())).collect();
        let known = runner.effort.known;
        let Some(results) = runner.run("first programs", &tasks, &inputs)? else { return Ok(false) };
        // They run again with the others, and count there.
        runner.effort.known = known;
        let rows = rows_of(results);
        open.retain(|id, _| {
            let Some(Found { inputs, .. }) = found.get_mut(id) else { return false };
            let slow = rows.get(id).and_then(|rows| slow_input(rows, inputs.given));
            slow.map(|at| inputs.inputs.remove(at)).is_some()
        });
    }
    for (id, list) in whole {
        runner.known.keep_slow(&keys[id], &list, &found[id].inputs.inputs)?;
    }
    Ok(true)
}

/// The first different programs of each problem.
fn pilots<'a>(tasks: &[Task<'a>]) -> Vec<Task<'a>> {
    let mut programs: HashMap<&str, HashSet<&str>> = HashMap::new();
    let is_pilot = |task: &&Task<'a>| {
        let seen = programs.entry(id(task)).or_default();
        seen.len() < PILOTS && seen.insert(task.solution)
    };
    tasks.iter().filter(is_pilot).copied().collect()
}

fn rows_of(results: Results<'_>) -> HashMap<&str, Vec<Vec<Observation>>> {
    let mut rows: HashMap<&str, Vec<Vec<Observation>>> = HashMap::new();
    for ((id, _), row) in results {
        rows.entry(id).or_default().push(row);
    }
    rows
}

/// The input of our own making on which at least two, and at least half, of the programs that run at all
/// come to their end.
fn slow_input(rows: &[Vec<Observation>], given: usize) -> Option<usize> {
    let ends: Vec<Option<usize>> = rows.iter().map(|row| end_of(row)).collect();
    let runners = ends.iter().filter(|end| **end != Some(0)).count();
    let mut counts: HashMap<usize, usize> = HashMap::new();
    ends.into_iter().flatten().filter(|&at| at >= given).for_each(|at| *counts.entry(at).or_default() += 1);
    let (at, count) = counts.into_iter().max_by_key(|&(at, count)| (count, usize::MAX - at))?;
    (count >= 2 && 2 * count >= runners).then_some(at)
}

/// The input from which on a program gives nothing at all.
fn end_of(row: &[Observation]) -> Option<usize> {
    let silent = row.iter().rev().take_while(|seen| seen.kind == ObservationKind::Nothing).count();
    (silent > 0).then(|| row.len() - silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(signs: &str) -> Vec<Observation> {
        let kind = |sign| match sign {
            'v' => ObservationKind::Value,
            'e' => ObservationKind::Raised,
            _ => ObservationKind::Nothing,
        };
        signs.chars().map(|sign| Observation { kind: kind(sign), ..Observation::default() }).collect()
    }

    #[test]
    fn an_input_on_which_half_of_those_that_run_end_is_slow() {
        let slow = |rows: &[&str]| slow_input(&rows.iter().map(|signs| row(signs)).collect::<Vec<_>>(), 1);
        assert_eq!(slow(&["vvv---", "vev---", "vvvvvv", "------"]), Some(3));
        // One program's own fault, or what the problem gives.
        assert_eq!(slow(&["vvv---", "vvvvvv", "vvvvvv"]), None);
        assert_eq!(slow(&["------", "------", "vvvvvv"]), None);
        // Nothing to compare on one input is no end.
        assert_eq!(slow(&["vv-vvv", "vv-vvv"]), None);
        assert_eq!(slow(&["vvvvv-", "vvvvv-"]), Some(5));
    }
}
