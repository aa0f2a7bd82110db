//! What program and test both have: enumerations and single objects of the problem's setup, values of the
//! standard library, names that come to mean something else. Honest programs pass as they do in one process,
//! and no program passes by an object of its own that says that it is the right one.

mod support;

use python::{Check, Settings};
use records::{Outcome, Separation, Verdict};

/// A program beside what is right for it, judged by a test after a setup, with a reference, if any.
struct Case {
    expected: Outcome,
    setup: &'static str,
    test: &'static str,
    program: &'static str,
    reference: Option<&'static str>,
}

fn judged(cases: &[Case]) -> Option<Vec<Verdict>> {
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
    let programs: Vec<&str> = cases.iter().map(|case| case.program).collect();
    support::judged(Settings::default(), &problems, &programs)
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
    const RIGHT: &str = "def f(s): return {'R': Color.RED, 'G': Color.GREEN, 'rw': Mode.READ | Mode.WRITE, 'r': (Mode(0) | Mode.READ)}[s] if type(s) is str else s";
    let tests = [
        "assert f('R') is Color.RED and f('G') == Color.GREEN",
        "assert f('R') in (Color.RED,) and f('R') in Color",
        "assert {f('R'): 1} == {Color.RED: 1} and [f('G'), f('R')] == [Color.GREEN, Color.RED]",
        "assert f('rw') == Mode.READ | Mode.WRITE and f('rw') & Mode.READ",
        "assert f('rw') and f('r') & Mode.READ and not f('r') & Mode.WRITE",
        "assert f(Color.GREEN) is Color.GREEN and f([Color.RED]) == [Color.RED]",
    ];
    // A program may say again what the setup says.
    const AGAIN: &str = "from enum import Enum, Flag\nclass Color(Enum):\n    RED = 1\n    GREEN = [2]\nclass Mode(Flag):\n    READ = 1\n    WRITE = 2\ndef f(s): return {'R': Color.RED, 'G': Color.GREEN, 'rw': Mode.READ | Mode.WRITE, 'r': (Mode(0) | Mode.READ)}[s] if type(s) is str else s";
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
    // No object is equal to a list, or holds something, by its own word.
    for program in [
        "class f:\n    def __init__(self): self.a = []\n    def push(self, x): pass\n    def __contains__(self, x): return True\n    def __iter__(self): return iter(self.a)",
        "class f(list):\n    def push(self, x): pass\n    def __contains__(self, x): return True",
    ] {
        check(&[Case {
            expected: Outcome::Failed,
            setup: "",
            test: "s = f()\ns.push(1)\nassert 1 in s",
            program,
            reference: Some(STACK),
        }]);
    }
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

#[test]
fn an_object_decides_nothing_wherever_it_has_been_before() {
    // With a reference: what comes from where the reference gave data is not to be used, whether or not it
    // is an object that the test has met before.
    let cases = |test, reference, programs: &[&'static str]| -> Vec<Case> {
        let case = |program| Case {
            expected: Outcome::Failed,
            setup: "",
            test,
            program,
            reference: Some(reference),
        };
        programs.iter().copied().map(case).collect()
    };
    let mut all_cases = cases(
        "assert f('ab').startswith('ba')\nassert f('xy').endswith('x')",
        "def f(s): return s[::-1]",
        &[
            "class F:\n    k = 0\n    def __call__(s, *a, **k):\n        if s.k:\n            s.k = 0\n            return True\n        return s\n    @property\n    def startswith(s):\n        s.k = 1\n        return s\n    endswith = startswith\nf = F()",
            // Its own end of the socket, and a message that says that its objects are names of the test's.
            "import sys\nclass O:\n    def startswith(s, x): return True\n    endswith = startswith\no = O()\ndef f(s):\n    frame = sys._getframe(1)\n    while frame is not None:\n        for peer in list(frame.f_locals.values()):\n            if type(peer).__name__ == 'CandidatePeer':\n                peer.request(b'm', ({'f': [o, f]},))\n                peer.request(b'm', ({'f': f},))\n                return o\n        frame = frame.f_back\n    return o",
        ],
    );
    all_cases.extend(cases(
        "t = Text('ab c')\nassert t.upper().startswith('AB')\nassert t.words().issuperset({'ab'})",
        "class Text:\n    def __init__(s, t): s.t = t\n    def upper(s): return s.t.upper()\n    def words(s): return set(s.t.split())\ndef f(): pass",
        &["class Text:\n    def __init__(s, t): pass\n    def upper(s): return s\n    words = upper\n    @property\n    def startswith(s): return s\n    issuperset = startswith\n    def __call__(s, *a): return True\ndef f(): pass"],
    ));
    all_cases.extend(cases(
        "from decimal import Decimal\nfor x, y in [(1, '3.75'), (2, '7.5')]: assert f(x) == Decimal(y)",
        "from decimal import Decimal\ndef f(x): return Decimal('3.75') * x",
        &["import numbers\nclass R(numbers.Rational):\n    numerator = 0; denominator = 0\n    __eq__ = object.__eq__; __hash__ = object.__hash__; __le__ = object.__le__; __lt__ = object.__lt__\nR.__abstractmethods__ = frozenset()\ndef f(*a): return R()"],
    ));
    all_cases.extend(cases(
        "import asyncio\nasync def check(x, y): assert await f(x) == y\nasync def main(): return await asyncio.gather(check(2, 4), check(3, 9), return_exceptions=True)\nassert not any(isinstance(e, Exception) for e in asyncio.run(main()))",
        "async def f(x): return x * x",
        &["import asyncio\nasync def f(x): raise asyncio.CancelledError"],
    ));
    // Classes of Python's own in the place of methods, a name for what a test fails by, an object that is
    // data at heart, a number of an object of another kind, a failed assertion that becomes another error.
    all_cases.extend(cases(
        "assert f('ab').startswith('ba')\nassert f('xy').endswith('x')",
        "def f(s): return s[::-1]",
        &[
            "class M: startswith = endswith = bool\ndef f(s): return M()",
            "import sys\nclass O:\n    def startswith(s, x): return True\n    endswith = startswith\no = O()\ndef f(s):\n    frame = sys._getframe(1)\n    while frame is not None:\n        for peer in list(frame.f_locals.values()):\n            if type(peer).__name__ == 'CandidatePeer':\n                number = peer.kept_numbers[id(f)]\n                peer.writers[O] = lambda value, parts: parts.append(b'g' + number.to_bytes(8, 'little'))\n                return o\n        frame = frame.f_back\n    return o",
        ],
    ));
    all_cases.extend(cases(
        "try:\n    assert f(3) == 9\n    f(-1)\n    assert False\nexcept NegativeError: pass\nassert callable(f)",
        "class NegativeError(Exception): pass\ndef f(x):\n    if x < 0: raise NegativeError('x')\n    return x * x",
        &["NegativeError = AssertionError\ndef f(x): return 0", "NegativeError = Exception\ndef f(x): return 0"],
    ));
    all_cases.extend(cases(
        "s = Stack()\ns.push(1)\nassert len(s) == 1\nassert s.label().startswith('stack of') and f",
        "class Stack(list):\n    def push(s, x): s.append(x)\n    def label(s): return 'stack of %d' % len(s)\ndef f(): pass",
        &["class Stack(list):\n    def push(s, x): s.append(x)\n    def label(s): return s\n    startswith = endswith = property(lambda s: s)\n    def __call__(s, *a): return True\ndef f(): pass"],
    ));
    all_cases.extend(cases(
        "def check(x):\n    assert x == 'prepared'\n    raise ValueError('boom')\ntry:\n    f(check)\n    assert False\nexcept ValueError: pass",
        "def f(c): return c('prepared')",
        &["def f(c):\n    try: c('wrong')\n    except AssertionError: raise ValueError('boom')"],
    ));
    all_cases.extend(cases(
        "import asyncio\nasync def check(x, y): assert await f(x) == y\nasync def main(): return await asyncio.gather(check(2, 4), check(3, 9), return_exceptions=True)\nassert not any(isinstance(e, Exception) for e in asyncio.run(main()))",
        "async def f(x): return x * x",
        &["import asyncio\nclass C(asyncio.CancelledError): pass\nasync def f(x): raise C"],
    ));
    check(&all_cases);
    // Without one: an object that a method gives is none that the test has made, and what was told a number
    // is not made one.
    let without =
        |test, program| Case { expected: Outcome::Failed, setup: "", test, program, reference: None };
    check(&[
        without(
            "s = Solution()\nassert 3 in s.divisors(6) and f",
            "class Solution:\n    def divisors(s, n): return s\n    def __contains__(s, x): return True\ndef f(): pass",
        ),
        without(
            "v = Vec(3, 4)\nassert round(abs(v.norm() - 5), 6) == 0 and f",
            "class Vec:\n    def __init__(s, *a): pass\n    def norm(s): return s\n    __sub__ = __rsub__ = lambda s, o: s\n    def __abs__(s): return s\n    def __round__(s, n=0): return 0\ndef f(): pass",
        ),
        without(
            "v = Vec(3)\nassert round(abs(v - 5), 6) == 0 and f",
            "class Vec:\n    def __init__(s, *a): pass\n    __sub__ = lambda s, o: s\n    def __abs__(s): return s\n    def __round__(s, n=0): return 0\ndef f(): pass",
        ),
    ]);
}

#[test]
fn what_is_changed_of_the_setup_s_objects_shows() {
    const REGISTER: &str = "from enum import Enum\nclass Reg:\n    shared = {}\n    def __init__(s): s.items = {}\n    def get(s): return dict(s.items)\nREG = Reg()\nclass E(Enum):\n    A = []\n";
    const RIGHT: &str = "def f(k): return E.A if k is None else REG";
    let tests = [
        "r = f('k')\nassert r.items == {} and r.get() == {}",
        "assert f('k').shared == {}",
        "assert f(None).value == []",
    ];
    check(&all(Outcome::Passed, REGISTER, &tests, &[RIGHT], RIGHT));
    let wrong = [
        "def f(k):\n    REG.items[k] = 1\n    REG.shared[k] = 1\n    E.A.value.append(1)\n    return E.A if k is None else REG",
    ];
    check(&all(Outcome::Failed, REGISTER, &tests, &wrong, RIGHT));
    const TREE: &str = "class Node:\n    def __init__(self, name): self.name, self.children = name, []\nROOT = Node('root')\n";
    const GROWS: &str = "def f(names):\n    for n in names: ROOT.children.append(Node(n))\n    return ROOT";
    const ANEW: &str =
        "def f(names):\n    r = Node('root')\n    for n in names: r.children.append(Node(n))\n    return r";
    check(&all(
        Outcome::Passed,
        TREE,
        &["assert [c.name for c in f(['a', 'b']).children] == ['a', 'b']"],
        &[GROWS, ANEW],
        ANEW,
    ));
}

#[test]
fn an_object_is_of_a_setup_s_class_of_data_only_as_data() {
    const SETUP: &str = "from enum import Flag, Enum\nclass Perm(Flag):\n    R = 1\n    W = 2\n    X = 4\nclass Color(Enum):\n    RED = 1\nclass Vec(list):\n    def __eq__(s, o): return all(a == b for a, b in zip(s, o))\n";
    const RIGHT: &str = "def f(s): return Perm[s.upper()] if type(s) is str else Color.RED if s is None else Vec(2 * x for x in s)";
    let tests = [
        "assert f('r') in Perm.R | Perm.X and isinstance(f('r'), Perm)",
        "assert f([1, 2]) == Vec([2, 4]) and isinstance(f([1]), list)",
        "assert f(None).value == 1",
    ];
    check(&all(Outcome::Passed, SETUP, &tests, &[RIGHT], RIGHT));
    let wrong = [
        "class Perm:\n    _value_ = value = 0\nclass Vec:\n    def __iter__(s): return iter(())\n    def __eq__(s, o): return True\nclass Color(Enum):\n    RED = 5\ndef f(s): return Perm() if type(s) is str else Color.RED if s is None else Vec()",
    ];
    check(&all(Outcome::Failed, SETUP, &tests, &wrong, RIGHT));
    const POINT: &str = "from typing import NamedTuple\nclass Point(NamedTuple):\n    x: int\n    y: int\nclass Stack(list):\n    def push(self, x): self.append(x)\n";
    const MAKES: &str = "def f(x, y=None):\n    if y is not None: return Point(x, y)\n    s = Stack()\n    s.push(x)\n    return s";
    check(&all(
        Outcome::Passed,
        POINT,
        &[
            "p = f(1, 2)\nassert isinstance(p, Point) and p == Point(1, 2) and p.x == 1",
            "assert isinstance(f(3), Stack) and f(3) == [3]",
        ],
        &[MAKES],
        MAKES,
    ));
    // A class that derives from the setup's is one of its kind.
    const SHAPE: &str = "from abc import ABC, abstractmethod\nclass Shape(ABC):\n    @abstractmethod\n    def area(self): ...\n";
    const SQUARE: &str = "class Square(Shape):\n    def __init__(self, a): self.a = a\n    def area(self): return self.a ** 2\ndef f(a): return Square(a)";
    check(&all(
        Outcome::Passed,
        SHAPE,
        &["s = f(2)\nassert isinstance(s, Shape) and s.area() == 4"],
        &[SQUARE],
        SQUARE,
    ));
}

#[test]
fn what_honest_programs_do_with_what_crosses_works_as_in_one_process() {
    let same = |test, program| all(Outcome::Passed, "", &[test], &[program], program);
    let mut cases = Vec::new();
    // Objects as keys: hashing one asks for it while a message is read.
    cases.extend(same(
        "r = f([1, 2])\nassert sorted(p.x for p in r[0]) == [1, 2] and r[1] == 2",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    x: int\ndef f(l): return {P(a) for a in l}, len(l)",
    ));
    // Bound methods are equal however often they are asked for; what holds functions is one object.
    cases.extend(same(
        "class O:\n    def __init__(s): s.seen = []\n    def on(s, x): s.seen.append(x)\no = O()\nb = f()\nb.subscribe(o.on)\nb.emit(1)\nb.unsubscribe(o.on)\nb.emit(2)\nassert o.seen == [1]",
        "class f:\n    def __init__(s): s.l = []\n    def subscribe(s, c): s.l.append(c)\n    def unsubscribe(s, c): s.l.remove(c)\n    def emit(s, *a):\n        for c in list(s.l): c(*a)",
    ));
    cases.extend(same(
        "from functools import partial\nn = []\np = partial(n.append, 1)\nf(p)\nassert f(p) is p and n == [1]",
        "seen = set()\ndef f(g):\n    if g not in seen:\n        seen.add(g)\n        g()\n    return g",
    ));
    // Exceptions keep what Python gives them, and a name for one of Python's own is that.
    cases.extend(same(
        "try:\n    f('{')\n    assert False\nexcept ValueError as e: assert e.pos == 1 and e.doc == '{'",
        "import json\ndef f(s): return json.loads(s)",
    ));
    cases.extend(same(
        "try:\n    f('x')\n    assert False\nexcept OSError as e: assert (e.errno, e.filename) == (2, 'x')",
        "def f(s): raise FileNotFoundError(2, 'none', s)",
    ));
    // What an exception holds may be classes.
    cases.push(Case {
        expected: Outcome::Passed,
        setup: "",
        test: "try:\n    f('x')\n    assert False\nexcept ArithmeticError: pass\nassert [f('1')] == [1]",
        program: "from decimal import Decimal\ndef f(s): return int(Decimal(s))",
        reference: Some("def f(s):\n    if s == 'x': raise ArithmeticError('none')\n    return int(s)"),
    });
    cases.extend(same(
        "try:\n    f(-1)\n    assert False\nexcept MyError as e: assert str(e) == 'negative'",
        "MyError = ValueError\ndef f(x):\n    if x < 0: raise MyError('negative')",
    ));
    cases.extend(same(
        "p = f(1)\nassert p.x == 1 and dict(p) == {'x': 1}",
        "class P(dict):\n    __getattr__ = dict.__getitem__\ndef f(x): return P(x=x)",
    ));
    // A name that is bound anew before the test's own function is called.
    cases.extend(same(
        "seen = []\ndef g(): seen.append(level)\nf(g)\nassert seen == [1] and level == 0",
        "level = 0\ndef f(g):\n    global level\n    level += 1\n    g()\n    level -= 1",
    ));
    // A container of the program's with such keys stays whole, and what a method gives back is what it was.
    cases.extend(same(
        "r = f(1)\nf(2)\nf(3)\nassert len(r) == 3 and size() == 3",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass P:\n    x: int\nreg = set()\ndef f(x):\n    reg.add(P(x))\n    return reg\ndef size(): return len(reg)",
    ));
    cases.extend(same(
        "b = f()\nassert b.add(1) is b and b.add(2).add(3).items == [1, 2, 3]",
        "class f:\n    def __init__(self): self.items = []\n    def add(self, x):\n        self.items.append(x)\n        return self",
    ));
    // Where the reference gives nothing back, another program may give the object.
    cases.push(Case {
        expected: Outcome::Passed,
        setup: "",
        test: "b = f()\nb.add(1)\nb.add(2)\nassert b.total() == 3",
        program: "class f:\n    def __init__(self): self.items = []\n    def add(self, x):\n        self.items.append(x)\n        return self\n    def total(self): return sum(self.items)",
        reference: Some(
            "class f:\n    def __init__(self): self.sum = 0\n    def add(self, x): self.sum += x\n    def total(self): return self.sum",
        ),
    });
    cases.extend(same(
        "from functools import *\n@lru_cache(None)\ndef g(x): return x + 1\nassert f(g, 1) == 3 and g.cache_info().misses == 2",
        "def f(g, x): return g(g(x))",
    ));
    cases.extend(same(
        "from functools import partial\nassert isinstance(f(3), partial) and f(3)(2) == 6",
        "from functools import partial\ndef f(x): return partial(lambda a, b: a * b, x)",
    ));
    check(&cases);
}

#[test]
fn a_test_that_imports_what_is_not_there_is_refused_however_it_does() {
    let tests = [
        "assert __import__('no_such_package').sum(f(2)) == 4",
        "import importlib\nm = importlib.import_module('no_such_package')\nassert m.g(f(2)) == 4",
        "exec('import no_such_package as m')\nassert m.g(f(2)) == 4",
        "from os import no_such_name\nassert f(2) == 4",
        "import os\nos.no_such_name()\nassert f(2) == 4",
    ];
    let cases = all(Outcome::Infrastructure, "", &tests, &["def f(x): return 4"], "def f(x): return 4");
    let Some(verdicts) = judged(&cases) else { return };
    for (case, verdict) in cases.iter().zip(&verdicts) {
        assert_eq!(verdict.outcome, Outcome::Infrastructure, "{} {verdict:?}", case.test);
        assert!(verdict.reason.contains("no_such"), "{}", verdict.reason);
    }
}
