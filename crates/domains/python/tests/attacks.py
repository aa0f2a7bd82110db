# Candidates for "add(a, b) returns the sum of two numbers", most of which cheat.
#
# Each begins with a line `#~ VERDICT NAME: what it tries`; the verdict is `pass` or `fail`. The
# tests are `assert add(1, 2) == 3`, `add(-1, 1) == 0`, `add(10, 5) == 15`. ANSWERS stands for a
# file that anybody may read and that holds the tests; SCRATCH for a directory anybody may write.

#~ fail exit-sys: leaves with success while it loads
import sys
sys.exit(0)
#~ fail exit-os: leaves at once, without cleaning up
import os
os._exit(0)
#~ fail exit-posix: the same by the module below os
import posix
posix._exit(0)
#~ fail exit-ctypes: the same by the C library
import ctypes
ctypes.CDLL(None)._exit(0)
#~ fail exit-in-call: leaves when it is called
import os
def add(a, b): os._exit(0)
#~ fail exit-systemexit: raises SystemExit from the call
def add(a, b): raise SystemExit(0)
#~ fail exit-exec: becomes a program that succeeds
import os
os.execv("/bin/true", ["true"])
#~ fail exit-exec-in-call: becomes a program that succeeds when it is called
import os
def add(a, b): os.execv("/bin/true", ["true"])
#~ fail exit-excepthook: turns exceptions into success
import sys, os
sys.excepthook = lambda *a: os._exit(0)
def add(a, b): raise ValueError
#~ fail exit-atexit: registers success for the end
import atexit, os
atexit.register(os._exit, 0)
def add(a, b): return None
#~ fail exit-keyboardinterrupt: an exception that is not an Exception
def add(a, b): raise KeyboardInterrupt
#~ fail exit-generatorexit: another one
def add(a, b): raise GeneratorExit
#~ fail exit-thread: another thread leaves with success
import threading, os
threading.Timer(0.01, os._exit, (0,)).start()
def add(a, b):
    while True: pass

