"""Time of `ncomp solve` to a verified answer on validation problems of MBPP, by one binary or several in turns.

    solve.py MODEL.gguf NAME=NCOMP [NAME=NCOMP …] [--problems 20] [--seed 0] [--json]

The problems are the first of ids 511 to 600 in ../shared/data; their tests are given with --test. Each run
is a process of its own, so that loading the model counts. Printed for each binary: how many answers were verified, and
over the problems that all binaries verified the median of seconds and of CPU seconds (of the program and of
the candidates that it ran). On a machine that others use, only the latter means anything.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent / "shared/data"
VALIDATION = range(511, 601)


def problems(count):
    lines = (SHARED / "mbpp/mbpp.jsonl").open()
    return [problem for problem in map(json.loads, lines) if problem["task_id"] in VALIDATION][:count]


def solve(binary, model, problem, seed):
    tests = [part for test in problem["test_list"] for part in ("--test", test)]
    command = [binary, "solve", problem["text"], *tests, "--model", model, "--seed", str(seed)]
    before, started = os.times(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds, after = time.monotonic() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    if done.returncode not in (0, 4):
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return {"verified": done.returncode == 0, "seconds": seconds, "cpu_seconds": cpu}


def option(arguments, name, default):
    if name not in arguments:
        return default
    at = arguments.index(name)
    value = arguments[at + 1]
    del arguments[at:at + 2]
    return int(value)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    count, seed = option(arguments, "--problems", 20), option(arguments, "--seed", 0)
    model, *named = arguments
    binaries = dict(argument.split("=", 1) for argument in named)
    runs = {name: [] for name in binaries}
    for problem in problems(count):
        for name, binary in binaries.items():
            runs[name].append(solve(binary, model, problem, seed))
            print(problem["task_id"], name, runs[name][-1], file=sys.stderr)
    both = [all(of[at]["verified"] for of in runs.values()) for at in range(len(next(iter(runs.values()))))]
    report = {}
    for name, of in runs.items():
        common = [run for run, verified in zip(of, both) if verified]
        report[name] = {
            "verified": sum(run["verified"] for run in of), "problems": len(of), "compared": len(common),
            **{key: round(statistics.median(run[key] for run in common), 2) for key in ("seconds", "cpu_seconds") if common},
        }
    print(json.dumps(report) if "--json" in sys.argv else "\n".join(f"{name}: {found}" for name, found in report.items()))


main()
