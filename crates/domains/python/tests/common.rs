//! What program and test both have: enumerations and single objects of the problem's setup, values of the
//! standard library, names that come to mean something else. Honest programs pass as they do in one process,
//! and no program passes by an object of its own that says that it is the right one.

mod support;

use python::{Check, Python, Settings, Tier};
use records::{Outcome, Separation, Verdict};
use std::ops::ControlFlow;
use std::sync::Arc;
use verify::{Pool, Task};

/// A program beside what is right for it, judged by a test after a setup, with a reference, if any.
struct Case {
    expected: Outcome,
    setup: &'static str,
    test: &'static str,
    program: &'static str,
    reference: Option<&'static str>,
}

fn judged(cases: &[Case]) -> Option<Vec<Verdict>> {
    let python = match Python::at_tier(Settings::default(), Tier::A) {
        Err(error @ python::Error::Isolation { .. }) => {
            eprintln!("SKIPPED: {error}");
            return None;
        }
        other => other.expect("Python"),
    };
    let settings = verify::Settings { workers: 2, ..verify::Settings::default() };
    let client = Pool::start(vec![Arc::new(python)], settings).expect("a pool").client("common");
    let problem = |(index, case): (usize, &Case)| {
        let check = Check {
            entry_point: "f".to_owned(),
            setup: case.setup.to_owned(),
            tests: vec![case.test.to_owned()],
            ..Check::default()
        };
        support::problem_of(&index.to_string(), check, &case.reference.into_iter().collect::<Vec<_>>())
    };
    let problems: Vec<_> = cases.iter().enumerate().map(problem).collect();
    let task = |index: usize| Task { problem: &problems[index], index, solution: cases[index].program };
    let tasks: Vec<Task> = (0..cases.len()).map(task).collect();
    let mut verdicts: Vec<Option<Verdict>> = vec![None; cases.len()];
    client.judge_all(&tasks, &mut |verdict: Verdict| {
        let index = verdict.index;
        verdicts[index] = Some(verdict);
        ControlFlow::Continue(())
    });
    Some(verdicts.into_iter().map(|verdict| verdict.expect("a verdict")).collect())
}

fn check(cases: &[Case]) {
    let Some(verdicts) = judged(cases) else { return };
    for (case, verdict) in cases.iter().zip(&verdicts) {
        let (test, program) = (case.test, case.program);
        assert_eq!(verdict.outcome, case.expected, "{test}\n{program}\n{verdict:?}");
        assert_ne!(verdict.separation, Some(Separation::Shared), "{test}\n{program}");
    }
}

