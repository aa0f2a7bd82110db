//! `ncomp solve` as users run it.

mod support;

use serde_json::Value;
use std::time::Duration;
use support::{Reply, fenced, ncomp, other_server, stderr};

/// Candidates of another server: two that double, three that square, one that hangs.
fn doubling_server() -> String {
    let programs =
        ["return n + n", "return n * 2", "return n * n", "return n ** 2", "return n**2", "while True: pass"];
    let texts = move || programs.map(|body| fenced(&format!("def twice(n):\n    {body}"))).to_vec();
    other_server(move |_| Reply::Texts(texts()))
}

fn solve(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = ncomp(&[&["solve"], arguments].concat()).output().expect("ncomp");
    (output.status.code(), String::from_utf8(output.stdout.clone()).expect("text"), stderr(&output))
}

#[test]
fn tests_decide_and_the_answer_says_so() {
    let url = doubling_server();
    let common = ["Double a number.", "--generator", &url, "-n", "6"];
    // Two tests of which squaring passes one.
    let tests = ["--test", "assert twice(2) == 4", "--test", "assert twice(5) == 10"];
    let (status, code, why) = solve(&[&common[..], &tests].concat());
    assert_eq!(status, Some(0), "{why}");
    assert!(code.starts_with("def twice(n):\n    return n ") && !code.contains("```"), "{code}");
    assert!(why.contains("verified by 2 of 2 tests"), "{why}");

    let (status, code, why) = solve(&[&common[..], &["--test", "assert twice(5) == 11"]].concat());
    assert_eq!((status, code.as_str()), (Some(4), ""), "{why}");
    assert!(why.contains("passes 0 of 1 tests") && why.contains("twice(5) == 11"), "{why}");
}

#[test]
fn without_tests_nothing_is_called_verified() {
    let url = doubling_server();
    let (status, code, why) = solve(&["Square a number.", "--generator", &url, "-n", "6", "--until", "1"]);
    assert_eq!(status, Some(3), "{why}");
    assert!(code.contains("n ** 2") || code.contains("n * n") || code.contains("n**2"), "{code}");
    assert!(why.contains("not verified") && why.contains("6 candidates"), "{why}");
    // Nobody has seen verdicts on this model's candidates.
    assert!(why.contains("the estimate is not calibrated for "), "{why}");
    // The two behaviours, and an input that tells them apart.
    assert!(why.contains("disagrees") && why.contains("twice(") && why.contains("returns"), "{why}");
}

#[test]
fn all_evidence_is_there_as_json() {
    let url = doubling_server();
    let (status, json, _) = solve(&[
        "Double a number.",
        "--generator",
        &url,
        "-n",
        "6",
        "--json",
        "--until",
        "1",
        "--test",
        "assert twice(3) == 6",
    ]);
    assert_eq!(status, Some(0));
    let answer: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(answer["status"], "verified");
    let evidence = &answer["evidence"];
    assert_eq!((&evidence["candidates"], &evidence["passing"]), (&6.into(), &2.into()), "{evidence}");
    assert_eq!(evidence["behaviours"], 3, "{evidence}");
    assert_eq!(answer["candidates"].as_array().map(Vec::len), Some(6));
}

#[test]
fn it_stops_as_soon_as_it_is_sure() {
    // Slow after the first: who waits for all takes minutes.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let url = other_server(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::Texts(vec![fenced("def twice(n):\n    return n + n")]),
        _ => Reply::Slow(Duration::from_secs(3), vec![fenced("def twice(n):\n    return 0")]),
    });
    let tests = ["--test", "assert twice(2) == 4", "--until", "0.3"];
    let (status, code, why) = solve(&[&["Double.", "--generator", &url, "-n", "100"][..], &tests].concat());
    assert_eq!(status, Some(0), "{why}");
    assert!(code.contains("n + n") && why.contains("stopped early"), "{why}");
}

#[test]
fn a_bad_beginning_does_not_decide() {
    // As many as inputs are guessed from, and none of them is a program.
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let url = other_server(move |_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::Texts(vec![fenced("def twice(n: return"); 8]),
        _ => Reply::Texts(vec![fenced("def twice(n):\n    return n + n"); 8]),
    });
    let (status, code, why) = solve(&["Double a number.", "--generator", &url, "-n", "16", "--until", "1"]);
    assert_eq!(status, Some(3), "{why}");
    assert!(code.contains("n + n"), "{code}");
}

#[test]
fn what_is_wrong_is_named() {
    for (arguments, expected) in [
        (&["", "--model", "models/basics"][..], "what the program shall do"),
        (&["Double.", "--model", "models/none"], "models/none"),
        (&["Double.", "--test", "assert f(1"], "never closed"),
        // A test that cannot fail would verify anything.
        (&["Double.", "--test", "twice(2) == 4"], "assert"),
        (&["Double.", "--test", "x = 1"], "assert"),
        (&["Double.", "--tests", "/none.py"], "/none.py"),
        (&["Double.", "--generator", "http://127.0.0.1:9"], "127.0.0.1:9"),
    ] {
        let (status, code, why) = solve(arguments);
        assert_eq!((status, code.as_str()), (Some(1), ""), "{why}");
        assert!(why.contains(expected), "{arguments:?}: {why}");
    }
}

/// What is wrong with a limit is told at the flag, before anything starts.
#[test]
fn limits_that_make_no_sense_are_named() {
    for (flag, value, expected) in [
        ("--timeout", "nan", "a number of seconds from 0.01"),
        ("--timeout", "0", "a number of seconds from 0.01"),
        ("--timeout", "inf", "a number of seconds from 0.01"),
        ("--memory", "0", "a number of MiB from 64"),
        ("--workers", "many", "a number from 1"),
        ("--packages", "numpy,1x", "names as Python imports them"),
        ("--require-tier", "E", "A, B, C or D"),
    ] {
        let (status, code, why) = solve(&["Double.", flag, value]);
        assert_eq!((status, code.as_str()), (Some(2), ""), "{flag} {value}: {why}");
        assert!(why.contains(flag) && why.contains(expected), "{flag} {value}: {why}");
        assert!(!why.contains("panicked") && !why.contains("tier D"), "{flag} {value}: {why}");
    }
}

#[test]
fn the_built_in_model_answers() {
    let text = "Given a list of integers, keep the positive values.";
    let (status, code, why) = solve(&[text, "--until", "0.9", "-n", "30"]);
    assert_eq!(status, Some(3), "{why}");
    assert!(code.contains("def "), "{code}");
    let again = solve(&[text, "--until", "0.9", "-n", "30", "--no-streaming"]);
    assert_eq!((again.0, again.1.is_empty()), (Some(3), false), "{}", again.2);
}
