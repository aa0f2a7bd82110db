"""vLLM's half of bench/gpu.sh, where vLLM is installed: decoding only. Prints one JSON object a line.

    gpu_vllm.py decode:64:256 decode:1024:256

The shape of Qwen2.5-1.5B with random weights; prompts of 150 tokens shared by groups of 50, temperature
0.8, top-p 0.95. The settings are the best of nine that were tried: the engine in this process, CUDA graphs
up to the number of sequences, prefix caching, no garbage collection. Log-probabilities are not asked for,
which ours returns: vLLM is slower with them.
"""

import gc
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

try:
    from vllm import LLM, SamplingParams
except ImportError:
    sys.exit("vLLM is not installed")

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "torch_dtype": "bfloat16", "hidden_act": "silu",
    "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 32768, "rope_theta": 1e6,
    "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
}
LARGEST = 1024


def engine(directory):
    (pathlib.Path(directory) / "config.json").write_text(json.dumps(CONFIG))
    sizes = [1, 2, 4, 8, *range(16, 257, 16), *range(288, LARGEST + 1, 32)]
    return LLM(
        directory, load_format="dummy", skip_tokenizer_init=True, dtype="bfloat16", max_model_len=1024,
        max_num_seqs=LARGEST, enable_prefix_caching=True, gpu_memory_utilization=0.85,
        compilation_config={"cudagraph_capture_sizes": sizes})


def decoding(model, sequences, new_tokens):
    def run(count, seed):
        groups = -(-sequences // 50)
        prompts = [{"prompt_token_ids": [(at * 7919 + (group + seed) * 104729) % 150000 for at in range(150)]} for group in range(groups)]
        settings = [
            SamplingParams(n=min(50, sequences - 50 * group), temperature=0.8, top_p=0.95, max_tokens=count,
                           ignore_eos=True, detokenize=False, seed=None)
            for group in range(groups)]
        start = time.perf_counter()
        found = model.generate(prompts, settings, use_tqdm=False)
        taken = time.perf_counter() - start
        return sum(len(one.token_ids) for output in found for one in output.outputs) / taken

    run(8, 100)
    return {"tokens_per_second": statistics.median(run(new_tokens, seed) for seed in range(3))}


with tempfile.TemporaryDirectory() as directory:
    model = engine(directory)
    gc.collect()
    gc.disable()
    for case in sys.argv[1:]:
        kind, *numbers = case.split(":")
        if kind == "decode":
            print(json.dumps({"case": case, **decoding(model, *map(int, numbers))}), flush=True)
