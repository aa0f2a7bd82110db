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

import os
import random
import sys


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


def classes_of(namespace, module):
    """The classes that a problem's setup defines, by name."""
    return {name: value for name, value in namespace.items() if isinstance(value, type) and value.__module__ == module}


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
        if type(error) is not SystemExit or error.code or any(error is exit for exit in peer.exits):
            tag, text = b"E", describe(error)
    if peer.refused is not None:
        return b"N", peer.refused[:200].encode("utf-8", "replace")
    return tag, text


def tester(job, out, calls):
    """Runs a problem's tests for the candidate at the other end of `calls`."""

    def finish(tag):
        send(out, tag)
        os._exit(0)

    module = sys.modules["__main__"] = job["module"]
    namespace = module.__dict__
    sys.setrecursionlimit(5000)
    random.seed(0)
    peer = spare_tester
    peer.descriptor, peer.finish = calls, finish
    peer.allowed = None if job["allowed"] is None else frozenset(job["allowed"])
    try:
        if job["setup"]:
            run_setup(job["setup"], namespace)
            peer.setup_classes = classes_of(namespace, "__main__")
            peer.know_singles(single_objects(namespace, "__main__"))
        if job["prompt"]:
            prompt_helpers(job["prompt"], namespace)
        peer.label = "names"
        names = peer.request(b"d", tuple(job["names"]))
        peer.label = "call"
        if type(names) is not dict:
            finish(b"G")
        peer.namespace = namespace
        for name in job["names"]:
            if name in names:
                peer.give(name, names[name])
            elif name == job["entry_point"] or name in namespace or not hasattr(builtins, name):
                # One that the candidate lacks is not to be found in the setup either; nor is the function
                # that the problem asks for to be one of Python's own.
                peer.give(name, Missing(name))
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
        peer.source = source
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
