"""What tests assert, found by running them without a candidate.

Where a test only calls the candidate and compares what it gives, the comparisons are all there is to
judge by, and no candidate has to meet the test itself. So the test runs here once, with a stand-in for
the candidate: arguments and expected values are computed for real, each call gives an `Unknown`, and
each assertion about one is recorded and taken to hold. Whatever else a test does with an Unknown
raises, and the test then runs as it is written, for each candidate.

What is recorded is what the test asserts of every candidate only if
- no assertion can fail without ending the test, and no part of a condition is decided by an Unknown;
- each call is followed by one assertion about it;
- nothing of the test's can see what the candidate does besides returning: the test holds no list,
  dictionary or set that it has handed over, and uses no module through which either could change the
  other's world, or see the time pass.
So what is allowed is listed: statements, modules, and that an argument is the candidate's alone. To run
a test again with arguments that have changed does not tell what it would see of other changes:
`assert x != [1, 2, 3]`.
"""

import ast
import keyword
import random
import sys

MOST_CLAIMS, MOST_TEXT = 1000, 1 << 20
# How many steps of the tests' own are looked at: turns of loops, calls of functions. They are counted, so
# that what is found does not depend on how fast a machine is.
MOST_STEPS = 200_000
# Modules that compute and do nothing else, as tests import them.
COMPUTING = frozenset("math cmath copy random itertools string collections functools typing re heapq bisect fractions decimal".split())
ALLOWED = tuple(getattr(ast, name) for name in (
    "Module FunctionDef arguments arg Return Assign AugAssign AnnAssign For If Import ImportFrom alias Assert Expr Pass "
    "Break Continue BoolOp BinOp UnaryOp IfExp Dict Set ListComp SetComp DictComp GeneratorExp comprehension Compare Call "
    "JoinedStr FormattedValue Constant Attribute Subscript Name List Tuple Slice Starred keyword While NamedExpr Lambda "
    "expr_context boolop operator unaryop cmpop"
).split())
# Names that would tell something of an Unknown without its knowing, or reach beyond the test.
TELLING = frozenset(
    "type id vars dir hasattr getattr setattr delattr callable globals locals eval exec compile super object open input "
    "breakpoint exit quit help memoryview classmethod staticmethod property is_ is_not seed setstate getcontext setcontext "
    "localcontext attrgetter methodcaller".split())


class NotData(BaseException):
    """The tests are more than comparisons. That it was raised counts even where a library catches it."""

    was_raised = False

    def __init__(self):
        NotData.was_raised = True


class Steps:
    """How many are left."""

    left = MOST_STEPS

    @staticmethod
    def step():
        Steps.left -= 1
        if Steps.left < 0:
            raise NotData


class Counting(ast.NodeTransformer):
    """Has code count its steps. Nothing else of it changes."""

    def step(self):
        return ast.Call(ast.Name("(step)", ast.Load()), [], [])

    def visit_block(self, node):
        self.generic_visit(node)
        has_text = isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant)
        node.body.insert(int(has_text), ast.Expr(self.step()))
        return node

    visit_For = visit_AsyncFor = visit_While = visit_FunctionDef = visit_AsyncFunctionDef = visit_block

    def visit_Lambda(self, node):
        self.generic_visit(node)
        node.body = ast.BoolOp(ast.Or(), [self.step(), node.body])
        return node

    def visit_comprehension(self, node):
        self.generic_visit(node)
        node.ifs.insert(0, ast.UnaryOp(ast.Not(), self.step()))
        return node


def counting(tree, where="<test>"):
    """Code that counts its steps."""
    return compile(ast.fix_missing_locations(Counting().visit(tree)), where, "exec", 0, True)


def not_data(*arguments, **keywords):
    raise NotData


class Opaque:
    """What tells nothing of itself."""

    __slots__ = ()
    __bool__ = __str__ = __repr__ = __format__ = __hash__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = not_data
    __iter__ = __len__ = __contains__ = __reduce_ex__ = __reduce__ = __copy__ = __deepcopy__ = __getattr__ = not_data
    __index__ = __int__ = __float__ = __complex__ = not_data
    __class__ = property(not_data)
    __getattribute__ = __setattr__ = __delattr__ = not_data


# How the recorder reads and writes what nobody else may.
part, put = object.__getattribute__, object.__setattr__


class Unknown(Opaque):
    """What a call gives. It may be compared, as a whole: a part of it, its length, its order would be
    what an object of the candidate's says it is."""

    __slots__ = ("source", "number")

    def __init__(self, source, number):
        put(self, "source", source)
        put(self, "number", number)

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
        put(self, "unknown", unknown)
        put(self, "value", value)
        put(self, "size", size)

    def __abs__(self):
        return Difference(part(self, "unknown"), part(self, "value"), True)

    def __lt__(self, tolerance):
        return within(self, "<", tolerance)

    def __le__(self, tolerance):
        return within(self, "<=", tolerance)


