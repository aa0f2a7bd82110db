//! The published sets and real samples, where `../shared/data` holds them.

use problems::prompt::{PromptTests, comment_prompt, instruction};
use problems::sets::read_file;
use python::Check;
use python::extract::extract_code;
use records::{Problem, Split, jsonl};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not here", path.display());
    }
    path.exists().then_some(path)
}

fn check(problem: &Problem) -> Check {
    Check::of(problem).expect("a Python problem")
}

#[test]
fn mbpp_has_its_splits_and_entry_points() {
    let Some(path) = data("mbpp/mbpp.jsonl") else { return };
    let problems = read_file(&path).expect("MBPP");
    let count = |split| problems.iter().filter(|problem| problem.split == split).count();
    let counts = [Split::Prompt, Split::Test, Split::Validation, Split::Train].map(count);
    assert_eq!(counts, [10, 500, 90, 374]);
    for problem in &problems {
        let (name, check) = (&problem.shown.name, check(problem));
        let defined = format!("def {name}");
        let calls = problem.references[0].contains(&defined) || problem.references[0].contains("class ");
        assert!(!name.is_empty() && calls, "{}: {name}", problem.id);
        assert_eq!(name, &check.entry_point);
        assert!(check.tests.len() >= 3, "{}", problem.id);
        // The published protocol shows all of MBPP's tests.
        assert_eq!(problem.shown.examples, check.tests);
        assert_eq!(problem.shown.visible(), &check.tests[..1]);
    }
    let tests: Vec<String> = problems.iter().flat_map(|problem| check(problem).tests).collect();
    let plain = tests.iter().filter(|test| pydata::parse_assert(test).is_ok()).count();
    assert!(plain as f64 / tests.len() as f64 > 0.97, "{plain} of {} tests are comparisons", tests.len());
}

#[test]
fn humanevals_check_functions_are_hidden_and_its_docstrings_examples_shown() {
    let Some(path) = data("humaneval/HumanEval.jsonl.gz") else { return };
    let problems = read_file(&path).expect("HumanEval");
    let mut with_examples = 0;
    for problem in &problems {
        let check = check(problem);
        assert_eq!(check.prompt, problem.shown.opening);
        assert_eq!(check.tests.len(), 1);
        let definition = format!("def {}(", problem.shown.name);
        assert!(problem.references[0].contains(&definition), "{}", problem.id);
        with_examples += usize::from(!problem.shown.visible().is_empty());
        for example in problem.shown.visible() {
            assert!(pydata::parse_assert(example).is_ok(), "{example}");
        }
        let prompts = [
            comment_prompt(&problem.shown, PromptTests::All),
            comment_prompt(&problem.shown, PromptTests::Visible),
            instruction(&problem.shown, PromptTests::All),
        ];
        for prompt in prompts {
            assert!(!prompt.contains("candidate(") && !prompt.contains("def check("), "{}", problem.id);
        }
    }
    assert_eq!(with_examples, 139);
    let first = &problems[0].shown;
    assert_eq!(first.examples[0], "assert has_close_elements([1.0, 2.0, 3.0], 0.5) == False");
}

#[test]
fn sanitized_mbpp_and_humaneval_are_read() {
    let Some(path) = data("mbpp/sanitized-mbpp.json") else { return };
    let problems = read_file(&path).expect("sanitized MBPP");
    let count = |split| problems.iter().filter(|problem| problem.split == split).count();
    assert_eq!([Split::Test, Split::Train, Split::Validation].map(count), [257, 120, 43]);
    let Some(path) = data("humaneval/HumanEval.jsonl.gz") else { return };
    let problems = read_file(&path).expect("HumanEval");
    assert_eq!(problems.len(), 164);
    assert!(problems.iter().all(|problem| problem.shown.opening.is_some()));
}

/// Real completions, wrapped as models wrap them, give back the program that a judge would run.
#[test]
fn extraction_survives_real_samples() {
    let (Some(samples), Some(set)) =
        (data("samples/qwen2.5-1.5b-instruct-mbpp-trainval.jsonl.gz"), data("mbpp/mbpp.jsonl"))
    else {
        return;
    };
    let problems = read_file(&set).expect("MBPP");
    let entry_points: HashMap<String, String> =
        problems.into_iter().map(|problem| (problem.id, problem.shown.name)).collect();
    let samples: Vec<serde_json::Value> = jsonl::read(&samples).expect("samples");
    let (mut defines, mut kept) = (0, 0);
    for sample in &samples {
        let code = sample["solution"].as_str().expect("text");
        let entry_point = &entry_points[&format!("Mbpp/{}", sample["task_id"])];
        let definition = format!("def {entry_point}(");
        if !code.contains(&definition) {
            continue;
        }
        defines += 1;
        let wrapped = format!(
            "Here is the function:\n\n```python\n{code}\n```\n\nIt works as follows.\n1. First it does this."
        );
        let forms = [
            code.to_owned(),
            wrapped,
            format!("{code}\n```\nThis function takes a list and returns it."),
            format!("```\n{code}"),
        ];
        let found: Vec<String> = forms.iter().map(|form| extract_code(form, entry_point)).collect();
        let all_define = found.iter().all(|found| found.contains(&definition));
        let no_prose = found.iter().all(|found| {
            !found.contains("It works as follows") && !found.contains("This function takes a list and")
        });
        kept += usize::from(all_define && no_prose);
    }
    // The rest hold fences of their own or nest one program in another.
    assert!(defines > 5000 && kept as f64 > 0.99 * defines as f64, "{kept} of {defines}");
}

#[test]
fn a_malformed_record_names_file_line_and_field() {
    let directory = std::env::temp_dir().join(format!("ncomp-sets-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let error = |text: &str| {
        let path = directory.join("set.jsonl");
        std::fs::write(&path, text).expect("written");
        read_file(&path).expect_err("malformed").to_string()
    };
    let good = r#"{"task_id": 1, "text": "t", "code": "c", "test_list": ["assert f(1) == 1"]}"#;
    let missing = error(&format!("{good}\n{}", r#"{"task_id": 2, "text": "t", "code": "c"}"#));
    assert!(missing.contains("set.jsonl:2: test_list: missing; expected a list of texts"), "{missing}");
    let wrong = error(r#"{"task_id": "x", "text": "t", "code": "c", "test_list": []}"#);
    assert!(
        wrong.contains("set.jsonl:1: task_id: expected an integer, or Mbpp/ and an integer, found \"x\""),
        "{wrong}"
    );
    assert!(error("{\"task_id\": 1").contains("set.jsonl:1: not JSON"));
    assert!(error(&good.replace("\"assert f(1) == 1\"", "")).contains("test_list: expected at least one"));
    let null = error(&good.replace("\"t\"", "null"));
    assert!(null.contains("set.jsonl:1: text: expected text, found null"), "{null}");
    // HumanEval/1 is not MBPP's first problem.
    let other = error(&good.replace("\"task_id\": 1", "\"task_id\": \"HumanEval/1\""));
    assert!(other.contains("task_id: expected an integer, or Mbpp/ and an integer"), "{other}");
    let _ = std::fs::remove_dir_all(directory);
}
