"""Checks the calls on stdin against a file of EvalPlus: run by evalplus.rs, which gives the path.

Each call's arguments must be the file's, up to what JSON cannot hold; and where EvalPlus can be
imported, exactly what it makes of them. Prints how many calls it saw.
"""

import ast
import gzip
import json
import sys

try:
    from evalplus.data.mbpp import mbpp_deserialize_inputs
except ImportError:
    mbpp_deserialize_inputs = None


def is_like(made, given):
    """Whether an argument may have been made of what the file has."""
    if isinstance(made, (list, tuple)):
        return isinstance(given, (list, str)) and len(made) == len(given) and all(map(is_like, made, given))
    if isinstance(made, set):
        return made == set(given)
    if isinstance(made, dict):
        return not made and not given or list(made) == list(given) and all(is_like(made[key], given[key]) for key in made)
    if isinstance(made, complex) or isinstance(given, str) and isinstance(made, float):
        return not isinstance(given, (list, dict)) and repr(made) == repr(type(made)(given))
    return is_same(made, given)


def is_same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(is_same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(is_same(one[key], other[key]) for key in one)
    return one == other if isinstance(one, set) else repr(one) == repr(other)


def arguments(text, entry_point):
    call = ast.parse(text, mode="eval").body
    assert isinstance(call, ast.Call) and call.func.id == entry_point and not call.keywords, text
    return [eval(compile(ast.Expression(argument), "<call>", "eval"), {}) for argument in call.args]


count = 0
calls = json.load(sys.stdin)
for line, (task, parts) in zip(gzip.open(sys.argv[1], "rt"), calls, strict=True):
    record = json.loads(line)
    assert record["task_id"] == task
    for field, part in zip(("base_input", "plus_input"), parts):
        exact = None
        if mbpp_deserialize_inputs and task.startswith("Mbpp/"):
            exact = mbpp_deserialize_inputs(task, record[field])
        for index, (text, given) in enumerate(zip(part, record[field], strict=True)):
            made = arguments(text, record["entry_point"])
            right = is_same(made, list(exact[index])) if exact is not None else is_like(made, given)
            if not right:
                print(f"{task} {field}[{index}]: {text[:200]} of {str(given)[:200]}")
                sys.exit(1)
            count += 1
print(count)
