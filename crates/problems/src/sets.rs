//! Readers of the published sets.
//!
//! MBPP: Austin et al., 2021 (`mbpp.jsonl`, 974 problems, and `sanitized-mbpp.json`, 427 of them),
//! with its splits by id: 1–10 prompt, 11–510 test, 511–600 validation, 601–974 train.
//! HumanEval: Chen et al., 2021 (164 problems, all for tests).
//! MBPP+ and HumanEval+: Liu et al., 2023 (378 and 164 of these problems, with further inputs).

use crate::doctests::{self, DoctestError};
use crate::fields::{Fields, shortened};
use crate::{datasets, doctest, entry_point, evalplus, own};
use hub::Hub;
use python::Check;
use records::fields::FieldError;
use records::jsonl::{self, Error};
use records::{Problem, Shown, Split};
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Imports that the reference protocol sets before every candidate.
pub const PROTOCOL_IMPORTS: &str = "import math\nimport heapq\nimport itertools\nimport re\nimport collections\nfrom collections import *\nfrom typing import *\n";

/// What can go wrong with a set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// The file is missing or malformed.
    #[error(transparent)]
    File(#[from] Error),
    /// The Hub has not got it, or cannot be reached.
    #[error(transparent)]
    Hub(#[from] hub::Error),
    /// A package's docstrings make no problems.
    #[error(transparent)]
    Doctests(#[from] DoctestError),
    /// There is no such set.
    #[error(
        "no problem set or file '{0}'; expected mbpp, mbpp-sanitized, humaneval, basics, doctests:PACKAGE, or the \
         path of a file"
    )]
    Unknown(String),
}

/// What a set's name begins with whose problems are the documented functions of a folder or a package.
pub const DOCTESTS: &str = "doctests:";

/// Reads a set by path, or by name from the Hub that the environment says: `mbpp`, `mbpp-sanitized`,
/// `humaneval`; or makes it of a Python package: `doctests:PACKAGE`, `doctests:PATH` ([`doctests`]).
///
/// # Errors
/// Where the file is malformed (naming file, line and field), or the set cannot be had.
pub fn load(source: &str) -> Result<Vec<Problem>, SetError> {
    load_from(source, &Hub::from_env())
}

/// As [`load`], from this Hub.
///
/// # Errors
/// As [`load`].
pub fn load_from(source: &str, hub: &Hub) -> Result<Vec<Problem>, SetError> {
    if let Some(target) = source.strip_prefix(DOCTESTS) {
        return Ok(doctests::collect("python3".as_ref(), target)?.problems);
    }
    let path = Path::new(source);
    if path.exists() {
        return Ok(read_file(path)?);
    }
    let rows = match source {
        "mbpp" => datasets::dataset(
            hub,
            "google-research-datasets/mbpp",
            "full",
            &["prompt", "test", "validation", "train"],
        )?,
        "mbpp-sanitized" => datasets::dataset(
            hub,
            "google-research-datasets/mbpp",
            "sanitized",
            &["prompt", "test", "validation", "train"],
        )?,
        "humaneval" => datasets::dataset(hub, "openai/openai_humaneval", "openai_humaneval", &["test"])?,
        _ => return Err(SetError::Unknown(source.to_owned())),
    };
    let mut problems = Vec::new();
    let mut places = Places::default();
    for (path, row, fields) in rows {
        let problem = problem(&Fields { path: &path, line: row, within: "", fields: &fields })?;
        places.take(&problem, &path, row)?;
        problems.push(problem);
    }
    problems.sort_by_key(|problem| number_of(&problem.id));
    Ok(problems)
}

/// Where each id was read: of two problems with one id a verdict could not say which it judges.
#[derive(Default)]
struct Places(HashMap<String, (PathBuf, usize)>);

impl Places {
    fn take(&mut self, problem: &Problem, path: &Path, line: usize) -> Result<(), Error> {
        let earlier = self.0.insert(problem.id.clone(), (path.to_owned(), line));
        let Some((earlier_path, earlier_line)) = earlier else { return Ok(()) };
        let message = format!(
            "the id {} is also that of {}:{earlier_line}; ids are unique in a set: rename or remove one",
            problem.id,
            earlier_path.display()
        );
        Err(Error::Malformed { path: path.to_owned(), line, message })
    }
}

