//! Verdicts are those that `python3` gives of program and tests in one file, where that is safe; and no time
//! decides how a problem is judged.

mod support;

use python::{Check, PROTOCOL_IMPORTS, Python, Settings, Tier};
use records::{Outcome, Separation, Verdict};
use serde::Deserialize;
use std::ops::ControlFlow;
use std::sync::Arc;
use verify::{Pool, Task};

/// Verdicts on programs, each with its test and its reference, if any.
fn judged(settings: Settings, cases: &[(&str, &str, Option<&str>)]) -> Option<Vec<Verdict>> {
    let python = match Python::at_tier(settings, Tier::A) {
        Err(error @ python::Error::Isolation { .. }) => {
            eprintln!("SKIPPED: {error}");
            return None;
        }
        other => other.expect("Python"),
    };
    let pool =
        Pool::start(vec![Arc::new(python)], verify::Settings { workers: 2, ..verify::Settings::default() });
    let client = pool.expect("a pool").client("one process");
    let problems: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(index, (_, test, reference))| {
            let check = Check {
                entry_point: "f".to_owned(),
                setup: PROTOCOL_IMPORTS.to_owned(),
                tests: vec![(*test).to_owned()],
                ..Check::default()
            };
            let references: Vec<&str> = reference.iter().copied().collect();
            support::problem_of(&index.to_string(), check, &references)
        })
        .collect();
    let tasks: Vec<Task> = cases
        .iter()
        .zip(&problems)
        .enumerate()
        .map(|(index, ((solution, ..), problem))| Task { problem, index, solution })
        .collect();
    let mut verdicts: Vec<Option<Verdict>> = vec![None; cases.len()];
    client.judge_all(&tasks, &mut |verdict: Verdict| {
        let index = verdict.index;
        verdicts[index] = Some(verdict);
        ControlFlow::Continue(())
    });
    Some(verdicts.into_iter().map(|verdict| verdict.expect("a verdict")).collect())
}

#[test]
fn warnings_reach_the_test() {
    const RECORDS: &str = "import warnings\nwith warnings.catch_warnings(record=True) as w:\n    warnings.simplefilter('always')\n    assert f(2) == 4\nassert [(x.category, str(x.message)) for x in w] == [(DeprecationWarning, 'old')]";
    const RAISES: &str = "import warnings\nwarnings.simplefilter('error')\ntry: f(2)\nexcept DeprecationWarning as e: assert str(e) == 'old'\nelse: assert False";
    const UNITTEST: &str = "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        with self.assertWarns(DeprecationWarning): f(2)\nunittest.main(argv=['x'])";
    const OLD: &str = "import warnings\ndef f(x):\n    warnings.warn('old', DeprecationWarning, stacklevel=2)\n    return x * x";
    // Caught in the program: with the filters that Python starts with, once.
    const OWN: &str = "import warnings\ndef f(x):\n    with warnings.catch_warnings(record=True) as w:\n        for _ in range(x): warnings.warn('old', DeprecationWarning)\n    return len(w)";
    let mut cases = Vec::new();
    for test in [RECORDS, RAISES, UNITTEST] {
        for reference in [None, Some(OLD)] {
            cases.push((true, (OLD, test, reference)));
            cases.push((false, ("def f(x): return x * x", test, reference)));
        }
    }
    cases.push((true, (OWN, "assert f(3) == 1", None)));
    cases.push((true, (OWN, "x = f(3)\nassert x == 1 and type(x) is int", None)));
    let programs: Vec<_> = cases.iter().map(|(_, case)| *case).collect();
    let Some(verdicts) = judged(Settings::default(), &programs) else { return };
    for ((passes, case), verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(verdict.passed(), *passes, "{case:?} {verdict:?}");
        assert_ne!(verdict.separation, Separation::Shared, "{case:?}");
    }
}

#[test]
fn a_test_is_main_and_the_program_is_not() {
    let guarded = "if __name__ == '__main__':\n    assert [f(2)] == [4]";
    let shared = "if __name__ == '__main__':\n    assert f(1) == f(1) and f(1) != f(2)";
    let value =
        "class f:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x";
    let cases = [
        ("def f(x): return x * x\nif __name__ == '__main__': raise SystemExit(input())", guarded, None),
        ("def f(x): return x", guarded, None),
        (value, shared, Some(value)),
        (
            "class f:\n    def __init__(self, x): pass\n    def __eq__(self, o): return True",
            shared,
            Some(value),
        ),
    ];
    let Some(verdicts) = judged(Settings::default(), &cases) else { return };
    let passed: Vec<bool> = verdicts.iter().map(Verdict::passed).collect();
    assert_eq!(passed, [true, false, true, false], "{verdicts:?}");
}

#[test]
fn no_time_decides_how_a_problem_is_judged() {
    let long = "for i in range(100_000): assert f(i) == i";
    let slow = "x = sum(range(60_000_000))\nassert f(1) == 1 + 0 * x";
    let same = "def f(x): return x";
    let spins = "def f(x):\n    while True: pass";
    let cases = [
        (same, long, None),
        (same, slow, None),
        // A reference that is too slow says nothing against a comparison, and shows nothing else.
        (same, slow, Some(spins)),
        (same, "assert [f(1)] == [1]", Some(spins)),
    ];
    let settings = || Settings { cpu_seconds: 1.0, ..Settings::default() };
    let Some(verdicts) = judged(settings(), &cases) else { return };
    let found: Vec<Separation> = verdicts.iter().map(|verdict| verdict.separation).collect();
    assert_eq!(found[..3], [Separation::Proxied, Separation::Compared, Separation::Compared], "{verdicts:?}");
    assert!(verdicts[..3].iter().all(Verdict::passed), "{verdicts:?}");
    assert_eq!(verdicts[3].outcome, Outcome::Infrastructure, "{:?}", verdicts[3]);
    assert!(verdicts[3].reason.contains("too long with the reference"), "{:?}", verdicts[3]);
}

/// A test with programs, right ones and wrong ones. `plain` says which `python3` passes with the test in one
/// file, the others which the judge passes, without a reference and with the first program as one.
#[derive(Deserialize)]
struct Written {
    name: String,
    test: String,
    programs: Vec<String>,
    plain: Vec<bool>,
    alone: Vec<bool>,
    beside_reference: Vec<bool>,
}

#[test]
fn what_plain_execution_fails_never_passes() {
    let written: Vec<Written> = include_str!("one_process.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a test with programs"))
        .collect();
    let (mut cases, mut expected) = (Vec::new(), Vec::new());
    for test in &written {
        let reference = Some(test.programs[0].as_str());
        for (judge, reference) in [(&test.alone, None), (&test.beside_reference, reference)] {
            for ((program, passes), plain) in test.programs.iter().zip(judge).zip(&test.plain) {
                assert!(*plain || !passes, "{}: no program that python3 fails may pass", test.name);
                cases.push((program.as_str(), test.test.as_str(), reference));
                expected.push((&test.name, *passes));
            }
        }
    }
    let Some(verdicts) = judged(Settings::default(), &cases) else { return };
    let differ = expected.iter().zip(&verdicts).filter(|((_, passes), verdict)| verdict.passed() != *passes);
    let differ: Vec<String> = differ.map(|((name, _), verdict)| format!("{name}: {verdict:?}")).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
