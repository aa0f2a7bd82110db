#!/usr/bin/env bash
# Decoding, training and critic scoring at the shape of Qwen2.5-1.5B with random weights on one GPU, side by
# side with PyTorch and transformers, and with vLLM for decoding where that is installed, each alone on the
# GPU, in one run. Needs a GPU with 80 GB and a Python with PyTorch and transformers; VLLM_PYTHON names one
# with vLLM, if it is another.
#     PYTHON=venv/bin/python bench/gpu.sh            # a table
#     PYTHON=venv/bin/python bench/gpu.sh --json
# Floors: decoding must read every weight once a step and each sequence's own keys and values (its prompt's
# once a group), and multiply 2 operations a weight and row; training is 6 a weight and row, 8 where
# activations are computed again; scoring 2.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${BIN:-}" ]; then
    cargo build --release -q -p bench
    BIN=target/release
fi
shared="decode:64:256 decode:1024:256 train:8:512 train:32:512 recompute:32:512"
ours=$("$BIN/gpu" $shared score:257:50:300)
theirs=$("${PYTHON:-python3}" bench/gpu.py ceilings $shared 2>/dev/null)
vllm=$("${VLLM_PYTHON:-${PYTHON:-python3}}" bench/gpu_vllm.py $shared 2>/dev/null | grep '^{"case"' || true)
name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1)
python3 - "$ours" "$theirs" "$name" "${1:-}" "$vllm" <<'PY'
import json, sys
rows = lambda text: {row["case"]: row for row in map(json.loads, text.splitlines())}
ours, theirs, name = rows(sys.argv[1]), rows(sys.argv[2]), sys.argv[3]
vllm = rows(sys.argv[5])
rate, bandwidth = theirs["ceilings"]["tflops"], theirs["ceilings"]["terabytes_per_second"]
WEIGHTS, CACHE = 1.5437e9, 28672

def decoding_floor(sequences, new_tokens):
    groups, mean = -(-sequences // 50), 150 * -(-sequences // 50) + sequences * new_tokens / 2
    read = (2 * WEIGHTS + CACHE * mean) / (bandwidth * 1e12)
    return sequences / max(read, 2 * WEIGHTS * sequences / (rate * 1e12))

out = {"gpu": name, "ceilings": theirs["ceilings"], "rows": []}
for case, found in ours.items():
    kind, *numbers = case.split(":")
    row = {"case": case, **{key: value for key, value in found.items() if key not in ("case", "losses")}}
    peer = theirs.get(case, {})
    if kind == "decode":
        row["transformers"] = peer.get("tokens_per_second")
        row["ratio"] = found["tokens_per_second"] / peer["tokens_per_second"]
        row["vllm"] = vllm.get(case, {}).get("tokens_per_second")
        row["vllm_ratio"] = found["tokens_per_second"] / row["vllm"] if row["vllm"] else None
        row["floor"] = decoding_floor(int(numbers[0]), int(numbers[1]))
    elif kind in ("train", "recompute"):
        row["mfu"] = found["tflops"] / rate
        row["transformers_milliseconds"] = peer.get("step_milliseconds")
        row["transformers_mfu"] = peer["tflops"] / rate if "tflops" in peer else None
        if "step_milliseconds" in peer:
            row["ratio"] = peer["step_milliseconds"] / found["step_milliseconds"]
    else:
        row["mfu"] = found["tflops"] / rate
    out["rows"].append(row)
if sys.argv[4] == "--json":
    print(json.dumps(out))
    sys.exit()
print(f"{name}: {rate:.0f} TFLOP/s (8192 cubed, bf16), {bandwidth:.2f} TB/s (copy)")
for row in out["rows"]:
    kind = row["case"].split(":")[0]
    if kind == "decode":
        print(f"{row['case']:20} {row['tokens_per_second']:9,.0f} tokens/s, step {row['step_milliseconds']:.2f} ms; "
              f"transformers {row['transformers']:,.0f}: {row['ratio']:.1f} x; "
              + (f"vLLM {row['vllm']:,.0f}: {row['vllm_ratio']:.2f} x; " if row["vllm"] else "vLLM: not installed; ")
              + f"floor {row['floor']:,.0f}")
    elif kind == "score":
        print(f"{row['case']:20} {row['candidates']:,} candidates in {row['seconds']:.1f} s, MFU {row['mfu']:.2f}")
    else:
        peer = f"transformers {row['transformers_milliseconds']:.0f} ms, MFU {row['transformers_mfu']:.2f}: {row['ratio']:.2f} x" \
            if row.get("transformers_mfu") else "transformers: out of memory"
        print(f"{row['case']:20} {row['step_milliseconds']:.0f} ms a step, MFU {row['mfu']:.2f}; {peer}; "
              f"{row['gibibytes_in_use']:.0f} GiB")
PY
