"""What a real model's critic and GRPO come to on problems that neither has seen, by what they learn from.

    bench/learning.py critics    MODEL [OUT]     by number of problems, and by what is trained
    bench/learning.py objectives MODEL [OUT]     GRPO for the mean and for the best of several

MODEL is a GGUF file or a directory; OUT keeps everything, and what is in it is not made again. Training:
MBPP's 601 to 974 (sanitized where that has the problem) and, for critics, ../shared/data's algorithms, but
for what is named or worded like a test or validation problem. Measured on MBPP's 90 validation problems, 50
candidates each. Each row is printed as JSON when it is known. Takes a GPU; LIMIT=N takes only N problems
of each kind and CANDIDATES=N so many of each, to try it.
"""

import gzip
import json
import math
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = os.environ.get("NCOMP", str(ROOT / "target/release/ncomp"))
DATA = ROOT.parent / "shared/data"
LIMIT = int(os.environ.get("LIMIT", 0)) or None
CANDIDATES = os.environ.get("CANDIDATES", "")

HEAD = """seed = 0
[model]
path = "{model}"
prompt = "chat"
[problems]
source = "{out}/validation.jsonl"
also_train = ["{out}/{train}.jsonl"]
report_on = "validation"
"""
CRITIC = """[critic]
validation = 0.0
precision = "bf16"
[critic.training]
trainable_layers = 1000
max_tokens = 768
problems_per_step = 8
count_power = 0.0
details = {details}
[critic.training.optimizer]
learning_rate = {rate}
warmup_ratio = 0.05
decay = "linear"
"""
GRPO = """[executor]
timeout = 1.0
[grpo]
steps = {steps}
prompts_per_step = {prompts}
oversampling = 1.5
objective = "{objective}"
clip_range_high = 0.28
[grpo.optimizer]
learning_rate = 4e-5
decay = "linear"
[grpo.optimizer.lora]
rank = 8
alpha = 16.0
[critic]
validation = 0.0
"""
LORA = """[critic.training.optimizer.lora]
rank = 8
alpha = 16.0
"""
ATTENTION = LORA + 'target_modules = ["q_proj", "k_proj", "v_proj", "o_proj"]\n'
# What is learned from, as numbers of problems, and how: all weights or adapters, and what else is taught.
MBPP, ALL = (601, 974), (0, 10**9)
CRITICS = [
    ("a few problems, all weights", (601, 760), 0.0, 1e-5, ""),
    ("MBPP, all weights", MBPP, 0.0, 1e-5, ""),
    ("MBPP and algorithms, all weights", ALL, 0.0, 1e-5, ""),
    ("MBPP and algorithms, all weights, details", ALL, 0.5, 1e-5, ""),
    ("MBPP and algorithms, adapters of attention", ALL, 0.0, 2e-4, ATTENTION),
    ("MBPP and algorithms, adapters", ALL, 0.0, 2e-4, LORA),
    ("MBPP, adapters, details", MBPP, 0.5, 2e-4, LORA),
]


def words(text):
    return tuple(re.findall(r"\w+", text.lower()))


def text_of(record):
    return record.get("text") or record["prompt"]


def name_of(record):
    tests = " ".join(record["test_list"])
    called = [name for name in re.findall(r"^\s*def (\w+)", record["code"], re.M) if re.search(r"\b%s\(" % name, tests)]
    return called[-1] if called else re.search(r"(\w+)\(", record["test_list"][0][7:]).group(1)


def problem_sets(out):
    """Writes train.jsonl and validation.jsonl."""
    mbpp = {record["task_id"]: record for record in map(json.loads, (DATA / "mbpp/mbpp.jsonl").open())}
    sanitized = {record["task_id"]: record for record in json.load((DATA / "mbpp/sanitized-mbpp.json").open())}
    algorithms = list(map(json.loads, gzip.open(DATA / "algorithms-problems.jsonl.gz", "rt")))
    apart = [record for edition in (mbpp, sanitized) for number, record in edition.items() if 11 <= number <= 600]
    names, texts = {name_of(record) for record in apart}, {words(text_of(record)) for record in apart}
    either = lambda number: sanitized.get(number, mbpp[number])
    train = [record for record in [*map(either, range(601, 975)), *algorithms]
             if name_of(record) not in names and words(text_of(record)) not in texts]
    validation = [either(number) for number in range(511, 601)]
    for name, records in ("train", train), ("mbpp", [record for record in train if record["task_id"] < 1000]), ("validation", validation):
        (out / (name + ".jsonl")).write_text("".join(json.dumps(record) + "\n" for record in records[:LIMIT]))


