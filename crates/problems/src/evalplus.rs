//! EvalPlus's sets, MBPP+ and HumanEval+, as its releases publish them: JSON lines with `task_id`,
//! `prompt`, `entry_point`, `canonical_solution`, `base_input`, `plus_input` and `atol`.
//!
//! Liu et al., 2023; formats as EvalPlus 0.3.1 reads them (`evalplus/data/{mbpp,humaneval}.py`). Both
//! kinds of inputs become calls, and the expected values come from running the reference: `assertion`
//! and `test`, the tests of the sets without the plus, decide nothing here. `contract` is not used.

mod inputs;
mod json;

use crate::doctest;
use pydata::Value;
use python::plus::Oracle;
use python::{Check, Plus};
use records::jsonl::Error;
use records::{Problem, Shown, Split};
use std::path::Path;

/// The field that no other set has.
const FIELD: &str = "plus_input";

/// Reads a line of a file, where it is a record of one of EvalPlus's sets.
///
/// # Errors
/// Names file, line and field.
pub(crate) fn problem(path: &Path, line: usize, text: &str) -> Result<Option<Problem>, Error> {
    // Quotes within a text are escaped, so this is a field's name, or a text that says just this.
    if !text.contains("\"plus_input\"") {
        return Ok(None);
    }
    let fail = |message| Error::Malformed { path: path.to_owned(), line, message };
    let record = json::parse(text).map_err(|error| fail(not_json(text, &error)))?;
    let Value::Dict(fields) = record else { return Ok(None) };
    let mut record = Record { path, line, fields };
    if record.get(FIELD).is_none() {
        return Ok(None);
    }
    record.problem().map(Some)
}

fn not_json(text: &str, error: &json::JsonError) -> String {
    let column = text[..error.offset].chars().count() + 1;
    let found: String = text[error.offset..].chars().take(20).collect();
    format!("not JSON: column {column}: expected {}, found {found:?}", error.expected)
}

/// Which of the sets a record belongs to: inputs are read, and outputs compared, by set and task.
enum Set {
    Mbpp(u64),
    HumanEval,
}

struct Record<'a> {
    path: &'a Path,
    line: usize,
    fields: Vec<(Value, Value)>,
}

