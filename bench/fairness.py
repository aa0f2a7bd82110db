"""An easy question to `ncomp serve` alone, and beside clients whose tests loop; then a kill.

    bench/fairness.py [LOOPING CLIENTS [QUESTIONS]]

Prints the median and largest time of the easy question alone and beside them, the ratio of the
medians, and the processes that are left two seconds after the service is killed with SIGKILL while
the loops run.
"""

import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OURS = ROOT / "target/release/ncomp"
EASY = {
    "messages": [{"role": "user", "content": "Given a list of integers, keep the positive values."}],
    "ncomp": {"candidates": 10, "tests": ["assert keep_positive([1, -2, 3]) == [1, 3]"]},
}
LOOPING = {
    "messages": [{"role": "user", "content": "Given a list of integers, keep the odd numbers and return their sum."}],
    "ncomp": {"candidates": 10, "tests": ["while True:\n    pass\nassert f([1]) == 1"]},
}


def ask(port, body, seed, patience=600):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    connection.request("POST", "/v1/chat/completions", json.dumps(body | {"seed": seed}))
    response = connection.getresponse()
    return response.status, response.read()


def keep_asking(port, at, stop):
    while not stop.is_set():
        at += 1
        try:
            ask(port, LOOPING, at)
        except (OSError, http.client.HTTPException):
            return


def times(port, count, first):
    found = []
    for at in range(count):
        started = time.monotonic()
        status, text = ask(port, EASY, first + at)
        assert status == 200, text
        found.append(time.monotonic() - started)
    return found


def descendants(parent):
    """The processes below one, by their parents in /proc."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                above = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            children.setdefault(above, []).append(int(entry.name))
    found, left = [], [parent]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return found


def main():
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    questions = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    service = subprocess.Popen([OURS, "serve", "--port", "0", "--max-requests", "32"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    port = int(service.stdout.readline().strip().rsplit(":", 1)[1])
    times(port, 3, 0)
    alone = times(port, questions, 100)
    stop = threading.Event()
    for at in range(clients):
        threading.Thread(target=keep_asking, args=(port, 10_000 * (at + 1), stop), daemon=True).start()
    time.sleep(3)
    beside = times(port, questions, 200)
    below = descendants(service.pid)
    service.kill()
    stop.set()
    time.sleep(2)
    left = [pid for pid in below if os.path.exists(f"/proc/{pid}")]
    middle = statistics.median
    print(f"easy question alone: median {middle(alone):.3f} s, at most {max(alone):.3f} s")
    print(f"beside {clients} clients whose tests loop: median {middle(beside):.3f} s, at most {max(beside):.3f} s; {middle(beside) / middle(alone):.2f} x")
    print(f"2 s after SIGKILL {len(left)} of {len(below)} processes are left")


if __name__ == "__main__":
    main()