def within(difference, kind, tolerance):
    """The claim that a difference is at most this large."""
    # A tolerance that is no float is rounded to one.
    if not part(difference, "size") or type(tolerance) not in (int, float) or float(tolerance) != tolerance:
        raise NotData
    return Claim(part(difference, "unknown"), kind, part(difference, "value"), float(number(tolerance)))


class Claim(Opaque):
    """A comparison with an Unknown."""

    __slots__ = ("unknown", "kind", "expected", "tolerance")

    def __init__(self, unknown, kind, expected, tolerance=None):
        put(self, "unknown", unknown)
        put(self, "kind", kind)
        put(self, "expected", expected)
        put(self, "tolerance", tolerance)


class StandIn(Opaque):
    """The candidate's function of a name. It is called where a test writes the call with all its arguments:
    what calls it besides may hold these, and counts of references would not tell."""

    __slots__ = ("call",)
    __call__ = not_data

    def __init__(self, call):
        put(self, "call", call)


class Called:
    """A stand-in in the place where a test calls it."""

    __slots__ = ("call",)

    def __init__(self, stand_in):
        self.call = part(stand_in, "call")

    def __call__(self, *arguments, **keywords):
        return self.call(arguments, keywords)


def no_stand_in(function):
    """What a test calls with arguments that it holds in one object."""
    if type(function) is StandIn:
        raise NotData
    return function


def called(function):
    """What a test calls."""
    return Called(function) if type(function) is StandIn else function


def number(value):
    """A number as its text."""
    if type(value) not in (int, float):
        raise NotData
    return data(value)


def is_identifier(key):
    return key.isascii() and key.isidentifier() and not keyword.iskeyword(key)


def is_like_name(text):
    """Whether Python keeps one object for all literals of this text."""
    return len(text) > 1 and text.isascii() and text.replace("_", "a").isalnum()


def is_interned(text):
    return sys.intern(text[:1] + text[1:]) is text


class Argument:
    """What is met in the arguments of one call: a program may ask what is one object, and may keep and
    change what can be changed."""

    def __init__(self):
        self.constants, self.is_keyword, self.seen = {}, False, set()
        # What can be changed: positional arguments, what is within others, keyword arguments.
        self.mutable = [], [], []

    def meet(self, value, depth):
        kind = type(value)
        if kind in (list, dict, set):
            if id(value) in self.seen:
                # One object in two places, which its text cannot tell.
                raise NotData
            self.seen.add(id(value))
            self.mutable[1 if depth else 2 * self.is_keyword].append(value)
        elif kind in (int, float, str, bytes) and self.constants.setdefault((kind, value), value) is not value:
            # Equal, and yet two objects, which its text cannot tell.
            raise NotData
        elif kind is str and is_like_name(value) and not is_interned(value):
            # Written as a literal, it would be the object that equal literals of the program are.
            raise NotData

    def texts(self, arguments, keywords):
        parts = [data(argument, self) for argument in arguments]
        self.is_keyword = True
        for key, argument in keywords.items():
            if not is_identifier(key):
                raise NotData
            parts.append("%s=%s" % (key, data(argument, self)))
        return parts

    def references(self):
        """How many references there are to what can be changed, of each sort."""
        count = sys.getrefcount
        return [[count(value) for value in values] for values in self.mutable]


def references_to_fresh(with_keywords, counted={}):
    """How many references there are, in a call with keyword arguments or without, to a value that only
    the call holds, of each sort; none where that does not differ from one that the caller holds too."""
    if not counted:

        def count(arguments, keywords):
            met = Argument()
            met.texts(arguments, keywords)
            found.append([(counts or [0])[0] for counts in met.references()])

        found, namespace = [], {"f": Called(StandIn(count))}
        exec("x, y, z = [], [], []\nf([], ([],))\nf(x, (y,))\nf([], ([],), k=[])\nf(x, (y,), k=z)", namespace)
        for kind, (fresh, held) in enumerate((found[:2], found[2:])):
            differ = all(a < b for a, b in zip(fresh, held) if b)
            counted[bool(kind)] = fresh if differ else [0, 0, 0]
    return counted[with_keywords]


def data(value, met=None, depth=0):
    """A value as a literal; of an argument with what was met in it."""
    kind = type(value)
    # A candidate's value is not compared to such a depth as data.
    if depth > MAX_DEPTH - 20:
        raise NotData
    if met is not None:
        met.meet(value, depth)
    if value is None or kind in (bool, int, bytes):
        return repr(value)
    if kind is str:
        value.encode()
        return repr(value)
    if kind is float and value - value == 0:
        return repr(value)
    if kind is list:
        return "[%s]" % ", ".join([data(item, met, depth + 1) for item in value])
    if kind is tuple:
        return "(%s)" % "".join([data(item, met, depth + 1) + ", " for item in value])
    if kind is dict:
        return "{%s}" % ", ".join(["%s: %s" % (data(key, met, depth + 1), data(item, met, depth + 1)) for key, item in value.items()])
    # In what order a set yields its members depends on how it was made.
    if kind is set and met is None:
        return "{%s}" % ", ".join([data(item) for item in value]) if value else "set()"
    raise NotData


# References to what the recorder alone holds: its list, what holds the value there, and the count's own.
WHERE_RECORDER_HOLDS = 4, 4, 4


