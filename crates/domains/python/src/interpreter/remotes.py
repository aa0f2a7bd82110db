"""Proxies of what stays on the other side, and what a peer asks of containers and classes."""


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
    "S": "read_subclass", "X": "read_exception", "K": "read_common", "B": "read_library", "Y": "read_exception_class", ".": "read_ellipsis", "!": "read_not_implemented",
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


def is_trusted(kind):
    """Whether an exception's class is one of Python's own that both sides have."""
    return kind.__module__ in TRUSTED and getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind


# What an exception of Python's own has beside its arguments.
ERROR_ATTRIBUTES = "errno strerror filename filename2 name path value code lineno colno offset text msg pos doc pattern reason object start end __notes__".split()
PLAIN = (int, float, str, bytes, bool, complex, type(None))


def attributes_of_error(error):
    """Plain data in what an exception has beside its arguments."""
    found = {}
    for name in [*ERROR_ATTRIBUTES, *error.__dict__][:100]:
        try:
            value = error.__dict__[name] if name in error.__dict__ else object.__getattribute__(error, name)
        except Exception:
            continue
        is_notes = name == "__notes__" and type(value) is list and all(type(note) is str for note in value)
        if value is not None and type(value) in PLAIN or is_notes:
            found[name] = list(value) if is_notes else value
    return found


def give_attributes(error, attributes):
    """The same on this side. What an exception has of its arguments it has already."""
    for name, value in attributes.items():
        is_notes = name == "__notes__" and type(value) is list
        if type(name) is not str or name.startswith("__") and not is_notes or not (type(value) in PLAIN or is_notes):
            continue
        try:
            BaseException.__setattr__(error, name, value)
        except (AttributeError, TypeError):
            continue


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


def data_within(value):
    """What an object holds that is data at heart, as data."""
    base = next(base for base in BASES if issubclass(type(value), base))
    return PLAIN_READ[base](value) if base in PLAIN_READ else base(state_of(value, base) if not issubclass(base, dict) else dict(dict.items(value)))


def _special_method(name):
    def method(self, *arguments):
        return peer_of(self).operate(self, name, *arguments)

    def hashed(self):
        # A key's does not change, and it is asked for again and again.
        peer = peer_of(self)
        number = peer.proxy_numbers.get(id(self))
        if number not in peer.hashes:
            peer.hashes[number] = peer.operate(self, name)
        return peer.hashes[number]

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

    chosen = {"__call__": call, "__hash__": hashed, "__bool__": truth, "__eq__": equal, "__ne__": different}.get(name, awaited if name in AWAITED else method)
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
    setups = peer.setup_classes.get(name)
    if setups is not None and issubclass(setups, base):
        # It is data like the setup's own class.
        body["__class__"] = property(lambda self: setups)
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
