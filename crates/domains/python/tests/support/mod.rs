//! What the tests of verdicts share.

#![allow(dead_code, reason = "each test binary uses a part")]

use python::{Check, PROTOCOL_IMPORTS, Python, Settings, Tier};
use records::{Problem, Shown, Verdict};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use verify::{Pool, Task};

/// The interpreter's sources up to the membrane and the processes on both sides of it.
pub const SIDES: [&str; 10] = [
    "values.py",
    "crossing.py",
    "common.py",
    "writing.py",
    "reading.py",
    "membrane.py",
    "remotes.py",
    "candidate.py",
    "tester_peer.py",
    "tester.py",
];
/// What looks at tests, which comes after them.
pub const LOOKING: [&str; 3] = ["planner.py", "recorder.py", "faults.py"];

/// Runs a script with these of the interpreter's own sources in one namespace; what it prints.
pub fn interpreted(sources: &[&str], script: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/interpreter");
    let read = |name: &&str| std::fs::read_to_string(directory.join(name)).expect("a source");
    let sources = sources.iter().map(read).collect::<Vec<_>>().join("\n");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{sources}\n{script}")).expect("a file");
    let output =
        Command::new("python3").arg("-I").arg(file.path()).stdin(Stdio::null()).output().expect("python3");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A file of the shared data; none, with a word, where it is absent.
pub fn shared(path: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../../shared/data").join(path);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(_) => {
            eprintln!("SKIPPED: {} is absent", path.display());
            None
        }
    }
}

/// A problem in MBPP's or HumanEval's shape.
pub fn problem(id: &str, fields: &Value) -> Problem {
    let text = |name: &str| fields[name].as_str().unwrap_or_default().to_owned();
    let is_humaneval = fields["canonical_solution"].is_string();
    let (check, reference) = match fields["prompt"].as_str() {
        Some(prompt) if is_humaneval => {
            let entry_point = text("entry_point");
            let test = format!("{}\ncheck({entry_point})", text("test"));
            let check = Check {
                entry_point,
                setup: PROTOCOL_IMPORTS.to_owned(),
                prompt: Some(prompt.to_owned()),
                tests: vec![test],
                ..Check::default()
            };
            (check, format!("{prompt}{}", text("canonical_solution")))
        }
        _ => {
            let list = |name: &str| -> Vec<String> {
                let items = fields[name].as_array().map_or(&[][..], Vec::as_slice);
                items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let tests = list("test_list");
            let check = Check {
                entry_point: entry_point(&tests, &text("code")),
                setup: format!("{PROTOCOL_IMPORTS}{}\n", list("test_imports").join("\n")),
                test_setup: text("test_setup_code"),
                tests,
                ..Check::default()
            };
            (check, text("code"))
        }
    };
    problem_of(id, check, &[&reference])
}

/// A problem of a check and references.
pub fn problem_of(id: &str, check: Check, references: &[&str]) -> Problem {
    Problem {
        id: id.to_owned(),
        shown: Shown { name: check.entry_point.clone(), ..Shown::default() },
        check: check.into_record(),
        references: references.iter().map(|text| (*text).to_owned()).collect(),
        ..Problem::default()
    }
}

/// The first name that the tests call and the reference defines.
fn entry_point(tests: &[String], reference: &str) -> String {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let called = tests.iter().flat_map(|test| {
        test.match_indices('(').map(|(open, _)| {
            let before = &test[..open];
            &before[before.rfind(|c| !is_name(c)).map_or(0, |at| at + 1)..]
        })
    });
    let names: Vec<&str> = called.filter(|name| !name.is_empty()).collect();
    let defined = |name: &&&str| {
        [format!("def {name}("), format!("class {name}"), format!("{name} =")]
            .iter()
            .any(|text| reference.contains(text.as_str()))
    };
    names.iter().find(defined).or(names.first()).map(|name| (*name).to_owned()).unwrap_or_default()
}

/// Verdicts on programs, each for the problem at its place, at tier A; none, with a word, where that is not
/// to be had.
pub fn judged(settings: Settings, problems: &[Problem], programs: &[&str]) -> Option<Vec<Verdict>> {
    assert_eq!(problems.len(), programs.len());
    let python = match Python::at_tier(settings, Tier::A) {
        Err(error @ python::Error::Isolation { .. }) => {
            eprintln!("SKIPPED: {error}");
            return None;
        }
        other => other.expect("Python"),
    };
    let settings = verify::Settings { workers: 2, ..verify::Settings::default() };
    let client = Pool::start(vec![Arc::new(python)], settings).expect("a pool").client("tests");
    let task = |(index, (problem, solution))| Task { problem, index, solution };
    let tasks: Vec<Task> = problems.iter().zip(programs.iter().copied()).enumerate().map(task).collect();
    let mut verdicts: Vec<Option<Verdict>> = vec![None; tasks.len()];
    client.judge_all(&tasks, &mut |verdict: Verdict| {
        let index = verdict.index;
        verdicts[index] = Some(verdict);
        ControlFlow::Continue(())
    });
    Some(verdicts.into_iter().map(|verdict| verdict.expect("a verdict")).collect())
}
