import ctypes
import errno
import fcntl
import os
import resource
import socket
import threading

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def _read_file():
    os.close(os.open("/etc/passwd", os.O_RDONLY))


def _list_the_root():
    os.listdir("/")


def _read_memory_of_the_interpreter():
    os.close(os.open("/proc/%d/mem" % os.getppid(), os.O_RDONLY))


def _write_file():
    open("/tmp/sandbox-probe-%d" % os.getpid(), "w").close()


def _truncate_while_reading():
    os.close(os.open(os.__file__, os.O_RDONLY | os.O_TRUNC))


def _write_to_a_library():
    os.close(os.open(os.__file__, os.O_RDWR))


def _delete_file():
    os.unlink("/tmp/sandbox-probe-nothing")


def _make_directory():
    os.mkdir("/tmp/sandbox-probe-directory-%d" % os.getpid())


def _network_socket():
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)


def _unix_socket():
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _datagrams_by_name():
    socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def _descriptors_by_message():
    one, other = socket.socketpair()
    with one, other:
        one.sendmsg([b"x"])


def _fork():
    if os.fork() == 0:
        os._exit(0)


def _fork_without_python():
    pid = _libc.fork()
    if pid == 0:
        _libc._exit(0)
    _checked(pid)


def _execute():
    os.execv("/no/such/program", ["program"])


def _signal_the_interpreter():
    os.kill(os.getppid(), 0)


def _signal_the_group():
    os.kill(0, 0)


def _have_the_kernel_signal_the_interpreter():
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid())


def _trace():
    # A request that finds no process where it is let through: one that succeeds would stop this one.
    _checked(_libc.ptrace(7, 0, 0, 0))


def _new_namespace():
    _checked(_libc.unshare(0x10000000))


def _set_a_limit():
    # Python's own module says ValueError of a refusal.
    limit = (ctypes.c_ulonglong * 2)(*(2**64 - 1 if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(resource.RLIMIT_AS)))
    _checked(_libc.setrlimit(int(resource.RLIMIT_AS), limit))


def _outlive_the_interpreter():
    _checked(_libc.prctl(1, 0, 0, 0, 0))


ATTACKS = [value for name, value in sorted(globals().items()) if name.startswith("_") and callable(value) and name[1] != "_" and name not in ("_libc", "_checked")]
# What is not there cannot be read or written either, nor what is on a read-only file system written.
ABSENT = {"_read_file", "_read_memory_of_the_interpreter", "_write_file", "_truncate_while_reading", "_write_to_a_library"}


def probe():
    """The attacks that got through: refused means EPERM or EACCES and nothing else."""
    through = []
    for attack in ATTACKS:
        try:
            attack()
        except PermissionError:
            continue
        except OSError as error:
            if attack.__name__ in ABSENT and error.errno in (errno.ENOENT, errno.EROFS):
                continue
            through.append("%s (%s)" % (attack.__name__[1:], error))
        except BaseException as error:
            through.append("%s (%s)" % (attack.__name__[1:], type(error).__name__))
        else:
            through.append(attack.__name__[1:])
    thread = threading.Thread(target=through.extend, args=([],))
    thread.start()
    thread.join()
    return through
