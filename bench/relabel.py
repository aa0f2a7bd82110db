"""Real candidates judged twice, the second time on a busy machine: do any labels flip? And what does
plain execution of the same asserts say?

    bench/relabel.py [SAMPLES [PROBLEMS]]

Judges Qwen2.5-1.5B-Instruct's samples for MBPP from ../shared/data (or another file of samples for
MBPP): with one worker on an idle machine, then with a worker a processor beside three endless
loops (LOOPS says how many). Prints the labels that differ; how many agree with `python3` running the same program and
asserts (each distinct pair once, in a fork of its own), with every difference; and where the samples
have the label that their source reported, how many agree and how those that do not were judged.
"""

import collections
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = pathlib.Path(os.environ.get("NCOMP", ROOT / "target/release/ncomp"))
DATA = ROOT.parent / "shared/data"
SAMPLES = DATA / "samples/qwen2.5-1.5b-instruct-mbpp-trainval.jsonl.gz"
MBPP = DATA / "mbpp/mbpp.jsonl"
BUSY = int(os.environ.get("LOOPS", 3))
PROBLEMS = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else MBPP


def judge(samples, directory, *options):
    """Outcome by problem and index."""
    path = pathlib.Path(directory) / samples.name
    path.parent.mkdir()
    path.write_bytes(samples.read_bytes())
    started = time.perf_counter()
    subprocess.run([OURS, "execute", "--problems", PROBLEMS, "--samples", path, "--json", *options], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    verdicts = map(json.loads, next(path.parent.glob("*.verdicts.jsonl")).open())
    judged = {(verdict["problem"], verdict["index"]): verdict for verdict in verdicts}
    codes = {}
    results = json.loads(next(path.parent.glob("*_eval_results.json")).read_text())["eval"]
    for problem, entries in results.items():
        indices = sorted(index for id, index in judged if id == problem)
        codes.update({(problem, index): entry["solution"] for index, entry in zip(indices, entries)})
    CODES.update(codes)
    return {key: verdict["outcome"] for key, verdict in judged.items()}, seconds


CODES = {}


def plainly():
    """What plain execution says of each candidate, by problem and index."""
    sys.path.insert(0, str(ROOT / "bench"))
    from mutants import IMPORTS, plain

    text = PROBLEMS.read_text()
    records = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines()]
    tests = {}
    for record in records:
        imports = record.get("test_imports", [])
        tests[f"Mbpp/{record['task_id']}"] = "\n".join(imports), "\n".join([record.get("test_setup_code", ""), *record["test_list"]])
    known, found = {}, {}
    for key, code in CODES.items():
        imports, asserts = tests[key[0]]
        program = f"{IMPORTS}{imports}\n{code}\n{asserts}"
        if program not in known:
            known[program] = bool(plain(program, 2))
        found[key] = known[program]
    return found


def reported(samples):
    """The labels of the samples' source, by problem and index, where there are any."""
    labels, seen = {}, collections.Counter()
    with (gzip.open if samples.suffix == ".gz" else open)(samples, "rt") as file:
        for sample in map(json.loads, file):
            problem = str(sample["task_id"]).removeprefix("Mbpp/")
            if "passed_reported" in sample:
                labels[f"Mbpp/{problem}", sample.get("i", seen[problem])] = sample["passed_reported"]
            seen[problem] += 1
    return labels


def main():
    samples = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLES
    for path in (samples, PROBLEMS):
        if not path.exists():
            sys.exit(f"skipped: {path} is not there")
    with tempfile.TemporaryDirectory() as directory:
        idle, idle_seconds = judge(samples, f"{directory}/idle", "--workers", "1")
        loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
        try:
            busy, busy_seconds = judge(samples, f"{directory}/busy")
        finally:
            for loop in loops:
                loop.kill()
    print(f"{len(idle)} candidates: one worker {idle_seconds:.0f} s, a worker a processor beside {BUSY} endless loops {busy_seconds:.0f} s")
    differ = [key for key in idle if (idle[key] == "passed") != (busy[key] == "passed")]
    print(f"labels that differ: {len(differ)}")
    for key in differ:
        print(f"  {key[0]} {key[1]}: {idle[key]}, {busy[key]}")
    truth = plainly()
    wrong = [key for key in truth if truth[key] != (idle[key] == "passed")]
    print(f"agreement with plain execution: {len(truth) - len(wrong)} of {len(truth)}, {100 * (1 - len(wrong) / len(truth)):.2f} %")
    for key in wrong:
        print(f"  {key[0]} {key[1]}: plain execution {'passes' if truth[key] else 'fails'}, ours {idle[key]}")
    labels = {key: label for key, label in reported(samples).items() if key in idle}
    if labels:
        wrong = collections.Counter((label, idle[key]) for key, label in labels.items() if label != (idle[key] == "passed"))
        agree = len(labels) - sum(wrong.values())
        print(f"agreement with the reported labels: {agree} of {len(labels)}, {100 * agree / len(labels):.2f} %")
        for (label, outcome), count in wrong.most_common():
            print(f"  reported {'pass' if label else 'fail'}, judged {outcome}: {count}")


if __name__ == "__main__":
    main()
