"""How a problem's tests are to be judged, from the problem alone.

A check is taken apart into calls and values where that loses nothing: every statement of every test
is a comparison of a call of literals with a literal. Otherwise its tests run as they are written.
Runs in a process of its own, which ends afterwards.
"""

import ast
import builtins
import sys

# Calls whose failure is what a test may rest on.
CHECKING = ("assert", "fail", "raises", "expect", "verify", "exit")


class Refused(Exception):
    """The test cannot be used; says why and what to do."""


def plan(job):
    """The plan of a problem, as JSON."""
    try:
        trees = [parsed(source, "test %d" % (at + 1)) for at, source in enumerate(job["tests"])]
        setup_checks = can_fail(parsed(job["test_setup"], "test_setup"), job["entry_point"])
        for at, tree in enumerate(trees):
            calls = any(isinstance(node, ast.Call) for node in ast.walk(tree))
            if not can_fail(tree, job["entry_point"]) and not (setup_checks and calls):
                raise Refused("test %d checks nothing: expected an assert (%s)" % (at + 1, offer(tree, job["entry_point"])))
        others = [parsed(job[field], field) for field in ("setup", "test_setup")]
        needs_packages(trees + others, job["packages"])
        prompt = helpers_of(job["prompt"])
        names = names_of(job, trees, others, prompt)
        comparisons = [lowered(tree, job["entry_point"]) for tree in trees]
        if None in comparisons or job["test_setup"]:
            comparisons = None
        return {"names": names, "comparisons": comparisons}
    except Refused as error:
        return {"error": str(error)}


def parsed(source, where):
    try:
        tree = ast.parse(source)
        compile(source, where, "exec", 0, True)
        return tree
    except SyntaxError as error:
        raise Refused("%s is not Python: %s, line %s" % (where, error.msg, error.lineno))
    except (ValueError, RecursionError, MemoryError) as error:
        raise Refused("%s cannot be read as Python: %s" % (where, type(error).__name__))


def helpers_of(prompt):
    """Names that the text to be continued defines before its last function."""
    for ending in ("\n    pass\n", ""):
        try:
            tree = ast.parse((prompt or "") + ending)
        except (SyntaxError, ValueError):
            continue
        return defined_by(ast.Module(tree.body[:-1], []))
    return set()


def can_fail(tree, entry_point):
    """Whether a test could ever fail for its result: some assert that is not constant, a raise, or a
    call that checks by its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Tuple):
            constant = isinstance(node.test, ast.Constant)
            if constant and not node.test.value or any(isinstance(part, ast.Name) for part in ast.walk(node.test)):
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
            return "write: assert " + ast.unparse(statement.value)[:200]
    return "write: assert %s(…) == …" % (entry_point or "f")


def needs_packages(trees, packages):
    """Refuses what imports a package that is not there: no candidate could be judged."""
    standard = getattr(sys, "stdlib_module_names", None)
    for tree in trees:
        optional = {id(node) for attempt in ast.walk(tree) if isinstance(attempt, ast.Try) for node in ast.walk(attempt)}
        for node in ast.walk(tree):
            names = []
            if id(node) in optional:
                continue
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in (name.split(".")[0] for name in names):
                if standard is not None and name not in standard and name not in packages and name not in sys.modules:
                    raise Refused("the tests import %s, which is no standard module: install it and add it to the packages" % name)


# Taking tests apart.

def lowered(tree, entry_point):
    """A test's comparisons as data, in their order; None where some statement is more than that."""
    if any(isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) for statement in tree.body):
        return of_check(tree.body, entry_point)
    if not entry_point.isidentifier():
        return None
    return of_statements(tree.body, entry_point, entry_point)


def of_check(body, entry_point):
    """HumanEval's form: one `def check(candidate)` of comparisons, and one call of it."""
    body = [statement for statement in body if not is_idle(statement)]
    if len(body) != 2 or not isinstance(body[0], ast.FunctionDef) or not isinstance(body[1], ast.Expr):
        return None
    check, call = body[0], body[1].value
    arguments = check.args
    plain = not (arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults or check.decorator_list)
    parameters = arguments.posonlyargs + arguments.args
    called = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == check.name
    if not plain or len(parameters) != 1 or not called or call.keywords or len(call.args) != 1:
        return None
    if not isinstance(call.args[0], ast.Name) or call.args[0].id != entry_point or check.name == entry_point:
        return None
    return of_statements(check.body, parameters[0].arg, entry_point)


def of_statements(statements, name, entry_point):
    found = [comparison(statement, name, entry_point) for statement in statements if not is_idle(statement)]
    return found if found and None not in found else None


def is_idle(statement):
    """Whether leaving a statement out changes nothing: documentation, `pass`, `assert True`, a
    constant such as HumanEval's METADATA."""
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and bool(statement.test.value)
    if isinstance(statement, ast.Assign):
        names = all(isinstance(target, ast.Name) and target.id == "METADATA" for target in statement.targets)
        return names and is_literal(statement.value)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def is_literal(node):
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def comparison(statement, name, entry_point):
    """`assert name(literals) == literal` as data, otherwise None. So are `is` with True, False or
    None, and a call or its negation by itself."""
    if not isinstance(statement, ast.Assert) or (statement.msg is not None and not is_literal(statement.msg)):
        return None
    test, kind, expected = statement.test, "==", None
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        call, value = test.left, test.comparators[0]
        if isinstance(test.ops[0], ast.Is) and isinstance(value, ast.Constant) and value.value in (True, False, None):
            kind = "is"
        elif not isinstance(test.ops[0], ast.Eq):
            return None
        elif not isinstance(call, ast.Call):
            call, value = value, call
        expected = value
    else:
        return None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != name:
        return None
    if any(keyword.arg is None for keyword in call.keywords) or not is_literal(expected):
        return None
    if not all(map(is_literal, [*call.args, *(keyword.value for keyword in call.keywords)])):
        return None
    call.func.id = entry_point
    return "assert %s %s %s" % (ast.unparse(call), kind, ast.unparse(expected))


# Names.

def names_of(job, trees, others, prompt):
    """The names in tests that are the candidate's: the entry point, what the reference defines
    unless the prompt does, and what nothing else defines."""
    reference = set()
    if job["reference"]:
        try:
            reference = defined_by(ast.parse(job["reference"]))
        except (SyntaxError, ValueError):
            pass
    setup = others[0]
    known = prompt | imported_by(setup) | set(dir(builtins))
    local = set().union(*(bound_by(tree) for tree in trees), bound_by(others[1]))
    used = set().union(*(used_by(tree) for tree in trees), used_by(others[1]))
    entry_point = job["entry_point"]
    # A builtin that the reference does not define is Python's.
    is_own = entry_point in reference or entry_point not in dir(builtins)
    names = ({entry_point} if is_own else set()) | (used & reference - prompt) | (used - known - local)
    return sorted(name for name in names if name and name.isidentifier())


def defined_by(tree):
    """Names that a program's own statements bind at its top level, imports apart."""
    names = set()
    for statement in tree.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif not isinstance(statement, (ast.Import, ast.ImportFrom)):
            names |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names


def imported_by(tree):
    names = defined_by(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.name == "*":
                    module = sys.modules.get(node.module) or __import__(node.module, fromlist=["*"])
                    names |= set(getattr(module, "__all__", dir(module)))
                else:
                    names.add(alias.asname or alias.name.split(".")[0])
    return names


def bound_by(tree):
    """Every name that a test binds somewhere."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def used_by(tree):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
