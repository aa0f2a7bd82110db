"""Writes plus_verdicts.jsonl: what EvalPlus itself says of random outputs, for tests/plus.rs.

    /opt/peers/bin/python crates/domains/python/tests/plus_verdicts.py

Each line is one part of a made-up problem, judged by `untrusted_check` of EvalPlus from PyPI: calls,
the candidate's outputs, the reference's, and whether each output was accepted. Several outputs share
a line because EvalPlus's tolerance depends on the expected values before.
"""

import json
import math
import pathlib
import random

from evalplus.eval import untrusted_check

CALLS = 24
INF, NAN = math.inf, math.nan
# By kind, as Plus has it: data set, function, tolerance, arguments of a call.
NO_ARGUMENTS = lambda chance: []
NUMBERS = lambda chance: [number(chance, 400), number(chance, 400)]
KINDS = {
    None: [("mbpp", "f", tolerance, NO_ARGUMENTS) for tolerance in (0, 0, 0, 1e-4, 1e-6)],
    "presence": [("mbpp", "check_str", 0, NO_ARGUMENTS)],
    "elements": [("mbpp", "Diff", 0, NO_ARGUMENTS), ("mbpp", "similar_elements", 0, NO_ARGUMENTS)],
    "anything": [("mbpp", "are_equivalent", 0, NO_ARGUMENTS)],
    "or_zero": [("mbpp", "sum_div", 0, NO_ARGUMENTS)],
    "or_surface_area": [("mbpp", "surface_Area", 0, NUMBERS)],
    "or_digit_distance": [("mbpp", "digit_distance_nums", 0, NUMBERS)],
    "root": [("humaneval", "find_zero", 1e-4, lambda chance: [[number(chance, 9) for _ in range(chance.choice([0, 2, 4]))]])],
}
LINES = {None: 12, "presence": 6, "elements": 10, "anything": 3, "or_zero": 4, "or_surface_area": 10, "or_digit_distance": 10, "root": 10}


