"""The warm interpreter that candidates are forked from.

It reads jobs from the Unix socket on descriptor 0, forks one child for each, and never runs a
candidate itself. A job names calls and carries no expected value: what the child sends back is
compared elsewhere. A child's messages go to a pipe that came with its job:

    tag (1 byte), length (4 bytes, little endian), payload
    L            the program has been loaded            S, X  syntax error, error while loading
    V, N, O      a call's value; a value that is not plain data; a value over the size limit
    E, M         a call or test raised; it ran out of memory
    P            a test that ran in this process passed

Replies on the socket: after a fork the child's process number (4 bytes, -1 if it failed); after
the byte `k`, once the child is dead: wait status, CPU seconds, peak memory in KiB.
"""

import builtins
import ctypes
import json
import math
import os
import random
import resource
import signal
import socket
import struct
import sys
import warnings

# What candidates import most, so that no child pays for it.
import bisect, collections, copy, decimal, fractions, functools, heapq, itertools, operator, re, string, typing  # noqa: E401,F401

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MAX_DEPTH = 64
libc = ctypes.CDLL(None)


class NotPlain(Exception):
    pass


class TooLarge(Exception):
    pass


def encode(value, limit):
    """A value as tagged bytes; exact types only, so that no method of the candidate's runs."""
    parts, size = [], 0

    def put(data):
        nonlocal size
        size += len(data)
        if size > limit:
            raise TooLarge
        parts.append(data)

    def sized(tag, data):
        put(tag + struct.pack("<I", len(data)))
        put(data)

    def items(tag, values, depth):
        put(tag + struct.pack("<I", len(values)))
        for item in values:
            visit(item, depth)

    def visit(value, depth):
        kind = type(value)
        if depth > MAX_DEPTH:
            raise NotPlain("nested too deep")
        if value is None:
            put(b"n")
        elif kind is bool:
            put(b"t" if value else b"f")
        elif kind is int:
            sized(b"i", (b"%x" % value) if value >= 0 else b"-%x" % -value)
        elif kind is float:
            put(b"d" + struct.pack("<d", value))
        elif kind is complex:
            put(b"c" + struct.pack("<dd", value.real, value.imag))
        elif kind is str:
            sized(b"s", value.encode("utf-8"))
        elif kind is bytes or kind is bytearray:
            sized(b"b", bytes(value))
        elif kind is list:
            items(b"l", value, depth + 1)
        elif kind is tuple:
            items(b"u", value, depth + 1)
        elif kind is set:
            items(b"e", value, depth + 1)
        elif kind is frozenset:
            items(b"z", value, depth + 1)
        elif kind is dict or kind in DICTIONARIES:
            put(b"m" + struct.pack("<I", dict.__len__(value)))
            for key, item in dict.items(value):
                visit(key, depth + 1)
                visit(item, depth + 1)
        elif kind is collections.deque:
            items(b"q", list(value), depth + 1)
        elif kind is decimal.Decimal:
            sized(b"D", str(value).encode())
        elif kind is fractions.Fraction:
            put(b"F")
            visit(value.numerator, depth)
            visit(value.denominator, depth)
        else:
            raise NotPlain(kind.__name__)

    visit(value, 0)
    return b"".join(parts)


DICTIONARIES = (collections.Counter, collections.defaultdict, collections.OrderedDict)


def child(job, out):
    write, pack = os.write, struct.pack

    def send(tag, payload=b""):
        data = tag + pack("<I", len(payload)) + payload
        while data:
            data = data[write(out, data):]

    def describe(error):
        try:
            text = "%s: %s" % (type(error).__name__, error)
        except BaseException:
            text = type(error).__name__
        return text[:200].encode("utf-8", "replace")

    namespace = {"__name__": "candidate", "__builtins__": builtins}
    try:
        program = compile(job["program"], "<candidate>", "exec")
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        return send(b"S", describe(error))
    except MemoryError:
        return send(b"M")
    try:
        exec(program, namespace)
    except MemoryError:
        return send(b"M")
    except BaseException as error:
        return send(b"X", describe(error))
    send(b"L")
    for test in job["tests"]:
        try:
            if "call" in test:
                value = eval(compile(test["call"], "<test>", "eval"), namespace)
                send(b"V", encode(value, job["output_limit"]))
            else:
                exec(compile(test["source"], "<test>", "exec"), namespace)
                send(b"P")
        except MemoryError:
            send(b"M")
        except NotPlain as error:
            send(b"N", describe(error))
        except TooLarge:
            send(b"O")
        except UnicodeEncodeError:
            send(b"N", b"text with lone surrogates")
        except BaseException as error:
            send(b"E", describe(error))


def limit(job):
    cpu = int(math.ceil(job["cpu_seconds"]))
    for name, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, job["memory_bytes"], job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, 1 << 20, 1 << 20),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        # Effective for ordinary users only: root is not bound by it.
        (resource.RLIMIT_NPROC, 0, 0),
    ):
        allowed = resource.getrlimit(name)[1]
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        resource.setrlimit(name, (soft, hard))


def start_child(job, out):
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    control.close()
    limit(job)
    random.seed(0)
    warnings.simplefilter("ignore")
    child(job, out)


def kill_and_reap(pid):
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except OSError:
            pass
    _, status, usage = os.wait4(pid, 0)
    # Whatever left the child's process group has become ours.
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
    control.sendall(struct.pack("<idq", status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss))


def receive(count, first=b""):
    data = first
    while len(data) < count:
        more = control.recv(count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


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
        try:
            pid = os.fork()
        except OSError:
            pid = -1
        if pid == 0:
            try:
                start_child(job, descriptors[0])
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(struct.pack("<i", pid))


if __name__ == "__main__":
    control = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    sys.dont_write_bytecode = True
    control.sendall(b"ready" + struct.pack("<BB", *sys.version_info[:2]))
    main()
