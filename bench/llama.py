"""llama.sh's comparison: llama.py LLAMA_BATCHED_BENCH DECODE [--json] MODEL.gguf …"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys

THREADS, RUNS = os.environ.get("THREADS", "2"), int(os.environ.get("RUNS", 5))
PROMPT, NEW, SEQUENCES = 128, 24, (1, 8, 50)


def ours(decode, model):
    command = [decode, model, "--prompt", str(PROMPT), "--new", str(NEW), "--sequences", ",".join(map(str, SEQUENCES))]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"RAYON_NUM_THREADS": THREADS}).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    found = {row["sequences"]: row["tokens_per_s"] for row in rows}
    return found | {"prompt": rows[0]["prompt_tokens_per_s"], "gigabytes": rows[-1]["peak_gb"]}


def theirs(bench, model):
    command = [bench, "-m", model, "-c", "8192", "-npp", str(PROMPT), "-ntg", str(NEW), "-npl", ",".join(map(str, SEQUENCES)), "-pps", "-t", THREADS, "-tb", THREADS]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    rows = [line.strip("| \n").split("|") for line in process.stdout if line.startswith("|") and line[1:6].strip().isdigit()]
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    found = {int(row[2]): float(row[7]) for row in rows}
    return found | {"prompt": float(rows[0][5]), "gigabytes": usage.ru_maxrss * 1024 / 1e9}


def processor():
    lines = open("/proc/cpuinfo").read().splitlines()
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())


def main():
    bench, decode, *arguments = sys.argv[1:]
    models = [argument for argument in arguments if argument != "--json"]
    reports = []
    for model in models:
        pairs = [(ours(decode, model), theirs(bench, model)) for _ in range(RUNS)]
        report = {"model": os.path.basename(model), "processor": processor(), "threads": THREADS, "rows": {}}
        for key in (*SEQUENCES, "prompt", "gigabytes"):
            ratios = [mine[key] / other[key] for mine, other in pairs]
            medians = [statistics.median(pair[side][key] for pair in pairs) for side in (0, 1)]
            report["rows"][str(key)] = {"ours": medians[0], "llama.cpp": medians[1], "ratio": statistics.median(ratios), "ratios": ratios}
        reports.append(report)
    if "--json" in arguments:
        print(json.dumps(reports))
        return
    for report in reports:
        print(f"{report['model']}, {report['threads']} threads of {report['processor']}")
        for key, row in report["rows"].items():
            what = {"prompt": "prompt, tokens/s", "gigabytes": "peak memory, GB"}.get(key, f"{key} sequences, tokens/s")
            spread = f"{min(row['ratios']):.2f} to {max(row['ratios']):.2f}"
            print(f"  {what:24} ours {row['ours']:8.2f}  llama.cpp {row['llama.cpp']:8.2f}  ratio {row['ratio']:.2f} ({spread})")


main()
