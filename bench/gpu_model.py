"""A real model on the GPU beside itself on the processor: 32 greedy answers of 64 tokens.

    gpu_model.py NCOMP MODEL.gguf PROBLEMS.jsonl [DEVICE]

DEVICE is cuda unless named. Both keep the weights in bf16; the GPU's activations are bf16 too, the
processor's are f32. Reports how many continuations are equal, how far log-probabilities of the same tokens
after the same tokens are apart, and by how much the processor preferred its own token where the two part;
fails if the mean difference is above 0.05. Needs Python's standard library.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROBLEMS, TOKENS, LARGEST_MEAN = 32, 64, 0.05


def answers(ncomp, model, problems, device, folder):
    out = pathlib.Path(folder) / f"{device}.jsonl"
    command = [ncomp, "generate", "--model", model, "--weights", "bf16", "--device", device, "--problems", problems, "--split", "all",
               "--limit", str(PROBLEMS), "-n", "1", "--temperature", "0", "--max-new-tokens", str(TOKENS), "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{device}: {done.stderr}")
    return {row["problem"]: row for row in map(json.loads, out.open())}


def main():
    ncomp, model, problems, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        gpu = answers(ncomp, model, problems, rest[0] if rest else "cuda", folder)
        processor = answers(ncomp, model, problems, "cpu", folder)
    differences, equal, parted = [], 0, []
    for problem, ours in processor.items():
        theirs = gpu[problem]
        rows = list(zip(ours["tokens"], theirs["tokens"], ours["log_probabilities"], theirs["log_probabilities"]))
        same = next((at for at, row in enumerate(rows) if row[0] != row[1]), len(rows))
        differences += [abs(row[2] - row[3]) for row in rows[:same]]
        equal += ours["tokens"] == theirs["tokens"]
        if same < len(rows):
            parted.append(abs(rows[same][2] - rows[same][3]))
    mean = statistics.mean(differences)
    print(f"{equal} of {len(processor)} continuations equal; {len(differences)} log-probabilities of the same tokens: "
          f"{mean:.4f} apart in the mean, {max(differences):.3f} at most; "
          f"log-probabilities of the two tokens where others part differ by {[round(gap, 3) for gap in sorted(parted)]}")
    sys.exit(mean > LARGEST_MEAN)


main()