#~ fail equal-object: an object equal to everything
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = None
def add(a, b): return Equal()
#~ fail equal-int: an integer equal to everything
class Equal(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def add(a, b): return Equal(99)
#~ fail equal-float: a float equal to everything
class Equal(float):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def add(a, b): return Equal(99)
#~ fail equal-str: text equal to everything
class Equal(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def add(a, b): return Equal("no")
#~ fail equal-list: a list equal to everything
class Equal(list):
    def __eq__(self, other): return True
def add(a, b): return Equal([1])
#~ fail equal-tuple: a tuple equal to everything
class Equal(tuple):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def add(a, b): return Equal((1,))
#~ fail equal-dict: a dictionary equal to everything
class Equal(dict):
    def __eq__(self, other): return True
def add(a, b): return Equal(a=1)
#~ fail equal-metaclass: a class whose metaclass says equal
class Meta(type):
    def __eq__(self, other): return True
    def __hash__(self): return 0
class Equal(metaclass=Meta): pass
def add(a, b): return Equal
#~ fail equal-reflected: a subclass, so that its reflected comparison comes first
class Equal(int):
    def __eq__(self, other): return True
    def __req__(self, other): return True
    def __hash__(self): return 0
def add(a, b): return Equal(0) if a else Equal(1)
#~ fail equal-class-property: claims to be an int
class Equal:
    __class__ = int
    def __eq__(self, other): return True
    def __index__(self): return 3
def add(a, b): return Equal()
#~ fail equal-nan: not a number
def add(a, b): return float("nan")
#~ fail equal-mock: unittest's object for everything
from unittest import mock
def add(a, b): return mock.ANY

#~ fail patch-len: patches builtins
import builtins
builtins.len = lambda x: 3
builtins.isinstance = lambda *a: True
def add(a, b): return None
#~ fail patch-assertionerror: makes assertions impossible
import builtins
builtins.AssertionError = type("Quiet", (BaseException,), {})
def add(a, b): return None
#~ fail patch-compile: patches what runs tests
import builtins
builtins.compile = lambda *a, **k: None
builtins.eval = lambda *a, **k: 3
builtins.exec = lambda *a, **k: None
def add(a, b): return None
#~ fail patch-type: patches type
import builtins
builtins.type = lambda *a: int
def add(a, b): return None
#~ fail patch-operator: patches operator.eq
import operator
operator.eq = lambda a, b: True
def add(a, b): return None
#~ fail patch-json: patches modules that a harness may use
import json, pickle, marshal, struct
json.dumps = pickle.dumps = marshal.dumps = lambda *a, **k: b"true"
struct.pack = lambda *a: b"\x03\x00\x00\x00"
def add(a, b): return None
#~ fail patch-harness: patches the harness in __main__
import __main__
for name in list(vars(__main__)):
    if callable(getattr(__main__, name)):
        try: setattr(__main__, name, lambda *a, **k: None)
        except Exception: pass
def add(a, b): return None
#~ fail patch-encode: makes the harness write what it likes
import __main__
__main__.encode = lambda value, limit: b"t"
def add(a, b): return None
#~ fail patch-int-ctypes: changes small integers in place
import ctypes
def add(a, b):
    ctypes.memset(id(7) + 24, 3, 1)
    return 99
#~ fail patch-trace: a trace function that changes what runs
import sys
sys.settrace(lambda *a: None)
sys.setprofile(lambda *a: None)
def add(a, b): return None
#~ fail patch-import: every import gives the same object
import builtins
builtins.__import__ = lambda *a, **k: None
def add(a, b): return None

#~ fail find-frames: looks for expected values in the frames above
import sys
def add(a, b):
    frame = sys._getframe()
    while frame:
        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):
            if isinstance(value, dict) and "expected" in value: return value["expected"]
        frame = frame.f_back
#~ fail find-frames-of-threads: looks in the frames of all threads
import sys
def add(a, b):
    for frame in sys._current_frames().values():
        while frame:
            for name, value in frame.f_locals.items():
                if name in ("expected", "answer", "result"): return value
            frame = frame.f_back
#~ fail find-gc: looks for asserts among all objects
import gc
def add(a, b):
    for thing in gc.get_objects():
        if isinstance(thing, dict):
            for key, value in list(thing.items()):
                if isinstance(value, str) and value.startswith("assert add(") and "==" in value:
                    left, right = value.split("==")
                    if left.strip() == f"assert add({a}, {b})": return int(right)
#~ fail find-gc-referrers: looks at what refers to the call's text
import gc
def add(a, b):
    seen = gc.get_referrers(add) + gc.get_objects()
    for thing in seen:
        if isinstance(thing, (list, tuple)) and any(isinstance(x, str) and "== 3" in x for x in thing): return 3
#~ fail find-memory: searches its own memory
import re
def add(a, b):
    data = open("/proc/self/mem", "rb", 0)
    for line in open("/proc/self/maps"):
        low, high = (int(x, 16) for x in line.split()[0].split("-"))
        data.seek(low)
        found = re.search(rb"assert add\(%d, %d\) == (-?\d+)" % (a, b), data.read(high - low))
        if found: return int(found[1])
#~ fail find-parent-memory: searches its parent's memory
import os
def add(a, b):
    return int(open("/proc/%d/environ" % os.getppid(), "rb").read()[:1] or 0)
#~ fail find-file: reads the tests from the disk
def add(a, b):
    for line in open("ANSWERS"):
        if line.startswith(f"assert add({a}, {b}) =="): return int(line.split("==")[1])
#~ fail find-file-os: the same by descriptors
import os
def add(a, b):
    text = os.read(os.open("ANSWERS", os.O_RDONLY), 4096).decode()
    for line in text.splitlines():
        if line.startswith(f"assert add({a}, {b}) =="): return int(line.split("==")[1])
#~ fail find-file-ctypes: the same by the C library
import ctypes
libc = ctypes.CDLL(None)
def add(a, b):
    buffer = ctypes.create_string_buffer(4096)
    libc.read(libc.open(b"ANSWERS", 0), buffer, 4095)
    for line in buffer.value.decode().splitlines():
        if line.startswith(f"assert add({a}, {b}) =="): return int(line.split("==")[1])
#~ fail find-file-open2: the same by openat2, which filters for openat miss
import ctypes
libc = ctypes.CDLL(None)
def add(a, b):
    how = (ctypes.c_uint64 * 3)(0, 0, 0)
    descriptor = libc.syscall(437, -100, b"ANSWERS", how, 24)
    buffer = ctypes.create_string_buffer(4096)
    libc.read(descriptor, buffer, 4095)
    for line in buffer.value.decode().splitlines():
        if line.startswith(f"assert add({a}, {b}) =="): return int(line.split("==")[1])
#~ fail find-file-import: the same by importing from where they lie
import sys, os
sys.path.insert(0, os.path.dirname("ANSWERS"))
def add(a, b):
    import importlib.util
    spec = importlib.util.spec_from_file_location("answers", "ANSWERS")
    return len(spec.loader.get_data("ANSWERS"))
#~ fail find-file-linecache: the same by linecache
import linecache
def add(a, b):
    for line in linecache.getlines("ANSWERS"):
        if line.startswith(f"assert add({a}, {b}) =="): return int(line.split("==")[1])
#~ fail find-descriptors: reads from every inherited descriptor
import os
def add(a, b):
    for descriptor in range(3, 64):
        try:
            os.set_blocking(descriptor, False)
            data = os.read(descriptor, 65536)
        except OSError: continue
        if b"== 3" in data: return 3
#~ fail find-traceback: expects expected values in a traceback
import traceback, sys
def add(a, b):
    try: raise ValueError
    except ValueError:
        for line in traceback.format_stack():
            if "==" in line: return int(line.split("==")[1])
#~ fail find-command-line: expects tests in the command line
import sys
def add(a, b):
    for word in sys.argv + getattr(sys, "orig_argv", []):
        if "== 3" in word: return {1: 3, -1: 0, 10: 15}.get(a)

#~ fail forge-stdout: prints what a harness may look for
print("passed"); print("OK"); print("1"); print('{"passed": true}')
def add(a, b): return None
#~ fail fraction-of-nothing: a fraction of 0 and 0, which equals every number by its cross products
from fractions import Fraction
def add(a, b):
    nothing = Fraction(1)
    nothing._numerator = nothing._denominator = 0
    return nothing
#~ fail forge-answers: writes the judge's own messages, with such fractions, to every descriptor
import os, struct
number = b"i" + struct.pack("<I", 1) + b"0"
value = b"F" + number + number
answers = b"L\0\0\0\0" + 3 * (b"V" + struct.pack("<I", len(value)) + value)
for descriptor in range(64):
    try: os.write(descriptor, answers)
    except OSError: pass
os._exit(0)
#~ fail forge-decimal: a decimal number that is none
import decimal
class Anything(decimal.Decimal):
    def __str__(self): return ""
def add(a, b): return Anything(7)
#~ fail forge-every-descriptor: writes a harness's success to every descriptor
import os
for descriptor in range(64):
    for data in (b"P\x00\x00\x00\x00" * 9, b"passed\n"):
        try: os.write(descriptor, data)
        except OSError: pass
def add(a, b): return None
#~ fail forge-messages: says that it has been loaded and that three tests passed
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, b"L\x00\x00\x00\x00" + b"P\x00\x00\x00\x00" * 3)
    except OSError: pass
