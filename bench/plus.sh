#!/usr/bin/env bash
# Base and plus verdicts beside EvalPlus's own on the same samples; bench/plus.py says which.
# Needs a Python with EvalPlus, and gives ncomp execute the options after the directory: the same
# Python with numpy, which some candidates import.
#     /usr/bin/python3 -m venv /opt/peers && /opt/peers/bin/pip install evalplus
#     PYTHON=/opt/peers/bin/python bench/plus.sh target/evalplus --python /opt/peers/bin/python --packages numpy
# EvalPlus's results stay in the directory [target/evalplus] and are used again.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
directory=${1:-target/evalplus}
cargo build --release -q -p ncomp
"$python" bench/plus.py samples "$directory"
"$python" bench/plus.py theirs "$directory"
"$python" bench/plus.py ours "$directory" "${@:2}"
"$python" bench/plus.py again "$directory"
"$python" bench/plus.py compare "$directory"
