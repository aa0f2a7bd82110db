"""The peer's half of bench/gpu.sh: PyTorch and transformers. Prints one JSON object a line."""

import json
import statistics
import sys
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

config = Qwen2Config(
    vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12,
    num_key_value_heads=2, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True,
    bos_token_id=None, eos_token_id=None, pad_token_id=0, attn_implementation="sdpa")
torch.manual_seed(1)
torch.set_default_dtype(torch.bfloat16)
with torch.device("cuda"):
    model = Qwen2ForCausalLM(config)
torch.set_default_dtype(torch.float32)


def seconds(work):
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def ceilings():
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    big = torch.empty(1 << 32, device="cuda", dtype=torch.uint8).random_()
    copy = torch.empty_like(big)
    for _ in range(3):
        a @ b, copy.copy_(big)
    product = statistics.median(seconds(lambda: a @ b) for _ in range(10))
    moved = statistics.median(seconds(lambda: copy.copy_(big)) for _ in range(10))
    return {"tflops": 2 * 8192**3 / product / 1e12, "terabytes_per_second": 2 * big.numel() / moved / 1e12}


def decoding(sequences, new_tokens):
    model.eval()
    groups = -(-sequences // 50)
    prompts = torch.randint(0, 150000, (groups, 150), device="cuda").repeat_interleave(50, 0)[:sequences]

    def run(count):
        with torch.inference_mode():
            model.generate(
                prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=0.8, top_p=0.95,
                top_k=0, max_new_tokens=count, min_new_tokens=count)

    run(8)
    return {"tokens_per_second": sequences * new_tokens / seconds(lambda: run(new_tokens))}


def training(recompute, sequences, length):
    model.train()
    if recompute:
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)
    tokens = torch.randint(0, 150000, (sequences, length), device="cuda")

    def step():
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(2):
        step()
    taken = statistics.median(seconds(step) for _ in range(5))
    model.gradient_checkpointing_disable()
    parameters = sum(p.numel() for p in model.parameters())
    return {"step_milliseconds": 1e3 * taken, "tflops": 6 * parameters * sequences * length / taken / 1e12}


for case in sys.argv[1:]:
    kind, *numbers = case.split(":")
    numbers = [int(number) for number in numbers]
    try:
        if kind == "ceilings":
            found = ceilings()
        elif kind == "decode":
            found = decoding(*numbers)
        else:
            found = training(kind == "recompute", *numbers)
    except torch.OutOfMemoryError:
        found = {"error": "out of memory"}
    torch.cuda.empty_cache()
    print(json.dumps({"case": case, **found}), flush=True)
