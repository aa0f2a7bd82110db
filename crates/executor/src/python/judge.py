"""The interpreter that holds tests: it takes them apart, and runs those that are more than a
comparison. It never sees a candidate's code; where a test calls the candidate, the call goes to
the worker as plain data and so comes the value back.

Requests are frames of a length (4 bytes, little endian) and JSON; answers are a tag, a length and
a payload:

    lower   R    JSON: for each test its pieces, or the error that makes it unusable
    check   C    the test calls: name, arguments, keywords as plain data; the worker answers with a
                 frame of V and the value, or E and the exception's text
            X    the worker's word that there will be no answer
            P, E the test passed, or raised
            U    the test cannot be run from here: it hands over what is not plain data
"""

import ast
import builtins
import random

LIMIT = 1 << 24


def frame(tag, payload=b""):
    control.sendall(tag + struct.pack("<I", len(payload)) + payload)


def lower(source, entry_point):
    """A test as pieces: comparisons of a call with a literal, and what is left over."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        return {"error": "%s, line %s" % (error.args[0], getattr(error, "lineno", "?"))}
    check = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    statements, name = (tree.body, entry_point) if check is None else (check.body, check.args.args[0].arg)
    pieces, left = [], []
    local = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for statement in statements:
        piece = comparison(statement, name, entry_point, local)
        (pieces if piece else left).append(piece or statement)
    if any(not is_idle(statement) for statement in left):
        if pieces:
            statements[:] = left
            source = ast.unparse(tree)
        pieces.append({"source": source})
    return {"pieces": pieces}


def is_idle(statement):
    """Whether leaving a statement out changes nothing: documentation, `pass`, `assert True`."""
    if isinstance(statement, ast.Assert):
        return isinstance(statement.test, ast.Constant) and bool(statement.test.value)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def comparison(statement, name, entry_point, local):
    """`assert name(literals) == literal` as data, otherwise None."""
    if not isinstance(statement, ast.Assert) or not isinstance(statement.test, ast.Compare):
        return None
    test = statement.test
    if len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return None
    call, expected = test.left, test.comparators[0]
    if not isinstance(call, ast.Call):
        call, expected = expected, call
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != name:
        return None
    if any(keyword.arg is None for keyword in call.keywords):
        return None
    try:
        for part in [*call.args, *(keyword.value for keyword in call.keywords), expected]:
            ast.literal_eval(part)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    call.func.id = entry_point
    return {"call": ast.unparse(call), "expected": ast.unparse(expected)}


class Unfit(BaseException):
    """The test hands over what is not plain data."""


class Abandoned(BaseException):
    """There will be no answer: the candidate is gone, or gave what is no answer."""


class CandidateError(Exception):
    """The candidate raised an exception of its own."""


def proxy(name):
    def call(*arguments, **keywords):
        try:
            payload = encode((name, list(arguments), keywords), LIMIT)
        except (NotPlain, TooLarge, UnicodeEncodeError) as error:
            raise Unfit(str(error))
        frame(b"C", payload)
        header = receive(5)
        payload = receive(struct.unpack("<I", header[1:])[0])
        if header[:1] == b"V":
            return decode(payload)
        if header[:1] == b"X":
            raise Abandoned
        text = payload.decode("utf-8", "replace")
        kind = getattr(builtins, text.split(":")[0], None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            raise kind(text.partition(": ")[2])
        raise CandidateError(text)

    return call


def check(request):
    """Runs a test; the names that nothing defines are the candidate's."""
    namespace = {"__name__": "test"}
    random.seed(0)
    try:
        exec(request["setup"], namespace)
        tree = ast.parse(request["source"])
        loaded = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name in loaded | {request["entry_point"]}:
            if name not in namespace and not hasattr(builtins, name):
                namespace[name] = proxy(name)
        exec(compile(tree, "<test>", "exec"), namespace)
    except Unfit as error:
        return b"U", str(error)[:200].encode("utf-8", "replace")
    except BaseException as error:
        text = "%s: %s" % (type(error).__name__, error)
        return b"E", text[:200].encode("utf-8", "replace")
    return b"P", b""


def main():
    while True:
        request = json.loads(receive(struct.unpack("<I", receive(4))[0]))
        if request["op"] == "lower":
            lowered = [lower(source, request["entry_point"]) for source in request["tests"]]
            frame(b"R", json.dumps(lowered).encode())
        else:
            frame(*check(request))


if __name__ == "__main__":
    confine()
    main()
