//! The socket between a test's process and a candidate's: what crosses it keeps its value, type and
//! identity, and what a hostile candidate writes is either a message or garbage.

mod support;

use support::{SIDES, interpreted};

fn run(script: &str) -> String {
    interpreted(&SIDES, script)
}

const PAIR: &str = r#"
import os, socket, threading, types, _thread, collections, decimal, fractions, datetime, random
def pair(program):
    a, b = socket.socketpair()
    namespace = {"__name__": "candidate"}
    exec(program, namespace)
    def serve():
        peer = CandidatePeer(b.fileno(), namespace)
        try:
            while True: peer.serve(peer.receive())
        except (Gone, OSError): pass
    thread = threading.Thread(target=serve, daemon=True); thread.start()
    def finish(tag): raise SystemExit(tag)
    peer = TesterPeer(a.fileno(), None, finish)
    peer.keep_alive = (a, b)
    names = peer.request(b"d", tuple(name for name in namespace if not name.startswith("__")))
    return names, peer
"#;

#[test]
fn values_keep_type_and_identity() {
    let script = r#"
n, peer = pair('''
import collections, decimal, fractions, datetime, enum
def same(x): return x
def sort(l): l.sort(); return None
def grow(l): l.append(l[:]); return l
def rows(n): return [[0] * n] * n
def count(s): return collections.Counter(s)
def default(): d = collections.defaultdict(int); d["a"] += 1; return d
class I(int): pass
def sub(): return I(5)
def gen(n): return (i * i for i in range(n))
def call(f, *a): return f(*a)
def fail(): raise KeyError("q", 1)
class Own(ValueError): pass
def own(): raise Own("mine")
class Color(enum.IntEnum): RED = 1
def red(): return Color.RED
def consume(it): return sum(it)
class Node:
    def __init__(self, v, n=None): self.v, self.n = v, n
    def length(self): return 1 + (self.n.length() if self.n else 0)
def kinds(): return {1: None, "a": (True, 2.5, -0.0, 3j, b"x", bytearray(b"y")), frozenset({1}): [decimal.Decimal("0.10"), fractions.Fraction(1, 3)], None: datetime.date(2020, 2, 3)}
''')
same = n["same"]
for value in (1, -1, 1 << 70, -(1 << 70), True, None, 1.5, float("inf"), "é\ud800", b"", (), (1, (2,)), frozenset({1}), range(3), Ellipsis, 2j):
    got = same(value)
    assert got == value and type(got) is type(value), (value, got)
x = [3, 1, 2]
assert n["sort"](x) is None and x == [1, 2, 3]
y = [1]
assert n["grow"](y) is y and y == [1, [1]] and y[1] is not y
r = n["rows"](2); r[0][0] = 7
assert r == [[7, 0], [7, 0]] and r[0] is r[1]
assert same(x) is x
d = {"k": [1]}; assert same(d)["k"] is d["k"]
c = n["count"]("aab"); assert type(c) is collections.Counter and c.most_common(1) == [("a", 2)]
e = n["default"](); assert type(e) is collections.defaultdict and e["zz"] == 0 and e["a"] == 1
i = n["sub"](); assert i == 5 and type(i) is not int and type(i).__name__ == "I"
assert list(n["gen"](4)) == [0, 1, 4, 9] and next(n["gen"](9)) == 0
assert n["call"](lambda a, b: a + b, 2, 3) == 5 and n["call"](len, "abc") == 3 and n["call"](sorted, [2, 1]) == [1, 2]
assert n["consume"](i for i in range(4)) == 6
assert n["call"](same, x) is x
try: n["fail"](); assert 0
except KeyError as error: assert error.args == ("q", 1)
try: n["own"](); assert 0
except n["Own"] as error: assert str(error) == "mine" and isinstance(error, ValueError)
assert n["red"]() == 1 and n["red"]().name == "RED"
a = n["Node"](1); b = n["Node"](2, a)
assert b.n is a and b.length() == 2 and isinstance(b, n["Node"]) and not isinstance(3, n["Node"])
a.v = 9; assert b.n.v == 9
k = n["kinds"]()
assert k == {1: None, "a": (True, 2.5, -0.0, 3j, b"x", bytearray(b"y")), frozenset({1}): [decimal.Decimal("0.10"), fractions.Fraction(1, 3)], None: datetime.date(2020, 2, 3)}
assert type(k["a"][5]) is bytearray
for turn in range(3000): assert same([turn, [turn]]) == [turn, [turn]]
assert len(peer.shared) < 2500
deep = []
for _ in range(250): deep = [deep]
assert same(deep) is deep
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{script}")), "done\n");
}