def ours(*arguments, log=None):
    result = subprocess.run([OURS, *map(str, arguments)], capture_output=True, text=True)
    if log is not None:
        log.write_text(result.stdout + result.stderr)
    if result.returncode:
        sys.exit("ncomp %s failed:\n%s" % (arguments[0], result.stderr[-2000:]))
    return result.stdout


def candidates(out, model, name, problems, split, count, temperature=0.8):
    """Samples and judges; the file of samples and that of verdicts."""
    samples, verdicts = out / (name + ".jsonl"), out / (name + ".verdicts.jsonl")
    if not verdicts.exists():
        count = CANDIDATES if CANDIDATES and count > 1 else count
        ours("generate", "--model", model, "--problems", problems, "--split", split, "-n", count, "--temperature", temperature, "--top-p", 0.95, "--out", samples)
        ours("execute", "--problems", problems, "--samples", samples, "--json")
    return samples, verdicts


def passed(verdicts):
    found = {}
    for verdict in map(json.loads, verdicts.open()):
        found.setdefault(verdict["problem"], []).append(verdict["outcome"] == "passed")
    return found


def pass_at(found, k):
    """Chen et al., 2021."""
    of = lambda n, c: 1 - math.comb(n - c, k) / math.comb(n, k)
    return round(100 * sum(of(len(all_of), sum(all_of)) for all_of in found.values()) / len(found), 1)


def numbers_within(source, target, within):
    """The records of problems whose number is in a range; how many problems these are."""
    seen = set()
    with target.open("w") as file:
        for line in source.open():
            number = int(json.loads(line)["problem"].split("/")[1])
            if within[0] <= number <= within[1]:
                seen.add(number)
                file.write(line)
    return len(seen)


def critics(model, out):
    train = candidates(out, model, "train-candidates", out / "train.jsonl", "train", 32)
    pool = candidates(out, model, "pool", out / "validation.jsonl", "validation", 50)
    for at, (label, within, details, rate, adapters) in enumerate(CRITICS):
        target = out / ("critic-%d" % at)
        target.mkdir(exist_ok=True)
        recipe = out / ("critic-%d.toml" % at)
        recipe.write_text(HEAD.format(model=model, out=out, train="train") + CRITIC.format(details=details, rate=rate) + adapters)
        problems = [numbers_within(source, target / name, within) for source, name in zip(train, ("samples.jsonl", "verdicts.jsonl"))][0]
        if not (target / "score_head.safetensors").exists():
            ours("train", "critic", "--recipe", recipe, "--samples", target / "samples.jsonl", "--verdicts", target / "verdicts.jsonl", "--out", target, log=target / "log")
        ranked = ours("rank", "--samples", pool[0], "--problems", out / "validation.jsonl", "--verdicts", pool[1], "--critic", target, "--level", 0, "--inputs", 0, "--select", "critic,random,oracle")
        row = lambda name: re.search(r"^%s +\d+ +([\d.]+) %%" % name, ranked, re.M)
        area = re.search(r"AUC[^:]*: ([\d.]+)", ranked)
        random, pick, oracle = (float(row(name).group(1)) for name in ("random", "critic", "oracle"))
        share = round(100 * (pick - random) / (oracle - random)) if oracle > random else None
        print(json.dumps({"critic": label, "problems": problems, "auc": area and float(area.group(1)), "random": random, "pick": pick, "oracle": oracle, "share_of_gap": share}), flush=True)


def objectives(model, out):
    for objective in (None, "mean", "best_of"):
        name = objective or "before"
        trained = model
        if objective:
            recipe = out / (name + ".toml")
            steps, prompts = (2, 4) if LIMIT else (60, 64)
            recipe.write_text(HEAD.format(model=model, out=out, train="mbpp") + GRPO.format(objective=objective, steps=steps, prompts=prompts))
            ours("train", "grpo", "--recipe", recipe, "--out", out / name, log=out / (name + ".log"))
            trained = out / name / "grpo"
        pool = passed(candidates(out, trained, name + "-pool", out / "validation.jsonl", "validation", 50)[1])
        greedy = passed(candidates(out, trained, name + "-greedy", out / "validation.jsonl", "validation", 1, 0)[1])
        most = min(map(len, pool.values()))
        print(json.dumps({"objective": name, "greedy": pass_at(greedy, 1), **{"pass@%d" % k: pass_at(pool, k) for k in (1, 4, 8, 16, 50) if k <= most}}), flush=True)


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("critics", "objectives"):
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else "runs/learning").resolve()
    out.mkdir(parents=True, exist_ok=True)
    problem_sets(out)
    {"critics": critics, "objectives": objectives}[sys.argv[1]](pathlib.Path(sys.argv[2]).resolve(), out)


if __name__ == "__main__":
    main()