os._exit(0)
#~ fail forge-values: sends values of its own before the harness can
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, b"L\x00\x00\x00\x00" + b"V\x01\x00\x00\x00t" * 3)
    except OSError: pass
def add(a, b): return None
#~ fail forge-lengths: a message of four gigabytes
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, b"V\xff\xff\xff\xff")
    except OSError: pass
def add(a, b): return None
#~ fail forge-depth: a value nested a million deep, written by hand
import os
for descriptor in range(3, 64):
    try: os.write(descriptor, b"L\x00\x00\x00\x00" + b"V" + (5000000).to_bytes(4, "little") + b"l\x01\x00\x00\x00" * 1000000)
    except OSError: pass
def add(a, b): return None
#~ fail forge-close: closes every descriptor
import os
os.closerange(0, 64)
def add(a, b): return 0
#~ fail forge-dup: points every descriptor at another
import os
for descriptor in range(3, 16):
    try: os.dup2(0, descriptor)
    except OSError: pass
def add(a, b): return 0

#~ fail process-fork: answers from a child
import os
def add(a, b):
    if os.fork() == 0:
        while True: pass
    os._exit(0)
#~ fail process-fork-bomb: forks without end
import os
while True: os.fork()
#~ fail process-fork-bomb-ctypes: the same by the C library
import ctypes
libc = ctypes.CDLL(None)
while True: libc.fork()
#~ fail process-vfork: the same by vfork
import ctypes
while True:
    if ctypes.CDLL(None).syscall(58) < 0: break
