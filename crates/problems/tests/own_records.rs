//! Our own records: as they are written now, and as earlier versions wrote them.

use problems::prompt::{PromptTests, comment_prompt, instruction};
use problems::sets::{problem_of_tests, read_file};
use python::Check;
use records::jsonl::{self, Error};
use records::{Problem, Shown, Split};
use serde_json::json;

fn read(lines: &[String]) -> Result<Vec<Problem>, Error> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("set.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("written");
    read_file(&path)
}

fn message(line: &serde_json::Value) -> String {
    let message = read(&[line.to_string()]).expect_err("malformed").to_string();
    message.rsplit_once("set.jsonl:").expect("the file").1.to_owned()
}

fn earlier() -> serde_json::Value {
    json!({
        "id": "own/1",
        "text": "Add two numbers.",
        "entry_point": "add",
        "tests": [{ "source": "assert add(1, 2) == 3", "call": "add(1, 2)", "expected": "3" },
                  { "source": "assert add(0, 0) == 0" }],
        "setup": "import math",
        "test_setup": "x = 1",
        "references": ["def add(a, b): return a + b"],
        "split": "train",
    })
}

#[test]
fn what_is_written_is_read_again() {
    let problem = problem_of_tests("q", "Add.", vec!["assert add(1, 2) == 3".into()]);
    let other = Problem {
        id: "sum".into(),
        shown: Shown { statement: "17 times 3?".into(), ..Shown::default() },
        check: records::Check::new("math", &json!({ "answer": "51" })).expect("JSON"),
        split: Split::Validation,
        ..Problem::default()
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("set.jsonl");
    jsonl::write(&path, [&problem, &other]).expect("written");
    assert_eq!(read_file(&path).expect("read"), [problem, other]);
}

#[test]
fn an_earlier_record_is_converted() {
    let problem = read(&[earlier().to_string()]).expect("read").remove(0);
    let check = Check::of(&problem).expect("a Python problem");
    assert_eq!((problem.id.as_str(), problem.split), ("own/1", Split::Train));
    assert_eq!((problem.shown.name.as_str(), check.entry_point.as_str()), ("add", "add"));
    assert_eq!((check.setup.as_str(), check.test_setup.as_str()), ("import math", "x = 1"));
    assert_eq!(check.tests, ["assert add(1, 2) == 3", "assert add(0, 0) == 0"]);
    assert_eq!((&problem.shown.examples, problem.shown.visible()), (&check.tests, &check.tests[..1]));
    assert_eq!(problem.references, ["def add(a, b): return a + b"]);
    let mut none_visible = earlier();
    none_visible["visible_tests"] = json!(0);
    let hidden = read(&[none_visible.to_string()]).expect("read").remove(0);
    assert!(!comment_prompt(&hidden.shown, PromptTests::All).contains("assert"));
}

#[test]
fn an_earlier_records_continuation_becomes_whole_programs() {
    let mut record = earlier();
    record["completion_prefix"] = json!("def add(a, b):\n    \"\"\"\n    >>> add(2, 2)\n    4\n    \"\"\"\n");
    record["references"] = json!(["    return a + b\n"]);
    record["tests"] =
        json!([{ "source": "def check(candidate):\n    assert candidate(7, 7) == 14\ncheck(add)" }]);
    let problem = read(&[record.to_string()]).expect("read").remove(0);
    assert!(
        problem.references[0].starts_with("def add") && problem.references[0].ends_with("return a + b\n")
    );
    assert_eq!(Check::of(&problem).expect("a Python problem").prompt, problem.shown.opening);
    // The check function is no example; the docstring's are.
    assert_eq!(problem.shown.visible(), ["assert add(2, 2) == 4"]);
    assert!(!instruction(&problem.shown, PromptTests::All).contains("14"));
}

#[test]
fn two_problems_of_one_id_are_refused_with_both_places() {
    let other =
        json!({ "task_id": 3, "text": "t", "code": "def f(): pass", "test_list": ["assert f() == 1"] });
    let lines = [earlier(), other, earlier()].map(|record| record.to_string());
    let message = read(&lines).expect_err("two of one id").to_string();
    assert!(message.contains("set.jsonl:3: the id own/1 is also that of"), "{message}");
    assert!(message.contains("set.jsonl:1; ids are unique"), "{message}");
    let mbpp = json!({ "task_id": "Mbpp/3", "text": "t", "code": "def f(): pass", "test_list": ["assert f() == 1"] });
    assert!(read(&[lines[1].clone(), mbpp.to_string()]).is_err());
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    let with = |field: &str, value: serde_json::Value| {
        let mut record = earlier();
        record[field] = value;
        message(&record)
    };
    assert_eq!(with("text", json!(null)), "1: text: expected text, found null");
    assert_eq!(with("id", json!(3)), "1: id: expected text, found 3");
    assert_eq!(
        with("tests", json!(["assert True"])).split(',').next(),
        Some("1: tests[0]: expected an object with the field source")
    );
    assert_eq!(with("id", json!(" ")), "1: id: expected text that names the problem, found \" \"");
    assert!(with("tests", json!([])).starts_with("1: tests: expected at least one test"));
    assert!(with("visible_tests", json!(-1)).starts_with("1: visible_tests: expected a whole number"));
    assert!(with("split", json!("dev")).starts_with("1: split: expected one of train"));
    assert!(with("references", json!("def f")).starts_with("1: references: expected a list of texts"));
    assert_eq!(with("visible_test", json!(2)), "1: visible_test: unknown field; expected visible_tests");
    let new = |shown: serde_json::Value, check: serde_json::Value| {
        message(&json!({ "id": "a", "shown": shown, "check": check, "split": "test" }))
    };
    let shown = json!({ "statement": "Add." });
    let check = |payload: serde_json::Value| json!({ "domain": "python", "payload": payload });
    assert_eq!(new(json!(null), check(json!({}))), "1: shown: expected an object, found null");
    assert_eq!(new(json!({}), check(json!({}))), "1: shown.statement: missing; expected text");
    assert_eq!(new(shown.clone(), json!({ "payload": 1 })), "1: check.domain: missing; expected text");
    assert_eq!(new(shown.clone(), check(json!(null))), "1: check.payload: expected an object, found null");
    let tests = new(shown.clone(), check(json!({ "tests": [1] })));
    assert_eq!(tests, "1: check.payload.tests: expected a list of texts, found [1]");
    assert!(
        new(shown.clone(), check(json!({ "tests": [] })))
            .contains("check.payload.tests: expected at least one")
    );
    let setup = new(shown.clone(), check(json!({ "tests": ["assert f(1)"], "set_up": "" })));
    assert_eq!(setup, "1: check.payload.set_up: unknown field; expected setup");
    let plus = |plus: serde_json::Value| new(shown.clone(), check(json!({ "tests": [], "plus": plus })));
    assert_eq!(plus(json!({ "base": 5 })), "1: check.payload.plus.base: expected a list, found 5");
    let nothing = json!({ "base": [], "plus": [], "tolerance": 0.0 });
    assert!(plus(nothing).contains("check.payload.plus.base: expected at least one input"));
}

/// Of a record that lacks one field, the set that it belongs to is known by the others.
#[test]
fn a_field_that_is_missing_is_named_as_its_set_calls_it() {
    let mbpp =
        json!({ "task_id": 3, "text": "t", "code": "def f(): pass", "test_list": ["assert f() == 1"] });
    let humaneval = json!({ "task_id": "HumanEval/0", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    pass\n", "test": "def check(c):\n    assert c() == 1\n" });
    let plus = json!({ "task_id": "Mbpp/3", "prompt": "p", "entry_point": "f", "canonical_solution": "x", "base_input": [[1]], "plus_input": [[2]], "atol": 0 });
    for record in [earlier(), mbpp, humaneval, plus] {
        read(&[record.to_string()]).expect("whole");
        for field in record.as_object().expect("an object").keys() {
            if ["setup", "test_setup", "references", "split"].contains(&field.as_str()) {
                continue;
            }
            let mut without = record.clone();
            without.as_object_mut().expect("an object").remove(field);
            let message = message(&without);
            assert!(message.starts_with(&format!("1: {field}: missing; expected ")), "{field}: {message}");
        }
    }
    let sample = message(&json!({ "task_id": "Mbpp/3", "solution": "x" }));
    assert!(sample.contains("found a sample"), "{sample}");
}

#[test]
fn files_as_editors_and_other_tools_write_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("set.jsonl");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        read_file(&path).map_err(|error| error.to_string())
    };
    let line = earlier().to_string();
    let second = line.replace("own/1", "own/2");
    for whole in [
        format!("\u{feff}{line}\r\n{second}\r\n"),
        format!("\u{feff}[{line},{second}]"),
        format!("[\n  {line},\n\n  {second}\n]\n"),
    ] {
        assert_eq!(read(whole.as_bytes()).map(|problems| problems.len()), Ok(2), "{whole}");
    }
    let plus = r#"{"task_id": "Mbpp/3", "prompt": "p", "entry_point": "f", "canonical_solution": "x", "base_input": [[1]], "plus_input": [[2]], "atol": 0}"#;
    assert!(read(format!("[{plus}]").as_bytes()).is_ok());
    let in_array =
        read(format!("[{line},\n\n{}]", second.replace("\"add\"", "7")).as_bytes()).expect_err("wrong");
    assert!(in_array.ends_with("set.jsonl:3: entry_point: expected text, found 7"), "{in_array}");
    let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(read(&utf16).expect_err("UTF-16").contains("is UTF-16; expected UTF-8"));
    let latin = [line.as_bytes(), b"\n{\"text\": \"\xe9\"}"].concat();
    assert!(read(&latin).expect_err("Latin-1").contains("set.jsonl:2: not UTF-8"));
    let pretty = serde_json::to_string_pretty(&earlier()).expect("JSON");
    assert!(read(pretty.as_bytes()).expect_err("several lines").contains("write a record a line"));
}
