"""The peer's half of bench/transformer.sh: PyTorch and transformers. Prints one JSON object."""

import json
import statistics
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

REPEATS = 7
config = Qwen2Config(
    vocab_size=2048, hidden_size=256, intermediate_size=640, num_hidden_layers=6, num_attention_heads=8,
    num_key_value_heads=8, max_position_embeddings=512, rope_theta=10000.0, tie_word_embeddings=True,
    bos_token_id=None, eos_token_id=None, pad_token_id=0)
torch.manual_seed(1)
model = Qwen2ForCausalLM(config)


def training_step():
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    tokens = torch.randint(0, 2048, (32, 160))
    for _ in range(2):
        start = time.perf_counter()
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        seconds = time.perf_counter() - start
    return seconds


def decoding(prompts):
    tokens = torch.randint(0, 2048, (prompts, 60)).repeat_interleave(128 // prompts, 0)
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=True, temperature=0.8, top_p=0.95,
            top_k=0, max_new_tokens=100, min_new_tokens=100)
    return (out.shape[1] - 60) * 128 / (time.perf_counter() - start)


model.train()
step = statistics.median(training_step() for _ in range(REPEATS))
model.eval()
print(json.dumps({
    "parameters": sum(p.numel() for p in model.parameters()),
    "training_step_seconds": step,
    "decode_tokens_per_second": {
        f"{prompts} prompts": statistics.median(decoding(prompts) for _ in range(3)) for prompts in (128, 8)},
    "torch": torch.__version__,
    "threads": torch.get_num_threads(),
}))
