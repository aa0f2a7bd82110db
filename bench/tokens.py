"""Tokens of made-up texts here beside llama.cpp's, for every way to split that both know.

    tokens.py INSPECT LLAMA MODEL.gguf …

Of the first model copies are made whose `tokenizer.ggml.pre` names each other way, none at all, and a token
at a text's beginning. Run by tokens.sh; needs the package gguf.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

WAYS = ["default", "gpt-2", "llama-bpe", "deepseek-coder", "qwen2", "deepseek-r1-qwen", "smaug-bpe", "starcoder"]
TEXTS = [
    "hello world", "a  b\n\n\n c", "x+=1; y**=2\n\tdef f(a1, b22):\n    return a1==12345678", "It's we'll DON'T I'M 's",
    "1234567 12 3 4.5e10", "  leading", "trailing   ", "\n\n\nfoo\r\n\r\nbar", "naïve café Größe 你好世界 한국어 😀👍",
    "<|im_start|>user\nhi<|im_end|>\n", "$100 + 20% = ^~| <a>", "\t\t if x:\n\t\t\tpass", "...!!!???---___",
    "a\u00a0b\u2003c", "'S 'RE 'Ll can'T", "1a2b33c444", "   \n   \n x", "###",
]
LETTERS = "ab1 2\n\t.,'()=+<>|$^~éß你😀_-\r"


def texts():
    chance = random.Random(1)
    return TEXTS + ["".join(chance.choices(LETTERS, k=chance.randint(1, 40))) for _ in range(300)]


def copies(model, directory):
    """The model under other names of the way to split, and with a token at the beginning."""
    scripts = pathlib.Path(sys.executable).parent
    run = lambda *arguments: subprocess.run(arguments, check=True, capture_output=True)
    new = lambda name, *options: run(scripts / "gguf-new-metadata", "--force", *options, model, directory / name) and directory / name
    for way in WAYS:
        yield new(f"{way}.gguf", "--pre-tokenizer", way)
    yield new("none.gguf", "--remove-metadata", "tokenizer.ggml.pre")
    begun = new("begun.gguf")
    run(scripts / "gguf-set-metadata", "--force", begun, "tokenizer.ggml.add_bos_token", "1")
    yield begun


def compare(inspect, llama, model, all_texts):
    said = subprocess.run([llama, model], input="\0".join(all_texts), capture_output=True, text=True, check=True).stdout
    theirs = [[[int(token) for token in part.split()] for part in line.split("|")] for line in said.splitlines()]
    requests = "".join(json.dumps({"text": text}) + "\n" for text in all_texts)
    said = subprocess.run([inspect, model], input=requests, capture_output=True, text=True)
    if said.returncode != 0:
        sys.exit(said.stderr)
    ours = [[answer["tokens"], answer["whole"]] for answer in map(json.loads, said.stdout.splitlines())]
    wrong = [text for text, a, b in zip(all_texts, ours, theirs) if a != b]
    print(f"{pathlib.Path(model).name}: tokens of {len(ours) - len(wrong)} of {len(all_texts)} texts equal", *map(repr, wrong[:3]))
    return not wrong


def main():
    inspect, llama, *models = sys.argv[1:]
    equal = [compare(inspect, llama, model, texts()) for model in models]
    with tempfile.TemporaryDirectory() as directory:
        for copy in copies(models[0], pathlib.Path(directory)):
            equal.append(compare(inspect, llama, copy, texts()))
            copy.unlink()
    sys.exit(0 if all(equal) else 1)


main()
