//! The verbs that work on files, as users run them: samples in, verdicts, choices and rankers out.

mod support;

use std::collections::HashMap;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};
use support::{error, report, rows};

fn ncomp(arguments: &[&str]) -> Output {
    support::ncomp(arguments).output().expect("ncomp")
}

/// EvalPlus also has samples as directories of programs.
#[test]
fn a_directory_of_samples_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let problem =
        r#"{"id":"Own/1","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}],"split":"test"}"#;
    std::fs::write(path("problems.jsonl"), problem).expect("written");
    std::fs::create_dir_all(path("samples/Own_1")).expect("a directory");
    for (name, code) in [("0.py", "def f(): return 1"), ("10.py", "def f(): return 2"), ("notes.txt", "?")] {
        std::fs::write(path(&format!("samples/Own_1/{name}")), code).expect("written");
    }
    let (problems, samples) = (path("problems.jsonl"), path("samples"));
    let judged = ncomp(&["execute", "--problems", &problems, "--samples", &samples, "--json"]);
    let outcomes = &report(&judged)["outcomes"];
    assert_eq!((outcomes["passed"].as_u64(), outcomes["wrong_answer"].as_u64()), (Some(1), Some(1)));
    std::fs::write(path("samples/Own_1/11.py"), b"\xff").expect("written");
    let judged = report(&ncomp(&["execute", "--problems", &problems, "--samples", &samples, "--json"]));
    assert_eq!(judged["candidates"], 3);
    let note = judged["notes"][0].to_string();
    assert!(note.contains("11.py") && note.contains("UTF-8"), "{note}");
}

/// The stages one by one on files.
#[test]
fn stages_work_on_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (samples, verdicts, picks) = (path("c.jsonl"), path("v.jsonl"), path("picks.jsonl"));
    let set = path("problems.jsonl");
    let problems = problems::basics::World::new().problems(records::Split::Test, 10, 5);
    records::jsonl::write(set.as_ref(), &problems).expect("written");
    assert!(
        ncomp(&["generate", "--problems", &set, "-n", "4", "--max-new-tokens", "96", "--out", &samples])
            .status
            .success()
    );
    let judged = ncomp(&["execute", "--samples", &samples, "--problems", &set, "--out", &verdicts, "--json"]);
    assert!(String::from_utf8_lossy(&judged.stdout).contains("\"candidates\":40"));
    let ranked = ncomp(&[
        "rank",
        "--samples",
        &samples,
        "--problems",
        &set,
        "--verdicts",
        &verdicts,
        "--critic",
        "models/basics-critic",
        "--select",
        "critic,random,oracle",
        "--out",
        &picks,
        "--json",
    ]);
    let ranked = report(&ranked);
    assert_eq!(rows(&ranked).len(), 3);
    let (critic, random) = (&ranked["rows"][0], &ranked["rows"][1]);
    assert!(critic["cost"]["tokens"].as_u64() > Some(0) && random["cost"]["tokens"] == 0, "{ranked}");
    assert!(critic["against_random"]["low"].is_number() && random["against_critic"]["low"].is_number());
    let lines = |path: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).expect("picks");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let candidates: HashMap<(String, u64), String> = lines(&samples)
        .iter()
        .map(|line| {
            let text = |field: &str| line[field].as_str().expect("text").to_owned();
            ((text("problem"), line["index"].as_u64().expect("an index")), text("code"))
        })
        .collect();
    let picked = lines(&picks);
    assert_eq!(picked.iter().filter(|pick| pick["selector"] == "critic").count(), 10);
    assert_eq!(picked.len(), 30);
    for pick in &picked {
        let named =
            (pick["task_id"].as_str().expect("text").to_owned(), pick["index"].as_u64().expect("an index"));
        assert_eq!(Some(candidates[&named].as_str()), pick["solution"].as_str(), "{pick}");
        assert!(pick["confidence"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)), "{pick}");
    }
    // What was observed is kept beside the samples: a second call runs nothing.
    let again = ["rank", "--samples", &samples, "--problems", &set, "--select", "combined", "--out", &picks];
    let told = support::stderr(&ncomp(&again));
    let line = told.lines().find_map(|line| line.strip_prefix("behaviour: ")).expect("progress");
    let (total, before) = line.split_once(" to do, ").expect("some were done before");
    assert_eq!(before, format!("{total} done before"), "{told}");
    assert_eq!(lines(&picks).len(), 10);
    // A selector that lacks what it needs is refused before anything runs.
    for (selector, need) in [("critic", "--critic"), ("visible_test", "--level 3"), ("reviewer", "--model")] {
        let refused =
            ncomp(&["rank", "--samples", &samples, "--problems", &set, "--select", selector, "--out", "x"]);
        let told = error(&refused);
        assert!(told.contains(&format!("the selector {selector} needs")) && told.contains(need), "{told}");
    }
    // A ranker learns from the same files and ranks them; its probabilities are at its own level.
    let ranker = path("ranker.json");
    let files = ["--samples", &samples, "--problems", &set, "--verdicts", &verdicts, "--json"];
    let learned = ncomp(
        &[&["train", "ranker", "--level", "3", "--inputs", "5", "--out", &ranker], &files[..]].concat(),
    );
    let learned: Vec<String> = rows(&report(&learned)).into_iter().map(|row| row.0).collect();
    for name in ["random", "consensus", "consensus_soft", "visible_test", "combined", "oracle"] {
        assert!(learned.iter().any(|row| row == name), "{name}: {learned:?}");
    }
    let ranked =
        ncomp(&[&["rank", "--ranker", &ranker, "--select", "combined,visible_test"], &files[..]].concat());
    let levels = report(&ranked)["rows"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["level"].clone())
        .collect::<Vec<_>>();
    assert_eq!(levels, [3, 3]);
    let broken = path("broken.json");
    std::fs::write(&broken, "{}").expect("written");
    assert!(error(&ncomp(&[&["rank", "--ranker", &broken], &files[..]].concat())).contains("broken.json"));
    // What was picked can be judged again, in EvalPlus's form.
    let again =
        ncomp(&["execute", "--samples", &picks, "--problems", &set, "--out", &path("again.jsonl"), "--json"]);
    assert!(
        String::from_utf8_lossy(&again.stdout).contains("\"candidates\":10"),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
}

