"""The warm interpreter that all others are forked from: candidates, tests, planners.

It is started confined, imports what programs need, confines itself further, and then only forks and
waits. It never reads a job: a child gets its own, after the fork, on a socket that came with the
request. So nothing of one job is in the memory of another.

    requests     tag (1 byte), number (4 bytes, little endian)
    c, t, p      fork a candidate, a test's process or a planner; with its descriptors: the socket to
                 the judge, a fresh /dev/null, and for c and t the socket between them, if any
    k            kill the child of this number; the answer is its end, as wait4 tells it: status (-1
                 if there never was such a child, in 8 bytes) and struct rusage

Most of what a candidate costs is the kernel copying pages that its process touches first, about
three microseconds each: what can be done before the fork is done there.
"""

import _socket
import ctypes
import gc
import json
import marshal
import os
import random
import resource
import signal
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


PID = struct.Struct("=i")


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
            PID.pack_into(self.program, offset, getpid())
        if prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.header, 0, 0) != 0:
            raise OSError("seccomp")


def receive_exactly(descriptor, count, data=b""):
    while len(data) < count:
        more = read(descriptor, count - len(data))
        if not more:
            _exit(0)
        data += more
    return data


def add_packages(order):
    """Imports the packages that programs may use; afterwards no others can be found beside them."""
    sys.path.extend(order["package_paths"])
    for name in order["packages"]:
        try:
            __import__(name)
        except Exception as error:
            failure = {"name": name, "message": ("%s: %s" % (type(error).__name__, error))[:2000]}
            failure = json.dumps(failure).encode()
            sendall(b"p" + LENGTH.pack(len(failure)) + failure)
            _exit(1)
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


def set_limit(name, soft, hard):
    """Sets a limit, or as much of it as this process may set."""
    allowed = resource.getrlimit(name)[1]
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    setrlimit(name, (soft, hard))


def limit_all():
    """Limits that this process can live with itself: children inherit them."""
    set_limit(resource.RLIMIT_FSIZE, 1 << 20, 1 << 20)
    set_limit(resource.RLIMIT_NOFILE, 256, 256)
    set_limit(resource.RLIMIT_CORE, 0, 0)


def child(role, descriptors):
    """The child's way in: from here on nothing that the zygote may do is left to it, and it has its
    own job and the limits that go with it."""
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    close(CONTROL)
    out, null = descriptors[0], descriptors[1]
    # A description of its own: what one child does to its flags, the next does not meet.
    dup2(null, 0)
    dup2(null, 1)
    dup2(null, 2)
    close(null)
    data = read(out, 1 << 16)
    end = LENGTH.unpack_from(data)[0] + 4
    if len(data) < end:
        data = receive_exactly(out, end, data)
    job = loads(data[4:])
    setrlimit(RLIMIT_AS, job["memory_limits"])
    setrlimit(RLIMIT_CPU, job["cpu_limits"])
    if child_filter is None:
        # A group of its own, so that what it starts can be found, where nothing forbids starting.
        os.setsid()
        # Effective for ordinary users only, and for threads too: seccomp does it better.
        set_limit(resource.RLIMIT_NPROC, 0, 0)
    else:
        child_filter.install()
    role(job, out, descriptors[2] if len(descriptors) > 2 else -1)
    # The judge, which may wait for this, need not wait until all memory is given back.
    close(out)


def be_candidate(job, out, calls):
    if job["setup"] == warm_setup:
        job["setup"], job["module"] = "", warm_module
    else:
        job["module"] = fresh_module
    gc.enable()
    candidate(job, out, calls)


def run_setup(source, namespace):
    """Runs a problem's setup, or copies what it leaves if that is known."""
    if source == warm_setup:
        namespace.update(left_by_setup)
    else:
        exec(compiled(source, "<setup>"), namespace)


def be_tester(job, out, calls):
    # Copying what a setup leaves would touch all of it.
    is_warm = job["setup"] == warm_setup
    job["module"] = warm_main if is_warm else new_module("__main__")
    if is_warm:
        job["setup"] = ""
    gc.enable()
    tester(job, out, calls)


