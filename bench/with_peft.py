"""Whether PEFT and this project compute the same with an adapter that either of them wrote.

    python3 -m venv venv && venv/bin/pip install torch transformers peft
    cargo build --release -p ncomp && cargo build --release -p transformer --example adapter
    venv/bin/python bench/with_peft.py MODEL.gguf [ADAPTER]

The base is the GGUF file, dequantised by `ncomp convert` for transformers. Ours runs twice: on these weights in
single precision, which must give PEFT's log-probabilities, and on the file as it is, whose products round
activations to 8 bits. Three adapters: one that we write (bf16), one that PEFT writes (rank 6, rank-stabilised,
some layers only, by a pattern), and ADAPTER if it is given.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / os.environ.get("PROFILE", "release")
TOKENS = [(37 * at * at + 11 * at) % 30000 + 300 for at in range(48)]
SAME = 2e-3  # in nats: single precision in another order, over the layers
model, *given = sys.argv[1:]


def ours(command, *arguments, weights="auto"):
    run = [TARGET / "examples" / "adapter", command, *arguments]
    return subprocess.run(run, check=True, text=True, capture_output=True,
                          env={**os.environ, "NCOMP_WEIGHTS": weights}).stdout


def our_logs(base, adapter, weights):
    return torch.tensor(json.loads(ours("logs", base, adapter, *map(str, TOKENS), weights=weights)))


def load(base):
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()


def logs(network):
    tokens = torch.tensor([TOKENS])
    with torch.no_grad():
        logits = network(tokens).logits[0, :-1].log_softmax(-1)
    return logits.gather(1, tokens[0, 1:, None])[:, 0]


with tempfile.TemporaryDirectory() as out:
    base = f"{out}/base"
    subprocess.run([TARGET / "ncomp", "convert", model, base], check=True, stdout=subprocess.DEVNULL)
    ours("random", model, f"{out}/ours")
    config = LoraConfig(r=6, lora_alpha=9, use_rslora=True, init_lora_weights=False,
                        target_modules=r".*layers\.(1|3|4)\..*(q_proj|v_proj|gate_proj|down_proj)")
    torch.manual_seed(0)
    get_peft_model(load(base), config).save_pretrained(f"{out}/theirs")
    adapters = [("written by us", f"{out}/ours"), ("written by PEFT", f"{out}/theirs")]
    adapters += [(adapter, adapter) for adapter in given]
    without, failed = logs(load(base)), False
    for name, adapter in adapters:
        theirs = logs(PeftModel.from_pretrained(load(base), adapter))
        single, stored = our_logs(base, adapter, "f32"), our_logs(model, adapter, "as-stored")
        worst = (single - theirs).abs().max().item()
        change = (theirs - without).abs().mean().item()
        rounded = (stored - theirs).abs().mean().item()
        rounded_without = (our_logs(model, "-", "as-stored") - without).abs().mean().item()
        print(f"{name}: the adapter moves log-probabilities by {change:.3f} on average; ours in single precision is "
              f"within {worst:.1e} of PEFT's; on the file as it is within {rounded:.3f} on average (without an "
              f"adapter {rounded_without:.3f})")
        failed |= worst > SAME or change < 10 * SAME or rounded > 3 * rounded_without + 0.01
sys.exit(failed)