/// Odd samples are counted and named; none of them is lost from a denominator or stops the rest.
#[test]
fn odd_samples_are_counted_and_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (set, samples, verdicts) = (path("problems.jsonl"), path("samples.jsonl"), path("v.jsonl"));
    let problem = |id: u32, name: &str| {
        format!(
            "{{\"task_id\": {id}, \"text\": \"Write a function to double a number.\", \"code\": \"def {name}(n):\\n    return 2 * n\", \"test_list\": [\"assert {name}(2) == 4\", \"assert {name}(5) == 10\"], \"test_setup_code\": \"\", \"challenge_test_list\": []}}\n"
        )
    };
    std::fs::write(&set, problem(601, "twice") + &problem(602, "double") + &problem(603, "dup"))
        .expect("written");
    let good = "{\"task_id\": 601, \"solution\": \"def twice(n):\\n    return n + n\"}\n";
    let unknown = "{\"task_id\": \"Mbpp/77\", \"solution\": \"x\"}\n";
    let empty = "{\"task_id\": 602, \"solution\": \"\"}\n";
    let nothing_runs = "{\"task_id\": 603, \"solution\": \"def dup(:\"}\n{\"task_id\": 603, \"solution\": \"raise SystemExit\"}\n";
    let own = "{\"problem\": \"Mbpp/601\", \"index\": 0, \"text\": \"\", \"code\": \"def twice(n): return 0\", \"finish_reason\": \"stop\", \"generator\": \"x\", \"seed\": 0}\n";
    let mut bytes = [good, unknown, unknown, empty, nothing_runs, own].concat().into_bytes();
    bytes.extend(b"{\"task_id\": 601, \"solution\": \"def twice(n): return '\xff'\"}\n");
    std::fs::write(&samples, bytes).expect("written");

    let files = ["--samples", &samples, "--problems", &set];
    let judged = report(&ncomp(&[&["execute", "--out", &verdicts, "--json"], &files[..]].concat()));
    assert_eq!((&judged["candidates"], &judged["problems"]), (&6.into(), &3.into()), "{judged}");
    assert_eq!(judged["outcomes"]["passed"], 1, "{judged}");
    let notes: Vec<(String, u64)> = judged["notes"]
        .as_array()
        .expect("notes")
        .iter()
        .map(|note| {
            (note["what"].to_string() + &note["first"].to_string(), note["count"].as_u64().expect("a count"))
        })
        .collect();
    for (kind, place, count) in [
        ("not in the set", "samples.jsonl:2, Mbpp/77", 2),
        ("empty", "samples.jsonl:4", 1),
        ("UTF-8", "samples.jsonl:8", 1),
        ("index that another has", "samples.jsonl:7", 1),
    ] {
        let found = notes.iter().find(|(text, _)| text.contains(kind) && text.contains(place));
        assert_eq!(found.map(|note| note.1), Some(count), "{kind}: {notes:?}");
    }
    for level in ["0", "1", "2", "3"] {
        let ranked =
            ncomp(&[&["rank", "--level", level, "--verdicts", &verdicts, "--json"], &files[..]].concat());
        let ranked = report(&ranked);
        for (name, value) in rows(&ranked) {
            assert!((0.0..=100.0 / 3.0 + 1e-9).contains(&value), "{name}: {value}");
        }
        let combined = &ranked["rows"][0];
        assert_eq!((&combined["name"], &combined["n"]), (&"combined".into(), &3.into()));
    }
    std::fs::write(&samples, unknown).expect("written");
    assert!(
        error(&ncomp(&[&["execute"], &files[..]].concat())).contains("no sample of a problem of this set")
    );
    std::fs::write(&samples, "[1").expect("written");
    assert!(error(&ncomp(&[&["execute"], &files[..]].concat())).contains("samples.jsonl:1"));
}

