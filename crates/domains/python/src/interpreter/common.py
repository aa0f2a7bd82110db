"""What both sides have of themselves, and what therefore crosses by name or is made anew: members of
enumerations and single objects of the problem's setup, and values of the standard library.

A candidate that names one has answered with data: what is compared is the test's own.
"""

def enumeration_of(value):
    """The enumeration that a value is a member of."""
    enum = sys.modules.get("enum")
    return type(value) if enum is not None and isinstance(value, enum.Enum) else None


class Unseen(Exception):
    """What an object holds does not show."""


# So many values are looked at to see whether an object is still what it was.
MOST_SEEN = 2000


def state_within(value, seen):
    """What a value is and holds, as it is now, with all that this holds in turn. What is seen is kept, so
    that nothing else comes to lie in its place."""
    kind = type(value)
    if id(value) in seen or kind in (int, str, float, bool, type(None), bytes, complex, types.FunctionType):
        return id(value)
    if len(seen) > MOST_SEEN:
        raise Unseen
    seen[id(value)] = value
    if kind in CONTAINERS or kind in (tuple, frozenset):
        members = state_of(value, kind) if kind in CONTAINERS else list(value)
        return id(value), tuple(state_within(member, seen) for member in members) if kind is not bytearray else members
    if kind.__module__ not in OWN_MODULES:
        return id(value)
    if any(base.__dict__.get("__slots__") for base in type.mro(kind)[:-1]):
        raise Unseen
    held = object.__getattribute__(value, "__dict__") if found_in(kind, "__dict__") is not None else {}
    # What an enumeration keeps for itself grows as members are put together.
    hidden = "_" if enumeration_of(value) is not None else "__"
    shared = [member for base in type.mro(kind) if base.__module__ in OWN_MODULES for name, member in list(base.__dict__.items())
              if type(member) in CONTAINERS and not name.startswith(hidden)]
    return id(value), tuple(held), tuple(state_within(member, seen) for member in [*held.values(), *shared])


def looked_at(value):
    """An object with its state, and what keeps that; None where it does not show."""
    seen = {}
    try:
        return value, state_within(value, seen), seen
    except (Unseen, RecursionError):
        return None


def single_objects(namespace, module):
    """Objects that a problem's setup has once, by name: single ones, and members of enumerations."""
    found = {}
    for name, value in namespace.items():
        kind = type(value)
        enum = sys.modules.get("enum")
        if enum is not None and isinstance(value, type) and issubclass(value, enum.Enum) and value.__module__ == module:
            members = {(name, member): at for member, at in value.__members__.items() if value.__name__ == name and at._name_ == member}
            found.update((key, looked_at(at)) for key, at in members.items())
        elif kind is object or kind.__module__ == module and isinstance(kind, type) and not isinstance(value, (type, BaseException)) \
                and not is_data_class(kind):
            found[name] = looked_at(value)
    return {name: looked for name, looked in found.items() if looked is not None}


def text_of(value):
    return (str(value),)


def moment(value):
    """A date or time with its zone."""
    fields = [getattr(value, field) for field in "year month day hour minute second microsecond".split() if hasattr(value, field)]
    return (*fields, value.tzinfo, value.fold)


def pattern(text, flags):
    if type(text) not in (str, bytes) or type(flags) is not int:
        raise TypeError
    return re.compile(text, flags & ~re.DEBUG)


# Others than these are objects of their own.
ZONES = type(None), datetime.timezone


def remade_moment(kind):
    def make(*fields):
        *numbers, zone, fold = fields
        if type(zone) not in ZONES:
            raise TypeError
        return kind(*numbers, tzinfo=zone, fold=fold)

    return make


def from_number(kind):
    def make(number):
        if type(number) is not int:
            raise TypeError
        return kind(int=number)

    return make


def from_text(kind):
    def make(text):
        if type(text) is not str:
            raise TypeError
        return kind(text)

    return make


# Values of the standard library that nobody can change: by module and class, how they are taken apart and
# what makes one of a class from the parts.
VALUES = {
    ("uuid", "UUID"): (lambda value: (value.int,), from_number),
    ("re", "Pattern"): (lambda value: (value.pattern, value.flags), lambda kind: pattern),
    ("datetime", "timezone"): (lambda zone: zone.__getinitargs__(), lambda kind: kind),
    ("datetime", "datetime"): (moment, remade_moment),
    ("datetime", "time"): (moment, remade_moment),
}
VALUES.update({("pathlib", name): (text_of, from_text) for name in ("PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath")})
VALUES.update({("ipaddress", "IPv%d%s" % (version, name)): (text_of, from_text) for version in (4, 6) for name in ("Address", "Network", "Interface")})
# Functions that hold others, which only a test may hand over: whoever has one may call what is in it.
HOLDERS = {
    ("functools", "partial"): lambda value: ((value.func, *value.args), value.keywords),
    ("operator", "itemgetter"): lambda value: (value.__reduce__()[1], {}),
    ("operator", "attrgetter"): lambda value: (value.__reduce__()[1], {}),
    ("operator", "methodcaller"): lambda value: called_method(*value.__reduce__()),
}


def called_method(kind, arguments):
    """What a caller of methods is made from: with keywords, a part of it comes as `functools.partial`."""
    if kind is operator.methodcaller:
        return arguments, {}
    return (*kind.args, *arguments), kind.keywords