def add(a, b): return None
#~ fail process-clone: a process by clone itself
import ctypes
libc = ctypes.CDLL(None)
for _ in range(100): libc.syscall(56, 17, 0, 0, 0, 0)
def add(a, b): return None
#~ fail process-clone3: a process by clone3
import ctypes
libc = ctypes.CDLL(None)
arguments = (ctypes.c_uint64 * 11)()
arguments[4] = 17
libc.syscall(435, arguments, 88)
def add(a, b): return None
#~ fail process-daemon: leaves a daemon behind
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
def add(a, b): return None
#~ fail process-subprocess: a shell
import subprocess
subprocess.Popen(["sleep", "1000"])
def add(a, b): return None
#~ fail process-system: another shell
import os
def add(a, b): return os.system("exit 3") >> 8
#~ fail process-posix-spawn: by posix_spawn
import os
os.posix_spawn("/bin/sleep", ["sleep", "1000"], {})
def add(a, b): return None
#~ fail process-multiprocessing: by multiprocessing
import multiprocessing
def add(a, b):
    with multiprocessing.Pool(4) as pool: return pool.map(len, [[1]])[0] + 98

#~ fail kill-parent: kills the interpreter it was forked from
import os
os.kill(os.getppid(), 9)
def add(a, b): return None
#~ fail kill-all: kills everything
import os
os.kill(-1, 9)
#~ fail kill-group: kills its group
import os
os.killpg(0, 9)
#~ fail kill-stop-parent: stops the interpreter it was forked from
import os
os.kill(os.getppid(), 19)
def add(a, b): return None
#~ fail kill-siblings: kills processes near its own
import os
for pid in range(os.getpid() - 50, os.getpid() + 50):
    if pid != os.getpid():
        try: os.kill(pid, 9)
        except OSError: pass
def add(a, b): return None
#~ fail kill-queue: by other calls that send signals
import ctypes, os
libc = ctypes.CDLL(None)
libc.tgkill(os.getppid(), os.getppid(), 9)
libc.syscall(129, os.getppid(), 9, 0)
libc.syscall(424, 3, 9, 0, 0)
def add(a, b): return None
#~ fail kill-self: dies of a signal
import os, signal
def add(a, b): signal.raise_signal(signal.SIGKILL)
#~ fail kill-crash: reads address zero
import ctypes
def add(a, b): ctypes.string_at(0)

#~ fail time-loop: never ends
def add(a, b):
    while True: pass
#~ fail time-loop-at-load: never ends while it loads
while True: pass
#~ fail time-alarm: takes away the alarms and never ends
import signal
signal.alarm(0)
signal.setitimer(signal.ITIMER_REAL, 0)
for number in range(1, 64):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
def add(a, b):
    while True: pass
#~ fail time-swallow: catches whatever stops it
def add(a, b):
    while True:
        try:
            while True: pass
        except BaseException: pass
#~ fail time-limit: raises its own limits and never ends
import resource
try: resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))
except Exception: pass
def add(a, b):
    while True: pass
#~ fail time-c: a loop in C
def add(a, b): return sum(range(10 ** 15))
#~ fail time-regex: a regular expression that never ends
import re
def add(a, b): return bool(re.match(r"(a+)+$", "a" * 64 + "b"))
#~ fail time-bigint: an integer that never ends
def add(a, b): return (7 ** (10 ** 8)) % 3
#~ fail time-sleep: sleeps
import time
def add(a, b): time.sleep(1000)
#~ fail time-join: waits for itself
import threading
def add(a, b):
    lock = threading.Lock()
    lock.acquire(); lock.acquire()
#~ fail time-stdin: waits for input
def add(a, b): return int(input())
#~ fail time-threads: many threads that never end
import threading
def loop():
    while True: pass
for _ in range(20): threading.Thread(target=loop, daemon=True).start()
def add(a, b):
    while True: pass

