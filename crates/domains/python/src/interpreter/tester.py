"""What happens in a process that holds tests: they run here, and call the candidate by messages.

The process is forked from an interpreter that has never held a test, runs one problem's tests for
one candidate, and ends. Messages to the judge, framed as a candidate's:

    P, E, M      a test passed; raised (the exception's text); ran out of memory
    N            the candidate gave an object where the problem asks for data
    A, G         the candidate is gone; it sent what is no message: no more tests can run
    T            the problem's own setup raised
    C            after the last test: how often the candidate was asked
    R            JSON: what a reference's objects were used for
"""

import _thread
import os
import random
import sys
import types


# Where objects come from by the nature of things.
EXPECTED_OBJECTS = frozenset(("names", "factory", "operator __iter__"))


class TesterPeer(Peer):
    """The test's end. `allowed` names what may be done with the candidate's objects; None records
    what a reference needs."""

    def __init__(self, descriptor, allowed, finish):
        Peer.__init__(self, descriptor, True)
        self.allowed, self.finish = allowed, finish
        self.recorded = set()
        self.labels, self.origins = {}, {}
        self.truths, self.iterators = {}, []
        self.thread = _thread.get_ident()
        self.refused = None

    def receive(self):
        try:
            return Peer.receive(self)
        except (Gone, OSError):
            self.finish(b"A")

    def send(self, kind, parts):
        try:
            Peer.send(self, kind, parts)
        except OSError:
            self.finish(b"A")

    def rest(self):
        try:
            return Peer.rest(self)
        except Garbage:
            self.finish(b"G")

    def permits(self, use):
        if self.allowed is None:
            self.recorded.add(use)
            return True
        return use in self.allowed

    def refuse(self, text):
        # Kept beside being raised, for a test that catches everything.
        self.refused = text
        raise NotPlain(text)

    def request(self, kind, values):
        if _thread.get_ident() != self.thread:
            self.refuse("the test uses threads, which cannot share one candidate in another process")
        try:
            return Peer.request(self, kind, values)
        except Garbage:
            self.finish(b"G")

    def keep(self, value):
        """Only what a test means to hand over: its own functions, classes and their instances, and
        iterators. What a candidate could reach more by stays here."""
        kind = type(value)
        own = kind.__module__ == "__main__" or isinstance(value, type) and value.__module__ == "__main__"
        if not own and kind not in ITERATORS and kind not in (types.FunctionType, types.MethodType):
            self.refuse("the test hands over an object of class %s" % kind.__name__)
        return Peer.keep(self, value)

    def handed_over(self, value):
        number = self.kept_numbers.get(id(value), -1)
        return number >= 0 and self.kept[number] is value

    def meet(self, number):
        """Refuses an object where the reference gave data: by what it is or can do it could answer a
        test that tells it what is expected."""
        self.origins[number] = self.label
        if self.label in EXPECTED_OBJECTS or self.permits("object from " + self.label) or "objects" in self.allowed:
            return
        self.refuse("an object, where the problem asks for data")

    def use(self, target):
        """Refuses to use an object that came from where the reference gave none."""
        if not isinstance(target, Remote):
            return
        origin = self.origins.get(target._remote_number, "names")
        if origin not in EXPECTED_OBJECTS and not self.permits("object from " + origin) and "objects" not in self.allowed:
            self.refuse("an object of class %s, where the problem asks for data" % target._remote_name[:100])

    def ask(self, label, kind, values):
        before, self.label = self.label, label
        self.calls += 1
        try:
            result = self.request(kind, values)
        except NotPlain as error:
            self.refused = self.refused or str(error)
            raise
        finally:
            self.label = before
        return result

    def label_of(self, target):
        return self.labels.get(id(target)) or "." + type(target).__name__

    def call(self, target, name, arguments, keywords):
        self.use(target)
        try:
            return self.ask(self.label_of(target), b"c", (target, arguments, keywords))
        except (StopIteration, StopAsyncIteration, GeneratorExit) as error:
            # These end a loop of the test's without a word.
            if not self.permits("raise " + type(error).__name__):
                self.refuse("a call raises %s, which ends the test's own loop" % type(error).__name__)
            raise

    def attribute(self, target, name):
        if name.startswith("__") and name not in ("__name__", "__doc__", "__wrapped__", "__class__"):
            raise AttributeError(name)
        self.use(target)
        result = self.ask("." + name, b"g", (target, name))
        if isinstance(result, Remote):
            self.labels[id(result)] = "." + name
        return result

    def set_attribute(self, target, name, value):
        self.use(target)
        self.ask("." + name, b"s", (target, name, value))

    def next_of(self, target):
        return self.ask("next", b"n", (target,))

    def truth(self, target):
        # Asked once: what changes its mind would decide.
        number = target._remote_number
        if target._remote_what == b"o" and number not in self.truths:
            self.use(target)
            self.truths[number] = self.ask("operator", b"o", ("__bool__", target)) is not False
        return self.truths.get(number, True)

    def operate(self, target, name, *arguments):
        if name not in HARMLESS and not self.permits("operator " + name):
            if name in ("__eq__", "__ne__"):
                return name == "__ne__"
            self.refuse("an object of class %s, where the problem asks for data" % target._remote_name[:100])
        self.use(target)
        result = self.ask("operator " + name, b"o", (name, target, *arguments))
        if name == "__iter__" and isinstance(result, Remote):
            result = RemoteIterator(self, result._remote_number)
            self.proxy_numbers[id(result)] = result._remote_number
            self.iterators.append(result)
        return result

    def perform(self, kind, values):
        """What a candidate may do with what the test handed to it: call it, take its next item, and
        use the public attributes of objects of the test's own classes."""
        if not values:
            raise Garbage("a request without a target")
        target = values[1] if kind == 111 and len(values) > 1 else values[0]
        if not self.handed_over(target):
            raise AttributeError("the test keeps this to itself")
        if kind == 99 and len(values) == 3 and type(values[1]) is tuple and type(values[2]) is dict and callable(target):
            return target(*values[1], **values[2])
        if kind == 110 and type(target) in ITERATORS:
            return next(target)
        if type(target).__module__ != "__main__":
            raise AttributeError("the test keeps this to itself")
        if kind == 111 and values[0] in OPERATORS:
            return OPERATORS[values[0]](*values[1:])
        name = values[1] if len(values) > 1 else ""
        if type(name) is not str or name.startswith("_"):
            raise AttributeError("the test keeps this to itself")
        if kind == 103:
            return getattr(target, name)
        if kind == 115 and len(values) == 3:
            return setattr(target, name, values[2])
        raise Garbage("an unknown request")