impl Record<'_> {
    fn problem(&mut self) -> Result<Problem, Error> {
        let (id, set) = self.id()?;
        let name = self.function()?;
        let prompt = self.text("prompt")?;
        let solution = self.text("canonical_solution")?;
        let plus = Plus {
            base: self.calls("base_input", &name, &set)?,
            plus: self.calls(FIELD, &name, &set)?,
            tolerance: self.tolerance()?,
            oracle: match set {
                Set::Mbpp(_) => Oracle::of_mbpp(&name),
                Set::HumanEval => Oracle::of_humaneval(&name),
            },
        };
        if plus.base.is_empty() && plus.plus.is_empty() {
            return Err(
                self.error("base_input: expected at least one input; without one nothing can be judged")
            );
        }
        // What EvalPlus executes, for both sets.
        let references = vec![format!("{prompt}{solution}")];
        let check = Check { entry_point: name.clone(), plus: Some(plus), ..Check::default() };
        let (shown, check, split) = match set {
            Set::Mbpp(number) => (self.shown_of_mbpp(&prompt, name)?, check, split_of(number)),
            Set::HumanEval => {
                let check = Check { prompt: Some(prompt.clone()), ..check };
                (shown_of_humaneval(prompt, name), check, Split::Test)
            }
        };
        Ok(Problem { id, shown, check: check.into_record(), references, split })
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let is_named = |(key, _): &&(Value, Value)| matches!(key, Value::Str(key) if key == name);
        self.fields.iter().find(is_named).map(|(_, value)| value)
    }

    fn error(&self, message: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.to_owned(), line: self.line, message: message.into() }
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        match self.get(name) {
            None => self.error(format!("{name}: missing; expected {expected}")),
            Some(found) => self.error(format!("{name}: expected {expected}, found {}", shortened(found))),
        }
    }

    fn text(&self, name: &str) -> Result<String, Error> {
        match self.get(name) {
            Some(Value::Str(text)) => Ok(text.replace("\r\n", "\n").replace('\r', "\n")),
            _ => Err(self.wrong(name, "text")),
        }
    }

    fn id(&self) -> Result<(String, Set), Error> {
        let id = self.text("task_id")?;
        let number = |prefix: &str| id.strip_prefix(prefix)?.parse::<u64>().ok();
        let set = match (number("Mbpp/"), number("HumanEval/")) {
            (Some(number), _) => Set::Mbpp(number),
            (None, Some(_)) => Set::HumanEval,
            _ => return Err(self.wrong("task_id", "Mbpp/ or HumanEval/ and a number")),
        };
        Ok((id, set))
    }

    fn function(&self) -> Result<String, Error> {
        let name = self.text("entry_point")?;
        let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if is_name { Ok(name) } else { Err(self.wrong("entry_point", "a function's name")) }
    }

    fn tolerance(&self) -> Result<f64, Error> {
        let tolerance = match self.get("atol") {
            Some(Value::Int(value)) => value.to_string().parse().ok(),
            Some(Value::Float(value)) => Some(*value),
            _ => None,
        };
        let tolerance = tolerance.filter(|&value: &f64| value.is_finite() && value >= 0.0);
        tolerance.ok_or_else(|| self.wrong("atol", "a number, 0 or more"))
    }

    /// A list of inputs, each a list of arguments, as calls. An empty object is no inputs: so the
    /// published file has it for one task.
    fn calls(&mut self, name: &str, function: &str, set: &Set) -> Result<Vec<String>, Error> {
        let is_named = |(key, _): &&mut (Value, Value)| matches!(key, Value::Str(key) if key == name);
        let found = self.fields.iter_mut().find(is_named);
        let inputs = match found.map(|(_, value)| std::mem::replace(value, Value::None)) {
            Some(Value::List(inputs)) => inputs,
            Some(Value::Dict(pairs)) if pairs.is_empty() => Vec::new(),
            None => return Err(self.wrong(name, "a list of inputs")),
            Some(other) => {
                let found = shortened(&other);
                return Err(self.error(format!("{name}: expected a list of inputs, found {found}")));
            }
        };
        let mut calls = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.into_iter().enumerate() {
            let call = call_of(function, set, input);
            calls.push(call.map_err(|error| self.error(format!("{name}[{index}]: {error}")))?);
        }
        Ok(calls)
    }

    /// The prompt is a docstring: the statement, and one of the asserts in `assertion`. All of these
    /// may be shown, as MBPP's tests may.
    fn shown_of_mbpp(&self, prompt: &str, name: String) -> Result<Shown, Error> {
        let lines = prompt.trim().trim_matches('"').trim().lines();
        let statement: Vec<&str> = lines.take_while(|line| !line.starts_with("assert ")).collect();
        let assertion = if self.get("assertion").is_some() { self.text("assertion")? } else { String::new() };
        Ok(Shown {
            statement: statement.join("\n").trim().to_owned(),
            examples: asserts(&assertion),
            default_examples: 1,
            opening: None,
            name,
        })
    }
}

/// What was found, in JSON's words where it is a name of Python's.
fn shortened(value: &Value) -> String {
    match value {
        Value::None => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        other => other.to_string().chars().take(60).collect(),
    }
}

fn call_of(function: &str, set: &Set, input: Value) -> Result<String, String> {
    if !matches!(input, Value::List(_)) {
        return Err(format!("expected a list of arguments, found {}", shortened(&input)));
    }
    let arguments = match set {
        Set::Mbpp(number) => inputs::deserialize(*number, input)?,
        Set::HumanEval => input,
    };
    Ok(inputs::call(function, &arguments))
}

/// The asserts of a text, each after the lines before the first one, which they need: imports.
fn asserts(text: &str) -> Vec<String> {
    let Some(first) = text.lines().position(|line| line.starts_with("assert ")) else { return Vec::new() };
    let before = text.lines().take(first).filter(|line| !line.trim().is_empty());
    let before: String = before.flat_map(|line| [line, "\n"]).collect();
    let mut asserts: Vec<String> = Vec::new();
    for line in text.lines().skip(first) {
        match asserts.last_mut() {
            Some(last) if !line.starts_with("assert ") => {
                last.push('\n');
                last.push_str(line);
            }
            _ => asserts.push(format!("{before}{line}")),
        }
    }
    asserts.iter().map(|assert| assert.trim_end().to_owned()).collect()
}

fn shown_of_humaneval(prompt: String, name: String) -> Shown {
    let examples = doctest::examples(&prompt, &name);
    Shown {
        statement: prompt.clone(),
        default_examples: examples.len(),
        examples,
        opening: Some(prompt),
        name,
    }
}

