//! The socket between a test's process and a candidate's: what crosses it keeps its value, type and
//! identity, and what a hostile candidate writes is either a message or garbage.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a script with the interpreter's own sources in one namespace.
fn run(script: &str) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/interpreter");
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).expect("a source");
    let sources = ["values.py", "membrane.py", "candidate.py", "tester.py"].map(read).join("\n");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{sources}\n{script}")).expect("a file");
    let output =
        Command::new("python3").arg("-I").arg(file.path()).stdin(Stdio::null()).output().expect("python3");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
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
    peer.data = b"\0" * 5 + b"".join(piece() for _ in range(random.randrange(1, 30)))
    peer.at, peer.end, peer.depth, peer.subclass = 5, len(peer.data), 0, None
    try:
        peer.rest()
        counts[0] += 1
    except Ended:
        counts[1] += 1
    if turn % 1000 == 0: peer.shared.clear(); peer.numbers.clear(); peer.proxies.clear(); peer.proxy_numbers.clear()
assert min(counts) > 1000, counts
print("done")
"#;
    assert_eq!(run(&format!("{PAIR}{script}")), "done\n");
}
