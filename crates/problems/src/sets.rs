//! Readers of the published sets.
//!
//! MBPP: Austin et al., 2021 (`mbpp.jsonl`, 974 problems, and `sanitized-mbpp.json`, 427 of them),
//! with its splits by id: 1–10 prompt, 11–510 test, 511–600 validation, 601–974 train.
//! HumanEval: Chen et al., 2021 (164 problems, all for tests).

use crate::hub;
use records::jsonl::{self, Error};
use records::{Problem, Split, Test};
use serde_json::{Map, Value};
use std::path::Path;

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
    Hub(#[from] hub::HubError),
    /// There is no such set.
    #[error(
        "no problem set or file '{0}'; expected mbpp, mbpp-sanitized, humaneval, basics, or the path of a file"
    )]
    Unknown(String),
}

/// Reads a set by path, or by name from the Hub: `mbpp`, `mbpp-sanitized`, `humaneval`.
///
/// # Errors
/// Where the file is malformed (naming file, line and field), or the set cannot be had.
pub fn load(source: &str) -> Result<Vec<Problem>, SetError> {
    let path = Path::new(source);
    if path.exists() {
        return Ok(read_file(path)?);
    }
    let rows = match source {
        "mbpp" => {
            hub::dataset("google-research-datasets/mbpp", "full", &["prompt", "test", "validation", "train"])?
        }
        "mbpp-sanitized" => hub::dataset(
            "google-research-datasets/mbpp",
            "sanitized",
            &["prompt", "test", "validation", "train"],
        )?,
        "humaneval" => hub::dataset("openai/openai_humaneval", "openai_humaneval", &["test"])?,
        _ => return Err(SetError::Unknown(source.to_owned())),
    };
    let mut problems = Vec::new();
    for (path, row, fields) in rows {
        problems.push(problem(&Fields { path: &path, line: row, fields: &fields })?);
    }
    problems.sort_by_key(|problem| number_of(&problem.id));
    Ok(problems)
}

fn number_of(id: &str) -> u64 {
    id.rsplit('/').next().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
}

/// Reads a file of problems, plain or gzip: MBPP in either edition, HumanEval, or our own records;
/// JSON lines or one JSON array. Which it is shows in each record's fields.
///
/// # Errors
/// Names file, line (or number in the array) and field.
pub fn read_file(path: &Path) -> Result<Vec<Problem>, Error> {
    let text = jsonl::read_text(path)?;
    let fail = |line: usize, error: &serde_json::Error| Error::Malformed {
        path: path.to_owned(),
        line,
        message: format!("not JSON: {error}"),
    };
    let mut records: Vec<(usize, Value)> = Vec::new();
    if text.trim_start().starts_with('[') {
        let array: Vec<Value> = serde_json::from_str(&text).map_err(|error| fail(error.line(), &error))?;
        records.extend(array.into_iter().enumerate().map(|(index, value)| (index + 1, value)));
    } else {
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value = serde_json::from_str(line).map_err(|error| fail(index + 1, &error))?;
            records.push((index + 1, value));
        }
    }
    let mut problems = Vec::with_capacity(records.len());
    for (line, value) in records {
        let Value::Object(fields) = value else {
            let message = "expected a JSON object".to_owned();
            return Err(Error::Malformed { path: path.to_owned(), line, message });
        };
        problems.push(problem(&Fields { path, line, fields: &fields })?);
    }
    if problems.is_empty() {
        let message = "expected at least one problem".to_owned();
        return Err(Error::Malformed { path: path.to_owned(), line: 1, message });
    }
    Ok(problems)
}

fn problem(fields: &Fields) -> Result<Problem, Error> {
    let problem = if fields.has("canonical_solution") {
        humaneval(fields)
    } else if fields.has("entry_point") {
        let own = serde_json::from_value(Value::Object(fields.fields.clone()));
        own.map_err(|error| fields.error(error.to_string()))
    } else {
        mbpp(fields)
    }?;
    if problem.tests.is_empty() {
        return Err(fields.error("tests: expected at least one; without a test nothing can be judged"));
    }
    Ok(problem)
}