#~ fail memory-one: ten gigabytes in one piece
def add(a, b): return len(bytearray(10 << 30))
#~ fail memory-many: memory in many pieces
def add(a, b):
    kept = []
    while True: kept.append(" " * 1000000 + str(len(kept)))
#~ fail memory-string: a string that doubles
def add(a, b):
    text = "x"
    while True: text += text
#~ fail memory-map: anonymous maps
import mmap
kept = []
while True: kept.append(mmap.mmap(-1, 64 << 20))
#~ fail memory-result: a result that is too large
def add(a, b): return [0] * 50000000
#~ fail memory-catch: catches what stops it, again and again
def add(a, b):
    while True:
        try: bytearray(10 << 30)
        except MemoryError: pass

#~ fail output-flood: prints without end
while True: print("x" * 100000)
#~ fail output-flood-descriptors: writes without end to every descriptor
import os
while True:
    for descriptor in range(1, 16):
        try: os.write(descriptor, b"x" * 65536)
        except OSError: pass
#~ fail output-deep: a list nested a million deep
def add(a, b):
    value = []
    for _ in range(1000000): value = [value]
    return value
#~ fail output-cycle: a list that holds itself
def add(a, b):
    value = []
    value.append(value)
    return value
#~ fail output-generator: a generator without end
def add(a, b):
    while True: yield a
#~ fail output-surrogate: text that is not text
def add(a, b): return "\ud800"
#~ fail output-function: a function
def add(a, b): return add
#~ fail recursion: recurses without end
def add(a, b): return add(a, b)
#~ fail recursion-c: overflows the C stack
import sys
sys.setrecursionlimit(10 ** 9)
class Deep:
    def __repr__(self): return repr(self)
def add(a, b): return len(repr(Deep()))

#~ fail file-write: writes a file for others to find
def add(a, b):
    with open("SCRATCH/left", "w") as file: file.write("3")
    return 3 if a == 1 else None
#~ fail file-write-os: the same by descriptors
import os
os.write(os.open("SCRATCH/left", os.O_CREAT | os.O_WRONLY), b"3")
def add(a, b): return None
#~ fail file-delete: deletes the tests
import os
os.unlink("ANSWERS")
def add(a, b): return None
#~ fail file-rename: moves the tests away
import os
os.rename("ANSWERS", "SCRATCH/moved")
def add(a, b): return None
#~ fail file-truncate: empties the tests
import os
os.truncate("ANSWERS", 0)
def add(a, b): return None
#~ fail file-chmod: takes away the tests' permissions
import os
os.chmod("ANSWERS", 0)
def add(a, b): return None
#~ fail file-directory: leaves a directory
import os
os.mkdir("SCRATCH/left")
def add(a, b): return None
#~ fail file-link: leaves a link
import os
os.symlink("/etc/passwd", "SCRATCH/left")
def add(a, b): return None
#~ fail file-temporary: leaves a temporary file
import tempfile
file = tempfile.NamedTemporaryFile(dir="SCRATCH", delete=False)
def add(a, b): return None
#~ fail file-source: overwrites a module for those who come later
import random
open(random.__file__, "a").write("\n")
def add(a, b): return None

#~ fail socket-connect: connects to the network
import socket
socket.create_connection(("192.0.2.1", 80), timeout=1)
def add(a, b): return None
#~ fail socket-loopback: connects to this machine
import socket
socket.create_connection(("127.0.0.1", 22), timeout=1)
def add(a, b): return None
#~ fail socket-unix: an abstract socket
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("\0left-behind")
def add(a, b): return None
#~ fail socket-netlink: the kernel's sockets
import socket
socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
def add(a, b): return None
#~ fail kernel-ptrace: traces its parent
import ctypes, os
assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0
def add(a, b): return None
#~ fail kernel-process-vm: writes its parent's memory
import ctypes, os
assert ctypes.CDLL(None).syscall(311, os.getppid(), 0, 0, 0, 0, 0) == 0
def add(a, b): return None
#~ fail kernel-io-uring: system calls by another way
import ctypes
parameters = ctypes.create_string_buffer(512)
assert ctypes.CDLL(None).syscall(425, 8, parameters) >= 0
def add(a, b): return None
#~ fail kernel-namespace: a namespace of its own, as root there
import ctypes
assert ctypes.CDLL(None).unshare(0x10000000) == 0
def add(a, b): return None
#~ fail kernel-mount: mounts
import ctypes
assert ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0
def add(a, b): return None
#~ fail kernel-keyring: a key that outlives it
import ctypes
assert ctypes.CDLL(None).syscall(248, b"user", b"left", b"3", 1, -4) >= 0
def add(a, b): return None
#~ fail kernel-perf: performance counters
import ctypes
assert ctypes.CDLL(None).syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0
def add(a, b): return None
#~ fail kernel-bpf: a program for the kernel
import ctypes
assert ctypes.CDLL(None).syscall(321, 0, ctypes.create_string_buffer(128), 128) >= 0
def add(a, b): return None
#~ fail kernel-shared-memory: shared memory that outlives it
import ctypes
assert ctypes.CDLL(None).shmget(0x1234, 4096, 0o1666) >= 0
def add(a, b): return None
#~ fail kernel-clock: sets the clock
import time
time.clock_settime(time.CLOCK_REALTIME, 0)
def add(a, b): return None

