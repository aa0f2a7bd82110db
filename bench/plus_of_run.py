"""How many of a run's answers also pass EvalPlus's plus tests: greedy ones, and the combined picks of each level.

    python3 bench/plus_of_run.py RUN… --ncomp target/release/ncomp --problems HumanEvalPlus.jsonl.gz

RUN is a run's directory, of one seed each; only problems that the file has count. Prints the mean over the runs, in
percent of these problems: by the set's own tests, and by those and the plus tests.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import tempfile

parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("runs", type=pathlib.Path, nargs="+")
parser.add_argument("--ncomp", default="target/release/ncomp")
parser.add_argument("--problems", required=True)
given = parser.parse_args()


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def answers(run):
    """Each way to answer: its name, and the program for each problem."""
    for name in ("baseline", "grpo"):
        yield name, {c["problem"]: c["code"] for c in read(run / f"generated/{name}.jsonl")}
    for path in sorted((run / "choices").glob("*.jsonl")):
        pool = path.stem.rsplit("-level-", 1)[0]
        codes = {(c["problem"], c["index"]): c["code"] for c in read(run / f"generated/{pool}.jsonl")}
        picks = [(choice["problem"], choice["pick"]) for choice in read(path) if choice["pick"]]
        yield path.stem, {problem: codes[problem, pick[0]] for problem, pick in picks}


found = collections.defaultdict(list)
with tempfile.TemporaryDirectory() as directory:
    directory = pathlib.Path(directory)
    for run in given.runs:
        for name, programs in answers(run):
            samples, out = directory / "samples.jsonl", directory / "verdicts.jsonl"
            out.unlink(missing_ok=True)
            lines = [json.dumps({"task_id": problem, "solution": code}) for problem, code in programs.items()]
            samples.write_text("\n".join(lines) + "\n")
            command = [given.ncomp, "execute", "--problems", given.problems, "--samples", samples, "--out", out, "--json"]
            done = subprocess.run(command, capture_output=True, text=True)
            results = next(directory.glob("samples*_eval_results.json"), None) or next(directory.glob("*_eval_results.json"), None)
            if results is None:
                raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr}")
            judged = [row for rows in json.loads(results.read_text())["eval"].values() for row in rows]
            results.unlink()
            base = sum(row["base_status"] == "pass" for row in judged)
            plus = sum(row["base_status"] == row["plus_status"] == "pass" for row in judged)
            found[name].append((len(judged), 100 * base / len(judged), 100 * plus / len(judged)))
for name, rows in found.items():
    mean = [sum(row[at] for row in rows) / len(rows) for at in range(3)]
    print(f"{name:24} {mean[0]:4.0f} problems  base {mean[1]:5.1f}  plus {mean[2]:5.1f}")