#[test]
fn a_candidate_reaches_nothing_that_was_not_handed_over() {
    let script = r#"
n, peer = pair('''
def steal(f, *names):
    got = []
    for name in names:
        try: got.append(getattr(f, name))
        except AttributeError: pass
    return len(got)
def change(o, name, value):
    setattr(o, name, value)
''')
secret = 42
def callback(): return secret
class Mine:
    public = 5
    def method(self): return self.hidden
    hidden = 7
Mine.__module__ = "__main__"
names = ("__globals__", "__code__", "__closure__", "func_globals", "__self__", "gi_frame", "f_back", "tb_frame")
assert n["steal"](callback, *names) == 0
assert n["steal"]((x for x in [1]), *names) == 0
assert n["steal"](Mine(), *names) == 0
assert n["steal"](Mine(), "public", "method") == 2
o = Mine(); n["change"](o, "public", 6); assert o.public == 6
for name in ("__class__", "_x"):
    try: n["change"](o, name, 1); assert 0, name
    except AttributeError: pass
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{script}")), "done\n");
}

#[test]
fn whatever_a_candidate_writes_is_a_message_or_garbage() {
    let script = r#"
random.seed(1)
tags = [ord(name) for name in READERS] + list(KIND_OF) + [0, 255]
class Ended(BaseException): pass
def finish(tag): raise Ended
peer = TesterPeer(0, frozenset(), finish)
peer.kept.extend([len, iter([1])])
def piece():
    kind = random.random()
    if kind < .5: return bytes([random.choice(tags)])
    if kind < .7: return random.choice([0, 1, 2, 3, 5, 1 << 31]).to_bytes(4, "little")
    if kind < .85: return random.choice([-1, 0, 1, 2, 3, 4, 7, 1 << 40]).to_bytes(8, "little", signed=True)
    return random.choice([b"s\x01\0\0\0a", b"i\1\0\0\0\0\0\0\0", b"u\0\0\0\0", b"n", os.urandom(3)])
counts = [0, 0]
for turn in range(200000):
    peer.data = b"\0" * 5 + random.choice((b"", bytes(8))) + b"".join(piece() for _ in range(random.randrange(1, 30)))
    peer.at, peer.end, peer.depth, peer.subclass = 5, len(peer.data), 0, None
    try:
        peer.rest()
        counts[0] += 1
    except (Ended, Unfit):
        counts[1] += 1
    if turn % 1000 == 0: peer.shared.clear(); peer.numbers.clear(); peer.proxies.clear(); peer.proxy_numbers.clear()
assert min(counts) > 500, counts
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{script}")), "done\n");
}

/// `judged(program, test)` runs a test as a tester does; with a reference, after that has shown what its
/// objects are used for. `check` judges many: `(expected tag, program, test, reference, setup)`.
const JUDGED: &str = r#"
import sys
def run_once(program, test, allowed, setup):
    a, b = socket.socketpair()
    module = types.ModuleType("candidate")
    exec(setup, module.__dict__)
    setup_classes = classes_of(module.__dict__, "candidate")
    singles = single_objects(module.__dict__, "candidate")
    exec(program, module.__dict__)
    def serve():
        peer = CandidatePeer(b.fileno(), module.__dict__)
        peer.setup_classes = {name: module.__dict__[name] for name in setup_classes}
        peer.know_singles(singles)
        try:
            while True: peer.serve(peer.receive())
        except (Gone, OSError): pass
    threading.Thread(target=serve, daemon=True).start()
    def finish(tag): raise SystemExit(tag)
    peer = TesterPeer(a.fileno(), allowed, finish)
    peer.keep_alive = (a, b)
    namespace = types.ModuleType("__main__").__dict__
    exec(setup, namespace)
    peer.setup_classes = classes_of(namespace, "__main__")
    peer.know_singles(single_objects(namespace, "__main__"))
    peer.label = "names"
    names = peer.request(b"d", tuple(name for name in module.__dict__ if not name.startswith("__") and name not in setup_classes))
    peer.label = "call"
    namespace.update(names)
    peer.labels.update((id(value), name) for name, value in names.items())
    peer.source = test
    tag, text = outcome(compile(test, "<test>", "exec"), namespace, peer)
    a.shutdown(2)
    return tag.decode(), text, peer.recorded
def judged(program, test, reference=None, setup=""):
    allowed = frozenset(("objects",))
    if reference:
        tag, text, recorded = run_once(reference, test, None, setup)
        assert tag == "P", ("the reference", test, text)
        allowed = frozenset(recorded)
    return run_once(program, test, allowed, setup)
def check(*cases):
    wrong = []
    for expected, *case in cases:
        try: tag, text, _ = judged(*case)
        except AssertionError as error: tag, text = "the reference fails", error
        if tag != expected: wrong.append("expected %s, found %s %s: %s" % (expected, tag, text, case))
    assert not wrong, "\n".join(wrong)
"#;

