"""Real candidates judged twice, the second time on a busy machine: do any labels flip?

    bench/relabel.py [SAMPLES]

Judges Qwen2.5-1.5B-Instruct's samples for MBPP from ../shared/data (or another file of samples for
MBPP): with one worker on an idle machine, then with a worker a processor beside three endless
loops. Prints the labels that differ, and where the samples have the label that their source
reported, how many agree and how those that do not were judged.
"""

import collections
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ROOT / "target/release/ncomp"
DATA = ROOT.parent / "shared/data"
SAMPLES = DATA / "samples/qwen2.5-1.5b-instruct-mbpp-trainval.jsonl.gz"
MBPP = DATA / "mbpp/mbpp.jsonl"
BUSY = 3


def judge(samples, directory, *options):
    """Outcome by problem and index."""
    path = pathlib.Path(directory) / samples.name
    path.parent.mkdir()
    path.write_bytes(samples.read_bytes())
    started = time.perf_counter()
    subprocess.run([OURS, "execute", "--problems", MBPP, "--samples", path, "--json", *options], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    verdicts = map(json.loads, next(path.parent.glob("*.verdicts.jsonl")).open())
    return {(verdict["problem"], verdict["index"]): verdict["outcome"] for verdict in verdicts}, seconds


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
    for path in (samples, MBPP):
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
    labels = {key: label for key, label in reported(samples).items() if key in idle}
    if labels:
        wrong = collections.Counter((label, idle[key]) for key, label in labels.items() if label != (idle[key] == "passed"))
        agree = len(labels) - sum(wrong.values())
        print(f"agreement with the reported labels: {agree} of {len(labels)}, {100 * agree / len(labels):.2f} %")
        for (label, outcome), count in wrong.most_common():
            print(f"  reported {'pass' if label else 'fail'}, judged {outcome}: {count}")


if __name__ == "__main__":
    main()
