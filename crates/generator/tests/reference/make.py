"""Makes qwen_prompts.jsonl: what transformers' Qwen2.5 tokenizer and chat template give for every
MBPP prompt of the reference protocol.

    python3 -m venv venv && venv/bin/pip install transformers jinja2
    venv/bin/python crates/generator/tests/reference/make.py ../shared/data

Each line: the task, FNV-1a of the prompt's UTF-8, the number of its tokens, and FNV-1a of them as
little-endian 32-bit numbers.
"""

import json
import pathlib
import struct
import sys

from transformers import AutoTokenizer

data = pathlib.Path(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(data / "qwen2.5-coder")


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % (1 << 64)
    return f"{value:016x}"


with open(pathlib.Path(__file__).parent / "qwen_prompts.jsonl", "w") as out:
    for line in open(data / "mbpp/mbpp.jsonl"):
        problem = json.loads(line)
        tests = "\n".join(test.replace("\r\n", "\n").replace("\r", "\n") for test in problem["test_list"])
        messages = [
            {"role": "system", "content": "You are a helpful coding assistant."},
            {"role": "user", "content": "Write a Python function to solve the following problem:\n"
             f"{problem['text']}\n\nYour code must pass these tests:\n{tests}\n"},
        ]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + "```python\n"
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        row = [problem["task_id"], fnv(text.encode()), len(tokens), fnv(b"".join(struct.pack("<I", t) for t in tokens))]
        out.write(json.dumps(row) + "\n")
