//! CPython as the reference.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a script prints that reads a list of texts as JSON from its input.
pub fn python<S: AsRef<str>>(script: &str, texts: &[S]) -> String {
    let mut child = Command::new("python3")
        .args(["-W", "ignore", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let texts: Vec<String> = texts.iter().map(|text| json_string(text.as_ref())).collect();
    let mut input = child.stdin.take().expect("its input");
    input.write_all(format!("[{}]", texts.join(",")).as_bytes()).expect("its input takes the texts");
    drop(input);
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "the reference script fails");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn json_string(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        c if (c as u32) < 0x20 => format!("\\u{:04x}", c as u32),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// The same random values in every run.
pub fn samples<T>(strategy: impl Strategy<Value = T>, count: usize) -> Vec<T> {
    let mut runner = TestRunner::deterministic();
    let mut sample = || strategy.new_tree(&mut runner).expect("a sample").current();
    (0..count).map(|_| sample()).collect()
}

/// Pieces from which literals come out often.
pub fn nearly_a_literal() -> impl Strategy<Value = String> {
    let pieces = [
        "1", "0", "_", "2.5", ".", "e3", "j", "+", "-", "0x", "f", "'", "\"", "'''", "\\", "r", "b", "u",
        "n", "N", "x41", "'a'", "101", "\n", "\r", " ", "é", "#", "True", "()", "[]", "set()", ",", "(", ")",
        "1,", "{", "}",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..7).prop_map(|parts| parts.concat())
}
