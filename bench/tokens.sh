#!/usr/bin/env bash
# Tokens here beside llama.cpp's, for every way to split that both know. Needs a Python with the package gguf,
# and a directory with llama.cpp's sources and one with its libraries.
#     PYTHON=venv/bin/python LLAMA_SOURCE=llama.cpp LLAMA_LIBRARIES=llama.cpp/build/bin bench/tokens.sh MODEL.gguf …
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -q -p generator --example inspect
target=${CARGO_TARGET_DIR:-target}
c++ -O1 -I"$LLAMA_SOURCE/include" -I"$LLAMA_SOURCE/ggml/include" bench/tokens.cpp -o "$target/llama-tokens" \
    -L"$LLAMA_LIBRARIES" -lllama -lggml -lggml-base -Wl,-rpath,"$(realpath "$LLAMA_LIBRARIES")"
"${PYTHON:-python3}" bench/tokens.py "$target/release/examples/inspect" "$target/llama-tokens" "$@"
