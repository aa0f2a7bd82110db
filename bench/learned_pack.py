"""Packs what a run learned for a model as a directory that ships: models/learned/NAME.

    venv/bin/python bench/learned_pack.py OUT --model Qwen/Qwen2.5-Coder-1.5B-Instruct --config config.json \\
        [--policy DIR] [--critic DIR] [--rank N] [--rankers level-0.json …] [--max-tokens 768] \\
        [--made-by made.json] [--validation table.json] [--weights FINGERPRINT]

Adapters are written in bf16. With --rank, B A of each matrix is cut to its N largest singular values, which is the
nearest product of that rank; what share of it is lost is printed. config.json is the base model's: its shape goes
to learned.json, with the fingerprint of its weights where model.safetensors lies beside it (that of a run's grpo/
serves, for adapters leave the norms as they are) or --weights says it. Needs torch and safetensors.
"""

import argparse
import hashlib
import json
import pathlib
import shutil

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SHAPE = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"]


def cut(b, a, rank):
    """B A of that rank: the singular values of a thin product come from those of its small core."""
    qb, rb = torch.linalg.qr(b)
    qa, ra = torch.linalg.qr(a.T)
    u, s, v = torch.linalg.svd(rb @ ra.T)
    root = s[:rank].sqrt()
    return qb @ u[:, :rank] * root, (v[:rank].T * root).T @ qa.T, (s[rank:] ** 2).sum().item(), (s ** 2).sum().item()


def pack(source, target, model, rank):
    target.mkdir(parents=True)
    config = json.loads((source / "adapter_config.json").read_text())
    tensors = {name: t.float() for name, t in load_file(source / "adapter_model.safetensors").items()}
    lost = whole = 0.0
    if rank and rank < config["r"]:
        for name in [name for name in tensors if name.endswith("lora_A.weight")]:
            other = name.replace("lora_A", "lora_B")
            tensors[other], tensors[name], missing, all_of_it = cut(tensors[other], tensors[name], rank)
            lost, whole = lost + missing, whole + all_of_it
        # The same factor in front of B A.
        config["lora_alpha"] = config["lora_alpha"] * rank / config["r"]
        config["r"] = rank
        print(f"{source}: cut to rank {rank}, {100 * lost / whole:.2f} % of the sum of squares is lost")
    config["base_model_name_or_path"] = model
    (target / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    halves = {name: t.to(torch.bfloat16).contiguous() for name, t in tensors.items()}
    save_file(halves, target / "adapter_model.safetensors", metadata={"format": "pt"})
    head = source / "score_head.safetensors"
    head = head if head.exists() else source.parent / head.name
    if head.exists() and "critic" in (target.name, target.parent.name):
        halves = {name: t.to(torch.bfloat16) for name, t in load_file(head).items()}
        save_file(halves, target / "score_head.safetensors", metadata={"format": "pt"})
    # Further critics, whose logits are averaged.
    for further in sorted(path for path in source.iterdir() if path.is_dir() and path.name.isdigit()):
        pack(further, target / further.name, model, rank)


def fingerprint(model):
    """As transformer::Checkpoint::fingerprint."""
    with safe_open(model, "pt") as tensors:
        gains = tensors.get_tensor("model.norm.weight").to(torch.bfloat16)
    return hashlib.sha256(gains.view(torch.int16).numpy().tobytes()).hexdigest()[:32]


parser = argparse.ArgumentParser(usage=__doc__)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--model", required=True, action="append")
parser.add_argument("--config", required=True, type=pathlib.Path)
parser.add_argument("--policy", type=pathlib.Path)
parser.add_argument("--critic", type=pathlib.Path)
parser.add_argument("--rank", type=int, default=0)
parser.add_argument("--rankers", type=pathlib.Path, nargs="*", default=[])
parser.add_argument("--max-tokens", type=int, default=512)
parser.add_argument("--policy-candidates", type=int, nargs=2, default=[16, 4], metavar=("WITHOUT_TESTS", "WITH_TESTS"))
parser.add_argument("--made-by", type=pathlib.Path)
parser.add_argument("--validation", type=pathlib.Path)
parser.add_argument("--weights")
given = parser.parse_args()

for name in ("policy", "critic"):
    if getattr(given, name):
        pack(getattr(given, name), given.out / name, given.model[0], given.rank)
(given.out / "rankers").mkdir(parents=True, exist_ok=True)
for ranker in given.rankers:
    shutil.copy(ranker, given.out / "rankers" / f"level-{json.loads(ranker.read_text())['level']}.json")
config = json.loads(given.config.read_text())
read = lambda path: json.loads(path.read_text()) if path else None
manifest = {
    "version": 1,
    "models": given.model,
    "shape": {field: config[field] for field in SHAPE},
    "policy": dict(zip(["candidates", "candidates_with_tests"], given.policy_candidates)),
    "critic": {"max_tokens": given.max_tokens},
    "made_by": read(given.made_by),
    "validation": read(given.validation),
}
weights = given.config.parent / "model.safetensors"
if given.weights or weights.exists():
    manifest["weights"] = given.weights or fingerprint(weights)
(given.out / "learned.json").write_text(json.dumps(manifest, indent=2) + "\n")
size = sum(file.stat().st_size for file in given.out.rglob("*") if file.is_file())
print(f"{given.out}: {size / 1e6:.1f} MB")
