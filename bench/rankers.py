"""Puts together what the built-in rankers learn from: python3 bench/rankers.py DATA OUT

Two models' candidates for MBPP's training and validation problems, 20 of Qwen2.5-Coder-1.5B-Instruct's for
each and all 12 of Qwen2.5-1.5B-Instruct's. The first saw the sanitized text and tests where there are such,
so that each model's problems have ids of their own. Writes problems.jsonl and samples.jsonl, and of both
the part of the training problems alone (train.jsonl).
"""

import gzip
import json
import os
import random
import re
import sys

IMPORTS = (
    "import math\nimport heapq\nimport itertools\nimport re\nimport collections\n"
    "from collections import *\nfrom typing import *\n"
)
SAMPLES = 20


def records(path):
    with gzip.open(path, "rt") if path.endswith(".gz") else open(path) as file:
        return [json.loads(line) for line in file]


def problem(model, record):
    tests = [test.replace("\r\n", "\n") for test in record["test_list"]]
    code = record["code"].replace("\r\n", "\n").replace("\r", "\n")
    defined = re.findall(r"^(?:def|class) (\w+)", code, re.M)
    called = re.findall(r"(\w+)\s*\(", " ".join(tests))
    name = next((name for name in called if name in defined), called[0])
    payload = {"entry_point": name, "setup": IMPORTS + "\n".join(record.get("test_imports", [])), "tests": tests}
    if record.get("test_setup_code"):
        payload["test_setup"] = record["test_setup_code"].replace("\r\n", "\n")
    return {
        "id": "%s/%d" % (model, record["task_id"]),
        "shown": {
            "statement": record.get("prompt") or record["text"],
            "examples": tests,
            "default_examples": 1,
            "name": name,
        },
        "check": {"domain": "python", "payload": payload},
        "references": [code],
        "split": "train" if record["task_id"] > 600 else "validation",
    }


def main():
    data, out = sys.argv[1:]
    full = {record["task_id"]: record for record in records(data + "/mbpp/mbpp.jsonl")}
    with open(data + "/mbpp/sanitized-mbpp.json") as file:
        sanitized = {record["task_id"]: record for record in json.load(file)}
    draw, coder = random.Random(0), {}
    for sample in records(data + "/samples/qwen2.5-coder-1.5b-instruct-mbpp-trainval-50.jsonl.gz"):
        coder.setdefault(sample["task_id"], []).append(sample)
    problems, samples = [], []
    for number in range(511, 975):
        problems.append(problem("Coder", sanitized.get(number, full[number])))
        problems.append(problem("Qwen", full[number]))
    for number in sorted(coder):
        for sample in draw.sample(coder[number], SAMPLES):
            samples.append(dict(sample, task_id="Coder/%d" % number))
    for sample in records(data + "/samples/qwen2.5-1.5b-instruct-mbpp-trainval.jsonl.gz"):
        samples.append({"task_id": "Qwen/%d" % sample["task_id"], "solution": sample["solution"]})
    os.makedirs(out, exist_ok=True)
    number = lambda sample: int(sample["task_id"].split("/")[1])
    train = [sample for sample in samples if number(sample) > 600]
    for name, lines in [("problems", problems), ("samples", samples), ("train", train)]:
        with open("%s/%s.jsonl" % (out, name), "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


main()
