"""Published GGUF files here beside transformers on the same dequantised weights.

    real_models.py INSPECT MODEL.gguf … [--formats f32,as-stored] [--json]

Prompts are the protocol's for MBPP and HumanEval problems in ../shared/data. For each file:
  tokens      prompts whose tokens equal transformers' (its own reading of the GGUF file)
  log-probabilities of the 20 likeliest next tokens at every fourth position of four prompts: the largest
              difference, relative to the largest logit, and the mean KL divergence over these tokens
  top-1       positions at which the likeliest token agrees
  greedy      continuations of 32 tokens that equal transformers', or part at a tie: where its margin is
              under 0.05 (f32), or is reported for other formats
Run by real_models.sh. Needs torch, transformers and gguf.
"""

import gzip
import json
import pathlib
import subprocess
import sys

import gguf
import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

SHARED = pathlib.Path(__file__).resolve().parent.parent.parent / "shared/data"
LIKELIEST, GREEDY, CONTINUATIONS = 20, 32, 32


def shown_problems():
    mbpp = [json.loads(line) for line in (SHARED / "mbpp/mbpp.jsonl").open()]
    human = [json.loads(line) for line in gzip.open(SHARED / "humaneval/HumanEval.jsonl.gz", "rt")]
    of_mbpp = [{"statement": p["text"], "examples": p["test_list"], "name": "f"} for p in mbpp]
    return of_mbpp, [{"statement": p["prompt"], "opening": p["prompt"], "examples": [], "name": p["entry_point"]} for p in human]


def published_tokenizer(path):
    """transformers' reading of a GGUF file's tokenizer; it overlooks that SmolLM2's splits digits first,
    as the published tokenizer.json and llama.cpp do."""
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    pre = gguf.GGUFReader(path).fields["tokenizer.ggml.pre"].contents()
    if pre == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return tokenizer


def ask(inspect, model, weights, requests):
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run([inspect, model, weights], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(inspect, path, formats):
    path = pathlib.Path(path)
    tokenizer = published_tokenizer(path)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    mbpp, human = shown_problems()
    prompts = ask(inspect, path, "as-stored", [{"shown": shown} for shown in mbpp + human])
    same = [tokenizer(prompt["text"], add_special_tokens=False)["input_ids"] == prompt["tokens"] for prompt in prompts]
    report = {"file": path.name, "prompts": len(prompts), "same_tokens": sum(same), "formats": {}}
    few = [prompts[at]["tokens"] for at in (10, 100, 500, len(mbpp) + 5)]
    tops = []
    with torch.no_grad():
        for tokens in few:
            logits = model(torch.tensor([tokens])).logits[0][3::4].double()
            tops.append((logits.log_softmax(-1).topk(LIKELIEST), logits.abs().max().item()))
    greedy_prompts = [prompt["tokens"] for prompt in prompts[510:510 + CONTINUATIONS]]
    expected = [continuation(model, tokens) for tokens in greedy_prompts]
    for weights in formats:
        targets = [{"tokens": tokens, "targets": [[3 + 4 * row, int(token)] for row, row_tokens in enumerate(top.indices) for token in row_tokens]} for tokens, (top, _) in zip(few, tops)]
        found = ask(inspect, path, weights, targets + [{"tokens": tokens, "greedy": GREEDY} for tokens in greedy_prompts])
        worst, divergence, agree, positions = 0.0, 0.0, 0, 0
        for answer, (top, largest) in zip(found, tops):
            ours = torch.tensor(answer["log_probabilities"], dtype=torch.float64).reshape(top.values.shape)
            worst = max(worst, ((ours - top.values).abs().max() / largest).item())
            divergence += (top.values.exp() * (top.values - ours)).sum().item()
            agree += (ours.argmax(-1) == 0).sum().item()
            positions += len(ours)
        parts = [parting(answer["tokens"], *theirs) for answer, theirs in zip(found[len(few):], expected)]
        report["formats"][weights] = {
            "relative_difference": worst, "kl": divergence / positions, "top1": agree / positions,
            "greedy_equal": sum(margin is None for margin in parts),
            "margins_where_they_part": sorted(round(margin, 3) for margin in parts if margin is not None)}
    return report


def continuation(model, tokens):
    """transformers' greedy tokens, and by how much each led."""
    out = model.generate(torch.tensor([tokens]), attention_mask=torch.ones(1, len(tokens), dtype=torch.long), max_new_tokens=GREEDY,
                         do_sample=False, repetition_penalty=1.0, output_logits=True, return_dict_in_generate=True)
    margins = [float(two[0] - two[1]) for two in (step[0].topk(2).values for step in out.logits)]
    return out.sequences[0, len(tokens):].tolist(), margins


def parting(ours, theirs, margins):
    """By how much transformers preferred its token where the two part; None if they do not."""
    for mine, other, margin in zip(ours, theirs, margins):
        if mine != other:
            return margin
    return None


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    formats = ["f32", "as-stored"]
    if "--formats" in arguments:
        at = arguments.index("--formats")
        formats = arguments[at + 1].split(",")
        del arguments[at:at + 2]
    inspect, *files = arguments
    reports = [compare(inspect, path, formats) for path in files]
    if "--json" in sys.argv:
        print(json.dumps(reports))
        return
    for report in reports:
        print(f"{report['file']}: tokens of {report['same_tokens']} of {report['prompts']} prompts equal")
        for weights, found in report["formats"].items():
            print(f"  {weights}: log-probabilities within {found['relative_difference']:.1e}, KL {found['kl']:.1e}, top-1 {100 * found['top1']:.1f} %, "
                  f"{found['greedy_equal']} of {CONTINUATIONS} continuations equal, margins where others part {found['margins_where_they_part']}")


main()
