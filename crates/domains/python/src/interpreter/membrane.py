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


class Peer:
    """One end."""

    def __init__(self, descriptor, tester, read=os.read, write=os.write):
        self.descriptor, self.tester, self.read, self.write = descriptor, tester, read, write
        self.buffer = b""
        # Containers that both sides hold, by number; the numbers of each side's own differ in the last bit.
        self.shared, self.numbers, self.next_number = {}, {}, 2 if tester else 3
        self.look_at = FEW
        # What of them the other side knows, and what is learnt of that while a message is written.
        self.known, self.learnt, self.unchanged = {}, {}, NONE
        # Objects that stay here, and proxies of those that stay there.
        self.kept, self.kept_numbers, self.proxies, self.proxy_numbers = [], {}, {}, {}
        self.written, self.touched, self.depth = set(), [], 0
        self.calls = 0
        # NaNs that have crossed, by number: the first is Python's own.
        self.nans, self.nan_numbers = {0: math.nan}, {id(math.nan): 0}
        # Proxies' classes, by what their objects are; special methods, by class; the classes of the problem's setup.
        self.classes, self.special, self.setup_classes = {}, {}, {}
        # Whether the value at hand is what the call of a class gives.
        self.constructing, self.is_constructed = False, False
        self.writers = {
            int: self.write_int, float: self.write_float, str: self.write_str, bool: self.write_bool,
            type(None): self.write_none, tuple: self.write_tuple, bytes: self.write_bytes,
            complex: self.write_complex, frozenset: self.write_frozenset, range: self.write_range,
            slice: self.write_slice,
            decimal.Decimal: self.write_decimal, fractions.Fraction: self.write_fraction,
        }
        self.writers.update(dict.fromkeys(CONTAINERS, self.write_container))
        self.writers.update(dict.fromkeys(KEY_VIEWS, self.write_view))
        self.readers = [self.read_garbage] * 256
        for name, reader in READERS.items():
            self.readers[ord(name)] = getattr(self, reader)
        for tag in KIND_OF:
            self.readers[tag] = self.read_container
        self.label, self.exits = "call", []

    # Messages.

    def send(self, kind, parts):
        data = b"".join(parts)
        data = COUNT.pack(len(data)) + kind + data
        sent = self.write(self.descriptor, data)
        while sent < len(data):
            data = data[sent:]
            sent = self.write(self.descriptor, data)

    def receive(self):
        """The next message's kind; its values are then read by `value`."""
        data = self.buffer
        while len(data) < 5 or len(data) < 5 + COUNT.unpack_from(data)[0]:
            # Room for what is known to come: a large buffer is mapped anew for each message.
            rest = 5 + COUNT.unpack_from(data)[0] - len(data) if len(data) >= 5 else 0
            more = self.read(self.descriptor, min(max(rest, AT_ONCE), 1 << 20))
            if not more:
                raise Gone
            data = data + more if data else more
        end = 5 + COUNT.unpack_from(data)[0]
        self.buffer = data[end:]
        self.data, self.at, self.end = data, 5, end
        return data[4]

    def message(self, values, updates=()):
        """The parts of a message of some values and what has to be brought up to date besides."""
        try:
            return self.parts_of(values, updates)
        except RecursionError:
            sys.setrecursionlimit(20000)
            return self.parts_of(values, updates)

    def parts_of(self, values, updates):
        self.written, self.learnt, self.depth = set(), {}, 0
        changed, idle = self.look_at_shared() if self.shared else ([], [])
        changed.extend(number for number in updates if number not in self.unchanged and number in self.shared)
        parts = self.news(changed, idle) if changed or idle else [NOTHING_NEW]
        for value in values:
            self.put(value, parts)
        # Only now: what could not be written, the other side is not told.
        self.known.update(self.learnt)
        for number in idle:
            self.let_go(number)
        return parts

    def news(self, changed, idle):
        """What has changed, and what is let go."""
        parts, count = [], 0
        for number in changed:
            if number not in self.written:
                self.write_container(self.shared[number], parts)
                count += 1
        parts.insert(0, COUNT.pack(count))
        self.write_items(b"", idle, parts)
        return parts

    def look_at_shared(self):
        """The numbers of containers that have changed since the other side was told, and of those that
        nothing but the table holds any longer: where the other side still has one, it comes back as a
        new one, and nobody here can tell."""
        changed, idle, unchanged, room = [], [], set(), MOST_CHECKED
        count, fewest, known, same = sys.getrefcount, FEWEST, self.known, operator.is_
        for number, container in list(self.shared.items()):
            state = known.get(number)
            if state is None:
                continue
            room -= len(state) + 1
            if room < 0:
                unchanged = NONE
                break
            if type(container) is list:
                is_same = len(container) == len(state) and all(map(same, container, state))
            else:
                is_same = is_in_state(container, state)
            if is_same:
                unchanged.add(number)
            else:
                changed.append(number)
            if count(container) <= fewest:
                idle.append(number)
        if room < 0:
            self.look_for_idle(changed, idle)
        self.unchanged = unchanged
        return changed, idle

    def look_for_idle(self, changed, idle):
        """Adds, where the table has grown, what nothing else holds any longer to both lists."""
        if len(self.shared) > self.look_at:
            idle[:] = [number for number in held_by_none_but(self.shared) if number in self.known]
            changed.extend(number for number in idle if not is_in_state(self.shared[number], self.known[number]))
            self.look_at = 2 * (len(self.shared) - len(idle)) + FEW

    def let_go(self, number):
        container = self.shared.pop(number, None)
        if container is not None:
            self.numbers.pop(id(container), None)
        self.known.pop(number, None)

    def request(self, kind, values):
        """Sends a request and serves the other side's until the answer comes."""
        self.send(kind, self.message(values))
        return self.await_answer()

    def await_answer(self):
        label, constructing = self.label, self.constructing
        while True:
            kind = self.receive()
            if kind in b"vex":
                self.label = label
                values = self.all_values(constructing)
                if len(values) == 0:
                    raise Garbage("an answer without a value")
                if kind == V:
                    return values[0]
                if kind == X:
                    raise Unfit(str(values[0])[:200])
                if not isinstance(values[0], BaseException):
                    raise Garbage("an exception that is none")
                if isinstance(values[0], SystemExit):
                    self.exits.append(values[0])
                raise values[0]
            self.serve(kind)

    def all_values(self, constructed=False):
        """The values of the message at hand."""
        try:
            return self.rest(constructed)
        except RecursionError:
            sys.setrecursionlimit(20000)
            self.at = 5
            return self.rest(constructed)

    def rest(self, constructed=False):
        values, self.depth, self.subclass = [], 0, None
        self.is_constructed = False
        if self.data.startswith(NOTHING_NEW, self.at):
            self.at += len(NOTHING_NEW)
        else:
            self.read_news()
        while self.at < self.end:
            self.is_constructed = constructed
            values.append(self.value())
        return values

    def read_news(self):
        for _ in range(self.length()):
            self.value()
        # What the other side has let go it will not bring up to date: here it is like any other.
        for number in self.values():
            if type(number) is not int:
                raise Garbage("a container without a number")
            self.let_go(number)

    def serve(self, kind):
        """Answers one request of the other side."""
        touched, self.touched = self.touched, []
        values = self.all_values()
        try:
            result, answer = self.perform(kind, values), b"v"
        except (Gone, Garbage):
            raise
        except Unfit as error:
            result, answer = str(error), b"x"
        except BaseException as error:
            result, answer = error, b"e"
        try:
            parts = self.message((result,), self.touched)
        except Unfit as error:
            parts, answer = self.message((str(error),)), b"x"
        except MemoryError as error:
            parts, answer = self.message((MemoryError(),)), b"e"
        self.touched = touched
        self.send(answer, parts)

    # Writing.

    def put(self, value, parts):
        writer = self.writers.get(type(value))
        if writer is None:
            self.write_rare(value, parts)
        else:
            writer(value, parts)

    def write_int(self, value, parts):
        if -SMALL <= value < SMALL:
            parts.append(b"i" + WORD.pack(value))
        else:
            self.write_sized(b"I", (b"%x" % value) if value >= 0 else b"-%x" % -value, parts)

    def write_sized(self, tag, data, parts):
        parts.append(tag + COUNT.pack(len(data)) + data)

    def write_float(self, value, parts):
        if value == value or not self.number_nan(value):
            parts.append(b"d" + DOUBLE.pack(value))
        else:
            parts.append(b"y" + WORD.pack(self.nan_numbers[id(value)]) + DOUBLE.pack(value))

    def number_nan(self, value):
        """Numbers a NaN, which is equal to nothing and found by what it is: `nan in [nan]` holds."""
        if id(value) not in self.nan_numbers:
            if len(self.nans) >= MOST_NANS:
                return False
            number = 2 * len(self.nans) + self.tester
            self.nans[number], self.nan_numbers[id(value)] = value, number
        return True

    def write_str(self, value, parts):
        self.write_sized(b"s", value.encode("utf-8", "surrogatepass"), parts)

    def write_bool(self, value, parts):
        parts.append(b"T" if value else b"F")

    def write_none(self, value, parts):
        parts.append(b"n")

    def write_bytes(self, value, parts):
        self.write_sized(b"b", value, parts)

    def write_complex(self, value, parts):
        parts.append(b"c" + DOUBLE.pack(value.real) + DOUBLE.pack(value.imag))

    def write_items(self, tag, values, parts):
        self.depth += 1
        if self.depth > DEEPEST:
            self.depth = 0
            raise Unfit("a value nested more than %d deep" % DEEPEST)
        parts.append(tag + COUNT.pack(len(values)))
        for value in values:
            self.put(value, parts)
        self.depth -= 1

    def write_tuple(self, value, parts):
        self.write_items(b"u", value, parts)

    def write_frozenset(self, value, parts):
        self.write_items(b"z", value, parts)

    def write_range(self, value, parts):
        self.write_items(b"R", (value.start, value.stop, value.step), parts)

    def write_slice(self, value, parts):
        self.write_items(b"L", (value.start, value.stop, value.step), parts)

    def write_decimal(self, value, parts):
        self.write_sized(b"D", str(value).encode(), parts)

    def write_fraction(self, value, parts):
        self.write_items(b"f", (value.numerator, value.denominator), parts)

    def write_view(self, value, parts):
        self.write_items(KEY_VIEWS[type(value)], tuple(value), parts)

    def number_of(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = self.next_number
            self.next_number += 2
            self.numbers[id(value)] = number
            self.shared[number] = value
        return number

    def write_container(self, value, parts, kind=None):
        number = self.number_of(value)
        if number in self.written or number in self.unchanged:
            parts.append(b"r" + WORD.pack(number))
            return
        self.written.add(number)
        kind = kind or kind_at_heart(value)
        self.learnt[number] = state_of(value, kind)
        tag = CONTAINERS[kind] + WORD.pack(number)
        if kind is bytearray:
            self.write_sized(tag, bytes(memoryview(value)), parts)
        elif issubclass(kind, dict):
            if kind is collections.defaultdict:
                parts.append(tag)
                tag = b""
                self.put(collections.defaultdict.default_factory.__get__(value), parts)
            flat = [part for pair in kind.items(value) for part in pair]
            self.write_items(tag, flat, parts)
        else:
            self.write_items(tag, tuple(kind.__iter__(value)), parts)

    def write_rare(self, value, parts):
        kind = type(value)
        number = self.proxy_numbers.get(id(value))
        if number is not None:
            parts.append(b"h" + WORD.pack(number))
        elif value is Ellipsis or value is NotImplemented:
            parts.append(b"." if value is Ellipsis else b"!")
        elif isinstance(value, BaseException):
            self.write_exception(value, kind, parts)
        elif kind in (type, types.BuiltinFunctionType, type(str.lower), type(int.__add__)) and self.is_known(value):
            self.write_sized(b"t", ("%s:%s" % (module_of(value), value.__qualname__)).encode(), parts)
        elif kind is datetime.timedelta:
            self.write_items(b"E", ("timedelta", value.days, value.seconds, value.microseconds), parts)
        elif kind in (datetime.date, datetime.datetime, datetime.time) and getattr(value, "tzinfo", None) is None:
            fields = "year month day hour minute second microsecond".split()
            numbers = [getattr(value, field) for field in fields if hasattr(value, field)]
            self.write_items(b"E", (kind.__name__, *numbers), parts)
        elif self.write_wrapped(value, kind, parts):
            pass
        elif kind in ITERATORS:
            parts.append((b"G" if kind is types.GeneratorType else b"g") + WORD.pack(self.keep(value)))
        elif not self.write_data_of_subclass(value, kind, parts):
            self.write_object(value, kind, parts)

    def is_known(self, value):
        module, name = module_of(value), getattr(value, "__qualname__", "")
        if not self.tester:
            return DATA_TYPES.get("%s:%s" % (module, name)) is value
        return known(module, name) is value

    def write_wrapped(self, value, kind, parts):
        """The standard library's wrappers and numpy's arrays."""
        if kind in (collections.UserList, collections.UserDict, collections.UserString):
            held = value.__dict__.get("data")
            if isinstance(held, (list, dict, str)):
                parts.append(b"U" + kind.__name__[4:5].encode())
                self.put(held, parts)
                return True
        numpy = sys.modules.get("numpy")
        if numpy is not None and issubclass(kind, (numpy.ndarray, numpy.generic)) and not value.dtype.hasobject:
            array = numpy.asarray(value)
            parts.append(b"N" + (b"a" if issubclass(kind, numpy.ndarray) else b"s"))
            self.put(array.dtype.str, parts)
            self.put(tuple(int(size) for size in array.shape), parts)
            self.put(array.tobytes(), parts)
            return True
        return False

    def write_data_of_subclass(self, value, kind, parts):
        """An instance of a class that is data at heart crosses as that data, its class beside it."""
        base = next((base for base in BASES if issubclass(kind, base)), None)
        if base is None or base is bool:
            return False
        parts.append(b"S" + WORD.pack(self.keep(value)))
        self.put(kind.__name__, parts)
        self.put(self.special_of(kind, base), parts)
        self.put(overridden(kind, base), parts)
        if base in CONTAINERS:
            self.write_container(value, parts, base)
        else:
            self.put(PLAIN_READ[base](value), parts)
        return True

    def special_of(self, kind, base=object):
        """The special methods that a class has beside its base's, as bits."""
        bits = self.special.get(kind)
        if bits is None:
            bits = self.special[kind] = special_of(kind, base)
        return bits

    def write_object(self, value, kind, parts):
        what, special = b"o", 0
        if isinstance(value, type):
            what = b"x" if issubclass(value, BaseException) else b"k"
            special = self.special_of(kind, type) | (BIT_OF["__class_getitem__"] if found_in(value, "__class_getitem__") else 0)
        elif kind is types.CoroutineType:
            what = b"a"
        elif callable(value):
            what = b"f"
            special = BOUND if kind is types.FunctionType else CALLED if kind.__module__ == "builtins" else self.special_of(kind)
        else:
            special = self.special_of(kind)
        parts.append(b"O" + what + WORD.pack(self.keep(value)))
        self.put(value.__name__ if isinstance(value, type) else kind.__name__, parts)
        self.put(special, parts)
        if what == b"x":
            self.put(bases_of(value), parts)
            parent = type.__dict__["__base__"].__get__(value)
            self.put(parent if parent.__module__ in OWN_MODULES else None, parts)

    def write_exception(self, error, kind, parts):
        """An exception by the classes that both sides know, and its arguments as far as they are data."""
        is_own = kind.__module__ in OWN_MODULES
        # What is kept would hold the frames that it came through.
        error.__traceback__ = None
        # One of a class of this side's own comes with that, and may be asked for its attributes.
        parts.append(b"X" + WORD.pack(self.keep(error) if is_own else -1))
        self.put(kind if is_own else None, parts)
        self.put(bases_of(kind), parts)
        arguments = error.args if isinstance(error.args, tuple) else ()
        if kind is SystemExit and not arguments:
            arguments = (error.code,)
        self.put(tuple(map(self.argument, arguments)), parts)
        try:
            text = str(error)
        except BaseException:
            text = ""
        self.put(text if type(text) is str else "", parts)
        cause = error.__cause__
        self.write_items(b"u", (cause,) if isinstance(cause, BaseException) else (), parts)

    def argument(self, value):
        if type(value) in self.writers or isinstance(value, BaseException):
            return value
        return repr(value) if type(value).__module__ == "builtins" else "<%s>" % type(value).__name__

    def keep(self, value):
        number = self.kept_numbers.get(id(value))
        if number is None:
            number = self.kept_numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return number

    # Reading. The tester reads what a hostile candidate wrote.

    def take(self, count):
        at = self.at
        self.at = at + count
        if count < 0 or self.at > self.end:
            raise Garbage("a value that ends early")
        return self.data[at:at + count]

    def length(self):
        return COUNT.unpack(self.take(4))[0]

    def word(self):
        return WORD.unpack(self.take(8))[0]

    def value(self):
        at = self.at
        self.at = at + 1
        if at >= self.end:
            raise Garbage("a value that is not there")
        return self.readers[self.data[at]]()

    def read_garbage(self):
        raise Garbage("an unknown tag")

    def read_int(self):
        return self.word()

    def read_big(self):
        try:
            return int(self.take(self.length()), 16)
        except ValueError:
            raise Garbage("a number that is none")

    def read_float(self):
        return DOUBLE.unpack(self.take(8))[0]

    def read_nan(self):
        number, value = self.word(), self.read_float()
        if value == value:
            raise Garbage("a NaN that is a number")
        if number not in self.nans and len(self.nans) < MOST_NANS:
            self.nans[number], self.nan_numbers[id(value)] = value, number
        return self.nans.get(number, value)

    def read_str(self):
        try:
            return self.take(self.length()).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise Garbage("text that is none")

    def read_true(self):
        return True

    def read_false(self):
        return False

    def read_none(self):
        return None

    def read_ellipsis(self):
        return Ellipsis

    def read_not_implemented(self):
        return NotImplemented

    def read_bytes(self):
        return bytes(self.take(self.length()))

    def read_complex(self):
        return complex(self.read_float(), self.read_float())

    def values(self):
        count = self.length()
        if count > self.end - self.at:
            raise Garbage("more values than there are bytes")
        self.depth += 1
        if self.depth > 2 * DEEPEST:
            raise Garbage("nested too deep")
        values = [self.value() for _ in range(count)]
        self.depth -= 1
        return values

    def read_tuple(self):
        return tuple(self.values())

    def hashed(self, make, values):
        try:
            return make(values)
        except (TypeError, ValueError):
            raise Garbage("members that cannot be")

    def read_frozenset(self):
        return self.hashed(frozenset, self.values())

    def read_range(self):
        return self.hashed(lambda values: range(*values), self.values())

    def read_slice(self):
        return self.hashed(lambda values: slice(*values), self.values())

    def read_decimal(self):
        try:
            return decimal.Decimal(self.take(self.length()).decode())
        except (ValueError, ArithmeticError):
            raise Garbage("a decimal that is none")

    def read_fraction(self):
        values = self.values()
        if len(values) != 2 or not all(type(value) is int for value in values) or values[1] == 0:
            raise Garbage("a fraction that is none")
        return fractions.Fraction(*values)

    def read_keys(self):
        return self.hashed(dict.fromkeys, self.values()).keys()

    def read_pairs(self):
        return self.hashed(dict, self.values()).items()

    def read_dict_values(self):
        return dict(enumerate(self.values())).values()

    def read_date(self):
        values = self.values()
        kind = DATES.get(values[0]) if values and type(values[0]) is str else None
        if kind is None:
            raise Garbage("a date that is none")
        return self.hashed(lambda numbers: kind(*numbers), values[1:])

    def read_known(self):
        text = self.read_str()
        value = DATA_TYPES.get(text) if self.tester else known(*text.split(":", 1))
        if value is None:
            raise Garbage("a name that nobody knows")
        return value

    def read_wrapper(self):
        kind, base = {b"L": (collections.UserList, list), b"D": (collections.UserDict, dict), b"S": (collections.UserString, str)}.get(
            self.take(1), (None, None))
        held = self.value()
        if kind is None or not isinstance(held, base):
            raise Garbage("a wrapper of nothing")
        wrapped = kind(base())
        wrapped.data = held
        return wrapped

    def read_array(self):
        numpy = sys.modules.get("numpy")
        what, kind, shape, data = self.take(1), self.value(), self.value(), self.value()
        simple = type(kind) is str and re.fullmatch(r"[<>|=]?[biufcSUmM?]\d{0,4}(\[\w{1,4}\])?", kind)
        if numpy is None or not simple or type(shape) is not tuple or type(data) is not bytes:
            raise Garbage("an array that is none")
        array = self.hashed(lambda shape: numpy.frombuffer(data, dtype=kind).reshape(shape).copy(), shape)
        return array if what == b"a" else array[()]

    def shared_container(self, kind):
        """The container of the number that comes next; a new one where there is none."""
        number, subclass, self.subclass = self.word(), self.subclass, None
        container = self.shared.get(number)
        if container is None:
            # One of this side's own may have been let go: it comes back as a new one.
            container = (subclass or kind)()
            self.shared[number] = container
            self.numbers[id(container)] = number
        elif kind_at_heart(container) is not kind or subclass not in (None, type(container)):
            raise Garbage("a container of another kind")
        self.touched.append(number)
        return container, number

    # The class of the next container, where it is one of the other side's own.
    subclass = None

    def read_container(self):
        kind = KIND_OF[self.data[self.at - 1]]
        container, number = self.shared_container(kind)
        if kind is collections.defaultdict:
            label, self.label = self.label, "factory"
            factory = self.value()
            self.label = label
            if factory is not None and not callable(factory):
                raise Garbage("a factory that makes nothing")
        if kind is bytearray:
            container[:] = self.take(self.length())
        else:
            values = self.values()
            kind.clear(container)
            if kind is collections.defaultdict:
                collections.defaultdict.default_factory.__set__(container, factory)
            self.refill(kind, container, values)
        self.known[number] = state_of(container, kind)
        return container

    def refill(self, kind, container, values):
        try:
            if issubclass(kind, dict):
                if len(values) % 2:
                    raise Garbage("a key without a value")
                for at in range(0, len(values), 2):
                    kind.__setitem__(container, values[at], values[at + 1])
            elif kind is set:
                set.update(container, values)
            else:
                kind.extend(container, values)
        except TypeError:
            raise Garbage("members that cannot be")

    def read_reference(self):
        number = self.word()
        container = self.shared.get(number)
        if container is None:
            raise Garbage("a number without a container")
        self.touched.append(number)
        return container

    def read_own(self):
        """An object of this side's, that the other had a proxy of."""
        number = self.word()
        if not 0 <= number < len(self.kept):
            raise Garbage("an object that was never handed over")
        value = self.kept[number]
        for held in (value, getattr(value, "__self__", None)):
            if id(held) in self.numbers:
                self.touched.append(self.numbers[id(held)])
        return value

    def proxy(self, number, make):
        if number < 0:
            raise Garbage("an object without a number")
        proxy = self.proxies.get(number)
        if proxy is None:
            proxy = self.proxies[number] = make(number)
            self.proxy_numbers[id(proxy)] = number
        return proxy

    def read_iterator(self):
        return self.proxy(self.word(), lambda number: RemoteIterator(self, number))

    def read_generator(self):
        return self.proxy(self.word(), lambda number: RemoteGenerator(self, number))

    def read_special(self):
        special = self.value()
        if type(special) is not int or not 0 <= special < 1 << len(SPECIAL):
            raise Garbage("special methods that are none")
        return special

    def read_object(self):
        what, number, name = self.take(1), self.word(), self.value()
        special = self.read_special()
        if type(name) is not str:
            raise Garbage("a class without a name")
        if what == b"x":
            bases, parent = self.value(), self.value()
            if not (issubclass(type(parent), type) and issubclass(parent, BaseException)):
                parent = class_of(bases)
            own = self.setup_classes.get(name)
            if own is not None and issubclass(own, BaseException):
                return self.proxy(number, lambda _: own)
            return self.proxy(number, lambda _: exception_class(self, name, parent))
        if number not in self.proxies:
            self.meet(number)
        if what == b"a":
            return self.proxy(number, self.coroutine)
        return self.proxy(number, lambda number: self.proxy_class(name, what, special)(self, number, name, what))

    def coroutine(self, number):
        """A coroutine of this side's that has the other side's run to its end over there."""

        async def run():
            return self.operate(remote, "__await__")

        remote = run()
        return remote

    def proxy_class(self, name, what, special):
        """The class of proxies of objects of a class of this name, which has these special methods."""
        key = name, what, special
        made = self.classes.get(key)
        if made is None:
            base = RemoteClass if what == b"k" else Remote
            made = self.classes[key] = type(class_name(name), (base,), self.body(name, what, special))
        return made

    def body(self, name, what, special):
        body = {"__slots__": (), "__module__": "candidate", "__doc__": property(lambda remote: self.attribute(remote, "__doc__"))}
        own = self.setup_classes.get(name) if what != b"k" and special != BOUND else None
        # Methods that the setup defines belong to the problem, even on objects that the program made.
        methods = methods_of(own) if own is not None and self.tester else {}
        body.update((method, written) for method, written in methods.items() if method not in BIT_OF)
        for method in SPECIAL[:-1]:
            if special & BIT_OF[method]:
                body[method] = methods.get(method) or SPECIAL_METHODS[method]
        if what == b"k" and special & BIT_OF["__class_getitem__"]:
            body.setdefault("__getitem__", body["__class_getitem__"])
        if special & (BIT_OF["__len__"] | BIT_OF["__bool__"]):
            body["__bool__"] = SPECIAL_METHODS["__bool__"]
        if special & BIT_OF["__get__"]:
            body["__get__"] = bound_method
        if special & BIT_OF["unhashable"]:
            body["__hash__"] = None
        elif "__hash__" not in body:
            body["__hash__"] = Remote.__hash__
        kind = own or (type if what == b"k" else types.FunctionType if special == BOUND else None)
        if kind is not None:
            body["__class__"] = property(lambda remote: kind)
        return body

    def meet(self, number):
        """Called with the number of an object of the other side's when it is first seen."""

    def stays_object(self, is_constructed):
        """Whether an instance of a class that is data at heart is an object here all the same."""
        return True

    def read_subclass(self):
        is_object = self.is_constructed
        self.is_constructed = False
        number, name = self.word(), self.value()
        special, own = self.read_special(), self.value()
        tag = self.data[self.at] if self.at < self.end else 0
        base = KIND_OF.get(tag) or BASE_OF.get(tag)
        if type(name) is not str or type(own) is not tuple or base is None or number < 0:
            # Nothing but a reference, to a container that is there already.
            if tag == ord("r") and number in self.proxies:
                return self.value()
            raise Garbage("an instance of nothing")
        made = number in self.proxies
        if made and not issubclass(type(self.proxies[number]), base):
            raise Garbage("an instance of another class")
        if not made:
            is_object = self.stays_object(is_object)
            if is_object:
                self.meet(number)
        cls = type(self.proxies[number]) if made else data_class(self, name, base, special, own, is_object)
        if base in CONTAINERS:
            self.subclass = cls
            value = self.read_any_container()
        elif made:
            self.value()
            value = self.proxies[number]
        else:
            value = cls(self.value())
        if not made:
            self.proxies[number] = value
            self.proxy_numbers[id(value)] = number
        return value

    def read_any_container(self):
        self.at += 1
        return self.read_container()

    def read_exception(self):
        instance, own, bases, arguments, text = self.word(), self.value(), self.value(), self.value(), self.value()
        causes = self.value()
        if type(arguments) is not tuple or type(text) is not str or type(causes) is not tuple:
            raise Garbage("an exception without arguments")
        if isinstance(self.proxies.get(instance), BaseException):
            return self.proxies[instance]
        # Not by what it says that it is: a proxy of a class says that it is one.
        kind = own if issubclass(type(own), type) and issubclass(own, BaseException) else class_of(bases)
        error = self.exception(kind, arguments)
        if str(error) != text:
            # Its class says otherwise what it means.
            kind = type(kind.__name__, (kind,), {"__str__": lambda self: text, "__module__": kind.__module__})
            error = self.exception(kind, arguments)
        if causes and isinstance(causes[0], BaseException):
            error.__cause__ = causes[0]
        if kind is not class_of(bases) and instance >= 0 and instance not in self.proxies:
            self.proxies[instance] = error
            self.proxy_numbers[id(error)] = instance
        return error

    def exception(self, kind, arguments):
        try:
            return kind(*arguments)
        except Exception:
            error = kind.__new__(kind)
            error.args = arguments
            return error


def kind_at_heart(container):
    """The kind of container of Python's that a container is."""
    kind = type(container)
    return kind if kind in CONTAINERS else next(base for base in BASES if base in CONTAINERS and issubclass(kind, base))


def state_of(container, kind):
    """What a container holds, member by member."""
    if kind is bytearray:
        return bytes(memoryview(container))
    if issubclass(kind, dict):
        return [*kind.__iter__(container), *kind.values(container)]
    return list(kind.__iter__(container))


def is_in_state(container, state):
    """Whether a container holds the very objects that it held then, in the same order."""
    kind = type(container)
    if kind not in CONTAINERS:
        kind = kind_at_heart(container)
    if kind is bytearray:
        return bytearray.__eq__(container, state)
    now = state_of(container, kind)
    return len(now) == len(state) and all(map(operator.is_, now, state))


def held_by_none_but(table, fewest=0):
    """Keys of values that nothing but the table holds. The first call measures what that looks like."""
    count = sys.getrefcount
    return [key for key, value in list(table.items()) if count(value) <= (fewest or FEWEST)]


FEWEST = next(fewest for fewest in range(1, 20) if held_by_none_but({0: []}, fewest))


READERS = {
    "i": "read_int", "I": "read_big", "d": "read_float", "y": "read_nan", "s": "read_str", "T": "read_true", "F": "read_false",
    "n": "read_none", "b": "read_bytes", "c": "read_complex", "u": "read_tuple", "z": "read_frozenset",
    "R": "read_range", "L": "read_slice", "D": "read_decimal", "f": "read_fraction", "k": "read_keys", "j": "read_pairs",
    "w": "read_dict_values", "E": "read_date", "t": "read_known", "U": "read_wrapper", "N": "read_array",
    "r": "read_reference", "h": "read_own", "g": "read_iterator", "G": "read_generator", "O": "read_object",
    "S": "read_subclass", "X": "read_exception", ".": "read_ellipsis", "!": "read_not_implemented",
}
BASE_OF = {ord(tag): base for tag, base in (
    ("i", int), ("I", int), ("d", float), ("s", str), ("b", bytes), ("c", complex), ("u", tuple), ("z", frozenset))}


def module_of(value):
    return getattr(value, "__module__", None) or getattr(getattr(value, "__objclass__", None), "__module__", "") or "builtins"


def known(module, name):
    """A class or function of Python's own, by name; None where there is none such. For what a test
    hands over: the candidate may have all of these anyway."""
    if module not in ("builtins", "operator", "_operator", "math", "string", "collections", "itertools", "functools", "decimal", "fractions"):
        return None
    value = sys.modules.get(module)
    for part in name.split("."):
        if part.startswith("_") or value is None:
            return None
        value = getattr(value, part, None)
    return value if isinstance(value, (type, types.BuiltinFunctionType, type(str.lower))) else None


# What a candidate's word alone brings into a test's process: types of data, and nothing that could
# be called to reach more.
DATA_TYPES = {"%s:%s" % (kind.__module__, kind.__qualname__): kind for kind in (
    bool, int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, range, collections.deque,
    collections.OrderedDict, collections.Counter, collections.defaultdict, decimal.Decimal, fractions.Fraction)}


def bases_of(kind):
    """Exception classes of Python's own that a class is or derives from, as names."""
    names = []
    for base in type.mro(kind):
        module, name = base.__module__, base.__qualname__
        if base is not object and getattr(sys.modules.get(module), name, None) is base and module not in ("candidate", "__main__"):
            names.append("%s:%s" % (module, name))
    return tuple(names)


def class_of(names):
    """The first exception class of these names that is known here."""
    for name in names if type(names) is tuple else ():
        module, _, qualified = name.partition(":") if type(name) is str else ("", "", "")
        kind = getattr(sys.modules.get(module), qualified, None) if module in TRUSTED else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            return kind
    raise Garbage("an exception of no known class")


TRUSTED = {"builtins", "json.decoder", "decimal", "asyncio.exceptions", "concurrent.futures._base", "queue", "_queue", "binascii", "zlib",
           "struct", "subprocess", "dataclasses", "copy", "pickle", "_pickle", "statistics", "zoneinfo", "re", "sre_constants",
           "re._constants", "csv", "_csv", "configparser", "shutil", "urllib.error", "threading", "string", "ast"}


class Remote:
    """An object that stays on the other side."""

    __slots__ = ("_remote_peer", "_remote_number", "_remote_name", "_remote_what", "__weakref__")

    def __init__(self, peer, number, name, what):
        put = object.__setattr__
        put(self, "_remote_peer", peer)
        put(self, "_remote_number", number)
        put(self, "_remote_name", name)
        put(self, "_remote_what", what)

    def __getattr__(self, name):
        if name == "__signature__" and self._remote_what != b"o":
            return signature(self._remote_peer.operate(self, name))
        return self._remote_peer.attribute(self, name)

    def __setattr__(self, name, value):
        self._remote_peer.set_attribute(self, name, value)

    def __delattr__(self, name):
        self._remote_peer.operate(self, "__delattr__", name)

    def __hash__(self):
        return hash((Remote, self._remote_number))

    def __copy__(self):
        return self._remote_peer.operate(self, "__copy__")

    def __deepcopy__(self, memo):
        return memo.setdefault(id(self), self._remote_peer.operate(self, "__deepcopy__"))


class RemoteClass(Remote):
    """A class that stays there."""

    __slots__ = ()

    def __call__(self, *arguments, **keywords):
        return self._remote_peer.call(self, self._remote_name, arguments, keywords)

    def __instancecheck__(self, value):
        return self._remote_peer.operate(self, "__instancecheck__", value) is True

    def __subclasscheck__(self, value):
        return self._remote_peer.operate(self, "__subclasscheck__", value) is True

    def __repr__(self):
        return "<class '__main__.%s'>" % self._remote_name


def class_name(name):
    """A name that a class can have."""
    return name[:100].encode("utf-8", "replace").decode().replace("\0", "")


def bound_method(remote, instance, owner=None):
    return remote if instance is None else types.MethodType(remote, instance)


def _special_method(name):
    def method(self, *arguments):
        return peer_of(self).operate(self, name, *arguments)

    def call(self, *arguments, **keywords):
        return peer_of(self).call(self, type(self).__name__, arguments, keywords)

    def truth(self):
        return peer_of(self).truth(self)

    async def awaited(self, *arguments):
        return peer_of(self).operate(self, name, *arguments)

    def equal(self, other):
        return self is other or peer_of(self).operate(self, name, other)

    def different(self, other):
        return self is not other and peer_of(self).operate(self, name, other)

    chosen = {"__call__": call, "__bool__": truth, "__eq__": equal, "__ne__": different}.get(name, awaited if name in AWAITED else method)
    chosen.__name__ = name
    return chosen


def peer_of(value):
    return type(value)._data_peer if not isinstance(value, Remote) else value._remote_peer


SPECIAL_METHODS = {name: _special_method(name) for name in SPECIAL[:-1]}


class RemoteIterator:
    """An iterator that stays on the other side."""

    __slots__ = ("_remote_peer", "_remote_number")

    def __init__(self, peer, number):
        self._remote_peer, self._remote_number = peer, number

    def __iter__(self):
        return self

    def __next__(self):
        return self._remote_peer.next_of(self)


class RemoteGenerator(RemoteIterator):
    """A generator, which can be told more."""

    __slots__ = ()
    __class__ = property(lambda self: types.GeneratorType)

    def send(self, value):
        return self._remote_peer.next_of(self, "send", value)

    def throw(self, *what):
        return self._remote_peer.next_of(self, "throw", *what)

    def close(self):
        return self._remote_peer.next_of(self, "close")


def exception_class(peer, name, base):
    """A class of exceptions like the other side's own; what its instances lack is asked for there."""

    def attribute(self, attribute):
        if attribute.startswith("__") or id(self) not in peer.proxy_numbers:
            raise AttributeError(attribute)
        return peer.attribute(self, attribute)

    return type(class_name(name), (base,), {"__getattr__": attribute})


def data_class(peer, name, base, special, own, is_object):
    """A class like the other side's own that is `base` at heart. What `base` lacks is asked for there;
    of an object all but what makes it data."""

    def attribute(self, attribute):
        return peer.attribute(self, attribute)

    def attribute_of_object(self, attribute):
        if attribute[:2] == "__" == attribute[-2:]:
            return base.__getattribute__(self, attribute)
        return peer.attribute(self, attribute)

    body = {"__getattr__": attribute, "__module__": "candidate", "_data_peer": peer}
    if not is_object:
        methods = (method for method in own if type(method) is str and method[:1] != "_" and callable(getattr(base, method, None)))
        body.update((method, own_method(peer, base, method)) for method in methods)
    if is_object:
        body["__getattribute__"] = attribute_of_object
        body["__setattr__"] = lambda self, attribute, value: peer.set_attribute(self, attribute, value)
        body["__delattr__"] = lambda self, attribute: peer.operate(self, "__delattr__", attribute)
        body["__copy__"] = lambda self: peer.operate(self, "__copy__")
        body["__deepcopy__"] = lambda self, memo: memo.setdefault(id(self), peer.operate(self, "__deepcopy__"))
    for method in SPECIAL[:-1]:
        if special & BIT_OF[method] and method != "__get__" and (is_object or method in TEXTS):
            body[method] = special_of_data(peer, base, method)
    if special & BIT_OF["unhashable"]:
        body["__hash__"] = None
    elif "__hash__" not in body:
        body["__hash__"] = base.__hash__
    return type(class_name(name), (base,), body)


def own_method(peer, base, name):
    """A method of data that the class of the other side's has in the place of the data's own."""

    def method(self, *arguments, **keywords):
        if peer.may_ask_own(name, arguments or keywords):
            return peer.attribute(self, name)(*arguments, **keywords)
        return getattr(base, name)(self, *arguments, **keywords)

    method.__name__ = name
    return method


def special_of_data(peer, base, name):
    """A special method of an object that is data at heart: the class's own where that may be asked, and
    otherwise what the data gives."""
    asked = SPECIAL_METHODS[name]

    def method(self, *arguments, **keywords):
        if peer.may_ask(name, self) or not hasattr(base, name) or peer.may_compute(name, self):
            return asked(self, *arguments, **keywords)
        return getattr(base, name)(self, *arguments)

    method.__name__ = name
    return method
