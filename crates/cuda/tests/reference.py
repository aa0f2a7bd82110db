"""Makes what tests/transformers.rs compares with: a random model of Qwen2.5-1.5B's shape in DIRECTORY, and
what PyTorch and transformers say of it, in f32 and in bf16. Needs a GPU with about 40 GiB.

    python3 crates/cuda/tests/reference.py DIRECTORY
    NCOMP_TEST_REFERENCE=DIRECTORY cargo test --release -p cuda --test transformers
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

directory = pathlib.Path(sys.argv[1])
config = Qwen2Config(
    vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
    num_key_value_heads=2, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True,
    bos_token_id=None, eos_token_id=None, pad_token_id=0, attn_implementation="eager")
torch.manual_seed(1)
with torch.device("cuda"):
    model = Qwen2ForCausalLM(config)
with torch.no_grad():
    for name, value in model.named_parameters():
        if "norm" in name or "bias" in name:
            value.add_(torch.randn_like(value) * 0.2)
model.to(torch.bfloat16).save_pretrained(directory)
(directory / "generation_config.json").unlink(missing_ok=True)
del model

LAYERS = (0, 13, 27)
tokens = torch.randint(0, 150000, (2, 96), device="cuda")
prompt = tokens[:1, :40]
out = {"tokens": tokens.cpu()}
for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
    model = Qwen2ForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager").cuda()
    logits = model(tokens).logits.float()
    out[f"{name}.logits"] = logits.detach()[:, ::8].contiguous().cpu()
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 151936), tokens[:, 1:].reshape(-1))
    loss.backward()
    out[f"{name}.loss"] = loss.detach().float().reshape(1).cpu()
    for key, value in model.named_parameters():
        parts = key.split(".")
        if parts[1] == "norm" or (parts[1] == "layers" and int(parts[2]) in LAYERS):
            out[f"{name}.gradient.{key}"] = value.grad.float().cpu()
    model.zero_grad(set_to_none=True)
    if dtype == torch.bfloat16:
        with torch.no_grad():
            greedy = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False)
            steps = model(greedy).logits.float()[0, 39:-1]
        top = steps.topk(2).values
        out["greedy"], out["margin"] = greedy[0, 40:].cpu(), (top[:, 0] - top[:, 1]).cpu()
    del model, logits, loss
save_file({key: value.contiguous() for key, value in out.items()}, directory / "reference.safetensors")