def be_planner(job, out, calls):
    """Looks at a problem's tests; with `runs` also at what they do when they run."""
    found = plan(job) if job["names"] is None else {"names": list(job["names"])}
    failure = failure_of_setup(job) if job["runs"] and "names" in found else None
    send(out, b"R", json.dumps({"error": failure} if failure else found).encode())
    # Running tests may take too long or end this process: what comes before holds without it.
    if job["runs"] and "names" in found and not failure:
        claims = fault = None
        try:
            claims = claims_of(job, found["names"])
            fault = None if claims else fault_of(job, found["names"])
        except Refused as error:
            fault = str(error)
        send(out, b"C", json.dumps({"claims": claims, "fault": fault}).encode())


def kill_and_reap(pid):
    """Ends a child; its end goes to the judge as the kernel tells it."""
    if pid <= 0:
        END[:] = NO_CHILD
    else:
        if child_filter is None:
            try:
                os.killpg(pid, SIGKILL)
            except OSError:
                pass
        kill(pid, SIGKILL)
        wait4(pid, STATUS, 0, USAGE)
        if child_filter is None:
            kill_orphans()
    sendall(END)


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
    space = _socket.CMSG_SPACE(3 * 4)
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    # A call has as many frames for itself as in an interpreter of its own, where only the module's is
    # above it: child, role, candidate, answer and value_of come between here.
    sys.setrecursionlimit(sys.getrecursionlimit() + depth + 5)
    while True:
        data, ancillary, _, _ = control.recvmsg(5, space)
        if len(data) < 5:
            _exit(0)
        tag, number = REQUEST.unpack(data)
        if tag == b"k":
            kill_and_reap(children.pop(number, 0))
            continue
        descriptors = memoryview(ancillary[0][2]).cast("i")
        # A child's first collection would go through all that was made since the last fork.
        gc.freeze()
        pid = fork()
        if pid == 0:
            try:
                child(roles[tag], descriptors)
            finally:
                _exit(0)
        children[number] = pid
        for descriptor in descriptors:
            close(descriptor)


def warm_up():
    """Does once here what every child does, with programs of our own: what Python sets up at the
    first compilation (a millisecond of it) is then there for all."""
    out = os.open(os.devnull, os.O_WRONLY)
    calls = (("add", (1, [2.5, "x", (None, True), {1: {2}}]), {}), "add(1, 2)", "add(0)")
    program = "import math\ndef add(a, b): return [item for item in (a, b)]\nclass C: pass\n"
    before = {name: sys.modules.get(name) for name in ("__main__", "candidate")}
    # First: what candidates use most is to be what is remembered.
    warm_up_membrane()
    for program, calls in ((program, calls), ("(", ())):
        job = {"module": new_module("candidate"), "setup": "", "program": program, "calls": calls,
               "tests": ("assert True",), "output_limit": 1 << 20}
        candidate(job, out, -1)
    os.close(out)
    for name, module in before.items():
        sys.modules.pop(name, None) if module is None else sys.modules.__setitem__(name, module)


def warm_up_membrane():
    """The same for tests and a candidate that talk: here both are in one process."""
    to_candidate, to_tester = [], []
    tester, candidate = TesterPeer(-1, None, _exit), CandidatePeer(-1, {})

    def answered(descriptor, count):
        candidate.serve(candidate.receive())
        return to_tester.pop(0)

    tester.write = lambda descriptor, data: to_candidate.append(data) or len(data)
    candidate.write = lambda descriptor, data: to_tester.append(data) or len(data)
    tester.read, candidate.read = answered, lambda descriptor, count: to_candidate.pop(0)
    exec("def add(a, b=0): return [a, b]\ndef fail(): raise ValueError('x')\n", candidate.namespace)
    names = tester.request(b"d", ("add", "fail"))
    tester.labels = {id(value): name for name, value in names.items()}
    test = "x = [1, (2.5, 'x'), None, {1: {True}}]\nassert add(x, 2) == [x, 2]\nassert add(1, b=2) == [1, 2]\nfail()"
    for _ in range(3):
        outcome(compile(test, "<test>", "exec", 0, True), {**names}, tester)


def load_locale():
    """Has the C library read the files of the environment's locale, which it then keeps."""
    import locale

    for category, name in ((locale.LC_ALL, ""), (locale.LC_ALL, "C"), (locale.LC_CTYPE, "")):
        try:
            locale.setlocale(category, name)
        except locale.Error:
            pass


