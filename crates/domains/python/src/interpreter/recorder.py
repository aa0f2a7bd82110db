"""What tests assert, found by running them without a candidate.

Where a test only calls the candidate and compares what it gives, the comparisons are all there is to
judge by, and no candidate has to meet the test itself. So the test runs here once, with a stand-in for
the candidate: arguments and expected values are computed for real, each call gives an `Unknown`, and
each assertion about one is recorded and taken to hold. Whatever else a test does with an Unknown
raises, and the test then runs as it is written, for each candidate.

What is recorded is what the test asserts of every candidate only if
- no assertion can fail without ending the test: nothing is caught (`try`, `with`), and no part of a
  condition is decided by an Unknown;
- each call is followed by one assertion about it;
- it does not matter what the candidate does to its arguments: the test runs a second time, with
  arguments that are spoilt after each call, and must assert the same.
"""

import ast
import random
import signal

MOST_CLAIMS, MOST_TEXT = 1000, 1 << 20
# CPU time for one run of the tests, in seconds.
RECORDING_SECONDS = 1.5
CATCHING = tuple(getattr(ast, name) for name in ("Try", "TryStar", "With", "AsyncWith", "Match", "Await") if hasattr(ast, name))
# Builtins that would tell something of an Unknown without its knowing.
TELLING = frozenset("type id vars dir hasattr getattr setattr delattr callable globals locals eval exec compile super object".split())


class NotData(BaseException):
    """The tests are more than comparisons."""


def not_data(*arguments, **keywords):
    raise NotData


class Opaque:
    """What tells nothing of itself."""

    __slots__ = ()
    __bool__ = __str__ = __repr__ = __format__ = __hash__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = not_data
    __iter__ = __len__ = __contains__ = __reduce_ex__ = __reduce__ = __copy__ = __deepcopy__ = __getattr__ = not_data
    __index__ = __int__ = __float__ = __complex__ = not_data
    __class__ = property(not_data)


class Unknown(Opaque):
    """What a call gives. It may be compared, as a whole: a part of it, its length, its order would be
    what an object of the candidate's says it is."""

    __slots__ = ("source", "number")

    def __init__(self, source, number):
        self.source, self.number = source, number

    def __eq__(self, other):
        return Claim(self, "==", data(other))

    __hash__ = None

    def __sub__(self, other):
        return Difference(self, number(other))

    __rsub__ = __sub__


class Difference(Opaque):
    """`f(x) - 0.5`, of which the size may be asked."""

    __slots__ = ("unknown", "value", "size")

    def __init__(self, unknown, value, size=False):
        self.unknown, self.value, self.size = unknown, value, size

    def __abs__(self):
        return Difference(self.unknown, self.value, True)

    def within(self, kind, tolerance):
        if not self.size:
            raise NotData
        return Claim(self.unknown, kind, self.value, float(number(tolerance)))

    def __lt__(self, tolerance):
        return self.within("<", tolerance)

    def __le__(self, tolerance):
        return self.within("<=", tolerance)


class Claim(Opaque):
    """A comparison with an Unknown."""

    __slots__ = ("unknown", "kind", "expected", "tolerance")

    def __init__(self, unknown, kind, expected, tolerance=None):
        self.unknown, self.kind, self.expected, self.tolerance = unknown, kind, expected, tolerance


class StandIn(Opaque):
    """The candidate's function of a name."""

    __slots__ = ("call",)

    def __init__(self, call):
        self.call = call

    def __call__(self, *arguments, **keywords):
        return self.call(arguments, keywords)


def number(value):
    """A number as its text."""
    if type(value) not in (int, float):
        raise NotData
    return data(value)


def data(value, seen=None):
    """A value as a literal. `seen` has the mutable values met so far, for an argument: two that are
    one could not be told from two, and what order a set yields depends on how it was made."""
    kind = type(value)
    if value is None or kind in (bool, int, bytes):
        return repr(value)
    if kind is str:
        value.encode()
        return repr(value)
    if kind is float and value - value == 0:
        return repr(value)
    if seen is not None and kind in (list, dict, set):
        if any(value is other for other in seen):
            raise NotData
        seen.append(value)
    if kind is list:
        return "[%s]" % ", ".join(data(item, seen) for item in value)
    if kind is tuple:
        return "(%s)" % "".join(data(item, seen) + ", " for item in value)
    if kind is dict:
        return "{%s}" % ", ".join("%s: %s" % (data(key, seen), data(item, seen)) for key, item in value.items())
    if kind is set and (seen is None or len(value) < 2):
        return "{%s}" % ", ".join(data(item) for item in value) if value else "set()"
    raise NotData


