"""How a peer reads values. The tester reads what a hostile candidate wrote."""


class Reading:
    """What a peer reads, of which every length and number is checked."""

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
        self.meet_class()
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
            if kind is set or issubclass(kind, dict):
                # An object that becomes a key is asked for its hash, while the container is still whole.
                self.hashed(lambda keys: all(hash(key) is not None for key in keys), values if kind is set else values[::2])
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
        for held in (value, value.__self__ if type(value) in METHODS else None):
            if id(held) in self.numbers:
                self.touched.append(self.numbers[id(held)])
        return value

    def proxy(self, number, make, base):
        """The proxy of an object, which is of this kind whenever it comes."""
        if number < 0:
            raise Garbage("an object without a number")
        proxy = self.proxies.get(number)
        if proxy is None:
            proxy = self.proxies[number] = make(number)
            self.proxy_numbers[id(proxy)] = number
        elif not issubclass(type(proxy), base):
            raise Garbage("an object of another kind")
        return proxy

    def read_iterator(self):
        return self.proxy(self.word(), lambda number: RemoteIterator(self, number), RemoteIterator)

    def read_generator(self):
        return self.proxy(self.word(), lambda number: RemoteGenerator(self, number), RemoteGenerator)

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
                return self.proxy(number, lambda _: own, type)
            return self.proxy(number, lambda _: exception_class(self, name, parent), type)
        claimed = self.claimed_class(self.value()) if what == b"o" or what == b"f" and special != BOUND else None
        may_be_used = self.meet(number)
        if what == b"a":
            return self.proxy(number, self.coroutine, types.CoroutineType)
        kind = self.proxy_class(name, what, special, claimed)
        proxy = self.proxy(number, lambda number: kind(self, number, name, what), Remote)
        return proxy if may_be_used else self.lesser(number, proxy, kind(self, number, name, what), special)

    def coroutine(self, number):
        """A coroutine of this side's that has the other side's run to its end over there."""

        async def run():
            return self.operate(remote, "__await__")

        remote = run()
        return remote

    def proxy_class(self, name, what, special, claimed=None):
        """The class of proxies of objects of a class of this name, which has these special methods and
        derives from a class of the standard library."""
        key = name, what, special, claimed
        made = self.classes.get(key)
        if made is None:
            base = RemoteClass if what == b"k" else Remote
            made = self.classes[key] = type(class_name(name), (base,), self.body(name, what, special, claimed))
        return made

    def body(self, name, what, special, claimed):
        body = {"__slots__": (), "__module__": "candidate", "__doc__": property(lambda remote: self.attribute(remote, "__doc__"))}
        own = self.setup_classes.get(name) if what != b"k" and special != BOUND else None
        if own is not None and is_data_class(own):
            own = None
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
        kind = own or (type if what == b"k" else types.FunctionType if special == BOUND else claimed)
        if kind is not None:
            body["__class__"] = property(lambda remote: kind)
        return body

    def meet(self, number):
        """Called with the number of an object of the other side's whenever it comes; whether it may be used
        as what it was before."""
        return True

    def meet_data(self, number):
        """The same of an object that is data at heart."""
        return self.meet(number)

    def meet_class(self):
        """Called when a class of Python's own comes, which does here whatever it does."""

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
                value = self.value()
                if value is not self.proxies[number]:
                    raise Garbage("a reference to another container")
                return value if self.meet_data(number) else data_within(value)
            raise Garbage("an instance of nothing")
        made = number in self.proxies
        if made and not issubclass(type(self.proxies[number]), base):
            raise Garbage("an instance of another class")
        if not made:
            is_object = self.stays_object(is_object)
        may_be_used = self.meet_data(number) if made or is_object else True
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
        return value if may_be_used else data_within(value)

    def read_any_container(self):
        self.at += 1
        return self.read_container()

    def read_exception_class(self):
        names = self.value()
        kind = class_of(names[:1] if type(names) is tuple else ())
        if issubclass(AssertionError, kind):
            raise Garbage("a name for what a test's own failure is caught by")
        self.meet_class()
        return kind

    # How many exceptions are being read: what they hold are no answers.
    errors = 0

    def read_exception(self):
        self.errors += 1
        try:
            instance, own, bases, arguments, text = self.word(), self.value(), self.value(), self.value(), self.value()
            causes, attributes = self.value(), self.value()
        finally:
            self.errors -= 1
        if type(arguments) is not tuple or type(text) is not str or type(causes) is not tuple or type(attributes) is not dict:
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
        give_attributes(error, attributes)
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
