"""How a problem's tests are to be judged, from the problem alone: whether they can be used, and which
of their names are the candidate's. Runs in a process of its own, which ends afterwards.
"""

import ast
import builtins
import sys

# Calls whose failure is what a test may rest on.
CHECKING = ("assert", "fail", "raises", "expect", "verify", "exit")


class Refused(Exception):
    """The test cannot be used; says why and what to do."""


def plan(job):
    """What is known of a problem before any of its tests runs."""
    try:
        trees = [parsed(source, "test %d" % (at + 1)) for at, source in enumerate(job["tests"])]
        setup_checks = can_fail(parsed(job["test_setup"], "test_setup"), job["entry_point"])
        for at, tree in enumerate(trees):
            calls = any(isinstance(node, ast.Call) for node in nodes(tree))
            if not can_fail(tree, job["entry_point"]) and not (setup_checks and calls):
                raise Refused("test %d checks nothing: expected an assert (%s)" % (at + 1, offer(tree, job["entry_point"])))
        others = [parsed(job[field], field) for field in ("setup", "test_setup")]
        needs_packages(trees + others, job["packages"])
        names = names_of(job, trees, others, helpers_of(job["prompt"]))
        if not job["reference"]:
            for at, tree in enumerate(trees):
                needs_reference(tree, set(names), "test %d" % (at + 1))
        return {"names": names}
    except Refused as error:
        return {"error": str(error)}


def nodes(tree, known={}):
    """What `ast.walk` gives, in its order, found once."""
    if id(tree) not in known:
        found = [tree]
        for node in found:
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, ast.AST):
                    found.append(value)
                elif type(value) is list:
                    found.extend(item for item in value if isinstance(item, ast.AST))
        known[id(tree)] = found
    # Each keeps its tree, as its first node: no other is ever at that place.
    return known[id(tree)]


def parsed(source, where):
    try:
        tree = ast.parse(source)
        compile(source, where, "exec", 0, True)
        return tree
    except SyntaxError as error:
        line = "" if error.lineno is None else ", line %s" % error.lineno
        raise Refused("%s is not Python: %s%s" % (where, error.msg, line))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refused("%s cannot be read as Python: %s" % (where, type(error).__name__))


def helpers_of(prompt):
    """Names that the text to be continued defines before its last function."""
    tree = of_prompt(prompt or "", ast.parse)
    return defined_by(ast.Module(tree.body[:-1], [])) if tree is not None else set()


def can_fail(tree, entry_point):
    """Whether a test could ever fail for its result: some assert that is not constant, a raise, or a
    call that checks by its name."""
    for node in nodes(tree):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Tuple):
            constant = isinstance(node.test, ast.Constant)
            if constant and not node.test.value or any(isinstance(part, ast.Name) for part in nodes(node.test)):
                return True
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name != entry_point and name.lower().startswith(CHECKING):
                return True
    return False


def offer(tree, entry_point):
    """What to write instead."""
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Compare, ast.Call)):
            try:
                return "write: assert " + ast.unparse(statement.value)[:200]
            except RecursionError:
                break
    return "write: assert %s(…) == …" % (entry_point or "f")


def needs_packages(trees, packages):
    """Refuses what imports a package that is not there: no candidate could be judged."""
    standard = getattr(sys, "stdlib_module_names", None)
    for tree in trees:
        optional = {id(node) for attempt in nodes(tree) if isinstance(attempt, ast.Try) for node in nodes(attempt)}
        for node in nodes(tree):
            names = []
            if id(node) in optional:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in (name.split(".")[0] for name in names):
                if name != "candidate" and standard is not None and name not in standard and name not in packages and name not in sys.modules:
                    raise Refused("the tests import %s, which is no standard module: install it and add it to the packages" % name)


def needs_reference(tree, names, where):
    """Refuses what no program passes from another process unless a reference shows that its objects
    are to be compared, or that the tests are to run beside it."""
    containers = containers_of(tree)
    for node in nodes(tree):
        if isinstance(node, ast.ClassDef) and any(is_a(base, names) for base in node.bases):
            raise Refused("%s derives a class from the program's own, which needs a reference to judge by: give one" % where)
        if isinstance(node, ast.Compare) and constructs(node.left, names) and any(constructs(side, names) for side in node.comparators):
            raise Refused("%s compares objects of the program's own, which needs a reference to judge by: give one" % where)
        if isinstance(node, ast.Compare) and any(is_size(side, names) for side in (node.left, *node.comparators)):
            raise Refused("%s compares what an object of the program's own computes, which needs a reference to judge by: give one" % where)
        if isinstance(node, ast.Set) and has_equals([member for member in node.elts if constructs(member, names)]):
            raise Refused("%s has equal objects of the program's own in a set, which needs a reference to judge by: give one" % where)
        if finds(node, containers, names):
            raise Refused("%s finds an object of the program's own by what it is equal to, which needs a reference to judge by: give one" % where)
        if isinstance(node, ast.Call) and name_of(node.func) in LOOKING_INTO and any(used_by(argument) & names for argument in node.args):
            raise Refused("%s has %s look into an object of the program's own, which needs a reference to judge by: give one" % (where, name_of(node.func)))


# Functions of `dataclasses` that read what a class is, which stays in the program's process.
LOOKING_INTO = frozenset(("is_dataclass", "asdict", "astuple", "fields"))
# Methods of containers that find a member by what it is equal to.
FINDING = frozenset("index count remove get pop discard setdefault".split())
DISPLAYS = (ast.Dict, ast.List, ast.Set, ast.Tuple, ast.DictComp, ast.ListComp, ast.SetComp)


