"""Our base and plus verdicts beside EvalPlus's own, sample by sample.

    plus.py samples DIRECTORY               makes the samples
    plus.py theirs DIRECTORY                judges them with EvalPlus (slow: one process)
    plus.py ours DIRECTORY [OPTION ...]     judges them with ncomp execute and these options
    plus.py again DIRECTORY                 has EvalPlus judge again what only ours passes
    plus.py compare DIRECTORY               prints the agreement and every difference

The samples are, for every problem of MBPP+ and HumanEval+ in ../shared/data/evalplus, the reference
as `solution` and as `completion` and mutants of it, and for MBPP+ the candidates in
../shared/data/samples of the problems that it shares with MBPP's train and validation splits. A step
whose results are there already is left out; remove them to run it again.

A sample agrees where both pass it or neither does: EvalPlus has `timeout` where a whole part takes
too long and `fail` where one call does, and no use of its results tells them apart.

Run by plus.sh, which builds ours and has a Python with EvalPlus from PyPI.
"""

import collections
import gzip
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

from mutants import DATA, OURS, mutants

SETS = {"mbpp": ("MbppPlus", "MBPP_OVERRIDE_PATH"), "humaneval": ("HumanEvalPlus", "HUMANEVAL_OVERRIDE_PATH")}
MUTANTS = 8
CANDIDATES = {
    "qwen2.5-coder-1.5b-instruct-mbpp-trainval-50": 8,
    "qwen2.5-1.5b-instruct-mbpp-trainval": 4,
    "gpt-3.5-turbo-0613-mbpp-sanitized-trainval": 4,
}
# Their references take 20 to 30 s, and the expected values of one of them 1.3 GB, which EvalPlus
# sends to another process with each sample.
SLOW = {"Mbpp/255": 3, "Mbpp/599": 4}
PARTS = ("base", "plus")


