//! Our own records: one [`Problem`] a line, and the records that earlier versions wrote.

use crate::doctest;
use crate::fields::{Fields, shortened};
use python::{Check, Plus};
use records::fields;
use records::jsonl::Error;
use records::{Problem, Shown, Split};
use serde::Deserialize;
use serde_json::Value;

/// A record with `id`, `shown`, `check`, `references` and `split`.
pub(crate) fn problem(fields: &Fields) -> Result<Problem, Error> {
    fields.refuse_misspelled(&["id", "shown", "check", "references", "split"])?;
    let shown = fields.object("shown", "shown.")?;
    shown.refuse_misspelled(&["statement", "examples", "default_examples", "opening", "name"])?;
    let check = fields.object("check", "check.")?;
    let shown = Shown {
        statement: shown.text("statement")?,
        examples: shown.optional("examples", Fields::texts)?.unwrap_or_default(),
        default_examples: shown.optional("default_examples", Fields::count)?.unwrap_or_default(),
        opening: optional_text(&shown, "opening")?,
        name: shown.optional("name", Fields::text)?.unwrap_or_default(),
    };
    let domain = check.text("domain")?;
    let check = if domain == python::NAME {
        python_check(&check.object("payload", "check.payload.")?)?.into_record()
    } else {
        let payload =
            check.fields.get("payload").ok_or_else(|| check.wrong("payload", "what the domain reads"))?;
        records::Check::new(domain, payload)
            .map_err(|error| check.error(format!("check.payload: {error}")))?
    };
    Ok(Problem {
        id: fields.id("id")?,
        shown,
        check,
        references: fields.optional("references", Fields::texts)?.unwrap_or_default(),
        split: split(fields)?,
    })
}

fn python_check(fields: &Fields) -> Result<Check, Error> {
    fields.refuse_misspelled(&["entry_point", "setup", "prompt", "test_setup", "tests", "plus"])?;
    let text = |name: &str| fields.optional(name, Fields::text).map(Option::unwrap_or_default);
    let tests = fields.texts("tests")?;
    let plus = match fields.fields.get("plus") {
        None | Some(Value::Null) => None,
        Some(plus) => {
            let plus: Plus = fields::from_value(plus.clone()).map_err(|error| {
                let within = if error.field.is_empty() { "" } else { "." };
                fields.error(format!("check.payload.plus{within}{error}"))
            })?;
            if plus.base.is_empty() && plus.plus.is_empty() {
                let message =
                    "check.payload.plus.base: expected at least one input; without one nothing can be judged";
                return Err(fields.error(message));
            }
            Some(plus)
        }
    };
    if tests.is_empty() && plus.is_none() {
        return Err(fields.wrong("tests", "at least one test; without a test nothing can be judged"));
    }
    Ok(Check {
        entry_point: text("entry_point")?,
        setup: text("setup")?,
        prompt: optional_text(fields, "prompt")?,
        test_setup: text("test_setup")?,
        tests,
        plus,
    })
}

/// Fields of a record of an earlier version.
const EARLIER: [&str; 10] = [
    "id",
    "text",
    "entry_point",
    "tests",
    "split",
    "setup",
    "test_setup",
    "completion_prefix",
    "visible_tests",
    "references",
];

/// A record of an earlier version: `id`, `text`, `entry_point`, `tests` (`source`), `split`; optional
/// `setup`, `test_setup`, `completion_prefix`, `visible_tests`, `references`.
///
/// As before, a protocol that shows all tests shows all of them, unless `visible_tests` is 0. With a
/// `completion_prefix` only visible tests that are asserts are shown, or else the examples in the
/// prefix: the other tests are `check` functions.
pub(crate) fn earlier_problem(fields: &Fields) -> Result<Problem, Error> {
    fields.refuse_misspelled(&EARLIER)?;
    let entry_point = fields.text("entry_point")?;
    let tests = earlier_tests(fields)?;
    let visible = fields.optional("visible_tests", Fields::count)?.unwrap_or(1);
    let opening = optional_text(fields, "completion_prefix")?;
    let examples = match &opening {
        _ if visible == 0 => Vec::new(),
        None => tests.clone(),
        Some(prefix) => {
            let asserts = tests.iter().take(visible).filter(|test| test.trim_start().starts_with("assert"));
            let asserts: Vec<String> = asserts.cloned().collect();
            if asserts.is_empty() { doctest::examples(prefix, &entry_point) } else { asserts }
        }
    };
    let default_examples = if opening.is_some() { examples.len() } else { visible.min(examples.len()) };
    let references = fields.optional("references", Fields::texts)?.unwrap_or_default();
    let whole = |reference: String| format!("{}{reference}", opening.as_deref().unwrap_or_default());
    let text = |name: &str| fields.optional(name, Fields::text).map(Option::unwrap_or_default);
    let check = Check {
        entry_point: entry_point.clone(),
        setup: text("setup")?,
        prompt: opening.clone(),
        test_setup: text("test_setup")?,
        tests,
        plus: None,
    };
    Ok(Problem {
        id: fields.id("id")?,
        references: references.into_iter().map(whole).collect(),
        check: check.into_record(),
        split: split(fields)?,
        shown: Shown {
            statement: fields.text("text")?,
            examples,
            default_examples,
            opening,
            name: entry_point,
        },
    })
}

fn earlier_tests(fields: &Fields) -> Result<Vec<String>, Error> {
    let wrong = || fields.wrong("tests", "a list of objects with the field source");
    let items = fields.fields.get("tests").and_then(Value::as_array).ok_or_else(wrong)?;
    let source = |(at, test): (usize, &Value)| {
        let source = test.get("source").and_then(Value::as_str).map(str::to_owned);
        source.ok_or_else(|| {
            fields.error(format!(
                "tests[{at}]: expected an object with the field source, such as {{\"source\": \"assert f(1) == 2\"}}, found {}",
                shortened(test)
            ))
        })
    };
    let tests: Vec<String> = items.iter().enumerate().map(source).collect::<Result<_, _>>()?;
    if tests.is_empty() {
        return Err(fields.wrong("tests", "at least one test; without a test nothing can be judged"));
    }
    Ok(tests)
}

/// Text, or nothing where the field is missing or `null`: how the record writes an absent text.
fn optional_text(fields: &Fields, name: &str) -> Result<Option<String>, Error> {
    match fields.fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => fields.text(name).map(Some),
    }
}

/// Left out, it is `test`.
fn split(fields: &Fields) -> Result<Split, Error> {
    let read = |fields: &Fields, name: &str| {
        let split = fields.fields.get(name).and_then(|value| Split::deserialize(value).ok());
        split.ok_or_else(|| fields.wrong(name, "one of train, validation, test, prompt"))
    };
    Ok(fields.optional("split", read)?.unwrap_or_default())
}