/// One line that is odd costs no other its verdict: Python's `json` writes lone surrogates and numbers
/// that JSON has none for.
#[test]
fn one_odd_sample_does_not_cost_the_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (set, samples) = (path("problems.jsonl"), path("samples.jsonl"));
    let problem = "{\"task_id\": 1, \"text\": \"Double.\", \"code\": \"def twice(n):\\n    return 2 * n\", \"test_list\": [\"assert twice(2) == 4\"], \"test_setup_code\": \"\", \"challenge_test_list\": []}\n";
    std::fs::write(&set, problem).expect("written");
    let right = "def twice(n):\\n    return n + n";
    let lines = [
        format!("{{\"task_id\": 1, \"solution\": \"{right}\", \"log_probability\": -Infinity}}\n"),
        format!("{{\"task_id\": 1, \"solution\": \"{right}\\nx = '\\ud800'\"}}\n"),
        "null\n".to_owned(),
        "{\"task_id\": 1, \"solution\": null}\n".to_owned(),
        format!("{{\"task_id\": \"HumanEval/1\", \"solution\": \"{right}\"}}\n"),
        format!("{{\"task_id\": 1, \"problem\": \"Double a number.\", \"solution\": \"{right}\"}}\n"),
    ];
    std::fs::write(&samples, lines.concat()).expect("written");
    let files = ["--samples", &samples, "--problems", &set];
    let judged = report(&ncomp(&[&["execute", "--json"], &files[..]].concat()));
    assert_eq!((&judged["candidates"], &judged["outcomes"]["passed"]), (&4.into(), &2.into()), "{judged}");
    let verdicts = std::fs::read_to_string(path("samples.verdicts.jsonl")).expect("verdicts");
    let outcome = |index: u64| {
        let verdicts =
            verdicts.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        verdicts.into_iter().find(|verdict| verdict["index"] == index).expect("a verdict")["outcome"].clone()
    };
    assert_eq!((outcome(0), outcome(1), outcome(3)), ("passed".into(), "invalid".into(), "passed".into()));
    let notes = judged["notes"].to_string();
    for note in ["lone surrogate", "hold null", "null for a program", "samples.jsonl:5, HumanEval/1"] {
        assert!(notes.contains(note), "{note}: {notes}");
    }
}

