"""A world of its own for an interpreter (tier A): a root directory that holds Python and nothing
else, no other processes, no network but an unconnected loopback, no capabilities.
"""

import ctypes
import os
import signal
import struct

NEW_MOUNTS, NEW_NAME, NEW_IPC, NEW_USER, NEW_PIDS, NEW_NETWORK = (
    0x00020000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MS_RELATIME = 1 << 21
ST_RELATIME, ST_SAME_AS_MS = 4096, 2 | 4 | 8 | 1024 | 2048
MNT_DETACH = 2
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION_3 = 0x20080522
NOBODY = 65534


def checked(what, result):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, "%s: %s" % (what, os.strerror(error)))


def mount(source, target, kind, flags, data=None):
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    data = None if data is None else data.encode()
    checked("mount " + target, libc.mount(*texts, ctypes.c_ulong(flags), data))


def enter_namespaces(readable):
    """Steps into new namespaces; returns in the process that is the first one in them, with its
    number as it is seen from outside."""
    user, group = os.geteuid(), os.getegid()
    checked("unshare", libc.unshare(NEW_USER | NEW_MOUNTS | NEW_NAME | NEW_IPC | NEW_PIDS | NEW_NETWORK))
    for name, text in (("setgroups", "deny"), ("uid_map", "%d %d 1" % (NOBODY, user)), ("gid_map", "%d %d 1" % (NOBODY, group))):
        with open("/proc/self/" + name, "w") as file:
            file.write(text)
    root_of_libraries(readable)
    number = become_first()
    machine = os.uname().machine
    nothing = struct.pack("<IIIIII", 0, 0, 0, 0, 0, 0)
    checked("capset", libc.syscall(CAPSET[machine], struct.pack("<Ii", CAPABILITY_VERSION_3, 0), nothing))
    return number


def root_of_libraries(readable):
    """Makes a file system in memory the root, with what may be read mounted in it, read-only."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = "/tmp"
    # By descriptor: what is to be seen may lie below the new root's place.
    sources = [(path, os.open(path, os.O_PATH)) for path in real_paths(readable)]
    links = [(path, os.readlink(path)) for path in readable if os.path.islink(path)]
    mount("none", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=64k,nr_inodes=256,mode=755")
    for path, descriptor in sources:
        source = "/proc/self/fd/%d" % descriptor
        if os.path.isdir(source):
            os.makedirs(root + path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            os.close(os.open(root + path, os.O_CREAT | os.O_WRONLY))
        mount(source, root + path, None, MS_BIND)
        kept = os.statvfs(root + path).f_flag
        kept = (kept & ST_SAME_AS_MS) | (MS_RELATIME if kept & ST_RELATIME else 0)
        mount(None, root + path, None, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)
        os.close(descriptor)
    for path, target in links:
        if not os.path.lexists(root + path):
            os.makedirs(os.path.dirname(root + path), exist_ok=True)
            os.symlink(target, root + path)
    os.chdir(root)
    checked("pivot_root", libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."))
    checked("umount", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    mount(None, "/", None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)


def real_paths(readable):
    """Where the paths lead, each once, none below another."""
    paths = sorted({os.path.realpath(path) for path in readable if os.path.exists(path)})
    return [path for path in paths if not any(path.startswith(other + "/") for other in paths)]


def become_first():
    """Goes on as the first process of the new namespace: the one that asked for it is not in it. It
    stays outside, and ends with the other."""
    ours, theirs = os.pipe()
    inner = os.fork()
    if inner:
        os.write(theirs, struct.pack("<i", inner))
        os.closerange(0, 1 << 10)
        os.waitpid(inner, 0)
        os._exit(0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.close(theirs)
    data = os.read(ours, 4)
    os.close(ours)
    if len(data) < 4:
        os._exit(0)
    return struct.unpack("<i", data)[0]