fn mbpp(fields: &Fields) -> Result<Problem, Error> {
    let id = fields.integer("task_id")?;
    let text = if fields.has("text") { fields.text("text")? } else { fields.text("prompt")? };
    let mut setup = PROTOCOL_IMPORTS.to_owned();
    let has_setup = fields.has("test_setup_code");
    let test_setup = if has_setup { unix(&fields.text("test_setup_code")?) } else { String::new() };
    if fields.has("test_imports") {
        setup += &fields.texts("test_imports")?.join("\n");
    }
    let tests: Vec<Test> =
        fields.texts("test_list")?.iter().map(|source| split_test(&unix(source))).collect();
    let reference = unix(&fields.text("code")?);
    let entry_point = entry_point(&tests, &reference).unwrap_or_default();
    Ok(Problem {
        id: format!("Mbpp/{id}"),
        text,
        entry_point,
        setup,
        test_setup,
        completion_prefix: None,
        tests,
        visible_tests: 1,
        references: vec![reference],
        split: match id {
            ..=10 => Split::Prompt,
            11..=510 => Split::Test,
            511..=600 => Split::Validation,
            _ => Split::Train,
        },
    })
}

fn humaneval(fields: &Fields) -> Result<Problem, Error> {
    let prompt = fields.text("prompt")?;
    let entry_point = fields.text("entry_point")?;
    let check = format!("{}\ncheck({entry_point})", unix(&fields.text("test")?));
    Ok(Problem {
        id: fields.text("task_id")?,
        text: prompt.clone(),
        references: vec![fields.text("canonical_solution")?],
        entry_point,
        setup: PROTOCOL_IMPORTS.to_owned(),
        test_setup: String::new(),
        completion_prefix: Some(prompt),
        tests: vec![Test::new(check)],
        visible_tests: 1,
        split: Split::Test,
    })
}

fn unix(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Takes `assert call == literal` apart; other tests stay as they are.
pub fn split_test(source: &str) -> Test {
    match pydata::parse_assert(source) {
        Ok(assert) => Test {
            source: source.to_owned(),
            call: Some(assert.call.source),
            expected: Some(assert.expected.to_string()),
        },
        Err(_) => Test::new(source),
    }
}

/// The function that tests are about: the first name they call that the reference defines.
fn entry_point(tests: &[Test], reference: &str) -> Option<String> {
    let called: Vec<&str> = tests.iter().flat_map(|test| called_names(&test.source)).collect();
    let defined = |name: &&&str| {
        let definitions = [format!("def {name}("), format!("def {name} ("), format!("{name} = ")];
        definitions.iter().any(|definition| reference.contains(definition))
    };
    called.iter().find(defined).or(called.first()).map(|name| (*name).to_owned())
}

/// The function that tests are about where there is no reference: the first name they call.
pub fn entry_point_of_tests(tests: &[Test]) -> Option<String> {
    entry_point(tests, "")
}

/// Every name before an opening parenthesis, in order.
fn called_names(source: &str) -> Vec<&str> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let before = source.match_indices('(').map(|(open, _)| &source[..open]);
    let names = before.map(|text| &text[text.rfind(|c| !is_name(c)).map_or(0, |at| at + 1)..]);
    names.filter(|name| !name.is_empty() && *name != "assert").collect()
}

/// The fields of one record, with the place to name in errors.
struct Fields<'a> {
    path: &'a Path,
    line: usize,
    fields: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.to_owned(), line: self.line, message: message.into() }
    }

    fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        match self.fields.get(name) {
            None => self.error(format!("{name}: missing; expected {expected}")),
            Some(found) => {
                let found: String = found.to_string().chars().take(60).collect();
                self.error(format!("{name}: expected {expected}, found {found}"))
            }
        }
    }

    fn text(&self, name: &str) -> Result<String, Error> {
        let text = self.fields.get(name).and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| self.wrong(name, "text"))
    }

    fn integer(&self, name: &str) -> Result<i64, Error> {
        self.fields.get(name).and_then(Value::as_i64).ok_or_else(|| self.wrong(name, "an integer"))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let items = self.fields.get(name).and_then(Value::as_array);
        let items =
            items.and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        items.ok_or_else(|| self.wrong(name, "a list of texts"))
    }
}