def published(name):
    with gzip.open(DATA / "evalplus" / f"{SETS[name][0]}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def candidates():
    """Programs of each file by problem, the first distinct ones."""
    for name, count in CANDIDATES.items():
        chosen = collections.defaultdict(list)
        with gzip.open(DATA / "samples" / f"{name}.jsonl.gz", "rt") as file:
            for sample in map(json.loads, file):
                programs = chosen[f"Mbpp/{sample['task_id']}"]
                if len(programs) < count and sample["solution"] not in programs:
                    programs.append(sample["solution"])
        yield chosen


def samples_of(problem, chosen, chance):
    program = problem["prompt"] + problem["canonical_solution"]
    yield {"solution": program}
    yield {"completion": problem["canonical_solution"]}
    yield from ({"solution": code} for code in mutants(program, MUTANTS, chance))
    for programs in chosen:
        yield from ({"solution": code} for code in programs[problem["task_id"]])


def make_samples(directory):
    directory.mkdir(parents=True, exist_ok=True)
    chosen = list(candidates())
    for name in SETS:
        path = directory / f"{name}.jsonl"
        if path.exists():
            continue
        chance, lines = random.Random(1), []
        for problem in published(name):
            found = list(samples_of(problem, chosen, chance))[: SLOW.get(problem["task_id"])]
            lines += [json.dumps({"task_id": problem["task_id"], **sample}) + "\n" for sample in found]
        path.write_text("".join(lines))
        print(f"{path}: {len(lines)} samples")


def keyed(samples):
    """With its problem and its place among the problem's samples, which names it in every result."""
    seen = collections.Counter()
    for sample in samples:
        task = sample["task_id"]
        yield (task, seen[task]), sample
        seen[task] += 1


def evalplus(place, name, chosen):
    """EvalPlus's entries on samples of a set, by key; one process after another."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    tasks = {task for task, _ in chosen}
    problems, samples = place / "problems.jsonl", place / "samples.jsonl"
    problems.write_text("".join(json.dumps(problem) + "\n" for problem in published(name) if problem["task_id"] in tasks))
    samples.write_text("".join(json.dumps(sample) + "\n" for sample in chosen.values()))
    # Expected values are pickled into the cache.
    environment = {**os.environ, SETS[name][1]: str(problems), "XDG_CACHE_HOME": str(place)}
    command = ["-m", "evalplus.evaluate", "--dataset", name, "--samples", str(samples), "--parallel", "1"]
    with open(place / "log", "w") as log:
        subprocess.run([sys.executable, *command], check=True, env=environment, stdout=log, stderr=log)
    evaluated = json.loads((place / "samples_eval_results.json").read_text())["eval"]
    shutil.rmtree(place)
    places = {task: iter([at for other, at in chosen if other == task]) for task in tasks}
    return {(task, next(places[task])): entry for task, entries in evaluated.items() for entry in entries}


def judge_theirs(directory):
    for name in SETS:
        with open(directory / f"{name}.jsonl") as file:
            samples = dict(keyed(map(json.loads, file)))
        # The slow ones apart: each of EvalPlus's processes has all expected values, and its forks take
        # three times as long with theirs.
        for group in ("quick", "slow"):
            chosen = {key: sample for key, sample in samples.items() if (key[0] in SLOW) == (group == "slow")}
            judge_group(directory / "theirs", name, group, chosen)


def judge_group(place, name, group, chosen):
    path = place / f"{name}-{group}.jsonl"
    if path.exists() or not chosen:
        return
    started = time.perf_counter()
    entries = evalplus(place / "working", name, chosen)
    path.write_text("".join(json.dumps([*key, entry]) + "\n" for key, entry in entries.items()))
    print(f"EvalPlus, {name}, {group}: {len(entries)} samples, {time.perf_counter() - started:.0f} s")


def judge_again(directory):
    """EvalPlus's limits are wall time: what it fails and ours passes, it judges again, alone."""
    for name in SETS:
        theirs, ours = their_results(directory, name), our_results(directory, name)
        differs = lambda key: any(ours[key][f"{part}_status"] == "pass" != theirs[key][f"{part}_status"] for part in PARTS)
        with open(directory / f"{name}.jsonl") as file:
            chosen = {key: sample for key, sample in keyed(map(json.loads, file)) if key in ours and differs(key)}
        judge_group(directory / "theirs", name, "again", chosen)


def judge_ours(directory, options):
    for name, (published_name, _) in SETS.items():
        place = directory / "ours"
        place.mkdir(exist_ok=True)
        if (place / f"{name}_eval_results.json").exists():
            continue
        shutil.copy(directory / f"{name}.jsonl", place)
        problems = DATA / "evalplus" / f"{published_name}.jsonl.gz"
        command = [OURS, "execute", "--problems", problems, "--samples", place / f"{name}.jsonl", "--json", *options]
        started = time.perf_counter()
        with open(place / f"{name}.log", "w") as log:
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
        print(f"ours, {name}: {time.perf_counter() - started:.0f} s")


def our_results(directory, name):
    evaluated = json.loads((directory / "ours" / f"{name}_eval_results.json").read_text())["eval"]
    return {(task, at): entry for task, entries in evaluated.items() for at, entry in enumerate(entries)}


def their_results(directory, name):
    found = {}
    for group in ("quick", "slow", "again"):
        path = directory / "theirs" / f"{name}-{group}.jsonl"
        if path.exists():
            with path.open() as file:
                found |= {(task, at): entry for task, at, entry in map(json.loads, file)}
    return found


def compare_set(directory, name, differences):
    theirs, ours = their_results(directory, name), our_results(directory, name)
    if theirs.keys() != ours.keys():
        sys.exit(f"{name}: {len(theirs)} of EvalPlus's samples, {len(ours)} of ours, {len(theirs.keys() & ours.keys())} of both")
    for part in PARTS:
        pairs, differing = collections.Counter(), []
        for key, entry in theirs.items():
            pair = entry[f"{part}_status"], ours[key][f"{part}_status"]
            pairs[pair] += 1
            # Neither a pass nor a fail agrees with nothing.
            if pair[1] is None or (pair[0] == "pass") != (pair[1] == "pass"):
                differing.append((key, *pair))
        share = 100 * (len(theirs) - len(differing)) / len(theirs)
        print(f"{name} {part}: {len(theirs)} samples, {len(differing)} differ, agreement {share:.2f} %")
        for (one, other), count in sorted(pairs.items(), key=str):
            print(f"    EvalPlus {one}, ours {other}: {count}")
        for (task, at), one, other in differing:
            entry = ours[task, at]
            told = {key: entry[key] for key in ("outcome", "reason", "parts") if key in entry}
            failed = theirs[task, at][f"{part}_fail_tests"]
            print(f"  {task} sample {at}: EvalPlus {one} {str(failed)[:100]}, ours {other} {told}")
            differences.append({"task_id": task, "index": at, "part": part, "theirs": one, "ours": entry, "failed": failed})


def compare(directory):
    differences = []
    for name in SETS:
        compare_set(directory, name, differences)
    path = directory / "differences.jsonl"
    path.write_text("".join(json.dumps(difference) + "\n" for difference in differences))
    print(f"{path}: {len(differences)} differences with their programs")


def main():
    if not (DATA / "evalplus").exists():
        sys.exit(f"skipped: {DATA / 'evalplus'} is not there")
    step, directory = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    steps = {"samples": make_samples, "theirs": judge_theirs, "again": judge_again, "compare": compare}
    if step == "ours":
        judge_ours(directory, sys.argv[3:])
    else:
        steps[step](directory)


if __name__ == "__main__":
    main()
