"""What both sides have of themselves, and what therefore crosses by name or is made anew: members of
enumerations and single objects of the problem's setup, and values of the standard library.

A candidate that names one has answered with data: what is compared is the test's own.
"""

def enumeration_of(value):
    """The enumeration that a value is a member of."""
    enum = sys.modules.get("enum")
    return type(value) if enum is not None and isinstance(value, enum.Enum) else None


def member_parts(value, kind):
    """By what a member of an enumeration is found: its name, or the number of one that is several."""
    name = value.__dict__.get("_name_")
    if type(name) is str and kind.__members__.get(name) is value:
        return kind.__name__, name
    number = value.__dict__.get("_value_")
    return (kind.__name__, number) if type(number) is int else None


def member_of(kind, key):
    """The member that is found by that."""
    enum = sys.modules.get("enum")
    if enum is None or not (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        raise Garbage("a member of no enumeration")
    try:
        return kind.__members__[key] if type(key) is str else kind(key)
    except (KeyError, ValueError, TypeError):
        raise Garbage("no member of the enumeration")


def attributes_of(value):
    """What an object of a class written in Python has, as it is now; None where that does not show."""
    kind = type(value)
    if any("__slots__" in base.__dict__ and base.__dict__["__slots__"] for base in type.mro(kind)[:-1]):
        return None
    held = object.__getattribute__(value, "__dict__") if found_in(kind, "__dict__") is not None else {}
    return dict(held) if type(held) is dict else None


def single_objects(namespace, module):
    """Objects that a problem's setup has once, by name: each with what it holds."""
    found = {}
    for name, value in namespace.items():
        kind = type(value)
        if kind is object or kind.__module__ == module and isinstance(kind, type) and not isinstance(value, (type, BaseException)) \
                and enumeration_of(value) is None and not any(issubclass(kind, base) for base in BASES):
            attributes = attributes_of(value)
            if attributes is not None:
                found[name] = value, attributes
    return found


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
    return io is not None and type(value) in (io.StringIO, io.BytesIO)


# Nothing is one of these by its word: what is crosses as that.
NEVER_CLAIMED = (*BASES, type, BaseException, decimal.Decimal, fractions.Fraction, datetime.date, datetime.time, datetime.timedelta,
                 types.FunctionType, types.ModuleType)


def base_in_library(kind):
    """The nearest class of the standard library that a class is or derives from, as a name."""
    for base in type.__dict__["__mro__"].__get__(kind)[:-1]:
        module, name = base.__module__, base.__name__
        if type(module) is str and module not in OWN_MODULES and library_class(module, name) is base:
            return module, name
    return None


def claimed_class(data):
    """The class of such a name, which an object of the other side's says that it is: `isinstance` holds for it."""
    if type(data) is not tuple or len(data) != 2 or not all(type(part) is str for part in data):
        return None
    module, name = data
    top = module.split(".")[0]
    if module == "builtins" or top in OWN_MODULES or top not in getattr(sys, "stdlib_module_names", (top,)):
        return None
    kind = library_class(module, name)
    return None if kind is None or issubclass(kind, NEVER_CLAIMED) else kind


class Common:
    """How these cross."""

    def write_common(self, value, kind, parts):
        """Writes a value that the other side has too, or can make; whether it is one."""
        enumeration = enumeration_of(value)
        if enumeration is not None:
            key = member_parts(value, kind) if self.setup_classes.get(kind.__name__) is kind else None
            if key is None:
                return False
            parts.append(b"K")
            self.put(key, parts)
            return True
        name = self.single_names.get(id(value))
        if name is not None and self.is_single(name, value):
            parts.append(b"K")
            self.put(name, parts)
            return True
        key = library_key(kind)
        if key is None or key in HOLDERS and not self.tester or type(getattr(value, "tzinfo", None)) not in ZONES:
            return False
        parts.append(b"B")
        self.put(key, parts)
        self.put(tuple((VALUES[key][0] if key in VALUES else HOLDERS[key])(value)), parts)
        return True

    def is_single(self, name, value):
        """Whether an object of the setup's is still as that left it. One that holds something and is handed
        to the other side goes there as itself: what is changed of it is to be seen here."""
        single, attributes = self.singles[name]
        if single is not value:
            return False
        now = attributes_of(value)
        is_same = now is not None and now.keys() == attributes.keys() and all(now[at] is attributes[at] for at in now)
        return is_same and not (self.tester and attributes)

    def know_singles(self, singles):
        self.singles = singles
        self.single_names = {id(value): name for name, (value, _) in singles.items()}

    def read_common(self):
        key = self.value()
        if type(key) is str and key in self.singles:
            return self.singles[key][0]
        if type(key) is not tuple or len(key) != 2 or type(key[0]) is not str or type(key[1]) not in (str, int):
            raise Garbage("a name of nothing that both sides have")
        return member_of(self.setup_classes.get(key[0]), key[1])

    def read_library(self):
        key, parts = self.value(), self.value()
        is_known = type(key) is tuple and all(type(part) is str for part in key) and (key in VALUES or key in HOLDERS)
        if not is_known or type(parts) is not tuple:
            raise Garbage("a value of no known class")
        return remade(key, parts, self.tester)
