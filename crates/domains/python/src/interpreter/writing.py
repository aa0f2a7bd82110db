"""How a peer writes values."""


class Writing(Common):
    """What a peer writes: plain data as data, containers by number, all else as a proxy's number."""

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
        elif self.write_common(value, kind, parts):
            pass
        elif issubclass(kind, type) and issubclass(value, BaseException) and is_trusted(value) and not issubclass(AssertionError, value):
            parts.append(b"Y")
            self.put(bases_of(value), parts)
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
        if what == b"o" or what == b"f" and special != BOUND:
            self.put(self.base_of(kind), parts)
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
        self.put(attributes_of_error(error), parts)

    def argument(self, value):
        if type(value) in self.writers or isinstance(value, BaseException):
            return value
        return repr(value) if type(value).__module__ == "builtins" else "<%s>" % type(value).__name__

    def key_of(self, value):
        """By what an object is known: a method is another object each time that it is asked for, and equal."""
        if type(value) in METHODS:
            return id(value.__self__), id(getattr(value, "__func__", None)), value.__name__
        return id(value)

    def keep(self, value):
        key = self.key_of(value)
        number = self.kept_numbers.get(key)
        if number is None:
            number = self.kept_numbers[key] = len(self.kept)
            self.kept.append(value)
        return number