class Recorder:
    """One run of the tests."""

    def __init__(self):
        self.claims, self.calls, self.text, self.is_claimed = [], 0, 0, True
        # What was met in the last call, and what was given as it was then.
        self.last = Argument(), ((), {}), []

    def require_at_most(self, met, most):
        """Nobody but the call holds what can be changed."""
        if any(count > limit for counts, limit in zip(met.references(), most) for count in counts):
            raise NotData

    def require_untouched(self):
        """Nothing has happened to what was given, and nothing can any more: only the recorder has it."""
        met, given, texts = self.last
        if Argument().texts(*given) != texts:
            raise NotData
        self.require_at_most(met, WHERE_RECORDER_HOLDS)

    def stand_in(self, name):
        def call(arguments, keywords):
            if not self.is_claimed:
                raise NotData
            self.is_claimed, self.calls = False, self.calls + 1
            met = Argument()
            parts = met.texts(arguments, keywords)
            self.require_at_most(met, references_to_fresh(bool(keywords)))
            self.last = met, (arguments, keywords), parts
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
        unknown, expected = part(value, "unknown"), part(value, "expected")
        source = part(unknown, "source")
        if self.is_claimed or part(unknown, "number") != self.calls:
            raise NotData
        self.require_untouched()
        self.is_claimed = True
        self.claims.append((source, part(value, "kind"), expected, part(value, "tolerance")))
        self.text += len(source) + len(expected)
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

    def visit_Call(self, node):
        if any(isinstance(argument, ast.Starred) for argument in node.args) or any(keyword.arg is None for keyword in node.keywords):
            node.func = ast.Call(ast.Name("(data)", ast.Load()), [self.visit(node.func)], [])
        else:
            node.func = ast.Call(ast.Name("(called)", ast.Load()), [self.visit(node.func)], [])
        node.args = [self.visit(argument) for argument in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        return node

    def visit_Name(self, node):
        if node.id in TELLING or node.id.startswith("__") and node.id != "__name__":
            raise NotData
        return node

    def visit_Attribute(self, node):
        if node.attr in TELLING or node.attr.startswith("_") or not isinstance(node.ctx, ast.Load):
            raise NotData
        return self.generic_visit(node)

    def visit_Import(self, node):
        if any(alias.name not in COMPUTING for alias in node.names):
            raise NotData
        return node

    def visit_ImportFrom(self, node):
        if node.module not in COMPUTING or any(alias.name in TELLING for alias in node.names):
            raise NotData
        return node

    def generic_visit(self, node):
        if not isinstance(node, ALLOWED):
            raise NotData
        return ast.NodeTransformer.generic_visit(self, node)


def recording(source):
    """A test that records, as code; so is what stands before the tests, whose functions they call."""
    return counting(Assertions().visit(ast.parse(source)))


def world(job, stand_ins):
    """What the tests find around them, with these for the candidate's names."""
    random.seed(0)
    module = sys.modules["__main__"] = new_module("__main__")
    namespace = module.__dict__
    namespace["(step)"] = Steps.step
    if job["setup"] == warm_setup:
        run_setup(warm_setup, namespace)
    else:
        exec(counting(ast.parse(job["setup"].replace("\ufeff", "")), "<setup>"), namespace)
    exec(of_prompt(job["prompt"] or "", lambda text: counting(ast.parse(text), "<prompt>")) or "", namespace)
    namespace.update(stand_ins)
    return namespace


def run_once(job, names):
    """The claims of each test."""
    recorder = Recorder()
    recording_too = {"(claim)": recorder.claim, "(claim identity)": recorder.claim_identity, "(called)": called, "(data)": no_stand_in}
    namespace = world({**job, "setup": warm_setup, "prompt": None}, recording_too)
    # What the world has already; text within the setup may look like it.
    setup = job["setup"][len(warm_setup):] if job["setup"].startswith(warm_setup) else job["setup"]
    # The setup of tests is the first of them: it may call the candidate too.
    tests = [recording(source) for source in (job["test_setup"], *job["tests"])]
    exec(recording(setup), namespace)
    exec(of_prompt(job["prompt"] or "", recording) or recording(""), namespace)
    namespace.update((name, recorder.stand_in(name)) for name in names)
    found = []
    for at, test in enumerate(tests):
        before = len(recorder.claims)
        try:
            exec(test, namespace)
        except MemoryError as error:
            if is_raised_by_test(error):
                # What it holds is in the way of saying so.
                namespace.clear()
                raise Refused(TOO_LARGE % named(at))
            raise
        if at > 0:
            found.append(recorder.claims[before:])
        elif recorder.claims:
            raise NotData
    if NotData.was_raised or not recorder.is_claimed or not all(found):
        raise NotData
    return found


def claims_of(job, names):
    """The claims of each test, each as call, kind, expected value and tolerance; None where tests are
    more than that. Refuses tests that no program could pass."""
    NotData.was_raised, Steps.left = False, MOST_STEPS
    try:
        return run_once(job, names)
    except Refused:
        raise
    except BaseException:
        return None
