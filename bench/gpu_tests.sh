#!/usr/bin/env bash
# The tests of crates/cuda on a machine with a GPU but without cargo: built here, run there.
#     bench/gpu_tests.sh build FOLDER     compiles the tests and ncomp, and puts all that they need into FOLDER
#     FOLDER/gpu_tests.sh run             there: every test must find the GPU; PyTorch's reference if it is installed
#     FOLDER/gpu_tests.sh sanitize        there: the same tests under compute-sanitizer
#     FOLDER/gpu_tests.sh model FILE.gguf PROBLEMS.jsonl    there: a real model on the GPU beside the processor
# FOLDER is about 30 MB. The tests read no other file; the machine needs the C library of the building one or
# a later one, the driver, and cuBLASLt and NVRTC where docs/gpu.md says. LOGS (default FOLDER/logs) gets each
# program's output. The last line counts; the exit status is 1 if anything failed.
set -uo pipefail
script=$(realpath "$0")
here=$(dirname "$script")
tests="unit kernels model"

build() {
    set -e
    mkdir -p "$1"
    local folder
    folder=$(realpath "$1")
    cd "$here/.."
    cargo test --release -q -p cuda --no-run
    cargo build --release -q -p ncomp
    cargo test --release -p cuda --no-run --message-format json 2>/dev/null | python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["profile"]["test"]:
        kind, name = message["target"]["kind"][0], message["target"]["name"]
        print("unit" if kind == "lib" else name, message["executable"])' > "$folder/list"
    while read -r name program; do strip -o "$folder/$name" "$program"; done < "$folder/list"
    rm "$folder/list"
    strip -o "$folder/ncomp" target/release/ncomp
    cp bench/gpu_tests.sh bench/gpu_model.py crates/cuda/tests/reference.py "$folder/"
    git rev-parse HEAD > "$folder/commit"
    ls -l "$folder"
}

# Runs a program of FOLDER behind the words in `before`, and counts.
passed=0 failed=0
try() {
    local name=$1
    shift
    local begin=$SECONDS
    if "$@" > "$logs/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "$name: passed in $((SECONDS - begin)) s: $(grep '^test result' "$logs/$name.log" | tail -1)"
    else
        failed=$((failed + 1))
        echo "$name: FAILED in $((SECONDS - begin)) s"
        grep -E '^test .*FAILED|panicked at|^test result' -A 3 "$logs/$name.log" | head -60
    fi
}

finish() {
    echo "$passed programs passed, $failed failed; commit $(cat "$here/commit"); logs in $logs"
    [ "$failed" = 0 ]
}

verb=${1:-}
[ "$verb" = build ] && [ $# = 2 ] && { build "$2"; exit; }
logs=${LOGS:-$here/logs}
mkdir -p "$logs"
export NCOMP_TEST_GPU=require NCOMP_TEST_NVRTC=require RUST_BACKTRACE=0
case "$verb $#" in
"run 1")
    "$here/ncomp" doctor > "$logs/doctor.log" 2>&1
    grep -i -m 3 -E 'gpu|cuda' "$logs/doctor.log"
    reference=$(mktemp -d)
    trap 'rm -rf "$reference"' EXIT
    if python3 -c 'import torch, transformers' 2>/dev/null; then
        try reference python3 "$here/reference.py" "$reference"
        tests="$tests transformers"
        export NCOMP_TEST_REFERENCE=$reference
    else
        echo "transformers: not run, this Python has no torch or no transformers"
    fi
    for name in $tests; do try "$name" "$here/$name" --nocapture; done
    finish
    ;;
"sanitize 1")
    for name in unit model; do
        try "$name" compute-sanitizer --error-exitcode 9 "$here/$name" --nocapture --test-threads 1
        grep 'ERROR SUMMARY' "$logs/$name.log"
    done
    finish
    ;;
"model 3")
    try real-model python3 "$here/gpu_model.py" "$here/ncomp" "$2" "$3"
    cat "$logs/real-model.log"
    finish
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$script" >&2
    exit 2
    ;;
esac
