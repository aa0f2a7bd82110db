//! Whatever a test says, the planner's half in Python takes it apart or refuses it with a sentence,
//! and goes on with the next.
#![no_main]

use libfuzzer_sys::fuzz_target;
use python::{Check, Python, Settings};
use records::Problem;
use std::sync::LazyLock;
use verify::Domain;

static PYTHON: LazyLock<Python> = LazyLock::new(|| Python::start(Settings::default()).expect("Python"));

fuzz_target!(|text: &str| {
    let check = Check {
        entry_point: "f".to_owned(),
        // A second test that is no comparison sends both to Python.
        tests: vec![text.to_owned(), "for x in [1]:\n    assert f(x) == x".to_owned()],
        ..Check::default()
    };
    let problem = Problem { id: "p".to_owned(), check: check.into_record(), ..Problem::default() };
    if let Err(error) = PYTHON.prepare(&problem) {
        assert!(!error.message.contains("cannot be looked at"), "{error}");
    }
});