fn number_of(id: &str) -> u64 {
    id.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

/// Reads a file of problems, plain or gzip: MBPP in either edition, HumanEval, EvalPlus's sets, or our
/// own records; JSON lines or one JSON array. Which it is shows in each record's fields.
///
/// # Errors
/// Names file, line and field.
pub fn read_file(path: &Path) -> Result<Vec<Problem>, Error> {
    let text = jsonl::read_text(path)?;
    let text = text.trim_start_matches('\u{feff}');
    let mut problems = Vec::new();
    let mut places = Places::default();
    for (line, text) in records(path, text)? {
        let problem = match evalplus::problem(path, line, text)? {
            Some(problem) => problem,
            None => record(path, line, text)?,
        };
        places.take(&problem, path, line)?;
        problems.push(problem);
    }
    if problems.is_empty() {
        return Err(malformed(path, 1, "expected at least one problem, found none"));
    }
    Ok(problems)
}

fn malformed(path: &Path, line: usize, message: impl Into<String>) -> Error {
    Error::Malformed { path: path.to_owned(), line, message: message.into() }
}

/// The records of a file as JSON, each with the line where it begins.
fn records<'a>(path: &Path, text: &'a str) -> Result<Vec<(usize, &'a str)>, Error> {
    if !text.trim_start().starts_with('[') {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        return Ok(lines.map(|(index, line)| (index + 1, line)).collect());
    }
    let array: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|error| malformed(path, error.line(), FieldError::from(&error).to_string()))?;
    let (mut line, mut counted) = (1, 0);
    let place = |record: &'a RawValue| {
        let offset = record.get().as_ptr().addr() - text.as_ptr().addr();
        line += text[counted..offset].matches('\n').count();
        counted = offset;
        (line, record.get())
    };
    Ok(array.into_iter().map(place).collect())
}

fn record(path: &Path, line: usize, text: &str) -> Result<Problem, Error> {
    let value = serde_json::from_str(text).map_err(|error: serde_json::Error| {
        let advice = match text.trim() {
            "{" => "; write a record a line, or all of them in one JSON array",
            _ => "",
        };
        malformed(path, line, format!("{}{advice}", FieldError::from(&error)))
    })?;
    let Value::Object(fields) = value else {
        return Err(malformed(
            path,
            line,
            format!("expected a problem as a JSON object, found {}", shortened(&value)),
        ));
    };
    problem(&Fields { path, line, within: "", fields: &fields })
}

/// Each set has fields that no other has, so that the one that is missing can be named.
fn problem(fields: &Fields) -> Result<Problem, Error> {
    let has = |name| fields.has(name);
    if has("shown") || has("check") {
        own::problem(fields)
    } else if has("base_input") {
        Err(fields.wrong("plus_input", "a list of inputs, as EvalPlus's sets have it"))
    } else if has("canonical_solution") || (has("test") && has("entry_point")) {
        humaneval(fields)
    } else if has("entry_point") || has("tests") {
        own::earlier_problem(fields)
    } else if has("test_list") || (has("task_id") && has("code")) {
        mbpp(fields)
    } else if has("solution") || has("completion") {
        Err(fields.error("expected a problem, found a sample (it has solution or completion)"))
    } else {
        let message = "expected a problem; none of the forms that are read here has such fields: ours (id, text, \
                       entry_point, tests), MBPP's (task_id, text, code, test_list), HumanEval's (task_id, prompt, \
                       entry_point, canonical_solution, test)";
        Err(fields.error(message))
    }
}

