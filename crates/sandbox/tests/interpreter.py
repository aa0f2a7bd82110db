"""Stands for an interpreter that forks candidates: takes the lockdown on that standard input
describes, forks a child that takes its filter on, and reports what the child found out."""

import asyncio
import concurrent.futures.thread  # noqa: F401
import ctypes
import json
import os
import resource
import signal
import sqlite3
import struct
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
order = json.loads(sys.stdin.read())
exec(order["probe"], globals())


def install(program):
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    if libc.prctl(22, 2, header, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


def with_event_loop():
    async def work():
        await asyncio.sleep(0.001)
        return await asyncio.to_thread(lambda: 7)

    assert asyncio.run(work()) == 7


def with_null_device():
    with open(os.devnull, "w") as file:
        file.write("x")
    os.close(os.open(os.devnull, os.O_RDWR))


def with_stack_limit():
    resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))


def with_signals_to_itself():
    got = []
    signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))
    signal.raise_signal(signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert len(got) == 3, got


def with_threads():
    threading.stack_size(256 << 20)
    done = []
    threads = [threading.Thread(target=done.append, args=(1,)) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.stack_size(0)
    assert len(done) == 100


def with_database():
    with sqlite3.connect(":memory:") as database:
        assert database.execute("select 1 + 1").fetchone() == (2,)


def with_import():
    import colorsys
    colorsys.rgb_to_hsv(0, 0, 0)


HARMLESS = [with_event_loop, with_stack_limit, with_signals_to_itself, with_threads, with_database]
if order["files"]:
    HARMLESS += [with_null_device, with_import]
if order["ruleset"]:
    if libc.syscall(446, 4, 0) != 0:
        raise OSError(ctypes.get_errno(), "Landlock")
for program in order["filters"]:
    install(bytes(program))
pid = os.fork()
if pid == 0:
    try:
        if order["child_filter"]:
            program = bytearray(order["child_filter"])
            for offset in order["pid_offsets"]:
                struct.pack_into("=I", program, offset, os.getpid())
            install(bytes(program))
        refused = []
        for harmless in HARMLESS:
            try:
                harmless()
            except BaseException as error:
                refused.append("%s: %r" % (harmless.__name__, error))
        report = json.dumps({"through": probe(), "refused": refused})
        os.write(1, report.encode())
    except BaseException as error:
        os.write(2, repr(error).encode())
    os._exit(0)
os.waitpid(pid, 0)
