"""Our verdicts on mutated reference solutions against plain execution of the asserts.

    bench/mutants.py [MUTANTS A REFERENCE [SEED]]

Every reference of ../shared/data's MBPP and HumanEval is changed in one place by each of so many
random syntactic mutations. Plain execution runs setup, program and asserts in one forked process:
what a mutant without malice makes of that is the truth. Of mutants that still run after half a second
only LOOPING are judged, since each costs both sides its whole time. Prints agreement and every
disagreement. Those to expect are of prompts with helper functions: a mutant that changes such a helper
is in one module with it here, while the judge's tests use the problem's own.
"""

import ast
import collections
import concurrent.futures
import copy
import gzip
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = pathlib.Path(os.environ.get("NCOMP", ROOT / "target/release/ncomp"))
DATA = ROOT.parent / "shared/data"
IMPORTS = "import math\nimport heapq\nimport itertools\nimport re\nimport collections\nfrom collections import *\nfrom typing import *\n"
CPU_SECONDS = 0.5
LOOPING = 200
OPERATORS = [ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod]
COMPARISONS = [ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq]


def mutations(tree):
    """Functions that each change one place of a tree (a copy of it has the same places)."""
    places = list(ast.walk(tree))
    for at, node in enumerate(places):
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            yield from ((at, "op", kind()) for kind in OPERATORS if kind is not type(node.op))
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
            yield from ((at, "ops", [kind(), *node.ops[1:]]) for kind in COMPARISONS if kind is not type(node.ops[0]))
        if isinstance(node, ast.BoolOp):
            yield at, "op", ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        if isinstance(node, ast.Constant) and type(node.value) is int:
            yield from ((at, "value", value) for value in (node.value + 1, node.value - 1, 0) if value != node.value)
        if isinstance(node, ast.Constant) and type(node.value) is str and node.value:
            yield at, "value", node.value[1:]
        if isinstance(node, ast.Return) and node.value is not None:
            yield at, "value", ast.Constant(None)
            yield at, "value", ast.List([node.value], ast.Load())
        if isinstance(node, (ast.If, ast.While)):
            yield at, "test", ast.UnaryOp(ast.Not(), node.test)
        for field in ("body", "orelse"):
            statements = getattr(node, field, None)
            if isinstance(statements, list) and len(statements) > 1:
                for gone in range(len(statements)):
                    yield at, field, statements[:gone] + statements[gone + 1 :]


def mutants(source, count, chance):
    tree = ast.parse(source)
    found = list(mutations(tree))
    chance.shuffle(found)
    for at, field, value in found[:count]:
        changed = copy.deepcopy(tree)
        setattr(list(ast.walk(changed))[at], field, copy.deepcopy(value))
        yield ast.unparse(ast.fix_missing_locations(changed))


def plain(program, seconds=CPU_SECONDS):
    """Whether a program with its asserts runs to its end; None if it runs out of time."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        try:
            random.seed(0)
            exec(compile(program, "<mutant>", "exec"), {"__name__": "candidate"})
            os.write(writer, b"1")
        finally:
            os._exit(0)
    os.close(writer)
    passed = os.read(reader, 1) == b"1"
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    return None if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF else passed


def sets():
    lines = (DATA / "mbpp/mbpp.jsonl").open().readlines()
    for record in map(json.loads, lines):
        tests = "\n".join([record["test_setup_code"], *record["test_list"]])
        yield "mbpp", f"Mbpp/{record['task_id']}", record["code"].replace("\r\n", "\n"), "", tests
    for record in map(json.loads, gzip.open(DATA / "humaneval/HumanEval.jsonl.gz", "rt")):
        tests = record["test"] + f"\ncheck({record['entry_point']})"
        yield "humaneval", record["task_id"], record["prompt"] + record["canonical_solution"], record["prompt"], tests


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    files = {"mbpp": DATA / "mbpp/mbpp.jsonl", "humaneval": DATA / "humaneval/HumanEval.jsonl.gz"}
    made = []
    for name, problem, source, prefix, tests in sets():
        for code in mutants(source, count, chance):
            program = f"{IMPORTS}\n{prefix}\n    pass\n{code}\n{tests}" if prefix else f"{IMPORTS}\n{code}\n{tests}"
            made.append((name, problem, code, program))
    with concurrent.futures.ProcessPoolExecutor() as pool:
        ends = list(pool.map(plain, [program for *_, program in made], chunksize=20))
    samples, truth, looping = collections.defaultdict(list), {}, 0
    for (name, problem, code, _), end in zip(made, ends):
        looping += end is None
        if end is not None or looping <= LOOPING:
            index = sum(sample["task_id"] == problem for sample in samples[name][-count:])
            samples[name].append({"task_id": problem, "solution": code})
            truth[problem, index] = bool(end)
    ours = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, records in samples.items():
            path = pathlib.Path(directory, f"{name}.jsonl")
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
            subprocess.run([OURS, "execute", "--samples", path, "--problems", files[name], "--json"], check=True, stdout=subprocess.DEVNULL)
            for line in path.with_suffix(".verdicts.jsonl").open():
                verdict = json.loads(line)
                ours[verdict["problem"], verdict["index"]] = verdict
    kinds, separations = collections.Counter(), collections.Counter()
    for key, expected in sorted(truth.items()):
        verdict = ours[key]
        passed = verdict["outcome"] == "passed"
        separations[verdict["separation"]] += 1
        kinds["agree" if passed == expected else "false pass" if passed else "false fail"] += 1
        if passed != expected:
            print(*key, "plain execution", "passes" if expected else "fails", "ours", verdict["outcome"], verdict.get("reason"), verdict["separation"], verdict["tests"][:1])
    total = sum(kinds.values())
    print(f"{len(made)} mutants made, {looping} run out of time; {total} judged, {sum(truth.values())} of them pass; agreement {100 * kinds['agree'] / total:.2f} %; {dict(kinds)}; {dict(separations)}")


if __name__ == "__main__":
    main()