def of_prompt(prompt, read):
    """What `read` gives of the text that a candidate continues, its last function closed; None where it
    is no Python either way."""
    for ending in ("\n    pass\n", ""):
        try:
            return read(prompt + ending)
        except (SyntaxError, ValueError):
            continue
    return None


def prompt_helpers(prompt, namespace):
    """Runs the text that a candidate continues: the functions before the last are the problem's."""
    code = of_prompt(prompt, lambda text: compile(text, "<prompt>", "exec", 0, True))
    if code is not None:
        exec(code, namespace)


def outcome(test, namespace, peer):
    """Runs one test; its tag and what to say of it."""
    peer.refused = None
    tag, text = b"P", b""
    try:
        exec(test, namespace)
    except MemoryError:
        tag = b"M"
    except BaseException as error:
        # `unittest.main()` ends so where all is well; a candidate that ends so has answered nothing.
        if type(error) is not SystemExit or error.code or error is peer.raised_there:
            tag, text = b"E", describe(error)
    if peer.refused is not None:
        return b"N", peer.refused[:200].encode("utf-8", "replace")
    return tag, text


def tester(job, out, calls):
    """Runs a problem's tests for the candidate at the other end of `calls`."""

    def finish(tag):
        send(out, tag)
        os._exit(0)

    module = sys.modules["__main__"] = new_module("__main__")
    namespace = module.__dict__
    sys.setrecursionlimit(5000)
    random.seed(0)
    peer = TesterPeer(calls, None if job["allowed"] is None else frozenset(job["allowed"]), finish)
    try:
        run_setup(job["setup"], namespace)
        if job["prompt"]:
            prompt_helpers(job["prompt"], namespace)
        peer.label = "names"
        names = peer.request(b"d", tuple(job["names"]))
        peer.label = "call"
        if type(names) is not dict:
            finish(b"G")
        for name in job["names"]:
            # One that the candidate lacks is not to be found in the setup or among the builtins either.
            if name in names:
                namespace[name] = names[name]
                peer.labels[id(names[name])] = name
            else:
                namespace[name] = Missing(name)
        if job["test_setup"]:
            exec(compiled(job["test_setup"], "<setup>"), namespace)
    except BaseException as error:
        send(out, b"T", describe(error))
        return
    for source in job["tests"]:
        try:
            test = compile(source, "<test>", "exec", 0, True)
        except BaseException as error:
            send(out, b"T", describe(error))
            return
        send(out, *outcome(test, namespace, peer))
    send(out, b"C", b"%d" % peer.calls)
    if peer.allowed is None:
        import json

        send(out, b"R", json.dumps(sorted(peer.recorded)).encode())


class Missing:
    """A name that the candidate does not define: whatever a test does with it, it has no such name."""

    def __init__(self, name):
        self.__dict__["name"] = name

    def __call__(self, *arguments, **keywords):
        raise NameError("name '%s' is not defined" % self.__dict__["name"])

    def __getattr__(self, name):
        self()

    def missing(self, *arguments):
        self()

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = __mul__ = __getitem__ = missing
    __bool__ = __iter__ = __len__ = __str__ = __repr__ = __hash__ = missing
