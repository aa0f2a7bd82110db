"""The warm interpreter that all others are forked from: candidates, tests, planners.

It is started confined, imports what programs need, confines itself further, and then only forks and
waits. It never reads a job: a child gets its own, after the fork, on a socket that came with the
request. So nothing of one job is in the memory of another.

    requests     tag (1 byte), number (4 bytes, little endian)
    c, t, p      fork a candidate, a test's process or a planner; with its descriptors: the socket to
                 the judge, a fresh /dev/null, and for c and t the socket between them, if any
    k            kill the child of this number; the answer is its end: wait status (-1 if there never
                 was such a child), CPU seconds, peak memory in KiB

Most of what a candidate costs is the kernel copying pages that its process touches first, about
three microseconds each: what can be done before the fork is done there.
"""

import ctypes
import gc
import json
import math
import os
import random
import resource
import signal
import socket
import struct
import sys
import types
import warnings

# What programs import most, so that no child pays for it.
import bisect, collections, copy, datetime, functools, heapq, itertools, operator, re, string, typing  # noqa: E401,F401

# What else they may import where no file may be opened (tier C).
OTHER_MODULES = (
    "abc argparse array ast asyncio base64 binascii calendar cmath colorsys concurrent.futures.process concurrent.futures.thread "
    "configparser contextlib csv dataclasses difflib dis doctest email.message encodings.idna encodings.latin_1 "
    "encodings.ascii encodings.utf_16 encodings.utf_32 enum fileinput fnmatch getpass gettext glob graphlib gzip hashlib "
    "hmac html html.entities html.parser inspect io ipaddress keyword lib2to3 linecache locale logging lzma marshal mimetypes mmap "
    "multiprocessing multiprocessing.pool numbers opcode optparse pathlib pickle pickletools pkgutil platform pprint profile pstats "
    "queue quopri random reprlib sched secrets select selectors shelve shlex shutil sqlite3 ssl stat statistics stringprep "
    "subprocess symtable tarfile tempfile textwrap threading time timeit token tokenize traceback tracemalloc types unicodedata "
    "unittest unittest.mock urllib.parse urllib.request uuid wave weakref xml.dom.minidom xml.etree.ElementTree zipfile zlib zoneinfo bz2"
).split()

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 22, 38, 36
SECCOMP_MODE_FILTER = 2
LANDLOCK_RESTRICT_SELF = 446


class Filter:
    """A seccomp program in the form that prctl takes: a count and a pointer. At `offsets` it has
    gaps for the number of the process that installs it."""

    def __init__(self, program, offsets=()):
        self.offsets = offsets
        self.program = ctypes.create_string_buffer(program, len(program))
        count, address = len(program) // 8, ctypes.addressof(self.program)
        self.header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", count, address), 16)

    def install(self):
        for offset in self.offsets:
            struct.pack_into("=i", self.program, offset, os.getpid())
        if prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.header, 0, 0) != 0:
            raise OSError("seccomp")


