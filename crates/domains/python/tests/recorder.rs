//! What tests assert, found without a candidate: all of it, or nothing.

mod support;

use support::{LOOKING, SIDES, interpreted};

/// Runs a script with the interpreter's own sources in one namespace. `claims(test)` has what the tests
/// assert of `f`, or None.
fn run(script: &str) {
    let helpers = r#"
warm_setup = "import math\nimport collections\n"
def run_setup(source, namespace): exec(source, namespace)
def claims(*tests, setup="", test_setup="", prompt=None):
    return claims_of({"setup": setup, "test_setup": test_setup, "prompt": prompt, "tests": tests}, ["f"])
def fault(*tests, test_setup="", reference=None):
    job = {"setup": "", "test_setup": test_setup, "prompt": None, "tests": tests, "entry_point": "f", "reference": reference}
    return fault_of(job, ["f"])
"#;
    interpreted(&[&SIDES[..], &LOOKING].concat(), &format!("{helpers}\n{script}"));
}

#[test]
fn comparisons_are_found_however_they_are_written() {
    run(r#"
def same(test, *expected, **more):
    found = claims(test, **more)
    assert found == [[(*claim, None)[:4] for claim in expected]], (test, found)
same("assert f(1) == 2, 'text ' + str(f(1))", ("f(1)", "==", "2"))
same("assert 2 == f(1, key=[2])", ("f(1, key=[2])", "==", "2"))
same("assert f(3 * 19, 'a' + 'b') == (3 + 5, 3 * 5)", ("f(57, 'ab')", "==", "(8, 15, )"))
same("assert f(1)\nassert not f(2)", ("f(1)", "true", "True"), ("f(2)", "false", "False"))
same("assert f(1) is None and f(2) is True", ("f(1)", "is", "None"), ("f(2)", "is", "True"))
same("assert abs(f(1.5) - 0.5) < 1e-6", ("f(1.5)", "<", "0.5", 1e-6))
same("assert abs(0.5 - f(1.5)) <= 1", ("f(1.5)", "<=", "0.5", 1.0))
same("for x in range(2): assert f(x, x + 1) == str(x)", ("f(0, 1)", "==", "'0'"), ("f(1, 2)", "==", "'1'"))
same("def check(c):\n  assert c([1, [2]], k={'a': [3]}) == 1\n  assert True\ncheck(f)", ("f([1, [2]], k={'a': [3]})", "==", "1"))
same("a = 'ab'\nb = 1000\nassert f(a, b, a, b) == 1", ("f('ab', 1000, 'ab', 1000)", "==", "1"))
same("import random\nx = list(range(3))\nassert f([i for i in x]) == 1\nassert f(x[:]) == 2\nassert f(sorted(x) + x) == 3", ("f([0, 1, 2])", "==", "1"), ("f([0, 1, 2])", "==", "2"), ("f([0, 1, 2, 0, 1, 2])", "==", "3"))
same("x = f(1)\nassert x == helper(2)", ("f(1)", "==", "4"), prompt="def helper(x): return x * x\ndef f(x):")
same("import math\nassert f(N) == [True, 2.5, b'x', {1: {2, 3}}]", ("f(7)", "==", "[True, 2.5, b'x', {1: {2, 3}}]"), test_setup="N = 7")
assert len(claims(*["assert f(%d) == 1" % at for at in range(5)])) == 5
"#);
}

#[test]
fn what_is_more_than_comparisons_is_left_as_it_is() {
    run(r#"
for test in (
    "try:\n  assert f(1) == 2\nexcept AssertionError: pass",
    "with open('x') as g: assert f(1) == 2",
    "assert f(1) == 2 or f(1) == 3",
    "assert all(f(x) == x for x in range(3))",
    "if f(1) == 2: pass",
    "if isinstance(f(1), int): assert f(2) == 3\nelse: assert f(2) == 4",
    "r = f(1)\nassert type(r) is int and r == 2",
    "r = f(1)\nif r is None: assert f(2) == 3\nelse: assert f(3) == 4",
    "assert f(1)[0] == 2", "assert len(f(1)) == 2", "assert sorted(f(1)) == [2]", "assert tuple(f(1)) == (2,)", "assert f(1).x == 2",
    "assert f(1) != 2", "assert not f(1) == 2", "assert f(1) < 2", "assert f(1) in (1, 2)",
    "assert f(1) - 2 < 0.1", "assert abs(f(1)) < 2", "assert f(f(1)) == 2", "assert f(1) == f(1)",
    "f(1)\nassert f(2) == 3", "a = f(1)\nb = f(2)\nassert a == 1\nassert b == 2",
    "x = f(1)\nassert x == 1\nassert x == 1",
    "assert f(object()) == 2", "assert f(lambda x: x) == 2", "assert f(1) == object()", "assert f(float('nan')) == 1",
    "assert f({1, 2}) == 1", "x = [0]\nassert f([x, x]) == 1", "assert f('\\ud800') == 1",
    "assert f.__name__ == 'f'\nassert f(1) == 2", "assert callable(f)\nassert f(1) == 2", "print(f)\nassert f(1) == 2",
    "assert False", "pass", "assert str(f(1)) == '2'", "assert '%s' % f(1) == '2'", "assert f'{f(1)}' == '2'",
    "match f(1):\n  case 1: pass", "assert [f(1)] == [1]", "a, b = f(1)\nassert a == 1", "raise SystemExit",
    "import os\nassert hasattr(f(1), 'x')", "while True: pass", "x = 9 ** 9 ** 6\nassert f(1) == 2 or True",
    "import unittest\nclass T(unittest.TestCase):\n  def test(self): self.assertEqual(f(1), 2)\nunittest.main(exit=False, argv=['x'])\nassert f(3) == 4",
    "import threading\nt = threading.Thread(target=lambda: f(1) + 1)\nt.start()\nt.join()\nassert f(3) == 4",
    # What the candidate does to an argument may show.
    "x = []\nassert f(x, 1) == [1]\nassert f(x, 2) == [2]",
    "d = {}\nassert f(d, 'a') == {'a': 1}\nassert d == {}",
    "x = [5, 3]\nassert f(x) == 8\nassert all(a == b for a, b in zip(x, [5, 3]))",
    "x = [1, 2]\ny = f(x)\nx.append(3)\nassert y == [1, 2]",
    "x = [0]\nassert f(x) == 1", "row = []\nassert f([row]) == 1", "for row in [[1], [2]]: assert f(row) == 1", "x = [1]\nit = iter(x)\nassert f(x) == 1",
    "def g(c, x=[]): assert c(x) == 1\ng(f)", "x = [3, 1]\nassert f(x) == [1, 3]\nassert x != [1, 3]", "d = {'a': 1}\nassert f(d) == 1\nassert 'b' not in d", "x = [1]\nassert f([x, x]) == 1",
    "a, b = [1], [2]\nassert f(a, b) == 3\nassert len(a) == len(b)", "cases = [(([3, 1], 2), 4)]\nfor given, wanted in cases: assert f(*given) == wanted",
    # A call that the test does not write itself, or not with all its arguments.
    "def run(args):\n  r = f(*args)\n  return r, args[0] == [3, 1]\ngot, same = run(([3, 1],))\nassert got == 4 and same", "def run(k):\n  r = f(**k)\n  return r, k['x'] == [1]\ngot, same = run({'x': [1]})\nassert got == 4 and same",
    "import functools\ng = functools.partial(f, [3, 1])\nr = g()\nassert r == 4", "for r in map(f, [1]): assert r == 2", "assert f(*[1]) == 2",
    # What stands for the candidate has nothing to be read.
    "r = f(5)\nassert r.number == 1\nassert r", "r = f(5)\nassert r.source == 'f(5)' and r == 1", "assert f.call([3], {}) == 6", "assert f.call == f.call\nassert f(1) == 1", "r = f(1)\nassert '{0.number}'.format(r) == '1'\nassert r == 1",
    "d = f(1) - 1\nassert d.size == False\nassert abs(d) < 1",
    # Text that the test computes is no literal, which a program may compare by `is`.
    "words = 'yes no'.split()\nassert f(words[0]) is True", "assert f('YES'.lower()) is True", "assert f([str(12)]) == 1", "assert abs(f(1) - 0) <= 9007199254740993",
    # So may what is one object.
    "for i in range(995, 1000): assert f(i, i * 1) is True", "s = 'a b'\nassert f(s, s.upper().lower()) is True",
    # So may the time, output, and what one sets for the other.
    "import time\nassert abs(f() - time.time()) < 2", "import sys, io\nsys.stdout = io.StringIO()\nassert f(2) == 4",
    "import sys\nsys.setrecursionlimit(20000)\nassert f(1) == 1", "import random\nrandom.seed(1)\nassert f(1) == 1",
    "import math\nmath.floor = None\nassert f(1) == 1", "import decimal\ndecimal.getcontext().prec = 5\nassert f(1) == 1",
    "import operator\nr = f(1)\nif operator.is_(r, None): pass\nassert r == 1", "import builtins\nr = f(1)\nassert builtins.type(r) == tuple",
    "assert f(**{'from': 1}) == 1", "assert f(**{'a=1)#': 1}) == 1", "global n\nn = 1\nassert f(1) == 1",
    "class A: pass\nassert f(1) == 2", "def g():\n  yield f(1)\nfor r in g(): assert r == 1", "x = 1\ndel x\nassert f(1) == 1",
    "x = [3, 1]\nassert f(x) is None\nassert x == [3, 1]",
    "x = []\nfor _ in range(230): x = [x]\nassert f(230) == x", "x = [3, 1]\nassert f(x) == x", "x = [1]\nassert f(x) == 1\nassert f(x) == 2",
    "import copy\nx = {'a': [1]}\nassert f(x) == 1\nassert f(2) == len(x['a'])",
):
    assert claims(test) is None, (test, claims(test))
for setup in ("def norm(x): return list(x) if type(x) is tuple else x", "def norm(x):\n  try: return x()\n  except Exception: return 0", "def norm(x): return 0 if x is None else x"):
    assert claims("assert norm(f(1)) == 1", setup=setup) is None, setup
    assert claims("assert norm(f(1)) == 1", prompt=setup + "\ndef f(x):\n    'doc'\n") is None, setup
# Nothing is lost of a test beside one that is more.
assert claims("assert f(1) == 2", "assert len(f(1)) == 2") is None
assert claims("assert f(1) == 2", test_setup="assert f(3) == 4") is None
assert claims("assert f(1) == 2", "pass") is None
assert claims("for i in range(100000): assert f(i) == i") is None
# Steps are counted and no time is taken: what is slow is compared, and what is long is not.
assert claims("x = sum(range(30_000_000))\nassert f(1) == 1 + 0 * x") == [[("f(1)", "==", "1", None)]]
for long in ("for i in range(300_000): pass", "i = 0\nwhile i < 300_000: i += 1", "x = [i for i in range(300_000)]", "x = list(map(lambda i: i, range(300_000)))", "x = sum(i for i in range(300_000))", "def g(i): return i\nx = list(map(g, range(300_000)))"):
    assert claims(long + "\nassert f(1) == 1") is None, long
    assert claims(long.replace("300_000", "300") + "\nassert f(1) == 1") is not None, long
assert claims("assert f(1) == g(300_000)", setup="def g(n): return sum(1 for _ in range(n))") is None
assert claims("assert f(1) == g()", setup="def g():\n  'text'\n  return g.__doc__") is None
assert claims("assert f(1) == len(TEXT)", setup='TEXT = """\nimport math\n"""') == [[("f(1)", "==", "13", None)]], "what looks like an import within a text is text"
assert claims("assert f(1) == ord(TEXT[1])", setup="TEXT = 'a\x0cb'") == [[("f(1)", "==", "12", None)]]
assert claims("assert f(1) == g(3)", setup="def g(n):\n  'text'\n  return sum(1 for _ in range(n))") == [[("f(1)", "==", "3", None)]]
# Copies do not show.
assert claims("import copy\nx = [3, 1]\nfor _ in range(2): assert f(copy.deepcopy(x)) == 1") == [[("f([3, 1])", "==", "1", None)] * 2]
"#);
}

#[test]
fn tests_that_no_program_has_a_part_in_are_named() {
    run(r#"
for test in (
    "def test_f(): assert f(1) == 1", "for x in []: assert f(x) == 1", "if False: assert f(1) == 1",
    "async def t(): assert f(1) == 1\nt()", "def check(candidate):\n  assert candidate(1) == 1",
    "import unittest\nclass T(unittest.TestCase):\n  def test(self): self.assertEqual(f(1), 2)",
    "try: assert f(1) == 1\nexcept Exception: pass", "assert True or f(1) == 1",
    # Whose failures nobody sees, whatever comes of the call.
    "assert f(1) == 1 or True", "assert f(1) == 1 or f(1) != 1", "assert (f(1) == 2, 'bad')\nassert len('a') == 1",
    "try: assert f(1) == 2\nexcept AssertionError: pass",
    "import contextlib\nwith contextlib.suppress(AssertionError): assert f(1) == 2",
    "import sys\ntry: assert f(1) == 2\nexcept AssertionError: sys.exit(0)",
    "def t():\n  try: assert f(1) == 2\n  finally: return\nt()",
    "assert [f(1)]", "g = f\nf = g\nassert f(1) == 1 or True",
    "import unittest\nclass T(unittest.TestCase):\n  def test(self): self.assertEqual(f(1), 2)\nunittest.main(exit=False, argv=['x'])",
):
    assert "passes whatever" in (fault(test) or ""), (test, fault(test))
    assert fault(test, "assert [f(1)] == [1]").startswith("test 1"), test
    assert fault("assert [f(1)] == [1]", test).startswith("test 2"), "a test before it that holds hides nothing"
for test in ("helper(1)\nassert f(1) == 1", "import sys\nsys.exit(1)\nassert f(1)", "raise RuntimeError('x')", "assert False"):
    assert "before it uses f" in fault(test), (test, fault(test))
    assert fault(test, reference="def f(x): return x") is None, test
for reference in ("", "def f(x): return x"):
    assert "test_setup fails before" in fault("assert [f(1)] == [1]", test_setup="raise RuntimeError('no')", reference=reference)
for test in (
    "assert [f(1)] == [1]", "assert f(1) != 2", "assert f(1) == 1 or f(1) == 2", "assert len(f(1)) == 1",
    "try:\n  f(1)\n  assert False\nexcept TypeError: pass", "try:\n  f(1)\nexcept Exception: pass\nelse: assert False",
    "def f(x): return 0\nassert f(3) == 0", "r = f(1)\nassert r == 2", "while True: f(1)", "while True: pass",
    "class A(f): pass\nassert A().x == 1", "import candidate\nassert candidate.f(1) == 1", "assert globals()['f'](1) == 1",
    # What a program may be asked besides what a call gives.
    "assert f == [2, 3, 5]", "import inspect\nassert inspect.isclass(f)\nassert f().b() == 1", "assert hasattr(f, 'cache_clear')",
    "assert f(1) is not None", "x = [1]\nassert f(x) is not x", "x = [3, 1]\nf(x)\nassert x == [3, 1]", "assert f(1) is not f(1)",
    "seen = []\nf(lambda: seen.append(1))\nassert seen == []", "it = iter([1])\nf(it)\nassert next(it) == 1",
    "try: f(1)\nexcept Exception: assert False, 'it must not raise'", "for x in f(3): assert x > 0", "assert not f(1)",
    "assert abs(f(1) - 2) < 0.1", "assert f(1)[0].x > 2", "try:\n  len(f())\n  assert False\nexcept TypeError: pass", "x = f()\nassert math.isclose(x, 1)",
    "assert all(x > 0 for x in f(3))", "assert isinstance(f(1), int)",
    # What only few programs fail.
    "assert f(1) is not False", "assert not isinstance(f(2), bool)", "assert str(f(3)) != '9'", "assert f(3) not in {8}", "assert len({f(3), 8}) == 2",
    "try: f(1)\nexcept KeyError: raise AssertionError", "x = [2, 1]\nf(x)\nassert x != [1, 2]", "d = {'a': 1}\nf(d)\nassert 'b' not in d", "n = []\nf(n.append)\nassert len(n) <= 0",
    "import unittest\nclass T(unittest.TestCase):\n  def test(self): self.assertEqual(f(1), 2)\nunittest.main(argv=['x'])",
):
    assert fault(test) is None, (test, fault(test))
# Tests that never end with a stand-in end by their steps.
for test in ("while f(1): pass", "import itertools\nfor i in itertools.count():\n  if f(i) == -1: break", "assert list(iter(f, 0))", "assert next(i for i in iter(int, 1) if f(i) is None)"):
    assert fault(test) is None, test
# What a test leaves behind for the next is there.
assert fault("cases = []\nassert f(1) != 2\ncases.append(1)", "for case in cases: assert f(case) != 2") is None
"#);
}

#[test]
fn the_program_s_names_are_the_program_s() {
    run(r#"
def planned(*tests, entry_point="f", setup="", prompt=None, reference=None):
    job = {"tests": tests, "test_setup": "", "setup": setup, "prompt": prompt, "reference": reference, "entry_point": entry_point, "packages": ()}
    return plan(job)
def names(*tests, **more): return planned(*tests, **more)["names"]
# The entry point is, even where Python has a function of that name.
assert names("for i in range(3):\n  r = sum([i] * 2)\n  assert r == h(2 * i)", entry_point="sum") == ["h", "sum"]
assert names("for a in range(3): assert pow(a, 2) == a * a", entry_point="pow") == ["pow"]
# But for what is called an entry point only since nothing else is called.
assert names("assert len(PRIMES) == 3", entry_point="len") == ["PRIMES"]
# What the setup imports is where tests assert what it gives.
both = "for a, b, g, l in [(4, 2, 2, 4)]:\n  assert f(a, b) == l\n  assert gcd(a, b) == g"
assert names(both, setup="from math import *") == ["f", "gcd"]
assert names(both, setup="def gcd(a, b): return 1") == ["f"]
# What checks or computes an answer is the problem's.
for test in (
    "assert isclose(f(1), 0.5)", "x = f(1)\nassert isclose(x, 0.5)", "assert gcd(4, 2) == f(4, 2)", "assert f(4, 2) == gcd(4, 2)",
    "def check(c): assert isclose(c(1), 0.5)\ncheck(f)", "for x in f(3): assert isclose(x, 1)",
    "assert gcd(4, 2) == 2\nassert f(4, 2) == gcd(4, 2)", "with f(1) as x: assert isclose(x, 2)", "y = [x for x in f(3)]\nassert isclose(y[0], 2)",
):
    assert names(test, setup="from math import *") == ["f"], (test, names(test, setup="from math import *"))
# What a program's own class decides takes a reference.
for test in ("assert V(1) + V(2) == V(3)", "class W(V):\n  def g(self): return 1\nassert W().f() == 2"):
    assert "needs a reference" in planned(test, entry_point="V")["error"]
    assert names(test, entry_point="V", reference="class V: pass") == ["V"]
assert names("class W(dict): pass\nassert f(W()) == 1") == ["f"] and names("assert f(1) == g(1)") == ["f", "g"]
assert names("assert f(1) == Point(1, 2)") == ["Point", "f"], "what is data at heart can be compared"
"#);
}