#[test]
fn what_a_class_constructs_has_the_class_s_own_methods() {
    let script = r#"
plain = '''class Stack:
    def __init__(self): self.l = []
    def push(self, x): self.l.append(x)
    def pop(self): return self.l.pop()
'''
test = "s = Stack()\nfor x in (1, 2, 3): s.push(x)\nassert s.pop() == 3\nassert s.pop() == 2"
wrong = "class Stack(list):\n    push = list.append\n    def pop(self): return list.pop(self, 0)"
check(
    ("E", wrong, test), ("E", wrong, test, plain),
    ("E", "class Stack(list):\n    push = list.append\n    def pop(self): raise NotImplementedError", test, plain),
    ("P", "class Stack(list):\n    def push(self, x): self.append(x)", test), ("P", "class Stack(list):\n    def push(self, x): self.append(x)", test, plain),
    ("P", "class Stack(list):\n    push = list.append", test + "\nassert len(s) == 1 and s == [1] and s[0] == 1 and list(s) == [1]"),
)
lru = '''from collections import OrderedDict
class LRU(OrderedDict):
    def __init__(self, size):
        super().__init__(); self.size = size
    def get(self, k):
        if k not in self: return -1
        self.move_to_end(k)
        return self[k]
    def put(self, k, v):
        self[k] = v
        self.move_to_end(k)
        if len(self) > self.size: self.popitem(last=False)
'''
by_dict = '''class LRU:
    def __init__(self, size): self.size, self.d = size, {}
    def get(self, k):
        if k not in self.d: return -1
        self.d[k] = self.d.pop(k)
        return self.d[k]
    def put(self, k, v):
        self.d.pop(k, None)
        self.d[k] = v
        if len(self.d) > self.size: self.d.pop(next(iter(self.d)))
'''
test = "c = LRU(2)\nc.put(1, 1)\nc.put(2, 2)\nassert c.get(1) == 1\nc.put(3, 3)\nassert c.get(2) == -1\nassert c.get(3) == 3"
check(*[("P", lru, test, reference) for reference in (None, by_dict, lru)])
vector = "from collections import namedtuple\nclass V(namedtuple('V', 'x y')):\n    def __add__(self, o): return V(self.x + o.x, self.y + o.y)"
by_class = "class V:\n    def __init__(self, x, y): self.x, self.y = x, y\n    def __add__(self, o): return V(self.x + o.x, self.y + o.y)"
check(("P", vector, "v = V(1, 2) + V(3, 4)\nassert v.x == 4 and v.y == 6", by_class))
check(("E", "class M(dict):\n    def put(self, k, v): self[k] = v\n    def get(self, k): return 0", "m = M()\nm.put('a', 1)\nassert m.get('a') == 1"))
# What a function gives is the data that it holds; what its class says of equality is not asked.
anything = "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\n    def __sub__(self, o): return 0\n    def __abs__(self): return 0\n    def __lt__(self, o): return True\n"
for test in ("assert [f(1)] == [2]", "assert f(1) == 2", "assert abs(f(1) - 2) < 1e-9", "assert f(1) in (2, 3)", "assert f(1) < 1"):
    check(("E", anything + "def f(x): return E(x)", test), ("E", anything + "def f(x): return E(x)", test, "def f(x): return 2 if '<' not in %r or 'abs' in %r else 0" % (test, test)))
    # Nor where the function is a class.
    check(("E", anything + "class f(E): pass", test), ("E", anything + "class f(E): pass", test, "def f(x): return 2 if '<' not in %r or 'abs' in %r else 0" % (test, test)))
check(("P", "class M(float):\n    def __str__(self): return '$%.2f' % self\ndef f(x): return M(x)", "assert str(f(1.5)) == '$1.50'"))
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn containers_that_both_sides_hold_are_kept_in_step() {
    let script = r#"
keeps = "class K:\n    def __init__(self, v): self.v = v\n    def go(self): self.v.append(9)\n    def total(self): return sum(self.v)\n    def n(self): return len(self.v)\n    def items(self): return self.v\n"
copies = keeps.replace("self.v = v", "self.v = v[:]").replace("return self.v\n", "return list(self.v)\n")
for test, by_keeping in (
    ("a = [1, 2]\nk = K(a)\na.append(10)\nassert k.total() == %s", "13", ), ("a = [1]\nk = K(a)\nk.go()\nassert a == %s", "[1, 9]"),
    ("k = K([1])\nk.items().append(5)\nassert k.n() == %s", "2"), ("k = K([1])\ns = k.items()\nk.go()\nassert s == %s", "[1, 9]"),
    ("a = [1]\nk = K(a)\nb = k.items()\nassert (a is b) is %s", "True"),
):
    by_copying = {"13": "3", "[1, 9]": "[1]", "2": "1", "True": "False"}[by_keeping]
    check(("P", keeps, test % by_keeping), ("E", keeps, test % by_copying, copies), ("P", copies, test % by_copying), ("E", copies, test % by_keeping, keeps))
# A dictionary, a set, a list within, a list while a generator runs over it, what a later call changes.
get = "class K:\n    def __init__(self, d): self.d = d\n    def get(self): return %s(self.d)\n"
check(
    ("E", get % "dict", "d = {'a': 1}\nk = K(d)\nd['a'] = 2\nassert k.get() == {'a': 1}", get.replace("= d", "= dict(d)") % "dict"),
    ("P", get % "sorted", "s = {1}\nk = K(s)\ns.add(2)\nassert k.get() == [1, 2]"),
    ("P", get % "sum", "s = collections.deque([1])\nk = K(s)\ns.append(2)\nassert k.get() == 3", None, "import collections"),
    ("P", get % "str", "s = [[1]]\nk = K(s)\ns[0].append(2)\nassert k.get() == '[[1, 2]]'"),
    ("P", get % "str", "s = bytearray(b'a')\nk = K(s)\ns.append(98)\nassert k.get() == str(bytearray(b'ab'))"),
    ("P", "def f(l):\n    for x in l: yield x * 2", "l = [1, 2]\ng = f(l)\nassert next(g) == 2\nl.append(3)\nassert list(g) == [4, 6]"),
    ("E", "S = []\ndef f(l):\n    S.append(l)\n    for s in S: s.append(0)", "a = [1]\nf(a)\nb = [2]\nf(b)\nassert a == [1, 0]"),
    ("P", "class A:\n    l = []\n    def add(self, x): self.l.append(x)", "a, b = A(), A()\nx = b.l\na.add(1)\nassert x == [1]"),
    ("P", "def f(d, g):\n    for k in d: g(d)\n    return len(d)", "assert f({'a': 1, 'b': 2}, lambda d: d['a']) == 2"),
    ("P", "def f(rows):\n    for row in rows: row.sort()", "x = [[3, 1] for _ in range(9000)]\nf(x)\nassert x == [[1, 3]] * 9000"),
)
n, peer = pair("__kept = []\ndef keep(x): __kept.append(x); return len(__kept)")
for turn in range(3000): assert n["keep"]([turn]) == turn + 1
assert len(peer.shared) < 100, "what nobody holds is let go"
n, peer = pair("__kept = []\ndef keep(x): __kept.append(x); return len(__kept)")
large = [list(range(5000)), list(range(5000))]
for turn in range(1000):
    assert n["keep"](large if turn == 0 else [turn]) == turn + 1
assert len(peer.shared) < 300
# What was let go in a message that could not be sent was not.
n, peer = pair("__held = [1]\ndef held(): return __held\ndef same(x): return x")
assert n["held"]() == [1]
try: n["same"](threading.Lock()); assert 0
except Unfit: pass
assert n["held"]() == [1]
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn a_proxy_has_the_special_methods_that_the_object_s_class_has() {
    let script = r#"
P = "class P:\n    def __init__(self, x=1): self.x = x\n"
length, context = "    def __len__(self): return 3\n", "    def __enter__(self): return self\n    def __exit__(self, *a): return False\n"
by_value = "    def __eq__(self, o): return self.x == o.x\n    def __hash__(self): return hash(self.x)\n"
check(
    ("E", P, "p = P()\nassert p.x == 1\nassert hasattr(p, '__len__')", P + length), ("E", P, "assert hasattr(P, '__len__')", P + length),
    ("P", P + length, "assert hasattr(P(), '__len__') and hasattr(P, '__len__')"), ("P", P, "assert not hasattr(P(), '__len__')"),
    ("E", P, "from collections.abc import Iterable\nassert isinstance(P(), Iterable)", P + "    def __iter__(self): return iter([])\n"),
    ("E", P, "import contextlib\nassert isinstance(P(), contextlib.AbstractContextManager)", P + context),
    ("E", P, "assert not hasattr(P(), '__dict__')", "class P:\n    __slots__ = ('x',)\n    def __init__(self, x=1): self.x = x\n"),
    ("E", P + "    __hash__ = None\n", "assert {P(): 1} is not None", P), ("P", P + "    __hash__ = None\n", "try:\n    {P(): 1}\n    assert False\nexcept TypeError: pass"),
    ("N", P + by_value, "assert len({P(1), P(1)}) == 2", P), ("E", P, "assert len({P(1), P(1), P(2)}) == 2", P + by_value),
    ("E", "def f(a): return a", "import inspect\nassert len(inspect.signature(f).parameters) == 2", "def f(a, b=0): return a"),
    ("P", "def f(a, *, b=2): return a", "import inspect\nassert str(inspect.signature(f)) == '(a, *, b=2)' and f.__name__ == 'f' and f.__doc__ is None"),
    # Truth is asked each time.
    ("E", "class A:\n    n = 0\n    def w(self): self.n += 1\n    def __bool__(self): return self.n == 0", "a = A()\nassert a\na.w()\nassert a", "class A:\n    def w(self): pass"),
    ("P", "class Q:\n    def __init__(self): self.l = []\n    def push(self, x): self.l.append(x)\n    def pop(self): return self.l.pop(0)\n    def __len__(self): return len(self.l)", "q = Q()\nfor i in range(3): q.push(i)\nout = []\nwhile q: out.append(q.pop())\nassert out == [0, 1, 2]"),
    # What is in place is not what makes a new object, and one may have only the one that is asked in its place.
    ("E", P + "    def __add__(self, o): return P(self.x + o)\n    def __iadd__(self, o): return None\n", "p = P(1)\np += 2\nassert p.x == 3", P + "    def __add__(self, o): return P(self.x + o)\n"),
    ("P", P + "    def __lt__(self, o): return self.x < o.x\n", "assert P(2) > P(1)", P + "    def __gt__(self, o): return self.x > o.x\n"),
    ("P", P + "    def __format__(self, s): return 'F' + s\n    def __index__(self): return 2\n", "assert f'{P():>3}' == 'F>3' and [1, 2, 3][P()] == 3"),
    ("P", P, "p = P()\ndel p.x\nassert not hasattr(p, 'x')"), ("P", P, "import copy\np = P([1])\nq = copy.deepcopy(p)\nq.x.append(2)\nassert p.x == [1] and q.x == [1, 2]"),
    ("P", P + "class Q(P): pass\n", "assert issubclass(Q, P) and isinstance(Q(), P) and not issubclass(P, Q)"), ("P", P, "import inspect\nassert inspect.isclass(P)"),
    ("P", "def f():\n    x = yield 1\n    yield x * 2", "g = f()\nassert next(g) == 1\nassert g.send(5) == 10"),
    ("P", "class E(Exception):\n    def __init__(self, b): super().__init__('m'); self.b = b\ndef f(x): raise E(x)", "try:\n    f(3)\n    assert False\nexcept E as e: assert e.b == 3"),
    ("P", "import asyncio\nasync def f(x):\n    await asyncio.sleep(0.001)\n    return 2 * x", "import asyncio\nassert asyncio.run(f(3)) == 6"),
    ("P", "import functools\ndef f(g):\n    @functools.wraps(g)\n    def w(*a): return g(*a)\n    return w", "@f\ndef add(a, b):\n    'doc'\n    return a + b\nassert add(1, 2) == 3 and add.__name__ == 'add' and add.__doc__ == 'doc'"),
    ("P", "def f(g):\n    seen = {}\n    def w(*a):\n        if a not in seen: seen[a] = g(*a)\n        return seen[a]\n    return w", "class T:\n    @f\n    def m(self, x): return x + 1\nassert T().m(2) == 3"),
    ("N", P.replace("self.x = x", "pass") + "    @property\n    def x(self): raise StopIteration\n", "assert all(map(lambda p: p.x, [P(1), P(2)]))", P),
    # Every exit is remembered, not the last exception alone.
    ("E", "def f(x):\n    if x is None: raise ValueError\n    raise SystemExit(0)", "try:\n    assert f(1) == 2\nfinally:\n    try: f(None)\n    except ValueError: pass"),
    # What the test asserts within `with` is not the candidate's to forgive.
    ("N", "class C:\n    def __enter__(self): return 1\n    def __exit__(self, *a): return True", "with C() as x: assert x == 2", "class C:\n    def __enter__(self): return 2\n    def __exit__(self, *a): return False"),
    ("N", "def f():\n    try: yield 1\n    except BaseException: pass", "import contextlib\nwith contextlib.contextmanager(f)() as x: assert x == 2", "def f(): yield 2"),
    ("P", "class C:\n    def __enter__(self): return 1\n    def __exit__(self, kind, *a): return kind is ValueError", "with C(): raise ValueError", "class C:\n    def __enter__(self): return 1\n    def __exit__(self, kind, *a): return kind is ValueError"),
)
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn an_object_in_the_place_of_data_is_refused_when_it_is_used_as_data() {
    let script = r#"
match = "import re\ndef f(s): return re.match('a', s)"
counts = "class f:\n    def __init__(self, n): self.n = n\n    def __iter__(self): return self\n    def __next__(self):\n        if not self.n: raise StopIteration\n        self.n -= 1\n        return self.n + 1"
point = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\ndef f(a, b): return P(a, b)"
equal = "class E:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return True\n    def __len__(self): return 3\n    def __lt__(self, o): return True\n    def __contains__(self, x): return True\n    def __sub__(self, o): return 0\n    def startswith(self, o): return True\n    def __str__(self): return '3'\ndef f(x): return E()"
check(
    ("P", match, "assert bool(f('ab'))\nassert not f('b')", "def f(s): return s.startswith('a')"),
    ("P", counts, "assert list(f(3)) == [3, 2, 1]", "def f(n):\n    while n:\n        yield n\n        n -= 1"),
    ("P", "import array\ndef f(n): return array.array('i', range(n))", "assert list(f(3)) == [0, 1, 2]", "def f(n): return list(range(n))"),
    ("P", point, "p = f(1, 2)\nassert p.x == 1 and p.y == 2", "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(a, b): return P(a, b)"),
    ("P", "class I: pass\nclass S:\n    def __init__(self): self.items = []\n    def add(self, n): self.items.append(I())", "s = S()\ns.add('a')\nassert len(s.items) == 1", "class S:\n    def __init__(self): self.items = []\n    def add(self, n): self.items.append(n)"),
    *[("N", equal, "assert " + test, "def f(x): return " + right) for test, right in (
        ("f(1) == 3", "3"), ("[f(1)] == [3]", "3"), ("f(1) != 4", "3"), ("f(1) < 4", "3"), ("3 in f(1)", "[3]"), ("abs(f(1) - 3) < 1", "3"),
        ("f(1).startswith('a')", "'a'"), ("str(f(1)) == '3'", "3"), ("f(1) in (3, 4)", "3"))],
    ("E", equal, "assert len(f(1)) == 3", "def f(x): return [1, 2, 3]"),
    *[("N", equal, "assert " + test) for test in ("f(1) == 3", "f(1) != 4", "f(1) < 4", "3 in f(1)", "abs(f(1) - 3) < 1", "f(1) in (3, 4)")],
)
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn classes_of_the_setup_are_one_class_on_both_sides() {
    let script = r#"
node = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
test = "def build(l):\n    h = None\n    for x in reversed(l): h = ListNode(x, h)\n    return h\ndef out(h):\n    r = []\n    while h: r.append(h.val); h = h.next\n    return r\nh = build([1, 2, 3])\nassert isinstance(f(h), ListNode)\nassert out(f(build([1, 2, 3]))) == [3, 2, 1]"
reverse = "def f(h):\n    p = None\n    while h: h.next, p, h = p, h, h.next\n    return p"
pair_ = "from dataclasses import dataclass\n@dataclass\nclass P:\n    a: int\n"
forged = "class E:\n    def __eq__(self, o): return True\nclass P:\n    def __init__(self, a): self.a = E()\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return P(1)"
asks = "class P:\n    def __init__(self, a): self.a = a\n    def same(self, o): return self.a == o.a\n    def __eq__(self, o): return self.same(o)\n"
check(
    ("P", "def f(x): return P(x.a + 1)", "assert f(P(1)) == P(2)", None, asks), ("E", "def f(x): return P(x.a)", "assert f(P(1)) == P(2)", None, asks),
    ("E", "class P:\n    a = 1\n    def same(self, o): return True\n    def __eq__(self, o): return True\ndef f(x): return P()", "assert f(P(1)) == P(2)", None, asks),
)
check(
    ("P", reverse, test, reverse, node), ("P", reverse.replace("while h:", "while isinstance(h, ListNode):"), test, reverse, node),
    ("P", "import copy\n" + reverse.replace("p = None", "p, h = None, copy.deepcopy(h)"), test, reverse, node), ("E", "def f(h): return h", test, reverse, node),
    ("P", "def f(x): return P(x.a + 1)", "assert f(P(1)) == P(2)", None, pair_), ("P", "def f(x): return P(x.a + 1)", "assert f(P(1)) == P(2)", "def f(x): return P(x.a + 1)", pair_),
    ("E", "def f(x): return P(x.a)", "assert f(P(1)) == P(2)", None, pair_), ("N", forged, "assert f(P(1)) == P(2)", None, pair_), ("N", forged, "assert f(P(1)) == P(2)", "def f(x): return P(2)", pair_),
)
# Hash and equality of the test's own objects are the test's.
own = "class It:\n    def __init__(self, n): self.n = n\n    def __eq__(self, o): return self.n == o.n\n    def __hash__(self): return hash(self.n)\nIt.__module__ = '__main__'\n"
check(("P", "def f(items): return len(set(items))", own + "assert f([It(1), It(1), It(2)]) == 2"), ("E", "def f(items): return len(items)", own + "assert f([It(1), It(1), It(2)]) == 2"))
check(("P", "def f(x): return type(x).__name__ + str(x) + f'{x:>3}'", "class It:\n    def __str__(self): return 's'\n    def __format__(self, s): return s\nIt.__module__ = '__main__'\nassert f(It()) == 'Its>3'"))
check(("P", "def f(d): return d['zz']", "class D(dict):\n    def __missing__(self, k): return 7\nD.__module__ = '__main__'\nassert f(D()) == 7"))
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn what_a_test_constructs_is_computed_with_as_in_one_process() {
    let script = r#"
P = "class P:\n    def __init__(self, x): self.x = x\n"
add = "    def __add__(self, o): return P(self.x + o.x)\n"
iadd = "    def __iadd__(self, n):\n        self.x += n\n        return self\n"
zero = "class Z:\n    def __sub__(self, o): return 0\n    __rsub__ = __isub__ = __sub__\n    def __bool__(self): return False\n"
check(
    ("P", P + iadd, "p = q = P(1)\np += 2\nassert p is q and p.x == 3"), ("E", P + iadd.replace("+=", "-="), "p = P(1)\np += 2\nassert p.x == 3"),
    ("P", P + add, "p = P(1)\np += P(2)\nassert p.x == 3 and (P(1) + P(1) + P(1)).x == 3"), ("E", P + add.replace(" + o", " - o"), "p = P(1) + P(2)\nassert p.x == 3"),
    ("P", P + "    def __neg__(self): return P(-self.x)\n    def __rmul__(self, k): return P(k * self.x)\n", "assert (2 * -P(3)).x == -6"),
    ("P", "from collections import namedtuple\nclass V(namedtuple('V', 'x y')):\n    def __add__(self, o): return V(self.x + o.x, self.y + o.y)", "v = V(1, 2) + V(3, 4)\nassert v == (4, 6) and v.x == 4"),
    ("P", P + "    def __contains__(self, y): return y == self.x\n", "assert 1 in P(1) and 2 not in P(1)"),
    # What gives data could give what it is told, and so could what a function gives.
    ("N", zero + "class F(Z):\n    def __init__(self, x): pass", "r = F(1)\nassert abs(r - 98.6) < 1e-6"), ("N", zero + "class F(Z):\n    def __init__(self, x): pass", "r = F(1)\nr -= 98.6\nassert abs(r) < 1e-6"),
    ("N", zero + "class F(float):\n    __sub__ = __isub__ = lambda self, o: 0", "r = F(1)\nr -= 98.6\nassert abs(r) < 1e-6"),
    ("N", zero + "def f(x): return Z()", "r = f(1)\nr -= 2\nassert r == 0"), ("N", zero.replace("return 0", "return Z()") + "def f(x): return Z()", "assert not (f(1) - 2)"),
    # Python's own functions sort objects; a test that asks which is less is decided by an answer.
    *[(tag, P + "    def __lt__(self, o): return self.x %s o.x\n" % less, "import heapq\nh = [P(2), P(1)]\nheapq.heapify(h)\nassert heapq.heappop(h).x == 1 and sorted([P(3), P(2)])[0].x == 2") for tag, less in (("P", "<"), ("E", ">"))],
    ("N", P + "    def __lt__(self, o): return True\n", "assert P(1) < P(2)"), ("N", P + "    def __lt__(self, o): return True\n", "import unittest\nunittest.TestCase().assertLess(P(1), P(2))"),
    ("N", P + "    def __lt__(self, o): return True\n    __gt__ = __lt__\n", "assert max(P(1), 5) == 5"),
)
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn an_exception_is_kept_from_a_test_where_that_is_meant() {
    let script = r#"
keep = "class C:\n    def __init__(self, *kinds): self.kinds = kinds or (Exception,)\n    def __enter__(self): return self\n    def __exit__(self, kind, *a): return kind is not None and issubclass(kind, self.kinds)\n    x = 0\n    def bad(self): raise KeyError\n"
by_generator = "import contextlib\n@contextlib.contextmanager\ndef C(*kinds):\n    try: yield\n    except kinds or Exception: pass\n"
lets = "class C:\n    def __init__(self, *kinds): pass\n    def __enter__(self): return self\n    def __exit__(self, *a): return False\n"
for test in (
    "with C(): raise ValueError", "with C(ValueError):\n    x = 1\n    raise ValueError('no')\nassert x == 1", "with C(ZeroDivisionError): 1 / 0",
    "with C(): int('x')", "with C():\n    with C(KeyError):\n        raise TypeError", "def t():\n    with C(): raise ValueError\n    return 1\nassert t() == 1",
    "try:\n    with C(KeyError): raise ValueError\n    assert False\nexcept ValueError: pass\nwith C(): raise KeyError",
):
    for reference in (None, keep, by_generator):
        check(("P", keep, test, reference), ("P", by_generator, test, reference), ("E", lets, test, reference))
# Any other would have ended the test: what checks, what a program raises, what is raised for what it gives.
for test in (
    "with C() as c: assert c.x == 1", "with C() as c: c.bad()", "with C() as c:\n    if c.x != 1: raise ValueError", "with C() as c: 1 / c.x",
    "with C() as c: raise AssertionError", "with C() as c: assert c.x; raise ValueError",
):
    check(("N", keep, test))
    # A reference that keeps one kind to itself speaks for that kind.
    check(("N", keep, "with C(ValueError): raise ValueError\nwith C() as c: assert c.x == 1", keep.replace("x = 0", "x = 1")))
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}

#[test]
fn what_one_process_would_have_crosses() {
    let script = r#"
text = "class T(str):\n    def shout(self): return self.upper() + '!'\n    def upper(self): return '<' + str.upper(self) + '>'\n    def startswith(self, p): return True\ndef f(s): return T(s)"
nan = "nan = float('nan')\n"
exceptions = "class A(ValueError): pass\nclass B(A):\n    code = 3\ndef f(): raise B('x')\n"
through = "class Stop(Exception): pass\nStop.__module__ = '__main__'\ndef g(x): raise Stop(x)\ntry:\n    f(g)\n    assert False\nexcept Stop as e: assert e.args == (1,)"
check(
    # A method that data has of its own is asked where that tells it nothing.
    ("P", text, "assert f('a').shout() == '<A>!' and f('a').upper() == '<A>' and f('a').title() == 'A'"), ("E", text, "assert f('a').startswith('b')"),
    ("E", text, "assert f('a').startswith('b')", "def f(s): return 'b'"), ("E", text, "assert f('a').upper() == '<A>'", "def f(s): return '<a>'"),
    ("P", text, "assert f('a').startswith('b')", text), ("E", "def f(s): return s", "assert f('a').upper() == '<A>'", text),
    # A NaN is found by what it is.
    *[(tag, program, nan + test) for program, tag in (("def f(x): return x", "P"), ("def f(x): return [float('nan')] if type(x) is list else float('nan')", "E"))
      for test in ("assert f(nan) is nan", "assert f([nan]) == [nan]", "assert nan in f([nan])", "assert {nan: 1}[f(nan)] == 1")],
    ("P", "import math\ndef f(): return math.nan", "import math\nassert f() is math.nan and [f()] == [math.nan] and f() != f()"), ("E", "def f(): return float('nan')", "import math\nassert [f()] == [math.nan]"),
    # Exceptions keep their class and what they come of.
    ("P", exceptions, "try: f()\nexcept A as e: assert type(e) is B and e.code == 3\nassert issubclass(B, A)"), ("E", exceptions, "try: f()\nexcept A as e: assert type(e) is A"),
    ("P", "class A(Exception): pass\nclass __Hidden(A):\n    code = 3\ndef f(): raise __Hidden('x')", "try: f()\nexcept A as e: assert type(e) is not A and e.code == 3 and str(e) == 'x'"),
    ("P", "def f(g): g(1)", through), ("E", "def f(g):\n    try: g(1)\n    except Exception: pass", through),
    ("P", "def f():\n    try: {}[1]\n    except KeyError as e: raise RuntimeError('r') from e", "try: f()\nexcept RuntimeError as e: assert e.__cause__.args == (1,)"),
    ("P", "def f(): raise E(5)", "try: f()\nexcept E as e: assert e.code == 5\nelse: assert False", None, "class E(Exception):\n    def __init__(self, code): self.code = code"),
    # Slices, methods of the test's own lists, generics, what is awaited.
    ("P", "class S:\n    def __getitem__(self, i): return [1, 2, 3][i]", "assert S()[1:] == [2, 3] and S()[::-1] == [3, 2, 1]"),
    ("P", "def f(l, g): [g(x) for x in l]", "seen = []\nf([1, 2], seen.append)\nassert seen == [1, 2]"), ("E", "def f(l, g): pass", "seen = []\nf([1, 2], seen.append)\nassert seen == [1, 2]"),
    ("N", "def f(g): g('x')", "import random\nf(random.Random().random)"),
    ("P", "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass S(Generic[T]): x = 1", "assert S[int]().x == 1"), ("P", "def f(): yield 1", "import types\nassert isinstance(f(), types.GeneratorType)"),
    ("P", "async def f(n):\n    for x in range(n): yield x", "import asyncio\nasync def t(): return [x async for x in f(3)]\nassert asyncio.run(t()) == [0, 1, 2]"),
    ("E", "class R:\n    async def __aenter__(self): return 2\n    async def __aexit__(self, *a): return False", "import asyncio\nasync def t():\n    async with R() as r: assert r == 1\nasyncio.run(t())"),
    ("N", "class R:\n    async def __aenter__(self): return 2\n    async def __aexit__(self, *a): return True", "import asyncio\nasync def t():\n    async with R() as r: assert r == 1\nasyncio.run(t())"),
)
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{JUDGED}{script}")), "done\n");
}
