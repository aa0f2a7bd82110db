"""pass@1 of one model in several forms of its weights, paired by problem.

    weights.py NCOMP MODEL PROBLEMS.jsonl FOLDER [--weights as-stored,q8_0,bf16,f32] [--problems 60] [--samples 50]
               [--seconds N] [--json]

Samples and judges on the processor, ten problems at a time in every form in turn, so that at any time all forms
have the same problems; `cuda` as a form is bf16 on a GPU. FOLDER keeps everything: the same command goes on
where the last one ended, and after --seconds it stops by itself. Then, or with --seconds 0 at once, it prints
for each form after the first how much its pass@1 is above the first's, over the problems that both have whole,
with a 95 % interval (bootstrap over problems). Samples are drawn as the protocol has them: temperature 0.8,
top-p 0.95, the visible test in the prompt. Needs Python's standard library.
"""

import json
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import time

AT_A_TIME, RESAMPLES = 10, 10_000


def option(arguments, name, default):
    if name not in arguments:
        return default
    at = arguments.index(name)
    value = arguments[at + 1]
    del arguments[at:at + 2]
    return value


class OutOfTime(Exception):
    pass


def run(command, deadline, log):
    """Runs a program to its end, or tells it to stop at the deadline: it keeps what it has."""
    if time.monotonic() >= deadline:
        raise OutOfTime
    with open(log, "w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            status = process.wait(None if deadline == float("inf") else max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise OutOfTime from None
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit status {status}\n{pathlib.Path(log).read_text()[-2000:]}")


def lines(path):
    """Records of a file; a last line that was cut off is none, as for ncomp."""
    return [json.loads(line) for line in path.open() if line.endswith("\n")] if path.exists() else []


def do(ncomp, model, form, problems, count, samples, folder, part, deadline):
    """Samples and verdicts of one part of the problems in one form."""
    drawn, judged = folder / f"{form}-{part:02}.jsonl", folder / f"{form}-{part:02}.verdicts.jsonl"
    device = ["--device", "cuda"] if form == "cuda" else ["--device", "cpu", "--weights", form]
    if len(lines(drawn)) < count * samples:
        run([ncomp, "generate", "--model", model, *device, "--problems", problems, "--split", "all", "-n", str(samples),
             "--seed", "0", "--out", drawn], deadline, folder / "generate.log")
    if len(lines(judged)) < count * samples:
        run([ncomp, "execute", "--problems", problems, "--samples", drawn, "--out", judged], deadline, folder / "execute.log")


def shares(folder, form, samples):
    """Share of passing samples of each problem that has all of them."""
    passed = {}
    for path in sorted(folder.glob(f"{form}-??.verdicts.jsonl")):
        for verdict in lines(path):
            if verdict["outcome"] != "infrastructure":
                passed.setdefault(verdict["problem"], []).append(verdict["outcome"] == "passed")
    return {problem: statistics.mean(outcomes) for problem, outcomes in passed.items() if len(outcomes) == samples}


def compared(first, other):
    common = sorted(first.keys() & other.keys())
    if not common:
        return {"problems": 0}
    differences = [other[problem] - first[problem] for problem in common]
    chance = random.Random(0)
    means = sorted(statistics.fmean(chance.choices(differences, k=len(differences))) for _ in range(RESAMPLES))
    return {"problems": len(common), "pass@1": statistics.fmean(other[problem] for problem in common),
            "first's": statistics.fmean(first[problem] for problem in common), "difference": statistics.fmean(differences),
            "interval": [means[RESAMPLES * 25 // 1000], means[RESAMPLES * 975 // 1000]]}


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    forms = option(arguments, "--weights", "as-stored,q8_0,bf16,f32").split(",")
    count, samples = int(option(arguments, "--problems", "60")), int(option(arguments, "--samples", "50"))
    seconds = option(arguments, "--seconds", None)
    ncomp, model, problems, folder = arguments
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    deadline = float("inf") if seconds is None else time.monotonic() + float(seconds)
    texts = [line for line in open(problems) if line.strip()][:count]
    try:
        for part, at in enumerate(range(0, len(texts), AT_A_TIME)):
            some = texts[at:at + AT_A_TIME]
            file = folder / f"problems-{part:02}.jsonl"
            file.write_text("".join(some))
            for form in forms:
                started = time.monotonic()
                do(ncomp, model, form, file, len(some), samples, folder, part, deadline)
                print(f"problems {at + 1} to {at + len(some)}, {form}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    except OutOfTime:
        print("out of time; the same command goes on", file=sys.stderr)
    found = {form: shares(folder, form, samples) for form in forms}
    report = {form: compared(found[forms[0]], found[form]) for form in forms}
    if "--json" in sys.argv:
        print(json.dumps(report))
        return
    for form, of in report.items():
        if not of["problems"]:
            print(f"{form}: no problem is whole")
            continue
        low, high = (100 * bound for bound in of["interval"])
        print(f"{form}: pass@1 {100 * of['pass@1']:.1f} % of {of['problems']} problems × {samples}"
              + ("" if form == forms[0] else f"; {100 * of['difference']:+.1f} points above {forms[0]} [{low:+.1f}, {high:+.1f}]"))


main()
