"""Values and calls across two processes: the test's and the candidate's.

Each side is a `Peer` on one end of a socket pair. Plain data crosses as data, and containers keep
their identity: each has a number on both sides, and every message brings those that both sides hold
up to date, so that a test sees its list sorted in place and two rows that are one. Iterators, functions
and objects of other classes stay where they are; the other side holds a proxy, with the special
methods that the object's class has. The candidate's side is hostile: what it sends is read as data,
every length and number is checked, and it reaches nothing of the test's but what the test handed over.

    message     length (4 bytes), kind (1 byte), how many containers have changed (4 bytes), these,
                the numbers of those that this side has let go, the values
    kinds       c call   g attribute   s set attribute   n next item   o operator   d describe names
                v result   e exception   x a value that cannot cross
"""

import builtins
import collections
import copy
import datetime
import decimal
import fractions
import functools
import math
import operator
import os
import re
import struct
import sys
import types

DEEPEST = 1000
# So many containers are not looked through for what can be let go.
FEW = 64
# How many members of containers that both sides hold are looked at for changes before a message. Of
# what is beyond that, what a message mentions is brought up to date.
MOST_CHECKED = 1 << 13
SMALL = 1 << 63
# Beyond so many, NaNs cross as numbers like others.
MOST_NANS = 1 << 14
# Bytes that are read at once where nothing is known of what comes.
AT_ONCE = 1 << 12
COUNT = struct.Struct("<I")
DOUBLE = struct.Struct("<d")
WORD = struct.Struct("<q")
V, X = b"vx"
NONE = frozenset()
# No container that has changed, and none that is let go.
NOTHING_NEW = COUNT.pack(0) + COUNT.pack(0)


class Garbage(BaseException):
    """The other side sent what is no message."""


class Gone(BaseException):
    """The other side has closed its end."""


class Unfit(BaseException):
    """The candidate gave an object where the problem asks for data."""


def iterators():
    """Iterators that Python makes itself: what comes out of them is data."""
    import itertools

    empty = (iter([]), iter(()), iter(""), iter(set()), iter({}), iter({}.values()), iter({}.items()),
             iter(range(0)), iter(range(1 << 70)), iter(b""), iter(bytearray()), reversed([]), reversed({}),
             reversed({}.values()), reversed({}.items()), map(abs, ()), filter(None, ()), zip(), enumerate(()),
             iter(collections.deque()), (x for x in ()), iter(int, 0), re.finditer("", ""),
             iter(collections.OrderedDict()), reversed(()), iter(type("Items", (), {"__getitem__": list.__getitem__})()),
             iter(memoryview(b"")))
    kinds = {type(value) for value in empty}
    kinds |= {kind for kind in vars(itertools).values() if isinstance(kind, type) and hasattr(kind, "__next__")}
    return frozenset(kinds)


ITERATORS = iterators()
VALUE_VIEW = type({}.values())
KEY_VIEWS = {type({}.keys()): b"k", type({}.items()): b"j", VALUE_VIEW: b"w"}
KEY_VIEWS.update(zip((type(view()) for view in map(collections.OrderedDict().__getattribute__, ("keys", "items", "values"))), (b"k", b"j", b"w")))
DATES = {"date": datetime.date, "datetime": datetime.datetime, "time": datetime.time, "timedelta": datetime.timedelta}
# Containers, by tag: they are numbered, and filled by `refill`.
CONTAINERS = {
    list: b"l", dict: b"m", set: b"e", bytearray: b"a", collections.deque: b"q",
    collections.OrderedDict: b"M", collections.Counter: b"C", collections.defaultdict: b"P",
}
KIND_OF = {tag[0]: kind for kind, tag in CONTAINERS.items()}
MAPPINGS = (dict, collections.OrderedDict, collections.Counter, collections.defaultdict)
# What a class of one's own may be at heart, the most special first.
BASES = (collections.OrderedDict, collections.Counter, collections.defaultdict, dict, list, set, bytearray,
         collections.deque, bool, int, float, complex, str, bytes, tuple, frozenset)