/// Verdicts and problems of earlier versions: read, and judged anew with a word.
#[test]
fn files_of_an_earlier_version_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (set, samples, verdicts) = (path("problems.jsonl"), path("s.jsonl"), path("s.verdicts.jsonl"));
    let problem =
        r#"{"id":"one","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}],"split":"test"}"#;
    std::fs::write(&set, problem).expect("written");
    let sample = |value: usize| format!("{{\"task_id\":\"one\",\"solution\":\"def f(): return {value}\"}}\n");
    std::fs::write(&samples, sample(1) + &sample(2)).expect("written");
    let old = |index: usize, outcome: &str| {
        format!(
            "{{\"problem\":\"one\",\"index\":{index},\"outcome\":\"{outcome}\",\"tests\":[{{\"outcome\":\"{outcome}\"}}],\"mode\":\"in_process\",\"cpu_milliseconds\":1.0,\"wall_milliseconds\":2.0,\"peak_memory_kib\":9000,\"isolation\":\"A\",\"fingerprint\":\"00000000000000ff\"}}\n"
        )
    };
    // As a judge that could be fooled saw them.
    std::fs::write(&verdicts, old(0, "not_plain_data") + &old(1, "passed")).expect("written");
    let files = ["--samples", &samples, "--problems", &set];
    let ranked =
        ncomp(&[&["rank", "--verdicts", &verdicts, "--select", "oracle", "--json"], &files[..]].concat());
    assert!(
        support::stderr(&ranked).contains("2 verdicts are by an earlier version"),
        "{}",
        support::stderr(&ranked)
    );
    assert_eq!(rows(&report(&ranked)), [("oracle".to_owned(), 100.0)]);
    let judged = ncomp(&[&["execute", "--json"], &files[..]].concat());
    let told = support::stderr(&judged);
    assert!(told.contains("2 verdicts in") && told.contains("by an earlier version: judged anew"), "{told}");
    let outcomes = &report(&judged)["outcomes"];
    assert_eq!((&outcomes["passed"], &outcomes["wrong_answer"]), (&1.into(), &1.into()), "{outcomes}");
}

/// A model at hand reviews candidates and writes tests for them.
#[test]
fn a_model_reviews_and_writes_tests() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (set, samples, verdicts) = (path("problems.jsonl"), path("c.jsonl"), path("v.jsonl"));
    let problems = problems::basics::World::new().problems(records::Split::Test, 4, 5);
    records::jsonl::write(set.as_ref(), &problems).expect("written");
    let made = ["generate", "--problems", &set, "-n", "4", "--max-new-tokens", "96", "--out", &samples];
    assert!(ncomp(&made).status.success());
    let files = ["--samples", &samples, "--problems", &set];
    assert!(ncomp(&[&["execute", "--out", &verdicts], &files[..]].concat()).status.success());
    let select = ["--model", "models/basics", "--written-tests", "8", "--select", "reviewer,generated_tests"];
    let ranked =
        report(&ncomp(&[&["rank", "--verdicts", &verdicts, "--json"], &files[..], &select].concat()));
    assert_eq!(rows(&ranked).len(), 2, "{ranked}");
    assert!(ranked["rows"][0]["cost"]["tokens"].as_u64() > Some(100), "{ranked}");
    assert!(ranked["rows"][1]["cost"]["seconds"].as_f64() > Some(0.0), "{ranked}");
}