def library_class(module, name):
    """A class of the standard library, if its module is at hand."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind if isinstance(kind, type) else None


def library_key(kind, known={}):
    """By which of these a class is known, if it is one of them."""
    if kind not in known:
        module = kind.__module__
        key = module.split(".")[0] if type(module) is str else "", kind.__name__
        known[kind] = key if (key in VALUES or key in HOLDERS) and library_class(*key) is kind else None
    return known[kind]


def remade(key, parts, tester):
    """A value of the standard library, of its parts."""
    kind = library_class(*key)
    if kind is None:
        try:
            __import__(key[0])
        except ImportError:
            raise Garbage("a value of a module that is not there")
        kind = library_class(*key)
    try:
        if key in VALUES:
            return VALUES[key][1](kind)(*parts)
        if tester:
            raise Garbage("a function that holds others")
        return kind(*parts[0], **parts[1])
    except (TypeError, ValueError, ArithmeticError, re.error, RecursionError, IndexError):
        raise Garbage("a value that cannot be")


# Files in memory, which a test may hand over: what may be asked of them by name.
FILE_METHODS = frozenset(
    "read readline readlines write writelines seek tell getvalue truncate close closed flush readable writable seekable isatty".split())

FILE_OPERATORS = frozenset(("__iter__", "__next__", "__enter__", "__exit__"))


def is_file(value):
    io = sys.modules.get("io")
    return io is not None and type(value) is io.StringIO


# Nothing is data by its word: what is crosses as that.
DATA_CLASSES = (*BASES, type, BaseException, decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta)
# Modules whose classes decide no comparison by what an object says of itself, as those of `numbers` do.
CLAIMED_MODULES = frozenset("collections.abc abc io _io typing contextlib types functools random queue threading string logging argparse".split())


def is_data_class(kind):
    """Whether a class is data at heart, or an enumeration."""
    enum = sys.modules.get("enum")
    return issubclass(kind, DATA_CLASSES) or enum is not None and issubclass(kind, enum.Enum)




class Common:
    """How these cross."""

    def write_common(self, value, kind, parts):
        """Writes a value that the other side has too, or can make; whether it is one."""
        name = self.single_names.get(id(value))
        if name is None and enumeration_of(value) is not None:
            name = self.combination(value, kind)
        elif name is not None and not self.is_single(name, value):
            name = None
        if name is not None:
            parts.append(b"K")
            self.put(name, parts)
            return True
        key = library_key(kind)
        if key is None or key in HOLDERS and not self.tester or type(getattr(value, "tzinfo", None)) not in ZONES:
            return False
        # One that holds others is the same to both sides as often as it crosses.
        parts.append(b"B" + WORD.pack(Peer.keep(self, value) if key in HOLDERS else -1))
        self.put(key, parts)
        self.put(tuple((VALUES[key][0] if key in VALUES else HOLDERS[key])(value)), parts)
        return True

    def combination(self, value, kind):
        """By what several members of an enumeration of the setup's are found that are one value."""
        number = value.__dict__.get("_value_")
        is_setup = self.setup_classes.get(kind.__name__) is kind
        return (kind.__name__, number) if is_setup and type(number) is int and value._name_ not in kind.__members__ else None

    def is_single(self, name, value):
        """Whether an object of the setup's is still as that left it. One that holds something and is handed
        to the other side goes there as itself: what is changed of it is to be seen here."""
        single, state, _ = self.singles[name]
        if single is not value or self.tester and type(name) is str and type(state) is tuple and any(state[1:]):
            return False
        looked = looked_at(value)
        return looked is not None and looked[1] == state

    def know_singles(self, singles):
        self.singles = singles
        self.single_names = {id(looked[0]): name for name, looked in singles.items()}

    def read_common(self):
        key = self.value()
        is_pair = type(key) is tuple and len(key) == 2 and type(key[0]) is str and type(key[1]) in (str, int)
        if (type(key) is str or is_pair) and key in self.singles:
            return self.singles[key][0]
        kind, enum = self.setup_classes.get(key[0]) if is_pair else None, sys.modules.get("enum")
        if enum is None or kind is None or type(key[1]) is not int or not issubclass(kind, enum.Flag):
            raise Garbage("a name of nothing that both sides have")
        return self.hashed(kind, key[1])

    def read_library(self):
        number, key, parts = self.word(), self.value(), self.value()
        is_known = type(key) is tuple and all(type(part) is str for part in key) and (key in VALUES or key in HOLDERS)
        if not is_known or type(parts) is not tuple:
            raise Garbage("a value of no known class")
        if key in VALUES:
            return remade(key, parts, self.tester)
        return self.proxy(number, lambda _: remade(key, parts, self.tester), library_class(*key) or ())

    def base_of(self, kind):
        """The nearest class that both sides have which a class is or derives from, as a name: one of the
        setup's, or of the standard library."""
        for base in type.__dict__["__mro__"].__get__(kind)[:-1]:
            module, name = base.__module__, base.__name__
            if self.setup_classes.get(name) is base:
                return "", name
            if type(module) is str and module in CLAIMED_MODULES and library_class(module, name) is base:
                return module, name
        return None

    def claimed_class(self, data):
        """The class of such a name, which an object of the other side's says that it derives from:
        `isinstance` holds for it."""
        if type(data) is not tuple or len(data) != 2 or not all(type(part) is str for part in data):
            return None
        module, name = data
        kind = self.setup_classes.get(name) if module == "" else library_class(module, name) if module in CLAIMED_MODULES else None
        return None if kind is None or is_data_class(kind) else kind


def is_same_member(name, looked, singles):
    """Whether what a program calls by a name of the setup's is that: an enumeration that it writes anew
    has the same members only as far as these have the same values."""
    if type(name) is str or name not in singles:
        return type(name) is str
    ours, setups = looked[0].value, singles[name][0].value
    try:
        return type(ours) is type(setups) and bool(ours == setups)
    except Exception:
        return False