PLAIN_READ = {
    int: lambda value: int.__add__(value, 0), float: lambda value: float.__add__(value, 0.0),
    complex: lambda value: complex.__add__(value, 0j), str: lambda value: str.__str__(value) if type(value) is str else "".join([value]),
    bytes: lambda value: bytes.join(b"", [value]), tuple: lambda value: tuple(tuple.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
# Special methods, in the order of their bits; the last says that a class has done away with its hash.
SPECIAL = tuple("__%s__" % name for name in (
    "eq ne lt le gt ge hash bool len str repr format bytes int float complex index round trunc floor ceil iter next reversed "
    "contains getitem setitem delitem missing enter exit call get neg pos abs invert".split()
    + [form + name for name in "add sub mul truediv floordiv mod divmod pow and or xor lshift rshift matmul".split() for form in ("", "r", "i")]
    + "aiter anext aenter aexit class_getitem".split()
)) + ("unhashable",)
BIT_OF = {name: 1 << at for at, name in enumerate(SPECIAL)}
# Of a function of Python's own, and of one of the program's: no more is asked than to be called.
CALLED, BOUND = BIT_OF["__call__"], BIT_OF["__call__"] | BIT_OF["__get__"]
# What may be asked beside the special methods, of whatever stays on the other side.
OTHER_OPERATORS = {
    "__bool__": bool, "__delattr__": delattr, "__instancecheck__": lambda kind, value: isinstance(value, kind),
    "__subclasscheck__": lambda kind, other: issubclass(other, kind),
    "__copy__": lambda value: copy.copy(value), "__deepcopy__": lambda value: copy.deepcopy(value),
    "__signature__": lambda value: signature_of(value), "__await__": lambda value: run_to_its_end(value),
}
METHODS = types.MethodType, types.BuiltinMethodType
# Functions that a test may define and hand over.
FUNCTIONS = types.FunctionType, types.MethodType, type(functools.lru_cache(abs))
# Where classes of the test's and of the program's say that they come from.
OWN_MODULES = "candidate", "__main__"
# What anybody may ask of an object: it names, yields or copies, and is told nothing that a test expects.
HARMLESS = frozenset((
    "__iter__ __next__ __getitem__ __enter__ __exit__ __aiter__ __anext__ __aenter__ __aexit__ __class_getitem__ __instancecheck__ __subclasscheck__ __hash__ __bool__ __copy__ "
    "__deepcopy__ __signature__ __await__").split())
# What makes data of an object, or changes it: it is told no more than by a call.
CONVERSIONS = frozenset(
    "__len__ __str__ __repr__ __format__ __bytes__ __int__ __float__ __complex__ __index__ __round__ __trunc__ __floor__ "
    "__ceil__ __reversed__ __delitem__ __setitem__ __delattr__ __call__ __get__ __missing__".split())
# What gives something to be awaited, which runs to its end where the object is.
AWAITED = frozenset(("__anext__", "__aenter__", "__aexit__"))
TEXTS = frozenset(("__str__", "__repr__", "__format__"))
# Special methods that Python asks for one another.
KIN = {name: group for group in (("__eq__", "__ne__"), ("__lt__", "__gt__", "__le__", "__ge__"), *(
    tuple("__%s%s__" % (form, name) for form in ("", "r", "i"))
    for name in "add sub mul truediv floordiv mod divmod pow and or xor lshift rshift matmul".split())) for name in group}


def special_of(kind, base):
    """The special methods of a class that `base` has not, as bits."""
    bits = 0
    for name in SPECIAL[:-1]:
        method = found_in(kind, name)
        if method is not None and method is not found_in(base, name):
            bits |= BIT_OF[name]
    return bits | (BIT_OF["unhashable"] if found_in(kind, "__hash__") is None else 0)


def found_in(kind, name):
    for base in type.__dict__["__mro__"].__get__(kind):
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def overridden(kind, base):
    """Names of public methods that a class has in the place of those that `base` has."""
    found = set()
    for at in type.__dict__["__mro__"].__get__(kind):
        if at is base:
            break
        found.update(name for name, member in at.__dict__.items()
                     if name[:1] != "_" and isinstance(member, types.FunctionType) and hasattr(base, name))
    return tuple(sorted(found))


def methods_of(kind):
    """The functions and properties that a class written in Python gives its objects."""
    members = {}
    for base in reversed(type.__dict__["__mro__"].__get__(kind)):
        members.update(base.__dict__)
    kinds = types.FunctionType, property
    return {name: member for name, member in members.items()
            if isinstance(member, kinds) and (name in BIT_OF or not name.startswith("__"))}


def operate(value, name, *arguments):
    """What an operator gives of a value, as Python asks for it."""
    if name in OTHER_OPERATORS:
        return OTHER_OPERATORS[name](value, *arguments)
    if name in AWAITED:
        return run_to_its_end(getattr(type(value), name)(value, *arguments))
    if name == "__class_getitem__":
        return value[arguments[0]]
    if name not in BIT_OF:
        raise Garbage("an unknown operator")
    method = found_in(type(value), name)
    if method is None:
        raise TypeError("'%s' object has no %s" % (type(value).__name__, name))
    return getattr(type(value), name)(value, *arguments)


def run_to_its_end(awaitable, loops=[]):
    """Runs what was awaited on the other side. One loop for all: an asynchronous generator ends with
    the loop that it began in."""
    import asyncio

    async def run():
        return await awaitable

    if not loops:
        loops.append(asyncio.new_event_loop())
    asyncio.set_event_loop(loops[0])
    return loops[0].run_until_complete(run())


def signature_of(value):
    """What `inspect.signature` says of a function, as data."""
    import inspect

    parameters = inspect.signature(value).parameters.values()
    return tuple((parameter.name, int(parameter.kind), parameter.default is not parameter.empty,
                  None if parameter.default is parameter.empty else parameter.default) for parameter in parameters)


def signature(data):
    """A signature of such data."""
    import inspect

    kinds = list(inspect._ParameterKind)
    try:
        return inspect.Signature([
            inspect.Parameter(name, kinds[kind], default=default if has_default else inspect.Parameter.empty)
            for name, kind, has_default, default in data])
    except Exception:
        raise Garbage("a signature that is none")
