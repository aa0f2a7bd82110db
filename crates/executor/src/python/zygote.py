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

After the byte `k`, once the child is dead, the zygote replies with its end: wait status (-1 if there
never was a child), CPU seconds, peak memory in KiB.

Most of what a candidate costs is the kernel copying pages that its process touches first: about
three microseconds each. So whatever can be done before the fork is done there, the way from the
fork to the candidate is short, and no message is sent that is not needed.
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

PR_SET_CHILD_SUBREAPER = 36
# Calls of a problem's tests stay compiled for its next candidate, and setups done; when there are so
# many, all are forgotten.
MOST_COMPILED = 4096
ONLY_AST = 0x400


def send(out, tag, payload=b"", write=os.write, pack=struct.Struct("<cI").pack):
    data = pack(tag, len(payload)) + payload
    sent = write(out, data)
    while sent < len(data):
        data = data[sent:]
        sent = write(out, data)


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


def answer(out, produce, *arguments):
    """Sends what a call or test gives."""
    try:
        tag, payload = produce(*arguments)
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


def value_of(code, namespace, limit):
    return b"V", encode(eval(code, namespace), limit)


def run(code, namespace, limit):
    exec(code, namespace)
    return b"P", b""


def apply(frame, namespace, limit):
    name, arguments, keywords = decode(frame)
    return b"V", encode(namespace[name](*arguments, **keywords), limit)


def child(job, out):
    namespace = job["namespace"]
    if not load(job["program"], namespace, out):
        return
    limit = job["output_limit"]
    for produce, code in job["tests"]:
        answer(out, produce, code, namespace, limit)
    while job["interactive"]:
        header = receive_all(out, 4)
        answer(out, apply, receive_all(out, struct.unpack("<I", header)[0]), namespace, limit)


def receive_all(descriptor, count):
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


compiled = {}


def prepare(test):
    """A test as `child` takes it. A call that cannot be compiled stands for itself: the child fails
    on it as on any other error. The source of a test, which may hold what is expected, is not kept:
    candidates of other problems are forked from here too."""
    if "call" not in test:
        return run, test["source"]
    call = test["call"]
    code = compiled.get(call)
    if code is None:
        try:
            code = compile(call, "<test>", "eval")
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
            code = call
        if len(compiled) >= MOST_COMPILED:
            compiled.clear()
        compiled[call] = code
    return value_of, code


def fresh():
    return {"__name__": "candidate", "__builtins__": builtins}


namespaces = {}


def namespace_after(setup):
    """The namespace that a setup leaves, made here once for all children: bringing in the names of
    two modules touches as many pages as the rest of a small candidate. None unless the setup does
    nothing but import what is loaded already: nothing of a problem's is run in this process."""
    if setup not in namespaces:
        namespace = fresh()
        try:
            tree = compile(setup, "<setup>", "exec", ONLY_AST)
            if not all(map(is_loaded, tree.body)):
                return None
            exec(compile(tree, "<setup>", "exec"), namespace)
        except Exception:
            return None
        if len(namespaces) >= MOST_COMPILED:
            namespaces.clear()
        namespaces[setup] = namespace
    return namespaces[setup]


def is_loaded(statement):
    kind = type(statement).__name__
    if kind == "ImportFrom":
        return statement.level == 0 and statement.module in sys.modules
    return kind == "Import" and all(alias.name in sys.modules for alias in statement.names)


def within(name, soft, hard):
    """A limit as setrlimit takes it, no higher than this process may set."""
    allowed = resource.getrlimit(name)[1]
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    return soft, hard


def set_limit(name, soft, hard):
    resource.setrlimit(name, within(name, soft, hard))


def limit_all():
    """Limits that this process can live with itself: children inherit them."""
    set_limit(resource.RLIMIT_FSIZE, 1 << 20, 1 << 20)
    set_limit(resource.RLIMIT_NOFILE, 64, 64)
    set_limit(resource.RLIMIT_CORE, 0, 0)


def start_child(job, out):
    """The child's way in: from here on nothing that the zygote may do is left to it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.close(control_descriptor)
    resource.setrlimit(resource.RLIMIT_AS, job["memory"])
    resource.setrlimit(resource.RLIMIT_CPU, job["cpu"])
    if child_filter is None:
        # A group of its own, so that what it starts can be found, where nothing forbids starting.
        os.setsid()
        # Effective for ordinary users only, and for threads too: seccomp does it better.
        set_limit(resource.RLIMIT_NPROC, 0, 0)
    else:
        child_filter.install()
    gc.enable()
    child(job, out)


def kill_and_reap(pid):
    if pid <= 0:
        control.sendall(struct.pack("<idq", -1, 0, 0))
        return
    for kill in (os.killpg, os.kill) if child_filter is None else (os.kill,):
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


def read_job(data):
    job = json.loads(receive(struct.unpack("<I", receive(5, data)[1:])[0]))
    job["tests"] = [prepare(test) for test in job["tests"]]
    job["namespace"] = namespace_after(job["setup"])
    if job["namespace"] is None:
        job["namespace"], job["program"] = fresh(), job["setup"] + "\n" + job["program"]
    memory, cpu = job["memory_bytes"], int(math.ceil(job["cpu_seconds"]))
    job["memory"] = within(resource.RLIMIT_AS, memory, memory)
    job["cpu"] = within(resource.RLIMIT_CPU, cpu, cpu + 1)
    return job


def main():
    pid = 0
    space = socket.CMSG_SPACE(4)
    while True:
        data, ancillary, _, _ = control.recvmsg(5, space)
        if not data:
            os._exit(0)
        if data[:1] == b"k":
            kill_and_reap(pid)
            continue
        out = struct.unpack("i", ancillary[0][2][:4])[0] if ancillary else -1
        job = read_job(data)
        # A child's first collection would go through all that was made since the last fork.
        gc.freeze()
        pid = fork()
        if pid == 0:
            try:
                start_child(job, out)
            finally:
                os._exit(0)
        os.close(out)


def warm_up():
    """Does once here what every child does, with a program of our own: what Python sets up at the
    first compilation (a millisecond of it) is then there for all."""
    tests = [{"call": "add(1, [2.5, 'x', (None, True), {1: {2}}])"}, {"call": "add(0)"}, {"source": "assert True"}]
    tests = [prepare(test) for test in tests]
    program = "import math\ndef add(a, b): return [item for item in (a, b)]\nclass C: pass\n"
    out = os.open(os.devnull, os.O_WRONLY)
    for program, tests in ((program, tests), ("(", [])):
        job = {"namespace": fresh(), "program": program, "tests": tests}
        child({**job, "output_limit": 1 << 20, "interactive": False}, out)
    os.close(out)


if __name__ == "__main__":
    warm_up()
    limit_all()
    # Nothing here draws from it: every child starts with the same state.
    random.seed(0)
    # Not os.fork: this process has one thread and no hooks, and what Python does after a fork for
    # those that have takes a sixth of the time. PyDLL keeps the interpreter's lock over the call.
    fork = ctypes.PyDLL(None).fork
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    control_descriptor = control.fileno()
    child_filter = confine()
    main()
