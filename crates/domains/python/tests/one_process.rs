//! Verdicts are those that `python3` gives of program and tests in one file, where that is safe; and no time
//! decides how a problem is judged.

mod support;

use python::{Check, PROTOCOL_IMPORTS, Settings};
use records::{Outcome, Resource, Separation, Verdict};
use serde::Deserialize;

/// Verdicts on programs, each with its test and its reference, if any.
fn judged(settings: Settings, cases: &[(&str, &str, Option<&str>)]) -> Option<Vec<Verdict>> {
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
    let programs: Vec<&str> = cases.iter().map(|(program, ..)| *program).collect();
    support::judged(settings, &problems, &programs)
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
        assert_ne!(verdict.separation, Some(Separation::Shared), "{case:?}");
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
    // Longer than a candidate may take, however idle the machine.
    let takes = |what: &str| {
        format!(
            "import time\ndef f(x):\n    end = time.process_time() + 2.5\n    while time.process_time() < end: pass\n    return {what}"
        )
    };
    let (data, object) = (takes("x"), takes("iter([x])"));
    let cases = [
        (same, long, None),
        (same, slow, None),
        // What a slow reference shows is seen.
        (same, slow, Some(data.as_str())),
        ("def f(x): return iter([x])", "x = 1\nassert f(x) == x", Some(object.as_str())),
        (same, "assert [f(1)] == [1]", Some(data.as_str())),
        // What one shows that does not end is not known.
        (same, slow, Some(spins)),
        (same, "assert [f(1)] == [1]", Some(spins)),
    ];
    let settings = || Settings { cpu_seconds: 1.0, ..Settings::default() };
    let Some(verdicts) = judged(settings(), &cases) else { return };
    let found: Vec<Separation> = verdicts.iter().filter_map(|verdict| verdict.separation).collect();
    use Separation::{Compared, Proxied};
    assert_eq!(found[..5], [Proxied, Compared, Compared, Proxied, Proxied], "{verdicts:?}");
    for (at, verdict) in verdicts.iter().enumerate() {
        assert_eq!(verdict.passed(), at < 5 && at != 3, "{verdict:?}");
    }
    for verdict in &verdicts[5..] {
        assert_eq!(verdict.outcome, Outcome::Infrastructure, "{verdict:?}");
        assert!(verdict.reason.contains("too long with the reference"), "{verdict:?}");
    }
}

#[test]
fn what_a_test_takes_is_not_the_programs_doing() {
    const MEMORY: Outcome = Outcome::Limit(Resource::Memory);
    let same = "def f(x): return x";
    let large = "def f(x): return len([0] * 10**9) and x";
    let before = "x = [0] * 10**9\nassert f(1) == 1";
    let between = "assert f(1) == 1\nx = [0] * 10**9\nassert f(2) == 2";
    let unread = "assert f(1) == 1\ntry: x = [0] * 10**9\nfinally: pass";
    let sleeps = "import time\ntime.sleep(60)\nassert f(1) == 1";
    let cases = [
        (same, before, None, Outcome::Infrastructure),
        (same, before, Some(same), Outcome::Infrastructure),
        (same, between, None, Outcome::Infrastructure),
        (same, between, Some(same), Outcome::Infrastructure),
        (same, unread, Some(same), Outcome::Infrastructure),
        (same, sleeps, None, Outcome::Infrastructure),
        (large, "assert f(1) == 1", None, MEMORY),
        (large, "assert [f(1)] == [1]", None, MEMORY),
        (large, "assert [f(1)] == [1]", Some(same), MEMORY),
        (same, "assert f(len([0] * 10**7)) == 10**7", None, Outcome::Passed),
    ];
    let programs: Vec<_> =
        cases.iter().map(|(program, test, reference, _)| (*program, *test, *reference)).collect();
    let Some(verdicts) = judged(Settings::default(), &programs) else { return };
    for ((_, test, _, outcome), verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(verdict.outcome, *outcome, "{test}: {verdict:?}");
        let names_the_test =
            ["too much memory", "to be looked at"].iter().any(|text| verdict.reason.contains(text));
        assert_eq!(names_the_test, *outcome == Outcome::Infrastructure, "{test}: {verdict:?}");
    }
}

#[test]
fn what_needs_a_reference_says_so_and_marks_of_files_are_no_text() {
    let value = "class V:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\n    def __hash__(self): return hash(self.x)\n    def __abs__(self): return abs(self.x)";
    let wrong = "class V:\n    def __init__(self, x): self.x = 0\n    def __abs__(self): return self";
    let same = "def f(x): return x";
    let set = "assert len({V(1), V(1), V(2)}) == 2";
    let size = "assert abs(V(-3)) == 3";
    let cases = [
        (value, set, None, Outcome::Infrastructure),
        (value, size, None, Outcome::Infrastructure),
        (value, set, Some(value), Outcome::Passed),
        (value, size, Some(value), Outcome::Passed),
        (wrong, set, Some(value), Outcome::Failed),
        (wrong, size, Some(value), Outcome::Failed),
        (value, "assert len({V(1), V(2)}) == 2", None, Outcome::Passed),
        (same, "\u{feff}assert f(1) == 1", None, Outcome::Passed),
        (same, "\u{feff}x = [1]\nassert [f(1)] == x", None, Outcome::Passed),
        (same, "\u{feff}assert f(1) == 2", None, Outcome::Failed),
    ];
    let programs: Vec<_> =
        cases.iter().map(|(program, test, reference, _)| (*program, *test, *reference)).collect();
    let Some(verdicts) = judged(Settings::default(), &programs) else { return };
    for ((_, test, _, outcome), verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(verdict.outcome, *outcome, "{test}: {verdict:?}");
        assert_eq!(
            verdict.reason.contains("reference"),
            *outcome == Outcome::Infrastructure,
            "{test}: {verdict:?}"
        );
    }
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