/// As MBPP's.
fn split_of(number: u64) -> Split {
    match number {
        ..=10 => Split::Prompt,
        11..=510 => Split::Test,
        511..=600 => Split::Validation,
        _ => Split::Train,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = r#"{"task_id": "Mbpp/2", "prompt": "\"\"\"\nFind the shared ones.\nassert f((1,)) == 1\n\"\"\"\n", "entry_point": "f", "canonical_solution": "\ndef f(x, y=0):\n    return x\n", "base_input": [[[1, -Infinity], []]], "atol": 0, "plus_input": [[[2], [123456789012345678901]], [[]]], "contract": "", "assertion": "\nassert f((1, 2)) == 1\nassert f((\n 2,)) == 2\n"}"#;

    fn read(text: &str) -> Result<Option<Problem>, String> {
        problem(Path::new("plus.jsonl"), 7, text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_record_becomes_a_problem_whose_inputs_are_hidden() {
        let problem = read(RECORD).expect("readable").expect("a record");
        let check = Check::of(&problem).expect("a Python check");
        let plus = check.plus.expect("plus inputs");
        assert_eq!(plus.base, ["f((1, -1e999), ())"]);
        assert_eq!(plus.plus, ["f((2,), (123456789012345678901,))", "f(())"]);
        assert!(check.tests.is_empty() && check.setup.is_empty());
        assert_eq!(problem.shown.statement, "Find the shared ones.");
        assert_eq!(problem.shown.examples, ["assert f((1, 2)) == 1", "assert f((\n 2,)) == 2"]);
        assert_eq!(problem.shown.visible().len(), 1);
        let shown = serde_json::to_string(&problem.shown).expect("JSON");
        assert!(!shown.contains("123456789012345678901"));
        assert!(problem.references[0].contains("def f(x, y=0):"));
        assert_eq!(problem.split, Split::Prompt);
    }

    #[test]
    fn an_import_before_the_asserts_belongs_to_each() {
        let text = "import math\n\nassert math.isclose(f(1), 1)\nassert f(2) == 2\n";
        assert_eq!(
            asserts(text),
            ["import math\nassert math.isclose(f(1), 1)", "import math\nassert f(2) == 2"]
        );
        assert!(asserts("").is_empty());
    }

    #[test]
    fn the_polynomials_root_has_an_oracle_in_humaneval_alone() {
        let record = RECORD.replace("\"entry_point\": \"f\"", "\"entry_point\": \"find_zero\"");
        let oracle = |text: &str| {
            let problem = read(text).expect("readable").expect("a record");
            Check::of(&problem).expect("a Python check").plus.expect("plus inputs").oracle
        };
        assert_eq!(oracle(&record), None);
        assert_eq!(oracle(&record.replace("Mbpp/2", "HumanEval/32")), Some(Oracle::Root));
        assert_eq!(oracle(&RECORD.replace("\"f\"", "\"Diff\"")), Some(Oracle::Elements));
    }

    #[test]
    fn other_records_are_left_to_others() {
        assert_eq!(read(r#"{"task_id": 1, "text": "plus_input"}"#).expect("readable"), None);
        assert_eq!(read(r#"{"task_id": 1, "text": "the \"plus_input\" of"}"#).expect("readable"), None);
        assert_eq!(read("[1]").expect("readable"), None);
    }

    #[test]
    fn an_error_names_file_line_and_field() {
        let cases = [
            ("\"Mbpp/2\"", "2", "task_id: expected text, found 2"),
            ("Mbpp/2", "Other/2", "task_id: expected Mbpp/ or HumanEval/ and a number, found 'Other/2'"),
            ("\"f\"", "\"f(1)\"", "entry_point: expected a function's name, found 'f(1)'"),
            ("\"atol\": 0", "\"atol\": NaN", "atol: expected a number, 0 or more, found nan"),
            ("\"atol\": 0", "\"x\": 0", "atol: missing; expected a number, 0 or more"),
            ("[[[1, -Infinity], []]]", "[[1]]", "base_input[0]: expected a list, found 1"),
            ("[[[1, -Infinity], []]]", "[1]", "base_input[0]: expected a list of arguments, found 1"),
            ("[[[1, -Infinity], []]]", "\"x\"", "base_input: expected a list of inputs, found 'x'"),
            (
                "-Infinity",
                "-Inf",
                "not JSON: column 195: expected a value, found \"-Inf], []]], \\\"atol\\\":\"",
            ),
        ];
        for (from, to, message) in cases {
            assert_eq!(
                read(&RECORD.replacen(from, to, 1)).expect_err("refused"),
                format!("plus.jsonl:7: {message}")
            );
        }
    }
}
