#!/usr/bin/env bash
# Where the time of a GRPO step goes, end to end: a model of Qwen2.5-1.5B's shape with random weights, the
# prompts of MBPP, every candidate executed, scored by a critic of the same size, and learned from. Needs a
# GPU with 80 GB, and MBPP and Qwen2.5's tokenizer in DATA.
#     DATA=../shared/data bench/grpo_step.sh
# A random model solves nothing, so the critic's score is part of the reward: else there would be nothing
# to learn from, and the step would end early.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${DATA:-../shared/data}
if [ -z "${BIN:-}" ]; then
    cargo build --release -q -p bench -p ncomp
    BIN=target/release
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$BIN/gpu" "model:$work:$data/qwen2.5-coder" > /dev/null
for shape in "8 4" "120 8"; do
    read -r prompts group <<< "$shape"
    cat > "$work/recipe.toml" <<TOML
name = "grpo-step"
[model]
path = "$work/model"
prompt = "chat"
[problems]
source = "$data/mbpp/sanitized-mbpp.json"
[executor]
timeout = 2.0
[grpo]
steps = 4
prompts_per_step = $prompts
group_size = $group
temperature = 0.8
top_p = 0.95
max_new_tokens = 256
kl_coefficient = 0.05
critic_reward = 1.0
[grpo.optimizer]
learning_rate = 1e-6
checkpoint_minutes = 0.0
[critic]
start = "$work/critic"
TOML
    "$BIN/ncomp" train grpo --device cuda --recipe "$work/recipe.toml" --out "$work/run-$prompts" 2> "$work/log" > /dev/null \
        || { cat "$work/log" >&2; exit 1; }
    python3 - "$work/run-$prompts/metrics/grpo.jsonl" "$prompts" "$group" <<'PY'
import json, statistics, sys
# The first step compiles, captures and reserves.
steps = [json.loads(line) for line in open(sys.argv[1])][1:]
mean = lambda name: statistics.mean(step[name] for step in steps)
parts = {name: mean(f"time/{name}") for name in ("generate", "execute", "score", "train")}
print(json.dumps({
    "prompts": int(sys.argv[2]), "group": int(sys.argv[3]), "seconds": mean("step_time"), **parts,
    "mean_length": mean("completions/mean_length"), "groups_without_signal": mean("frac_reward_zero_std")}))
PY
done
