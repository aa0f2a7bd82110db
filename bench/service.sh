#!/usr/bin/env bash
# Time to a verified answer, and load: 32 clients for 60 seconds. Built-in model, this machine.
#     bench/service.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -q -p bench -p ncomp
grep -m1 "model name" /proc/cpuinfo | sed "s/.*: /machine: /; s/$/, $(nproc) cores/"
target/release/answers | python3 -c '
import json, sys
for name, found in json.load(sys.stdin).items():
    print("verified answer, %s: median %.0f ms, p95 %.0f ms; %d of %d verified" % (name, 1000 * found["median_seconds"], 1000 * found["p95_seconds"], found["verified"], found["of"]))'
python3 bench/service.py target/release/ncomp "${CLIENTS:-32}" "${SECONDS_OF_LOAD:-60}"
