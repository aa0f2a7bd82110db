"""What happens in a candidate's process: its own job is read, its program loaded, and calls made.

Messages to the judge, each a tag, a length (4 bytes, little endian) and a payload:

    L            the program has been loaded           S, X  syntax error, error while loading
    V, N, O      a call's value; a value that is not plain data; a value over the size limit
    E, F         a call or test raised; it was refused by the system (PermissionError)
    M            it ran out of memory
    P            a test that ran in this process passed
"""

import __future__
import _sitebuiltins
import _thread
import builtins
import os
import re
import struct
import sys
import types
import warnings

FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import[ \t]+([^\n#;]+)", re.MULTILINE)


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


def new_module(name):
    """A module as `python file.py` would make it, but for its name."""
    module = types.ModuleType(name)
    module.__dict__.update(__file__="/%s.py" % name, __builtins__=builtins, __cached__=None)
    return module


def add_site_builtins():
    """What the module `site` adds, which the interpreter runs without."""
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    builtins.help = _sitebuiltins._Helper()
    for name in ("copyright", "credits", "license"):
        setattr(builtins, name, _sitebuiltins._Printer(name, "See https://www.python.org"))


def compiled(source, name):
    """Compiles a program that may have been put together of several: a byte order mark, or an
    import from `__future__`, may then stand in the middle."""
    try:
        return compile(source, name, "exec", 0, True)
    except SyntaxError:
        plain = source.replace("\ufeff", "")
        names = [word.strip("() \t\\") for found in FUTURE.findall(plain) for word in found.split(",")]
        known = [getattr(__future__, word, None) for word in names]
        if plain == source and not names or None in known:
            raise
        flags = 0
        for feature in known:
            flags |= feature.compiler_flag
        return compile(FUTURE.sub("pass", plain), name, "exec", flags, True)


def load(job, module, out):
    """Runs setup and program; whether tests can follow."""
    program = job["program"]
    try:
        program = compiled(program, module.__file__)
    except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
        send(out, b"S", describe(error))
        return False
    except MemoryError:
        send(out, b"M")
        return False
    namespace = module.__dict__
    try:
        if job["setup"]:
            exec(compiled(job["setup"], "<setup>"), namespace)
            job["setup_classes"] = tuple(classes_of(namespace, "candidate"))
            job["singles"] = single_objects(namespace, "candidate")
        exec(program, namespace)
        if "test_setup" in job:
            exec(compiled(job["test_setup"], "<setup>"), namespace)
        if "defines" in job:
            namespace[job["defines"]]
        if job.get("entry_point") not in namespace and hasattr(builtins, job.get("entry_point", "")):
            # A function of Python's of that name is not the program's.
            namespace[job["entry_point"]] = Missing(job["entry_point"])
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


def call_plain(function, arguments, keywords):
    return function(*arguments, **keywords)


def found(name, namespace):
    """What a name means in a program."""
    if name in namespace:
        return namespace[name]
    if hasattr(builtins, name):
        return getattr(builtins, name)
    raise NameError("name '%s' is not defined" % name)


def value_of(call, namespace, limit, reading):
    if type(call) is str:
        value = eval(compile(call, "<test>", "eval", 0, True), namespace)
    else:
        # In a frame of the program's own, as its source would be.
        caller = types.FunctionType(call_plain.__code__, namespace)
        value = caller(found(call[0], namespace), call[1], call[2])
    try:
        return b"V", encode(value, limit)
    except RecursionError:
        sys.setrecursionlimit(20000)
        return b"V", encode(value, limit)
    except NotPlain:
        if reading == "plain":
            raise
        # What EvalPlus asks of it: its elements, or that it is there.
        return b"V", encode(list(value) if reading == "elements" else "an object", limit)


def run_test(source, namespace, limit):
    # A test is what `python3 file.py` runs, the program something that it uses.
    namespace["__name__"] = "__main__"
    exec(compile(source, "<test>", "exec", 0, True), namespace)
    return b"P", b""


class HandedOn(list):
    """Filters that keep no warning back, for the test's to decide. A copy of them, which is what a program
    that catches warnings itself goes on with, has those that Python starts with."""

    ALL = "always", None, Warning, None, 0

    def __getitem__(self, at):
        items = list.__getitem__(self, at)
        return [item for item in items if item is not HandedOn.ALL] if isinstance(at, slice) else items


class CandidatePeer(Peer):
    """The candidate's end: does what the test asks."""

    def __init__(self, descriptor, namespace):
        Peer.__init__(self, descriptor, False)
        self.namespace = namespace
        self.one_at_a_time = _thread.RLock()
        self.thread = None
        # What the test was told that its names mean.
        self.told = {}

    def request(self, kind, values):
        with self.one_at_a_time:
            if kind != b"m":
                # What the test does for it may use the names.
                self.tell_names()
            return Peer.request(self, kind, values)

    def perform(self, kind, values):
        try:
            return self.done(kind, values)
        finally:
            self.tell_names()

    def tell_names(self):
        """Tells the test which of its names have come to mean something else: `global counter` counts."""
        names = self.namespace
        if any(names.get(name, self) is not value for name, value in self.told.items()):
            self.told = {name: names.get(name, self) for name in self.told}
            self.request(b"m", ({name: value for name, value in self.told.items() if value is not self},))

    def done(self, kind, values):
        if kind == 99:  # c
            return values[0](*values[1]) if len(values) == 2 else values[0](*values[1], **values[2])
        if kind == 110:  # n
            return next(values[0]) if len(values) == 1 else getattr(values[0], values[1])(*values[2:])
        if kind == 103:  # g
            return getattr(values[0], values[1])
        if kind == 115:  # s
            return setattr(*values)
        if kind == 111:  # o
            return operate(values[1], values[0], *values[2:])
        if kind == 100:  # d
            self.told = {name: self.namespace.get(name, self) for name in values}
            return {name: value for name, value in self.told.items() if value is not self}
        raise Garbage("an unknown request")

    def serve(self, kind):
        self.thread = _thread.get_ident()
        Peer.serve(self, kind)

    def warned(self, warning):
        """Hands a warning to the test, whose filters say what comes of it, as in one process. What a
        thread of the program's own warns of comes at no place of the test's."""
        if self.thread == _thread.get_ident():
            self.request(b"w", (warning.message, warning.lineno))

    def call(self, target, name, arguments, keywords):
        return self.request(b"c", (target, arguments, keywords) if keywords else (target, arguments))

    def attribute(self, target, name):
        if name.startswith("__") and name not in NAMES_OF_ITS_OWN:
            raise AttributeError(name)
        return self.request(b"g", (target, name))

    def set_attribute(self, target, name, value):
        self.request(b"s", (target, name, value))

    def next_of(self, target, *what):
        return self.request(b"n", (target, *what))

    def truth(self, target):
        return self.operate(target, "__bool__") is True

    def may_ask(self, name, target):
        return True

    def may_ask_own(self, name, is_told):
        return True

    def operate(self, target, name, *arguments):
        return self.request(b"o", (name, target, *arguments))


def candidate(job, out, calls):
    """A candidate's whole life. `calls` is the socket to the test's process, if there is one."""
    module = sys.modules["__main__"] = sys.modules["candidate"] = job["module"]
    if calls >= 0:
        warnings.filters = HandedOn((HandedOn.ALL, *warnings.filters))
        mutated = getattr(warnings, "_filters_mutated", None) or warnings._filters_mutated_lock_held
        mutated()
    namespace = module.__dict__
    if "linecache" in job["program"] or "inspect" in job["program"]:
        import linecache

        text = job["program"]
        linecache.cache[module.__file__] = (len(text), None, text.splitlines(True), module.__file__)
    if not load(job, module, out):
        return
    limit, reading = job["output_limit"], job.get("reading", "plain")
    for call in job.get("calls", ()):
        answer(out, value_of, call, namespace, limit, reading)
    for test in job.get("tests", ()):
        answer(out, run_test, test, namespace, limit)
    if calls >= 0:
        peer = spare_candidate
        peer.descriptor, peer.namespace = calls, namespace
        warnings._showwarnmsg_impl = peer.warned
        # Its own class of a name is what the test's objects of that class are instances of.
        classes = {name: namespace.get(name) for name in job.get("setup_classes", ())}
        peer.setup_classes = {name: kind for name, kind in classes.items() if isinstance(kind, type)}
        singles = job.get("singles", {})
        # Most setups have none, and all that a program defines need not be gone through for them.
        now = single_objects(namespace, "candidate") if singles else {}
        now = {name: looked for name, looked in now.items() if name in singles and is_same_member(name, looked, singles)}
        peer.know_singles({**singles, **now})
        try:
            while True:
                peer.serve(peer.receive())
        except (Gone, OSError):
            pass