def name_of(node):
    return getattr(node, "attr", getattr(node, "id", ""))


def containers_of(tree):
    """Names that a test binds to containers of its own."""
    return {target.id for node in nodes(tree) if isinstance(node, ast.Assign) and is_container(node.value, ())
            for target in node.targets if isinstance(target, ast.Name)}


def is_container(node, names):
    made = isinstance(node, ast.Call) and name_of(node.func) in ("dict", "list", "set", "tuple", "defaultdict", "Counter", "OrderedDict", "deque")
    return made or isinstance(node, DISPLAYS) or isinstance(node, ast.Name) and node.id in names


def finds(node, containers, names):
    """Whether a container of the test's is asked for an object of the program's own: `seen[V(1)]`."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return is_container(node.value, containers) and constructs(node.slice, names)
    is_asked = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in FINDING
    return is_asked and is_container(node.func.value, containers) and any(constructs(argument, names) for argument in node.args[:1])


def is_a(node, names):
    """Whether an expression is one of these names, written as a class is."""
    return isinstance(node, ast.Name) and node.id in names and node.id[:1].isupper()


def constructs(node, names):
    return any(isinstance(part, ast.Call) and is_a(part.func, names) for part in nodes(node))


def is_size(node, names):
    """Whether an expression is `abs(V(3))`, which is no object any more."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "abs" and any(
        isinstance(argument, ast.Call) and is_a(argument.func, names) for argument in node.args)


def has_equals(expressions):
    return len({ast.dump(expression) for expression in expressions}) < len(expressions)


# Names.

def names_of(job, trees, others, prompt):
    """The names in tests that are the candidate's: the entry point, what the reference defines
    unless the prompt does, what nothing else defines, and what the setup imports where the tests do
    nothing with it but assert what it gives."""
    reference = set()
    if job["reference"]:
        try:
            reference = defined_by(ast.parse(job["reference"]))
        except (SyntaxError, ValueError):
            pass
    setup, test_setup = others
    tests = [*trees, test_setup]
    known = prompt | imported_by(setup) | set(dir(builtins))
    local = set().union(*map(bound_by, tests))
    used = set().union(*map(used_by, tests))
    unknown = used - known - local
    names = (used & reference - prompt) | unknown
    entry_point = job["entry_point"]
    if entry_point in reference or not is_guessed(entry_point, tests, unknown):
        names.add(entry_point)
    if not job["reference"]:
        names |= (imported_by(setup) & used) - defined_by(setup) - prompt - local - used_otherwise(tests, names)
    return sorted(name for name in names if name and name.isidentifier())


def is_guessed(entry_point, tests, unknown):
    """Whether an entry point without a reference is a builtin only since the tests call nothing else:
    `len` of `assert len(PRIMES) == 3`."""
    called = {node.func.id for tree in tests for node in nodes(tree)
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return entry_point in dir(builtins) and bool(unknown) and not called & unknown


def used_otherwise(trees, names):
    """Names that tests use for more than `assert name(…) == …` with nothing of the candidate's beside
    it: what checks or computes an answer is the problem's own."""
    tainted = names | set().union(*(depending_on(tree, names) for tree in trees))
    used = set()
    for tree in trees:
        subjects = set()
        for node in nodes(tree):
            test = node.test if isinstance(node, ast.Assert) else None
            call = test.left if isinstance(test, ast.Compare) else test
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                beside = set().union(*map(used_by, [*call.args, *call.keywords, *getattr(test, "comparators", ())]))
                if not beside & tainted:
                    subjects.add(id(call.func))
        used |= {node.id for node in nodes(tree) if isinstance(node, ast.Name) and id(node) not in subjects}
    return used


def depending_on(tree, names):
    """Names that may hold something of the candidate's: what is assigned from it, and all parameters."""
    found = set(names)
    bindings = []
    for node in nodes(tree):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.For, ast.comprehension, ast.withitem)):
            source = getattr(node, "value", None) or getattr(node, "iter", None) or getattr(node, "context_expr", None)
            if source is not None:
                bindings.append((used_by(source), bound_by(node)))
    before = None
    while before != len(found):
        before = len(found)
        for sources, bound in bindings:
            if sources & found:
                found |= bound
    return found


def defined_by(tree):
    """Names that a program's own statements bind at its top level, imports apart."""
    names = set()
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {node.id for node in nodes(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names


def imported_by(tree):
    names = defined_by(tree)
    for node in nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.name == "*":
                    names |= names_of_module(node)
                else:
                    names.add(alias.asname or alias.name.split(".")[0])
    return names


def names_of_module(node):
    """What `from … import *` binds."""
    try:
        module = sys.modules.get(node.module) or __import__(node.module or "", fromlist=["*"], level=node.level)
        return set(getattr(module, "__all__", dir(module)))
    except Exception as error:
        raise Refused("%s fails: %s: %s" % (ast.unparse(node)[:200], type(error).__name__, str(error)[:200]))


def bound_by(tree):
    """Every name that a test binds somewhere."""
    names = set()
    for node in nodes(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names if alias.name != "*"}
            if node.names[0].name == "*" and node.module != "candidate":
                names |= names_of_module(node)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def used_by(tree):
    return {node.id for node in nodes(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
