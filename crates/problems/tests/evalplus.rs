//! The published files of EvalPlus, where `../shared` has them: every input becomes the call that
//! EvalPlus makes of it. `PYTHON` names an interpreter with EvalPlus, to compare with its own reader.

use python::Check;
use records::{Problem, Split};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn published(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/evalplus");
    let path = root.join(format!("{name}.jsonl.gz"));
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

fn calls(problem: &Problem) -> [Vec<String>; 2] {
    let plus = Check::of(problem).expect("a Python check").plus.expect("plus inputs");
    [plus.base, plus.plus]
}

#[test]
fn every_problem_and_input_is_read() {
    let expected = [
        ("MbppPlus", 378, 1_174, 39_841),
        ("HumanEvalPlus", 164, 1_570, 122_683),
        ("HumanEvalPlus-Mini", 164, 1_570, 1_107),
    ];
    for (name, problems, base, plus) in expected {
        let Some(path) = published(name) else { continue };
        let read = problems::sets::read_file(&path).expect("a readable set");
        assert_eq!(read.len(), problems, "{name}");
        let count = |part: usize| read.iter().map(|problem| calls(problem)[part].len()).sum::<usize>();
        assert_eq!([count(0), count(1)], [base, plus], "{name}");
        for problem in &read {
            assert!(!problem.shown.statement.is_empty() && !problem.shown.statement.contains("\nassert "));
            let is_mbpp = problem.id.starts_with("Mbpp/");
            assert_eq!(problem.shown.opening.is_none(), is_mbpp);
            assert!(!is_mbpp || problem.shown.examples.len() >= 3, "{}", problem.id);
            assert!(is_mbpp || problem.split == Split::Test);
        }
    }
}

#[test]
fn every_call_is_read_back_as_it_was_written() {
    for name in ["MbppPlus", "HumanEvalPlus"] {
        let Some(path) = published(name) else { continue };
        for problem in problems::sets::read_file(&path).expect("a readable set") {
            for text in calls(&problem).iter().flatten() {
                let call = pydata::parse_call(text)
                    .unwrap_or_else(|error| panic!("{}: {text}: {error}", problem.id));
                assert_eq!(call.function, problem.shown.name);
                assert!(call.keywords.is_empty());
            }
        }
    }
}

#[test]
fn every_call_has_the_arguments_that_the_file_says() {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    for name in ["MbppPlus", "HumanEvalPlus"] {
        let Some(path) = published(name) else { continue };
        let read = problems::sets::read_file(&path).expect("a readable set");
        let all: Vec<(&str, [Vec<String>; 2])> =
            read.iter().map(|problem| (problem.id.as_str(), calls(problem))).collect();
        let mut child = Command::new(&python)
            .args(["-c", include_str!("evalplus.py")])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&serde_json::to_vec(&all).expect("JSON")).expect("Python reads");
        drop(stdin);
        let output = child.wait_with_output().expect("Python ends");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {said}");
        let count: usize = all.iter().map(|(_, [base, plus])| base.len() + plus.len()).sum();
        assert_eq!(said.trim(), count.to_string(), "{name}");
    }
}
