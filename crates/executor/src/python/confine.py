"""How an interpreter of the executor's starts: it closes what it inherited, greets the worker on
the socket on descriptor 0, and takes on the confinement that the worker answers with.
"""

import ctypes
import gc
import json
import os
import socket
import struct
import sys
import warnings

# What else they may import where no file may be opened (tier C).
OTHER_MODULES = (
    "abc array ast base64 binascii calendar cmath colorsys concurrent.futures.thread contextlib csv dataclasses datetime difflib "
    "enum hashlib hmac html html.entities html.parser inspect io keyword locale logging numbers pickle pprint "
    "queue secrets shlex statistics stringprep textwrap threading time timeit traceback types "
    "unicodedata urllib.parse uuid weakref zlib"
).split()

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
LANDLOCK_RESTRICT_SELF = 446
libc = ctypes.CDLL(None, use_errno=True)
# For calls that children make: PyDLL neither gives up the interpreter's lock nor keeps errno, which
# spares them a dozen pages.
prctl = ctypes.PyDLL(None).prctl


class Filter:
    """A seccomp program in the form that prctl takes: a count and a pointer."""

    def __init__(self, program):
        self.program = ctypes.create_string_buffer(program, len(program))
        count, address = len(program) // 8, ctypes.addressof(self.program)
        self.header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", count, address), 16)

    def install(self):
        if prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, self.header, 0, 0) != 0:
            raise OSError("seccomp")


def receive(count, first=b""):
    data = first
    while len(data) < count:
        more = control.recv(count - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def confine():
    """Greets with what the worker needs to know, and takes on what it answers: a Landlock ruleset
    and seccomp programs for this process, and the one for children."""
    libraries = sorted({os.path.dirname(os.__file__), sys.base_prefix + "/lib"})
    greeting = json.dumps({"version": list(sys.version_info[:2]), "libraries": libraries}).encode()
    control.sendall(b"ready" + struct.pack("<I", len(greeting)) + greeting)
    data, descriptors, _, _ = socket.recv_fds(control, 4, 1)
    order = json.loads(receive(struct.unpack("<I", receive(4, data))[0]))
    number = enter_namespaces(order["readable"]) if order["tier"] == "A" else os.getpid()
    if order["tier"] == "C":
        for name in OTHER_MODULES:
            __import__(name)
    gc.collect()
    gc.freeze()
    gc.disable()
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for descriptor in descriptors:
        if libc.syscall(LANDLOCK_RESTRICT_SELF, descriptor, 0) != 0:
            raise OSError(ctypes.get_errno(), "Landlock")
        os.close(descriptor)
    for program in order["filters"]:
        Filter(bytes.fromhex(program)).install()
    control.sendall(b"k" + struct.pack("<i", number))
    return Filter(bytes.fromhex(order["child_filter"])) if order["child_filter"] else None


control = socket.socket(fileno=os.dup(0))
null = os.open(os.devnull, os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(null, descriptor)
os.close(null)
os.closerange(control.fileno() + 1, 1 << 16)
sys.dont_write_bytecode = True
warnings.simplefilter("ignore")