def fill_holes():
    """Fills what is free among Python's objects: what a child makes then comes to lie on pages of its
    own, and not in holes all over, each of which would be a page to copy. Gives what fills them."""
    pool = 1 << 14 if sys.version_info >= (3, 10) else 1 << 12
    # Its parts are never moved, which would leave holes too.
    filling = collections.deque()
    for size in range(16, 513, 16):
        for number in range(4000):
            filling.append(object() if size == 16 else 10**6 + number if size == 32 else bytes(size - 33))
            # The first of a pool that nothing else is in.
            if id(filling[-1]) % pool == 48:
                break
    return filling


def give_back_memory():
    """What reading this program took is a third of what a fork would copy the tables of."""
    try:
        libc.malloc_trim(0)
    except AttributeError:
        pass  # Another C library than GNU's.


def start():
    """Greets the judge, takes on its order, and serves."""
    global child_filter, warm_setup, warm_module, fresh_module, warm_main, left_by_setup, spare_candidate, spare_tester
    greeting = json.dumps({"version": list(sys.version_info[:3])}).encode()
    sendall(b"ready" + struct.pack("<I", len(greeting)) + greeting)
    data, ancillary, _, _ = control.recvmsg(4, _socket.CMSG_SPACE(4))
    descriptors = memoryview(ancillary[0][2]).cast("i") if ancillary else ()
    data = receive_exactly(CONTROL, 4, data)
    order = json.loads(receive_exactly(CONTROL, LENGTH.unpack(data)[0]))
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
    warm_main = new_module("__main__")
    for module in warm_module, warm_main:
        exec(warm_setup, module.__dict__)
    left_by_setup = {name: value for name, value in warm_module.__dict__.items() if not name.startswith("__")}
    # Of each process one needs one: what making it takes is done once.
    spare_candidate, spare_tester = CandidatePeer(-1, {}), TesterPeer(-1, frozenset(), _exit)
    limit_all()
    # Nothing here draws from it: every child starts with the same state.
    random.seed(0)
    gc.collect()
    gc.freeze()
    gc.disable()
    give_back_memory()
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    confine(order, descriptors)
    if order["child_filter"]:
        child_filter = Filter(bytes.fromhex(order["child_filter"]), order["pid_offsets"])
    # Last: what is given back afterwards would leave holes again.
    filling = fill_holes()  # noqa: F841: held as long as this runs, which is for ever
    sendall(b"k")
    serve({b"c": be_candidate, b"t": be_tester, b"p": be_planner})


def show_warning(warning, show=warnings._showwarnmsg_impl):
    """What warnings print nobody reads, unless a program has put a stream of its own there."""
    if sys.stderr is not sys.__stderr__:
        show(warning)


sys.dont_write_bytecode = True
warnings._showwarnmsg_impl = show_warning
# As in the module that Python runs, which the program is in one process with its tests.
warnings.filterwarnings("default", category=DeprecationWarning, module=r"candidate\Z")
# PyDLL neither gives up the interpreter's lock nor keeps errno, which spares children a dozen
# pages; and not os.fork: this process has one thread and no hooks, and what Python does after a
# fork for those that have takes a sixth of the time.
libc = ctypes.PyDLL(None)
prctl, fork, kill, wait4 = libc.prctl, libc.fork, libc.kill, libc.wait4
# Under names of this module's, a child finds them in one dictionary.
read, close, dup2, loads, setrlimit = os.read, os.close, os.dup2, marshal.loads, resource.setrlimit
getpid, _exit = os.getpid, os._exit
RLIMIT_AS, RLIMIT_CPU, SIGKILL = resource.RLIMIT_AS, resource.RLIMIT_CPU, int(signal.SIGKILL)
children, child_filter = {}, None
control = _socket.socket(fileno=os.dup(0))
CONTROL, sendall = control.fileno(), control.sendall
LENGTH, REQUEST = struct.Struct("<I"), struct.Struct("<cI")
# How a child ended: the status that wait4 gives, and struct rusage, which has 18 words.
END = ctypes.create_string_buffer(8 + 18 * 8)
NO_CHILD = struct.pack("<q", -1) + bytes(18 * 8)
STATUS, USAGE = ctypes.addressof(END), ctypes.addressof(END) + 8
STATUS, USAGE = ctypes.c_void_p(STATUS), ctypes.c_void_p(USAGE)
_null = os.open(os.devnull, os.O_RDWR)
os.dup2(_null, 0)
os.close(_null)