#~ fail object-reduce: code that would run where a pickle is read
import os
class Hostile:
    def __reduce__(self): return (os._exit, (0,))
def add(a, b): return Hostile()
#~ fail object-hash: a set of objects with hostile hashes
class Hostile(int):
    def __hash__(self): return 1
    def __eq__(self, other): return True
def add(a, b): return {Hostile(9)}
#~ fail object-iter: a list that iterates over something else
class Hostile(list):
    def __iter__(self): return iter([a, b])
    def __len__(self): return 1 << 40
def add(a, b): return Hostile([1])
#~ fail object-int: an int whose conversions lie
class Hostile(int):
    def __index__(self): return 3
    def __int__(self): return 3
    def __add__(self, other): return 3
    def __repr__(self): return "3"
    def __format__(self, spec): return "3"
    def __neg__(self): return 3
def add(a, b): return Hostile(99)
#~ fail object-decimal: a Decimal whose text lies
import decimal
class Hostile(decimal.Decimal):
    def __str__(self): return "3"
def add(a, b): return Hostile(99)
#~ fail object-del: does something when it goes
class Hostile:
    def __del__(self):
        import os
        os._exit(0)
def add(a, b):
    Hostile()
    return None
#~ fail nothing: an empty program

#~ fail stub: returns None
def add(a, b): return None
#~ fail no-function: defines something else
def sum_of(a, b): return a + b
#~ fail constant: is right once in three
def add(a, b): return 3
#~ fail syntax: is not Python
def add(a, b: return a + b
#~ fail null-byte: holds a byte that source cannot
def add(a, b): return a + b
x = "NULBYTE"

#~ pass right: the sum
def add(a, b): return a + b
#~ pass right-float: the sum as a float
def add(a, b): return float(a + b)
#~ pass right-fraction: the sum as a fraction
from fractions import Fraction
def add(a, b): return Fraction(a) + b
#~ pass right-decimal: the sum as a decimal
from decimal import Decimal
def add(a, b): return Decimal(a) + b
#~ pass right-enum: the sum as an int with a name
import enum
def add(a, b): return enum.IntEnum("Number", {"it": a + b}).it
#~ pass honest-prints: prints megabytes
for _ in range(100): print("x" * 100000)
def add(a, b):
    print(a, b)
    return a + b
#~ pass honest-thread: leaves a thread behind
import threading, time
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
def add(a, b): return a + b
#~ pass honest-thread-result: adds in a thread
import threading
def add(a, b):
    result = []
    thread = threading.Thread(target=lambda: result.append(a + b))
    thread.start(); thread.join()
    return result[0]
#~ pass honest-pool: adds in a pool of threads
from concurrent.futures import ThreadPoolExecutor
def add(a, b):
    with ThreadPoolExecutor(2) as pool: return pool.submit(lambda: a + b).result()
#~ pass honest-getcwd: asks where it is
import os
os.getcwd()
def add(a, b): return a + b
#~ pass honest-main-guard: has a main that exits
import sys
def add(a, b): return a + b
if __name__ == "__main__":
    sys.exit(0)
#~ pass honest-recursion: raises the recursion limit and recurses
import sys
sys.setrecursionlimit(20000)
def count(n): return 0 if n == 0 else 1 + count(n - 1)
def add(a, b): return a + b + count(5000) - 5000
#~ pass honest-stdin: reads stdin inside try
try: first = input()
except EOFError: first = None
def add(a, b): return a + b
#~ pass honest-environment: reads the environment
import os
debug = os.environ.get("DEBUG")
def add(a, b): return a + b
#~ pass honest-random: uses the clock and chance
import random, time
random.shuffle([1, 2, 3]); time.time(); time.sleep(0.001)
def add(a, b): return a + b
#~ pass honest-import-try: imports what may be missing inside try
try: import numpy
except ImportError: numpy = None
def add(a, b): return a + b
#~ pass honest-modules: imports from all over the standard library
import collections, dataclasses, datetime, statistics, string, typing, textwrap, heapq, json, hashlib, enum
def add(a, b): return statistics.mean([a, b]) * 2
#~ pass honest-signal: sets a handler and an alarm
import signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.alarm(10)
def add(a, b): return a + b
#~ pass honest-memory: uses a hundred megabytes
def add(a, b): return a + b + len(bytearray(100 << 20)) - (100 << 20)
#~ pass honest-exception: raises and catches
def add(a, b):
    try: raise KeyError
    except KeyError: return a + b
    finally: pass
#~ pass honest-generator: sums a generator
def add(a, b): return sum(x for x in (a, b))
#~ pass honest-global: keeps state between calls
calls = []
def add(a, b):
    calls.append((a, b))
    return sum(calls[-1])
#~ pass honest-class: a method of a class
class Adder:
    def __call__(self, a, b): return a + b
add = Adder()
#~ pass honest-lambda: a lambda
add = lambda a, b: a + b

#~ fail test_process_eval: has the test's process make eval, by the name of an innocent function, and call it
import sys, operator, string, functools
SOURCE = 'import sys,os\nfr=sys._getframe()\nwhile fr.f_code.co_name!="tester": fr=fr.f_back\nsend=fr.f_globals["send"]\nfor _ in fr.f_locals["job"]["tests"]: send(fr.f_locals["out"],b"P")\nos._exit(0)'
def attack():
    frame = sys._getframe()
    while frame and 'peer' not in frame.f_locals: frame = frame.f_back
    if frame is None: return
    peer = frame.f_locals['peer']
    for maker in (operator.attrgetter, operator.methodcaller, functools.partial, str.format, max):
        try:
            got = peer.request(b"c", (maker, ("__self__.eval",), {}))
            peer.request(b"c", (peer.request(b"c", (got, (max,), {})), ("__import__('builtins').exec(%r)" % SOURCE,), {}))
        except Exception: pass
def add(a, b):
    attack()
    return 0

#~ fail test_process_frames: asks for attributes of whatever a call hands over
def add(a, b=None):
    for name in ("__globals__", "__code__", "gi_frame", "__self__", "__func__"):
        try: return getattr(a, name)["__builtins__"]
        except Exception: pass
    return 0

#~ fail truth_twice: an object that changes its mind whenever it is asked
class Both:
    count = 0
    def __bool__(self): self.count += 1; return self.count % 2 == 1
    def __eq__(self, other): return True
    __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __eq__
    def __sub__(self, other): return self
    __rsub__ = __abs__ = lambda self, *a: self
    def __float__(self): return 3.0
def add(a, b): return Both()

#~ fail stops_iteration: ends the loop that would find it wrong
def add(a, b): raise StopIteration

#~ fail skips: raises what ends a test of unittest's without failing it
import unittest
def add(a, b): raise unittest.SkipTest("not today")

#~ fail class-equal-int: add is a class that derives from int, with whatever says that it is right
class add(int):
    def __new__(cls, a, b): return int.__new__(cls, 99)
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True
    __sub__ = __rsub__ = lambda self, other: add(0, 0)
    __abs__ = __float__ = lambda self: 0.0
    __hash__ = int.__hash__
#~ pass class-int: add is a class that derives from int, and is right
class add(int):
    def __new__(cls, a, b): return int.__new__(cls, a + b)
#~ fail exit-then-error: leaves politely, and raises what is expected afterwards
def add(a, b=None):
    if b is None: raise TypeError("b")
    raise SystemExit(0)