/// Each program with each test, with and without a reference.
fn all(
    expected: Outcome,
    setup: &'static str,
    tests: &[&'static str],
    programs: &[&'static str],
    reference: &'static str,
) -> Vec<Case> {
    let mut cases = Vec::new();
    for test in tests.iter().copied() {
        for program in programs.iter().copied() {
            for reference in [None, Some(reference)] {
                cases.push(Case { expected, setup, test, program, reference });
            }
        }
    }
    cases
}

const COLORS: &str = "from enum import Enum, Flag\nclass Color(Enum):\n    RED = 1\n    GREEN = [2]\nclass Mode(Flag):\n    READ = 1\n    WRITE = 2\n";

#[test]
fn a_member_of_a_setup_s_enumeration_is_one_on_both_sides() {
    const RIGHT: &str = "def f(s): return {'R': Color.RED, 'G': Color.GREEN, 'rw': Mode.READ | Mode.WRITE}[s] if type(s) is str else s";
    let tests = [
        "assert f('R') is Color.RED and f('G') == Color.GREEN",
        "assert f('R') in (Color.RED,) and f('R') in Color",
        "assert {f('R'): 1} == {Color.RED: 1} and [f('G'), f('R')] == [Color.GREEN, Color.RED]",
        "assert f('rw') == Mode.READ | Mode.WRITE and f('rw') & Mode.READ",
        "assert f(Color.GREEN) is Color.GREEN and f([Color.RED]) == [Color.RED]",
    ];
    // A program may say again what the setup says.
    const AGAIN: &str = "from enum import Enum, Flag\nclass Color(Enum):\n    RED = 1\n    GREEN = [2]\nclass Mode(Flag):\n    READ = 1\n    WRITE = 2\ndef f(s): return {'R': Color.RED, 'G': Color.GREEN, 'rw': Mode.READ | Mode.WRITE}[s] if type(s) is str else s";
    let wrong = [
        "def f(s): return Color.RED if s == 'G' else Color.GREEN",
        "class E:\n    name, value = 'RED', 1\n    def __eq__(self, other): return True\n    def __hash__(self): return 1\ndef f(s): return E()",
        "import enum\nclass Colour(enum.Enum):\n    RED = 1\nColour.__name__ = Colour.__qualname__ = 'Color'\nColour.__eq__ = lambda self, other: True\nColour.__hash__ = lambda self: 1\ndef f(s): return Colour.RED",
    ];
    check(&all(Outcome::Passed, COLORS, &tests, &[RIGHT, AGAIN], RIGHT));
    check(&all(Outcome::Failed, COLORS, &tests, &wrong, RIGHT));
}

#[test]
fn a_single_object_of_the_setup_is_one_on_both_sides() {
    const SETUP: &str = "class Node:\n    def __init__(self, value=None, rest=None): self.value, self.rest = value, rest\nclass End: pass\nEND = End()\nMISSING = object()\nNIL = Node(0)\n";
    const RIGHT: &str = "def f(x=None):\n    if x is END or x is MISSING: return [x]\n    if x is None: return NIL\n    if isinstance(x, Node): x.value += 1\n    return MISSING";
    let tests = [
        "assert f() is NIL",
        "assert f(END) == [END] and f(END)[0] is END and f(MISSING)[0] is MISSING",
        "assert f(1) is MISSING",
        // What is changed of an object that the test hands over shows in the test's own.
        "f(NIL)\nassert NIL.value == 1",
    ];
    check(&all(Outcome::Passed, SETUP, &tests, &[RIGHT], RIGHT));
    let wrong = [
        "def f(x=None): return Node(0)",
        "class Any:\n    def __eq__(self, other): return True\ndef f(x=None): return [Any()] if x else Any()",
    ];
    check(&all(Outcome::Failed, SETUP, &tests, &wrong, RIGHT));
}

#[test]
fn values_of_the_standard_library_cross_as_what_they_are() {
    const SETUP: &str = "import uuid, pathlib, ipaddress, re, datetime\n";
    const RIGHT: &str = "import uuid, pathlib, ipaddress, re, datetime\ndef f(x):\n    if isinstance(x, (uuid.UUID, pathlib.PurePath, re.Pattern, datetime.datetime)): return x\n    return {'u': uuid.UUID(int=7), 'p': pathlib.PurePosixPath('a/b'), 'i': ipaddress.ip_address('10.0.0.1'), 'r': re.compile('a+', re.I), 't': datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)}[x]";
    let tests = [
        "assert isinstance(f('u'), uuid.UUID) and f('u') == uuid.UUID(int=7) and f(uuid.UUID(int=3)).int == 3",
        "assert isinstance(f('p'), pathlib.PurePosixPath) and f('p').name == 'b' and {f('p')} == {pathlib.PurePosixPath('a/b')}",
        "assert f('i') == ipaddress.ip_address('10.0.0.1') and [f('i')] == [ipaddress.IPv4Address('10.0.0.1')]",
        "assert isinstance(f('r'), re.Pattern) and f('r').match('AA') and f(re.compile('b')).pattern == 'b'",
        "assert f('t') == datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc) and f('t').tzinfo is datetime.timezone.utc",
    ];
    check(&all(Outcome::Passed, SETUP, &tests, &[RIGHT], RIGHT));
    let wrong = [
        "class Any:\n    int, name, pattern = 3, 'b', 'b'\n    def __eq__(self, other): return True\n    def __hash__(self): return 1\n    def match(self, text): return text\ndef f(x): return Any()",
        "def f(x): return x",
    ];
    check(&all(Outcome::Failed, SETUP, &tests, &wrong, RIGHT));
}

#[test]
fn what_holds_functions_and_files_in_memory_can_be_handed_over() {
    const SETUP: &str = "import functools, operator, io\n";
    const RIGHT: &str = "import io\ndef f(g, *a):\n    if isinstance(g, io.StringIO):\n        g.write('x')\n        return sum(map(int, io.StringIO('1\\n2'))) if not a else [line for line in a[0]]\n    return g(*a)";
    let tests = [
        "assert [f(functools.partial(pow, 2), 3)] == [8]",
        "seen = []\nassert f(functools.partial(lambda a, b=0: seen.append((a, b)), b=4), 3) is None and seen == [(3, 4)]",
        "assert [f(operator.itemgetter(1), [1, 2])] == [2] and [f(operator.methodcaller('split', sep=','), 'a,b')] == [['a', 'b']]",
        "out = io.StringIO()\nassert [f(out)] == [3] and out.getvalue() == 'x'",
        "assert f(io.StringIO(), io.StringIO('a\\nb')) == ['a\\n', 'b']",
    ];
    check(&all(Outcome::Passed, SETUP, &tests, &[RIGHT], RIGHT));
    // What is in it is not to be reached by what it is made of.
    let wrong = [
        "def f(g, *a): return g.func.__globals__",
        "def f(g, *a): return g.__reduce__() if hasattr(g, 'getvalue') else None",
        "def f(g, *a):\n    g.getvalue = lambda: 'x'\n    return 3",
    ];
    check(&all(Outcome::Failed, SETUP, &tests, &wrong, RIGHT));
}

#[test]
fn an_object_is_what_its_class_derives_from() {
    const RIGHT: &str = "import collections.abc, io\nclass M(collections.abc.MutableMapping):\n    def __init__(self): self.d = {}\n    def __getitem__(self, k): return self.d[k]\n    def __setitem__(self, k, v): self.d[k] = v\n    def __delitem__(self, k): del self.d[k]\n    def __iter__(self): return iter(self.d)\n    def __len__(self): return len(self.d)\nclass F(io.StringIO): pass\ndef f(kind): return M() if kind == 'm' else F('a')";
    let tests = [
        "import collections.abc\nm = f('m')\nassert isinstance(m, collections.abc.Mapping) and not isinstance(m, int)",
        "import io\nassert isinstance(f('f'), io.StringIO) and f('f').getvalue() == 'a'",
    ];
    check(&all(Outcome::Passed, "", &tests, &[RIGHT], RIGHT));
    // Nothing is data by saying so.
    const LIES: &str = "import collections, decimal\nclass L:\n    def __eq__(self, other): return True\nL.__module__, L.__name__, L.__qualname__ = 'decimal', 'Decimal', 'Decimal'\ndecimal.Decimal = L\ndef f(kind): return L()";
    check(&all(
        Outcome::Failed,
        "",
        &["import decimal\nassert isinstance(f('m'), decimal.Decimal)"],
        &[LIES],
        "import decimal\ndef f(kind): return decimal.Decimal(1)",
    ));
}

#[test]
fn a_name_that_a_program_binds_anew_is_seen_so() {
    const COUNTS: &str = "counter = 0\ndef f():\n    global counter\n    counter += 1\n    return counter";
    const STORES: &str = "store = {}\ndef f(k, v):\n    global store, g\n    store = {**store, k: v}\n    g = lambda: len(store)\ndef g(): return -1";
    let mut cases = all(Outcome::Passed, "", &["f()\nf()\nassert counter == 2"], &[COUNTS], COUNTS);
    cases.extend(all(
        Outcome::Passed,
        "",
        &["f('a', 1)\nassert store == {'a': 1} and g() == 1\nf('b', 2)\nassert store['b'] == 2 and g() == 2"],
        &[STORES],
        STORES,
    ));
    // What comes late is there too.
    cases.extend(all(
        Outcome::Passed,
        "",
        &["f()\nassert late == 3"],
        &["def f():\n    global late\n    late = 3"],
        "late = 0\ndef f():\n    global late\n    late = 3",
    ));
    check(&cases);
    // No name is told but those that a test uses of the program.
    const FORGES: &str = "len = abs = sorted = None\ndef f(x):\n    global len, sorted, check\n    len = sorted = check = lambda *a: True\n    return 1";
    check(&all(
        Outcome::Failed,
        "",
        &["def check(v): return v == [2]\nx = f(1)\nassert check([x]) and len([x]) == 1"],
        &[FORGES],
        "def f(x): return 2",
    ));
}

#[test]
fn a_class_that_derives_from_data_has_siblings_that_do_not() {
    const STACK: &str = "class f(list):\n    push = list.append";
    const OTHER: &str = "class f:\n    def __init__(self): self.a = []\n    def push(self, x): self.a.append(x)\n    def pop(self): return self.a.pop()\n    def __len__(self): return len(self.a)\n    def __contains__(self, x): return x in self.a\n    def __iter__(self): return iter(self.a)\n    def __setitem__(self, at, x): self.a[at] = x\n    def __getitem__(self, at): return self.a[at]\n    def __delitem__(self, at): del self.a[at]";
    const TEST: &str = "s = f()\ns.push(1)\ns.push(2)\nassert len(s) == 2 and 2 in s and 3 not in s and s.pop() == 2\ns[0] = 4\nassert list(s) == [4] and s\ndel s[0]\nassert not s and len(s) == 0";
    let passes =
        |program| Case { expected: Outcome::Passed, setup: "", test: TEST, program, reference: Some(STACK) };
    check(&[passes(STACK), passes(OTHER)]);
    // No object is equal to a list by its own word.
    let equal = "class f:\n    def __init__(self): self.a = []\n    def push(self, x): pass\n    def __eq__(self, other): return True\n    def __len__(self): return 1";
    check(&[Case {
        expected: Outcome::Failed,
        setup: "",
        test: "s = f()\ns.push(1)\nassert s == [1]",
        program: equal,
        reference: Some(STACK),
    }]);
}

#[test]
fn what_needs_a_reference_is_refused_without_one() {
    let refused = [
        (
            "from unittest.mock import Mock\nm = Mock(return_value=5)\nassert f(m) == 5",
            "hands over an object of class Mock",
        ),
        ("import random\nassert f(random.Random(1)) == 5", "hands over an object of class Random"),
        (
            "from types import SimpleNamespace as N\nassert f(1) == N(a=1)",
            "an object of class SimpleNamespace",
        ),
        ("import dataclasses\nassert dataclasses.is_dataclass(f(1)) and f(1).x == 1", "is_dataclass"),
    ];
    let cases = refused.map(|(test, _)| Case {
        expected: Outcome::Infrastructure,
        setup: "",
        test,
        program: "def f(x): return 5",
        reference: None,
    });
    let Some(verdicts) = judged(&cases) else { return };
    for ((test, reason), verdict) in refused.iter().zip(&verdicts) {
        assert_eq!(verdict.outcome, Outcome::Infrastructure, "{test} {verdict:?}");
        assert!(
            verdict.reason.contains(reason) && verdict.reason.contains("reference"),
            "{}",
            verdict.reason
        );
    }
}
