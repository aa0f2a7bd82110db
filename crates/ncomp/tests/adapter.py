"""Whether PEFT reads an adapter that we wrote, and merges it to the model that we merged.

    python3 -m venv venv && venv/bin/pip install torch transformers peft
    ncomp train sft --recipe RECIPE --data PAIRS --out OUT      # with optimizer.lora.rank
    venv/bin/python crates/ncomp/tests/adapter.py BASE OUT
"""

import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base, out = sys.argv[1:]


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


theirs = PeftModel.from_pretrained(load(base), f"{out}/adapter").merge_and_unload()
difference = change = 0.0
for (name, merged), (other, ours), (_, before) in zip(
        theirs.named_parameters(), load(out).named_parameters(), load(base).named_parameters()):
    assert name == other, (name, other)
    difference = max(difference, (merged - ours).abs().max().item())
    change = max(change, (merged - before).abs().max().item())
print(f"largest difference between PEFT's merge and ours {difference}, largest change by the adapter {change}")
sys.exit(difference > 1e-6 or change == 0)