class Recorder:
    """One run of the tests. With `spoils`, each call spoils its arguments."""

    def __init__(self, spoils):
        self.spoils, self.claims, self.calls, self.text = spoils, [], 0, 0
        self.is_claimed, self.met_mutable = True, False

    def stand_in(self, name):
        def call(arguments, keywords):
            if not self.is_claimed:
                raise NotData
            self.is_claimed, self.calls = False, self.calls + 1
            seen = []
            parts = [data(argument, seen) for argument in arguments]
            parts += ["%s=%s" % (key, data(argument, seen)) for key, argument in keywords.items()]
            self.met_mutable = self.met_mutable or bool(seen)
            if self.spoils:
                for value in seen:
                    value.clear()
            return Unknown("%s(%s)" % (name, ", ".join(parts)), self.calls)

        return StandIn(call)

    def claim(self, value, holds=True):
        """An assertion that `value` is true, or false."""
        kind = type(value)
        if kind is Unknown:
            value = Claim(value, "true" if holds else "false", "True" if holds else "False")
        elif kind is not Claim:
            if bool(value) is not holds:
                raise NotData
            return
        elif not holds:
            raise NotData
        if self.is_claimed or value.unknown.number != self.calls:
            raise NotData
        self.is_claimed = True
        self.claims.append((value.unknown.source, value.kind, value.expected, value.tolerance))
        self.text += len(value.unknown.source) + len(value.expected)
        if len(self.claims) > MOST_CLAIMS or self.text > MOST_TEXT:
            raise NotData

    def claim_identity(self, left, right):
        if type(left) is Unknown and (right is None or right is True or right is False):
            return self.claim(Claim(left, "is", repr(right)))
        if issubclass(type(left), Opaque) or issubclass(type(right), Opaque):
            raise NotData
        self.claim(left is right)


class Assertions(ast.NodeTransformer):
    """Turns `assert` into what records it."""

    def visit_Assert(self, node):
        # What an assertion says when it fails changes nothing: it has failed.
        return [ast.Expr(part) for part in self.parts(node.test)]

    def parts(self, test):
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return [part for value in test.values for part in self.parts(value)]
        arguments, name = [test], "(claim)"
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            arguments = [test.operand, ast.Constant(False)]
        elif isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Is):
            arguments, name = [test.left, test.comparators[0]], "(claim identity)"
        return [ast.Call(ast.Name(name, ast.Load()), [self.visit(argument) for argument in arguments], [])]

    def visit_Compare(self, node):
        if any(isinstance(operator, (ast.Is, ast.IsNot)) for operator in node.ops):
            raise NotData
        return self.generic_visit(node)

    def visit_Name(self, node):
        if node.id in TELLING:
            raise NotData
        return node

    def generic_visit(self, node):
        if isinstance(node, CATCHING):
            raise NotData
        return ast.NodeTransformer.generic_visit(self, node)


def recording(source):
    """A test that records, as code."""
    tree = ast.fix_missing_locations(Assertions().visit(ast.parse(source)))
    return compile(tree, "<test>", "exec", 0, True)


def run_once(job, names, tests, spoils):
    """The claims of each test."""
    random.seed(0)
    recorder = Recorder(spoils)
    namespace = new_module("__main__").__dict__
    run_setup(job["setup"], namespace)
    if job["prompt"]:
        prompt_helpers(job["prompt"], namespace)
    namespace.update((name, recorder.stand_in(name)) for name in names)
    namespace.update({"(claim)": recorder.claim, "(claim identity)": recorder.claim_identity})
    found = []
    for at, test in enumerate(tests):
        before = len(recorder.claims)
        exec(test, namespace)
        if at > 0:
            found.append(recorder.claims[before:])
        elif recorder.claims:
            raise NotData
    if not recorder.is_claimed or not all(found):
        raise NotData
    return found, recorder.met_mutable


def out_of_time(*_):
    raise NotData


def failure_of_setup(job):
    """What the problem's setup raises before any candidate has a part in it; None if it does not."""
    try:
        run_setup(job["setup"], new_module("__main__").__dict__)
    except BaseException as error:
        return "setup fails: %s" % describe(error).decode("utf-8", "replace")


def claims_of(job, names):
    """The claims of each test, each as call, kind, expected value and tolerance; None where tests are
    more than that."""
    signal.signal(signal.SIGPROF, out_of_time)
    try:
        # The setup of tests is the first of them: it may call the candidate too.
        tests = [recording(source) for source in (job["test_setup"], *job["tests"])]
        signal.setitimer(signal.ITIMER_PROF, RECORDING_SECONDS, 0.1)
        found, met_mutable = run_once(job, names, tests, False)
        if met_mutable and run_once(job, names, tests, True)[0] != found:
            return None
        return found
    except BaseException:
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
