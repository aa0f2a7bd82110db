"""The warm interpreter that candidates are forked from.

It reads jobs from the Unix socket on descriptor 0, forks one child for each, and never runs a
candidate itself. A job names calls and carries no expected value: what the child sends back is
compared elsewhere. A child's messages go to a socket that came with its job:

    tag (1 byte), length (4 bytes, little endian), payload
    L            the program has been loaded            S, X  syntax error, error while loading
    V, N, O      a call's value; a value that is not plain data; a value over the size limit
    E, F         a call or test raised; it was refused by the system (PermissionError)
    M            it ran out of memory
    P            a test that ran in this process passed

After the calls of its job, a child answers further ones that arrive on the same socket: a frame of
name, arguments and keywords as plain data, until the socket is closed.

Replies on the zygote's socket: after a fork the child's process number (4 bytes, -1 if it failed);
after the byte `k`, once the child is dead: wait status, CPU seconds, peak memory in KiB.
"""

import builtins
import gc
import json
import math
import os
import random
import resource
import signal
import socket

# What candidates import most, so that no child pays for it.
import bisect, copy, functools, heapq, itertools, operator, re, string, typing  # noqa: E401,F401

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def send(out, tag, payload=b"", write=os.write, pack=struct.pack):
    data = tag + pack("<I", len(payload)) + payload
    while data:
        data = data[write(out, data):]


def describe(error):
    try:
        text = "%s: %s" % (type(error).__name__, error)
    except BaseException:
        text = type(error).__name__
    return text[:200].encode("utf-8", "replace")


def load(program, namespace, out):
    """Runs the program; whether tests can follow."""
    try:
        program = compile(program, "<candidate>", "exec")
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        send(out, b"S", describe(error))
        return False
    except MemoryError:
        send(out, b"M")
        return False
    try:
        exec(program, namespace)
    except MemoryError:
        send(out, b"M")
        return False
    except PermissionError as error:
        send(out, b"F", describe(error))
        return False
    except BaseException as error:
        send(out, b"X", describe(error))
        return False
    send(out, b"L")
    return True


def answer(produce, limit, out):
    """Sends what a call or test gives."""
    try:
        tag, payload = produce(limit)
    except MemoryError:
        tag, payload = b"M", b""
    except NotPlain as error:
        tag, payload = b"N", describe(error)
    except TooLarge:
        tag, payload = b"O", b""
    except UnicodeEncodeError:
        tag, payload = b"N", b"text with lone surrogates"
    except PermissionError as error:
        tag, payload = b"F", describe(error)
    except BaseException as error:
        tag, payload = b"E", describe(error)
    send(out, tag, payload)


def child(job, out):
    namespace = {"__name__": "candidate", "__builtins__": builtins}
    if not load(job["program"], namespace, out):
        return
    limit = job["output_limit"]

    def value_of(source):
        return lambda limit: (b"V", encode(eval(compile(source, "<test>", "eval"), namespace), limit))

    def run(source):
        def produce(limit):
            exec(compile(source, "<test>", "exec"), namespace)
            return b"P", b""

        return produce

    def apply(name, arguments, keywords):
        return lambda limit: (b"V", encode(namespace[name](*arguments, **keywords), limit))

    for test in job["tests"]:
        answer(value_of(test["call"]) if "call" in test else run(test["source"]), limit, out)
    while job["interactive"]:
        header = receive_all(out, 4)
        name, arguments, keywords = decode(receive_all(out, struct.unpack("<I", header)[0]))
        answer(apply(name, arguments, keywords), limit, out)


def receive_all(descriptor, count):
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def set_limit(name, soft, hard):
    allowed = resource.getrlimit(name)[1]
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(name, (soft, hard))


def limit_all():
    """Limits that this process can live with itself: children inherit them."""
    set_limit(resource.RLIMIT_FSIZE, 1 << 20, 1 << 20)
    set_limit(resource.RLIMIT_NOFILE, 64, 64)
    set_limit(resource.RLIMIT_CORE, 0, 0)


def limit_child(job):
    cpu = int(math.ceil(job["cpu_seconds"]))
    set_limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    set_limit(resource.RLIMIT_AS, job["memory_bytes"], job["memory_bytes"])
    if child_filter is None:
        # Effective for ordinary users only, and for threads too: seccomp does it better.
        set_limit(resource.RLIMIT_NPROC, 0, 0)


def start_child(job, out):
    """The child's way in: from here on nothing that the zygote may do is left to it."""
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    control.close()
    limit_child(job)
    if child_filter is not None:
        child_filter.install()
    gc.enable()
    random.seed(0)
    child(job, out)


def kill_and_reap(pid):
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass
    _, status, usage = os.wait4(pid, 0)
    if child_filter is None:
        kill_orphans()
    control.sendall(struct.pack("<idq", status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))


def kill_orphans():
    """Whatever left the child's process group has become ours. Where seccomp forbids processes
    there is none."""
    while True:
        with open("/proc/thread-self/children") as file:
            left = file.read().split()
        if not left:
            break
        for orphan in left:
            try:
                os.kill(int(orphan), signal.SIGKILL)
                os.waitpid(int(orphan), 0)
            except OSError:
                pass


def main():
    pid = 0
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 5, 1)
        if not data:
            os._exit(0)
        if data[:1] == b"k":
            kill_and_reap(pid)
            continue
        header = receive(5, data)
        job = json.loads(receive(struct.unpack("<I", header[1:])[0]))
        pid = fork()
        if pid == 0:
            try:
                start_child(job, descriptors[0])
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(struct.pack("<i", pid))


def warm_up():
    """Does once here what every child does, with a program of our own: what Python sets up at the
    first compilation (a millisecond of it) is then there for all."""
    tests = [{"call": "add(1, [2.5, 'x', (None, True), {1: {2}}])"}, {"call": "add(0)"}, {"source": "assert True"}]
    program = "import math\ndef add(a, b): return [item for item in (a, b)]\nclass C: pass\n"
    out = os.open(os.devnull, os.O_WRONLY)
    child({"program": program, "tests": tests, "output_limit": 1 << 20, "interactive": False}, out)
    child({"program": "(", "tests": [], "output_limit": 1 << 20, "interactive": False}, out)
    os.close(out)
    random.seed(0)


if __name__ == "__main__":
    warm_up()
    limit_all()
    # Not os.fork: this process has one thread and no hooks, and what Python does after a fork for
    # those that have takes a sixth of the time. PyDLL keeps the interpreter's lock over the call.
    fork = ctypes.PyDLL(None).fork
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    child_filter = confine()
    main()
