#!/usr/bin/env bash
# The published GGUF files here beside transformers: tokens, log-probabilities, greedy continuations. Takes
# some minutes a file; needs a Python with torch, transformers, accelerate and gguf.
#     PYTHON=venv/bin/python bench/real_models.sh [--json] [--formats f32,bf16,q8_0,as-stored]
set -euo pipefail
cd "$(dirname "$0")/.."
models=${MODELS:-target/models}
for name in smollm2-135m qwen2.5-coder-0.5b qwen2.5-coder-1.5b; do
    compgen -G "$models/$name*.gguf" >/dev/null || ../shared/models/get "$name" "$models"
done
cargo build --release -q -p generator --example inspect
"${PYTHON:-python3}" bench/real_models.py target/release/examples/inspect "$models"/*.gguf "$@"
