#!/usr/bin/env bash
# Training step and decoding against PyTorch and transformers, f32, all cores, in one run.
# Needs a Python with both: python3 -m venv venv && venv/bin/pip install torch transformers
#     PYTHON=venv/bin/python bench/transformer.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -q -p bench
ours=$(target/release/transformer)
# Two settings that some machines set for old OpenBLAS builds would slow numpy down.
theirs=$(env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE "${PYTHON:-python3}" bench/transformer.py 2>/dev/null)
"${PYTHON:-python3}" - "$ours" "$theirs" <<'PY'
import json, os, platform, sys
ours, theirs = map(json.loads, sys.argv[1:])
model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
print(f"machine: {model}, {os.cpu_count()} cores; PyTorch {theirs['torch']}; {ours['parameters']:,} parameters (theirs {theirs['parameters']:,})")
a, b = ours["training_step_seconds"], theirs["training_step_seconds"]
print(f"training step, 32 x 160 tokens: ours {a:.3f} s, PyTorch {b:.3f} s: {a / b:.2f} x its time")
for name, a in ours["decode_tokens_per_second"].items():
    b = theirs["decode_tokens_per_second"][name]
    print(f"decoding, 128 sequences of {name}: ours {a:,.0f} tokens/s, transformers {b:,.0f}: {a / b:.1f} x its rate")
PY