def receive_exactly(descriptor, count):
    data = b""
    while len(data) < count:
        more = os.read(descriptor, count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def receive_frame(descriptor):
    return receive_exactly(descriptor, struct.unpack("<I", receive_exactly(descriptor, 4))[0])


def add_packages(order):
    """Imports the packages that programs may use; afterwards no others can be found beside them."""
    sys.path.extend(order["package_paths"])
    for name in order["packages"]:
        __import__(name)
    del sys.path[len(sys.path) - len(order["package_paths"]):]
    sys.path_importer_cache.clear()


def confine(order, descriptors):
    """Takes on what the judge sent: a Landlock ruleset and seccomp programs for this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    for descriptor in descriptors:
        if libc.syscall(LANDLOCK_RESTRICT_SELF, descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock")
        os.close(descriptor)
    for program in order["filters"]:
        Filter(bytes.fromhex(program)).install()


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
    set_limit(resource.RLIMIT_NOFILE, 256, 256)
    set_limit(resource.RLIMIT_CORE, 0, 0)


def read_job(descriptor):
    """The child's own job, and the limits that go with it."""
    job = json.loads(receive_frame(descriptor))
    memory, cpu = job["memory_bytes"], int(math.ceil(job["cpu_seconds"]))
    set_limit(resource.RLIMIT_AS, memory, memory)
    set_limit(resource.RLIMIT_CPU, cpu, cpu + 1)
    if child_filter is None:
        # A group of its own, so that what it starts can be found, where nothing forbids starting.
        os.setsid()
        # Effective for ordinary users only, and for threads too: seccomp does it better.
        set_limit(resource.RLIMIT_NPROC, 0, 0)
    else:
        child_filter.install()
    return job


def be_candidate(out, calls):
    job = read_job(out)
    if job["setup"] == warm_setup:
        job["setup"], job["module"] = "", warm_module
    else:
        job["module"] = fresh_module
    gc.enable()
    candidate(job, out, calls)


def be_tester(out, calls):
    job = read_job(out)
    gc.enable()
    tester(job, out, calls)


def be_planner(out, calls):
    job = read_job(out)
    send(out, b"R", json.dumps(plan(job)).encode())


def child(role, descriptors):
    """The child's way in: from here on nothing that the zygote may do is left to it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.close(control.fileno())
    out, null = descriptors[0], descriptors[1]
    # A description of its own: what one child does to its flags, the next does not meet.
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    role(out, descriptors[2] if len(descriptors) > 2 else -1)


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
    living = set(children.values())
    while True:
        with open("/proc/thread-self/children") as file:
            left = [int(pid) for pid in file.read().split()]
        left = [pid for pid in left if pid not in living]
        if not left:
            break
        for orphan in left:
            try:
                os.kill(orphan, signal.SIGKILL)
                os.waitpid(orphan, 0)
            except OSError:
                pass


def serve(roles):
    space = socket.CMSG_SPACE(3 * 4)
    while True:
        data, ancillary, _, _ = control.recvmsg(5, space)
        if len(data) < 5:
            os._exit(0)
        number = struct.unpack_from("<I", data, 1)[0]
        if data[:1] == b"k":
            kill_and_reap(children.pop(number, 0))
            continue
        descriptors = ancillary[0][2] if ancillary else b""
        descriptors = struct.unpack("%di" % (len(descriptors) // 4), descriptors)
        # A child's first collection would go through all that was made since the last fork.
        gc.freeze()
        pid = fork()
        if pid == 0:
            try:
                child(roles[data[:1]], descriptors)
            finally:
                os._exit(0)
        children[number] = pid
        for descriptor in descriptors:
            os.close(descriptor)


def warm_up():
    """Does once here what every child does, with programs of our own: what Python sets up at the
    first compilation (a millisecond of it) is then there for all."""
    out = os.open(os.devnull, os.O_WRONLY)
    calls = ["add(1, [2.5, 'x', (None, True), {1: {2}}])", "add(0)"]
    program = "import math\ndef add(a, b): return [item for item in (a, b)]\nclass C: pass\n"
    limit = sys.getrecursionlimit()
    before = {name: sys.modules.get(name) for name in ("__main__", "candidate")}
    for program, calls in ((program, calls), ("(", [])):
        job = {"module": new_module("candidate"), "setup": "", "program": program, "test_setup": "", "calls": calls,
               "tests": ["assert True"], "output_limit": 1 << 20, "reading": "plain"}
        candidate(json.loads(json.dumps({**job, "module": None})) | {"module": job["module"]}, out, -1)
    os.close(out)
    sys.setrecursionlimit(limit)
    for name, module in before.items():
        sys.modules.pop(name, None) if module is None else sys.modules.__setitem__(name, module)


def load_locale():
    """Has the C library read the files of the environment's locale, which it then keeps."""
    import locale

    for category, name in ((locale.LC_ALL, ""), (locale.LC_ALL, "C"), (locale.LC_CTYPE, "")):
        try:
            locale.setlocale(category, name)
        except locale.Error:
            pass


def start():
    """Greets the judge, takes on its order, and serves."""
    global child_filter, warm_setup, warm_module, fresh_module
    greeting = json.dumps({"version": list(sys.version_info[:3])}).encode()
    control.sendall(b"ready" + struct.pack("<I", len(greeting)) + greeting)
    data, descriptors, _, _ = socket.recv_fds(control, 4, 1)
    data += receive_exactly(control.fileno(), 4 - len(data)) if len(data) < 4 else b""
    order = json.loads(receive_exactly(control.fileno(), struct.unpack("<I", data)[0]))
    add_site_builtins()
    add_packages(order)
    if order["tier"] == "C":
        for name in OTHER_MODULES:
            try:
                __import__(name)
            except ImportError:
                pass
        load_locale()
    warm_up()
    warm_setup, warm_module, fresh_module = order["warm_setup"], new_module("candidate"), new_module("candidate")
    exec(warm_setup, warm_module.__dict__)
    limit_all()
    # Nothing here draws from it: every child starts with the same state.
    random.seed(0)
    gc.collect()
    gc.freeze()
    gc.disable()
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    confine(order, descriptors)
    if order["child_filter"]:
        child_filter = Filter(bytes.fromhex(order["child_filter"]), order["pid_offsets"])
    control.sendall(b"k")
    serve({b"c": be_candidate, b"t": be_tester, b"p": be_planner})


sys.dont_write_bytecode = True
warnings.simplefilter("ignore")
# PyDLL neither gives up the interpreter's lock nor keeps errno, which spares children a dozen
# pages; and not os.fork: this process has one thread and no hooks, and what Python does after a
# fork for those that have takes a sixth of the time.
prctl, fork = ctypes.PyDLL(None).prctl, ctypes.PyDLL(None).fork
children, child_filter = {}, None
control = socket.socket(fileno=os.dup(0))
_null = os.open(os.devnull, os.O_RDWR)
os.dup2(_null, 0)
os.close(_null)
