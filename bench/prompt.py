"""Prompts here beside llama.cpp, in tokens per CPU second of one thread: also on a machine that others use.

    cargo build --release -p transformer --example decode
    bench/prompt.py MODEL.gguf LLAMA_BATCHED_BENCH NAME=DECODE [NAME=DECODE …] [--prompts 128,512,2048] [--runs 5] [--json]

Each DECODE is the example `decode` of one version. Programs take turns; of each the run of the least CPU time
counts, and from it that of a prompt of 16 tokens is taken, which loads the model too. `--options` are given
to each DECODE, such as "--piece 256", which is what the engine asks for.
"""

import json
import os
import subprocess
import sys

SHORT = 16


def cpu_seconds(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"RAYON_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)}: status {status}")
    return usage.ru_utime + usage.ru_stime


def option(arguments, name, default):
    if name not in arguments:
        return default
    at = arguments.index(name)
    value = arguments[at + 1]
    del arguments[at:at + 2]
    return value


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    prompts = [int(length) for length in option(arguments, "--prompts", "128,512,2048").split(",")]
    runs, more = int(option(arguments, "--runs", "5")), option(arguments, "--options", "").split()
    model, llama, *named = arguments
    binaries = dict(argument.split("=", 1) for argument in named)
    ours = lambda binary, length: [binary, model, "--sequences", "1", "--new", "1", "--prompt", str(length), *more]
    theirs = lambda length: [llama, "-m", model, "-c", str(length + 64), "-b", "2048", "-ub", "512", "-npp", str(length), "-ntg", "1", "-npl", "1", "-t", "1", "-tb", "1"]
    commands = {name: lambda length, binary=binary: ours(binary, length) for name, binary in binaries.items()} | {"llama.cpp": theirs}
    least = {}
    for run in range(runs):
        for length in [SHORT, *prompts]:
            for name, command in commands.items():
                key = (name, length)
                least[key] = min(least.get(key, float("inf")), cpu_seconds(command(length)))
        print(f"run {run + 1} of {runs}: {({f'{name} {length}': round(s, 2) for (name, length), s in least.items()})}", file=sys.stderr)
    speed = {length: {name: (length - SHORT) / (least[name, length] - least[name, SHORT]) for name in commands} for length in prompts}
    if "--json" in sys.argv:
        print(json.dumps({"model": os.path.basename(model), "tokens_per_cpu_second": speed}))
        return
    print(os.path.basename(model))
    for length, of in speed.items():
        print(f"  {length:5} tokens: " + ", ".join(f"{name} {rate:.0f}" for name, rate in of.items())
              + "".join(f"; {name} {rate / of['llama.cpp']:.2f} x llama.cpp's rate" for name, rate in of.items() if name != "llama.cpp"))


main()