fn mbpp(fields: &Fields) -> Result<Problem, Error> {
    let number = mbpp_number(fields)?;
    // The sanitized edition calls it `prompt`.
    let statement = if fields.has("prompt") && !fields.has("text") { "prompt" } else { "text" };
    let statement = fields.text(statement)?;
    let mut setup = PROTOCOL_IMPORTS.to_owned();
    let has_setup = fields.has("test_setup_code");
    let test_setup = if has_setup { unix(&fields.text("test_setup_code")?) } else { String::new() };
    if fields.has("test_imports") {
        setup += &fields.texts("test_imports")?.join("\n");
    }
    let tests: Vec<String> = fields.texts("test_list")?.iter().map(|source| unix(source)).collect();
    if tests.is_empty() {
        return Err(fields.wrong("test_list", "at least one test; without a test nothing can be judged"));
    }
    let reference = unix(&fields.text("code")?);
    let name = entry_point::of_tests(tests.iter().map(String::as_str), Some(&reference)).unwrap_or_default();
    let check =
        Check { entry_point: name.clone(), setup, test_setup, tests: tests.clone(), ..Check::default() };
    Ok(Problem {
        id: format!("Mbpp/{number}"),
        shown: Shown { statement, examples: tests, default_examples: 1, opening: None, name },
        check: check.into_record(),
        references: vec![reference],
        split: match number {
            ..=10 => Split::Prompt,
            11..=510 => Split::Test,
            511..=600 => Split::Validation,
            _ => Split::Train,
        },
    })
}

/// MBPP's number: `task_id` as 11, or as `Mbpp/11`. The number of another set is not MBPP's.
fn mbpp_number(fields: &Fields) -> Result<i64, Error> {
    let text = fields.fields.get("task_id").and_then(Value::as_str);
    match text.and_then(|text| text.strip_prefix("Mbpp/")?.parse().ok()) {
        Some(number) => Ok(number),
        None if text.is_some() => Err(fields.wrong("task_id", "an integer, or Mbpp/ and an integer")),
        None => fields
            .integer("task_id")
            .map_err(|_| fields.wrong("task_id", "an integer, or Mbpp/ and an integer")),
    }
}

/// HumanEval's tests are a function `check`, which is hidden; what may be shown are the examples in
/// the prompt's docstring: 139 of the 164 problems have some. They can be wrong, as 6 of these 395 are
/// (HumanEval/47, 116, 130, 148), so they are good for a choice among candidates, and the tests decide.
fn humaneval(fields: &Fields) -> Result<Problem, Error> {
    let prompt = fields.text("prompt")?;
    let name = fields.text("entry_point")?;
    let check = Check {
        entry_point: name.clone(),
        setup: PROTOCOL_IMPORTS.to_owned(),
        prompt: Some(prompt.clone()),
        tests: vec![format!("{}\ncheck({name})", unix(&fields.text("test")?))],
        ..Check::default()
    };
    let examples = doctest::examples(&prompt, &name);
    Ok(Problem {
        id: humaneval_id(fields)?,
        references: vec![format!("{prompt}{}", fields.text("canonical_solution")?)],
        check: check.into_record(),
        split: Split::Test,
        shown: Shown {
            statement: prompt.clone(),
            default_examples: examples.len(),
            examples,
            opening: Some(prompt),
            name,
        },
    })
}

/// The set's own id, `HumanEval/0`; a bare number would be taken for one of any set.
fn humaneval_id(fields: &Fields) -> Result<String, Error> {
    let id = fields.text("task_id")?;
    let named = id.split_once('/').is_some_and(|(set, number)| !set.is_empty() && !number.is_empty());
    if named { Ok(id) } else { Err(fields.wrong("task_id", "the set's name and a number, as HumanEval/0")) }
}

fn unix(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// A Python problem of a statement and tests that a solution must pass, as a user asks it. All tests
/// may be shown, the first by default. Its function is the one that the tests call.
pub fn problem_of_tests(id: impl Into<String>, statement: impl Into<String>, tests: Vec<String>) -> Problem {
    let name = entry_point::of_tests(tests.iter().map(String::as_str), None).unwrap_or_default();
    let check = Check { entry_point: name.clone(), tests: tests.clone(), ..Check::default() };
    let statement = statement.into();
    Problem {
        id: id.into(),
        shown: Shown { statement, examples: tests, default_examples: 1, opening: None, name },
        check: check.into_record(),
        ..Problem::default()
    }
}
