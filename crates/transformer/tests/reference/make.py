"""Makes the reference values in this directory with PyTorch and transformers.

    python3 -m venv venv && venv/bin/pip install torch transformers safetensors
    venv/bin/python crates/transformer/tests/reference/make.py

Names of models as arguments make these only. One directory a model: a small random one in Hugging Face
layout, and `reference.safetensors`:
  tokens [S, T]            the sequences
  logits [S, T, V]         of a forward pass
  gradient.NAME            of the mean cross-entropy over all next tokens, for every parameter
  losses [10]              before each of ten AdamW steps on that loss
  trained.NAME             every parameter after them
  prompt, greedy           a prompt and its greedy continuation
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
MODELS = {
    # name: (family, configuration, type of the numbers on disk, largest shard)
    "tied-grouped": ("Qwen2", dict(tie_word_embeddings=True, num_key_value_heads=2), torch.float32, "1GB"),
    "untied-grouped": ("Qwen2", dict(tie_word_embeddings=False, num_key_value_heads=1), torch.bfloat16, "12KB"),
    "untied-multihead": ("Qwen2", dict(tie_word_embeddings=False, num_key_value_heads=4), torch.float16, "1GB"),
    "qwen3": ("Qwen3", dict(tie_word_embeddings=True, num_key_value_heads=2, head_dim=10), torch.float32, "1GB"),
    "llama3": ("Llama", dict(tie_word_embeddings=True, num_key_value_heads=2, rope_scaling=LLAMA3), torch.float32, "1GB"),
    "llama-linear": ("Llama", dict(tie_word_embeddings=False, num_key_value_heads=4, rope_scaling=dict(rope_type="linear", factor=4.0)), torch.float32, "1GB"),
    "smollm3": ("SmolLM3", dict(tie_word_embeddings=True, num_key_value_heads=2, num_hidden_layers=4, use_sliding_window=False), torch.float32, "1GB"),
}


def make(name, family, changes, dtype, shard):
    torch.manual_seed(sum(name.encode()))
    configuration, of_family = getattr(transformers, family + "Config"), getattr(transformers, family + "ForCausalLM")
    config = configuration(**{**dict(
        vocab_size=48, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, rope_theta=10000.0, rms_norm_eps=1e-6, bos_token_id=None,
        eos_token_id=0, pad_token_id=0, attention_dropout=0.0, initializer_range=0.3,
        attn_implementation="eager"), **changes})
    model = of_family(config)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if "norm" in key or "bias" in key:
                value.add_(torch.randn_like(value) * 0.2)
    directory = HERE / name
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)
    (directory / "generation_config.json").unlink(missing_ok=True)
    # The rounded numbers are the model; everything below is in f32. Loading again, rather than
    # converting back, keeps the rotary frequencies unrounded.
    model = of_family.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")

    tokens = torch.randint(1, 48, (3, 17))
    out = {"tokens": tokens.to(torch.int64), "logits": model(tokens).logits.detach()}

    def loss():
        logits = model(tokens).logits[:, :-1]
        return torch.nn.functional.cross_entropy(logits.reshape(-1, 48), tokens[:, 1:].reshape(-1))

    prompt = tokens[:1, :5]
    greedy = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0)
    out["prompt"], out["greedy"] = prompt[0].clone(), greedy[0, 5:].clone()

    loss().backward()
    for key, value in model.named_parameters():
        out["gradient." + key] = value.grad.clone()
    model.zero_grad()
    matrices = [p for p in model.parameters() if p.dim() == 2]
    others = [p for p in model.parameters() if p.dim() != 2]
    optimizer = torch.optim.AdamW(
        [dict(params=matrices, weight_decay=0.1), dict(params=others, weight_decay=0.0)],
        lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        value = loss()
        losses.append(value.item())
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    out["losses"] = torch.tensor(losses)
    for key, value in model.named_parameters():
        out["trained." + key] = value.detach().clone()
    save_file({key: value.contiguous() for key, value in out.items()}, directory / "reference.safetensors")


wanted = sys.argv[1:] or list(MODELS)
for name in wanted:
    make(name, *MODELS[name])
print("made", ", ".join(wanted))