def number(chance, size):
    kind = chance.random()
    if kind < 0.6:
        return chance.randint(-size // 4, size)
    return round(chance.uniform(-size, size), 2) if kind < 0.95 else chance.choice([True, 10**19, 0.0])


def value(chance, depth=0):
    kind = chance.random()
    if kind < 0.3:
        return round(chance.uniform(-9, 9), 3)
    if kind < 0.5:
        return chance.randint(-3, 9)
    if kind < 0.56:
        return chance.choice([True, False, None, "ab", b"a", 1 + 2j, INF, -INF, NAN, 2**63, -(2**63), 2**64, 10**30, 10**400])
    if depth > 2:
        return 1.5
    items = [value(chance, depth + 1) for _ in range(chance.choice([0, 1, 2, 2, 3]))]
    if kind < 0.78:
        return items
    if kind < 0.93:
        return tuple(items)
    if kind < 0.96:
        return {index: item for index, item in enumerate(items)}
    return {item for item in items if isinstance(item, (int, float))}


def floats(chance):
    items = [round(chance.uniform(-9, 9), 3) for _ in range(chance.choice([1, 2, 3]))]
    return chance.choice([items, tuple(items), items[0], [items, items], [items, tuple(items)]])


def near(chance, reference):
    """Something that a rule may or may not take for the reference."""
    kind = chance.random()
    if kind < 0.2:
        return value(chance)
    if isinstance(reference, (list, tuple)):
        items = [near(chance, item) if chance.random() < 0.5 else item for item in reference]
        if kind < 0.3:
            items = items[1:] if chance.random() < 0.5 else items[:1] * chance.choice([1, 2, 3])
        if kind < 0.4:
            items = [[item] for item in items]
        if kind < 0.5:
            chance.shuffle(items)
        return (tuple if isinstance(reference, tuple) != (kind > 0.9) else list)(items)
    if isinstance(reference, (int, float, complex)) and kind < 0.8:
        step = chance.choice([0, 1e-7, 5e-7, 2e-6, 5e-5, 2e-4, 1, 1e-7j])
        try:
            return chance.choice([reference + step, reference, float(reference), complex(reference), reference == 1])
        except (OverflowError, TypeError):
            return reference
    return reference


def outputs(chance, kind, arguments):
    """The candidate's and the reference's."""
    reference = floats(chance) if chance.random() < 0.3 else value(chance)
    candidate = near(chance, reference)
    if kind == "elements" and chance.random() < 0.6:
        items = [chance.choice([1, 2, 3.5, "a", (1, 2), True]) for _ in range(chance.randint(0, 4))]
        reference = chance.choice([tuple, list, set])(items)
        candidate = chance.choice([items[::-1], items * 2, set(items), dict.fromkeys(items), items[1:], "a", "aa"])
    if kind == "or_surface_area" and chance.random() < 0.7:
        from evalplus.eval._special_oracle import _surface_Area

        candidate = _surface_Area(*arguments) + chance.choice([0, 0, 0.0, 1e-7, 1, 0j])
    if kind == "or_digit_distance" and chance.random() < 0.7:
        candidate = sum(abs(int(a) - int(b)) for a, b in zip(f"{arguments[0]:>20}".replace(" ", "0"), f"{arguments[1]:>20}".replace(" ", "0"))) if all(type(a) is int and a >= 0 for a in arguments) else 3
    if kind == "root" and chance.random() < 0.8 and len(arguments[0]) == 2 and arguments[0][1]:
        candidate = -arguments[0][0] / arguments[0][1] + chance.choice([0, 1e-7, 1e-5, 1e-3])
    return candidate, reference


def readable(thing):
    """A literal that pydata reads: as repr, but infinities and what is not a number by name."""
    if isinstance(thing, float) and not math.isfinite(thing):
        return f"float('{thing}')"
    if isinstance(thing, list):
        return "[" + ", ".join(map(readable, thing)) + "]"
    if isinstance(thing, tuple):
        return "(" + "".join(readable(item) + ", " for item in thing) + ")"
    if isinstance(thing, dict):
        return "{" + ", ".join(f"{readable(k)}: {readable(v)}" for k, v in thing.items()) + "}"
    if isinstance(thing, set) and thing:
        return "{" + ", ".join(map(readable, thing)) + "}"
    return repr(thing)


def is_root(candidate, inputs, tolerance):
    """EvalPlus 0.3.1 counts only the calls of find_zero that fail, and then fails what passed, for its
    count is short (`continue` in unsafe_execute). What it says of a single call is there to see."""
    code = f"def find_zero(*arguments):\n    return {readable(candidate)}\n"
    _, details = untrusted_check("humaneval", code, [inputs], "find_zero", [0.0], tolerance, [0.0])
    return len(details) == 0


def line(chance, kind):
    data_set, function, tolerance, arguments_of = chance.choice(KINDS[kind])
    arguments = [arguments_of(chance) for _ in range(CALLS)]
    pairs = [outputs(chance, kind, inputs) for inputs in arguments]
    # As trusted_exec makes them of the reference's outputs.
    expected = [reference is not None if kind == "presence" else reference for _, reference in pairs]
    given = "[" + ", ".join(readable(candidate) for candidate, _ in pairs) + "]"
    code = f"outputs = iter({given})\ndef {function}(*arguments):\n    return next(outputs)\n"
    if kind == "root":
        accepted = [is_root(candidate, inputs, tolerance) for (candidate, _), inputs in zip(pairs, arguments)]
    else:
        _, accepted = untrusted_check(data_set, code, arguments, function, expected, tolerance, [0.0] * CALLS)
    assert len(accepted) == CALLS, "EvalPlus judged fewer: is the machine busy?"
    return {
        "oracle": kind,
        "tolerance": tolerance,
        "calls": [f"{function}({', '.join(map(readable, inputs))})" for inputs in arguments],
        "candidates": [readable(candidate) for candidate, _ in pairs],
        "references": [readable(reference) for _, reference in pairs],
        "accepted": [bool(verdict) for verdict in accepted],
    }


def main():
    chance = random.Random(1)
    lines = [line(chance, kind) for kind, count in LINES.items() for _ in range(count)]
    path = pathlib.Path(__file__).with_suffix(".jsonl")
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    accepted = sum(sum(line["accepted"]) for line in lines)
    print(f"{path}: {len(lines)} parts, {len(lines) * CALLS} outputs, {accepted} accepted")


if __name__ == "__main__":
    main()
