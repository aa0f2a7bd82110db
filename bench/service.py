"""Load on `ncomp serve`: so many clients on loopback, each asking again as soon as it is answered.

Prints throughput, latency percentiles, statuses, and the service's memory at the start and the end.
    python3 bench/service.py PROGRAM CLIENTS SECONDS
"""

import collections
import http.client
import json
import subprocess
import sys
import threading
import time

QUESTIONS = [
    "Given a list of integers, keep the positive values.",
    "Given a list of integers, square each number and sort the result.",
    "Given a list of integers, keep the odd numbers and return their sum.",
    "Given a list of integers, reverse it and keep the first two.",
]


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def client(port, until, at, latencies, statuses):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while time.monotonic() < until:
        at += 1
        body = {
            "messages": [{"role": "user", "content": QUESTIONS[at % len(QUESTIONS)]}],
            "seed": at,
            "ncomp": {"candidates": 10},
        }
        started = time.monotonic()
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            status = response.status
            if status == 200:
                assert json.loads(text)["ncomp"]["evidence"]["candidates"] > 0
                latencies.append(time.monotonic() - started)
            elif status == 429:
                time.sleep(float(response.headers["Retry-After"]))
        except (OSError, http.client.HTTPException, AssertionError) as error:
            status = type(error).__name__
            connection.close()
        statuses[status] += 1


def run(program, clients, seconds, extra):
    service = subprocess.Popen([program, "serve", "--port", "0", *extra], stdout=subprocess.PIPE, text=True)
    port = int(service.stdout.readline().strip().rsplit(":", 1)[1])
    latencies, statuses = [], collections.Counter()
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=client, args=(port, until, 1000 * at, latencies, statuses)) for at in range(clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 6)
    early = memory(service.pid)
    for thread in threads:
        thread.join()
    late = memory(service.pid)
    service.terminate()
    service.wait()
    latencies.sort()
    share = lambda part: latencies[min(len(latencies) - 1, int(part * len(latencies)))]
    print(
        f"{clients} clients, {seconds} s, {' '.join(extra)}: {len(latencies) / seconds:.1f} answers/s;"
        f" latency p50 {share(0.5):.2f} s, p95 {share(0.95):.2f} s, p99 {share(0.99):.2f} s;"
        f" statuses {dict(statuses)}; memory {early:.0f} MB after {seconds / 6:.0f} s, {late:.0f} MB at the end"
    )


if __name__ == "__main__":
    program, clients, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    run(program, clients, seconds, ["--max-requests", "32"])
    run(program, clients, seconds / 6, ["--max-requests", "8"])