/// What is broken is named with file, line, field and what to do, and stays as it is.
#[test]
fn a_broken_file_of_verdicts_is_named_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (set, samples, verdicts) = (path("problems.jsonl"), path("samples.jsonl"), path("v.jsonl"));
    std::fs::write(
        &set,
        r#"{"id":"Own/1","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}]}"#,
    )
    .expect("written");
    std::fs::write(&samples, "{\"task_id\":\"Own/1\",\"solution\":\"def f(): return 1\"}\n".repeat(2))
        .expect("written");
    let files = ["--problems", &set, "--samples", &samples];
    let execute = [&["execute", "--out", &verdicts, "--json"], &files[..]].concat();
    assert_eq!(report(&ncomp(&execute))["outcomes"]["passed"], 2);
    let whole = std::fs::read_to_string(&verdicts).expect("verdicts");
    let broken = whole.replacen("\"index\":1", "\"index\":\"one\"", 1);
    std::fs::write(&verdicts, &broken).expect("written");
    let expected = "v.jsonl:2: index: expected a whole number, 0 or more, found \"one\"; ";
    let message = error(&ncomp(&execute));
    assert!(message.contains(expected) && message.contains("delete the line"), "{message}");
    let rank = [&["rank", "--verdicts", &verdicts, "--select", "random"], &files[..]].concat();
    let message = error(&ncomp(&rank));
    assert!(message.contains(expected) && message.contains("as `ncomp execute` writes them"), "{message}");
    assert_eq!(std::fs::read_to_string(&verdicts).expect("verdicts"), broken);
}

/// 0 done, 1 failed, 2 wrong usage; `docs/judging.md` promises it.
#[test]
fn exit_statuses_are_as_documented() {
    let status = |arguments: &[&str]| ncomp(arguments).status.code();
    assert_eq!(status(&["doctor"]), Some(0));
    let doctor = ncomp(&["doctor", "--python", "/bin/true", "--json"]);
    assert_eq!(doctor.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert_eq!(found["ready"], false);
    assert!(found["judging"].as_str().expect("text").contains("install Python 3.9"), "{found}");
    assert_eq!(status(&["execute", "--problems", "/nowhere"]), Some(1));
    for usage in [
        &["execute"][..],
        &["execute", "--problems", "x", "--timeout", "0"],
        &["rank", "--samples", "x"],
        &["rank", "--samples", "x", "--out", "y", "--select", "best"],
        &["demo", "--seeds", "0"],
    ] {
        assert_eq!(status(usage), Some(2), "{usage:?}");
    }
    let message = error(&ncomp(&["execute", "--problems", "basics", "--samples", "-"]));
    assert!(message.contains("name the file of verdicts with --out"), "{message}");
}

/// As where `2>&1 | head` or a terminal that is gone reads stderr.
#[test]
fn an_interrupt_stops_a_command_whose_stderr_nobody_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let problem =
        r#"{"id":"Own/1","text":"","entry_point":"f","tests":[{"source":"assert f() == 1"}],"split":"test"}"#;
    std::fs::write(path("problems.jsonl"), problem).expect("written");
    let sample = r#"{"task_id":"Own/1","solution":"def f():\n    while True: pass"}"#;
    std::fs::write(path("samples.jsonl"), sample).expect("written");
    let (problems, samples) = (path("problems.jsonl"), path("samples.jsonl"));
    let arguments = ["execute", "--problems", &problems, "--samples", &samples, "--timeout", "600"];
    let mut child = support::ncomp(&arguments).stderr(Stdio::piped()).spawn().expect("ncomp");
    let started = Instant::now();
    drop(child.stderr.take());
    let status = loop {
        std::thread::sleep(Duration::from_secs(1));
        // SAFETY: sends a signal to a process of our own that has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        if let Some(status) = child.try_wait().expect("a state") {
            break status;
        }
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().expect("killed");
            panic!("it goes on after a minute of interrupts");
        }
    };
    // Of the first the handler may not know yet.
    assert!(matches!(status.code(), Some(130) | None), "{status}");
}
