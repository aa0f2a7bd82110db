"""The test's end of the channel: what a test may do with a candidate's objects, and a candidate with what
the test handed over."""

import _thread
import ast
import sys
import types
import warnings

# Where objects come from by the nature of things.
EXPECTED_OBJECTS = frozenset(("names", "factory", "operator __iter__", "operator __copy__", "operator __deepcopy__"))
# What a candidate may know of a function or class that it was given.
NAMES_OF_ITS_OWN = ("__name__", "__qualname__", "__doc__", "__module__")
# What it may ask of an object of the test's own classes, beside its special methods.
ASKED_OF_OWN = ("__instancecheck__", "__subclasscheck__", "__copy__", "__deepcopy__", "__signature__")


# What makes a value of an object and another one.
COMPUTED = frozenset("__%s%s__" % (form, name) for form in ("", "r", "i") for name in
                     "add sub mul truediv floordiv mod divmod pow and or xor lshift rshift matmul".split())
COMPUTED |= {"__neg__", "__pos__", "__abs__", "__invert__"}
# What makes a number of an object, or says whether it is one that counts.
NUMBERS = frozenset("__int__ __float__ __complex__ __index__ __round__ __trunc__ __floor__ __ceil__".split())
ORDERED = frozenset(("__lt__", "__gt__", "__le__", "__ge__"))
# What an object may do, without a reference, only where the test has made it.
OF_BUILT = sum(BIT_OF[name] for name in COMPUTED | ORDERED | {"__contains__"} if name in BIT_OF)
# Functions of Python's own that a `with` statement may hold to raise on purpose.
RAISING = frozenset("int float complex str list tuple dict set iter next len open".split())


class TesterPeer(Peer):
    """The test's end. `allowed` names what may be done with the candidate's objects; None records
    what a reference needs."""

    def __init__(self, descriptor, allowed, finish):
        Peer.__init__(self, descriptor, True)
        self.allowed, self.finish = allowed, finish
        self.recorded = set()
        self.labels, self.origins, self.lesser_origins = {}, {}, {}
        self.iterators = []
        # Objects that came of computing with the test's own data.
        self.told = set()
        self.thread = _thread.get_ident()
        self.refused = None
        # Whether an assertion of the test's own has failed since the candidate was last asked.
        self.asserted, self.handed_on = False, []
        # The text of the test that runs, where its names are, and what the candidate's are there.
        self.source, self.namespace, self.given = "", {}, {}

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

    def rest(self, constructed=False):
        try:
            return Peer.rest(self, constructed)
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
        raise Unfit(text)

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
        if not own and kind not in ITERATORS and kind not in FUNCTIONS and not is_of_container(value) and not is_file(value):
            self.refuse("the test hands over an object of class %s" % kind.__name__)
        return Peer.keep(self, value)

    def handed_over(self, value):
        number = self.kept_numbers.get(self.key_of(value), -1)
        return number >= 0 and (self.kept[number] is value or type(value) in METHODS)

    def meet(self, number):
        """Notes where an object comes from: by what it is or can do it could answer a test that tells it
        what is expected, so where the reference gave data it may be looked at, and no more, whatever it is
        where it came from before."""
        if number not in self.origins:
            self.origins[number] = self.label
            if self.label not in EXPECTED_OBJECTS:
                self.permits("object from " + self.label)
            return True
        return self.label in EXPECTED_OBJECTS or self.origins[number] == self.label or self.permits("object from " + self.label)

    def meet_class(self):
        if not self.errors and self.label not in EXPECTED_OBJECTS and not self.permits("class from " + self.label) and "objects" not in self.allowed:
            self.refuse("a class of Python's own, where the problem asks for data")

    def meet_data(self, number):
        return self.meet(number) or "objects" in self.allowed

    def lesser(self, number, known, proxy, special):
        """Another proxy of an object that the test has met before, for a place where the reference gave data:
        it is to be used no more than an object that is new there. Without a reference that matters only
        where one may do what others may not."""
        if "objects" in self.allowed and not special & OF_BUILT:
            return known
        self.proxy_numbers[id(proxy)] = number
        self.lesser_origins[id(proxy)] = proxy, self.label
        return proxy

    def origin_of(self, target, otherwise=""):
        lesser = self.lesser_origins.get(id(target))
        return lesser[1] if lesser else self.origins.get(self.proxy_numbers.get(id(target)), otherwise)

    def stays_object(self, is_constructed):
        """What a call of a class gives is an object of that class, whatever the class derives from;
        what a function gives is the data that it holds, unless the reference gave an object there."""
        if self.allowed is None:
            # Another program's class may do itself what this one has from the data that it is.
            return is_constructed and self.permits("data in object from " + self.label)
        if self.label in EXPECTED_OBJECTS:
            return is_constructed
        return "object from " + self.label in self.allowed or is_constructed and "objects" in self.allowed

    def is_expected(self, target):
        """Whether an object came from where the reference gave one."""
        origin = self.origin_of(target, "names")
        return origin in EXPECTED_OBJECTS or self.permits("object from " + origin) or "objects" in self.allowed

    def use(self, target):
        """Refuses to use an object that came from where the reference gave none."""
        if not self.is_expected(target):
            self.refuse("an object of class %s, where the problem asks for data" % type(target).__name__[:100])

    def ask(self, label, kind, values, constructing=False):
        before = self.label, self.constructing, self.asserted
        self.label, self.constructing, self.asserted = label, constructing, False
        self.calls += 1
        try:
            result = self.request(kind, values)
            self.require_handed_on()
            return result
        except Unfit as error:
            self.refused = self.refused or str(error)
            raise
        except (StopIteration, StopAsyncIteration, GeneratorExit) as error:
            # These end a loop of the test's without a word.
            is_awaited = kind == b"n" or label in ("operator __next__", "operator __anext__")
            if not is_awaited and not self.permits("raise " + type(error).__name__):
                self.refuse("a call raises %s, which ends the test's own loop" % type(error).__name__)
            self.require_handed_on()
            raise
        except AssertionError as error:
            if self.asserted:
                self.handed_on.append(error)
            raise
        except BaseException as error:
            # So ends a task of the test's, and nobody hears of what it was about.
            if self.allowed is None or "objects" not in self.allowed:
                # What it has become may be what the test is about: then the reference does the same.
                self.require_handed_on()
            if any(kind.__name__ == "CancelledError" for kind in type.mro(type(error))) and not self.permits("raise CancelledError"):
                self.refuse("a call raises CancelledError, which ends the test's own task")
            raise
        finally:
            self.label, self.constructing, self.asserted = before

    def require_handed_on(self):
        """Refuses to go on after a failed assertion of the test's own, unless the reference did."""
        if self.asserted and not self.permits("catch AssertionError"):
            self.refuse("the program keeps a failed assertion of the test's to itself")

    def label_of(self, target):
        return self.labels.get(id(target)) or ".call"

    def call(self, target, name, arguments, keywords):
        self.use(target)
        constructing = isinstance(target, RemoteClass)
        return self.ask(self.label_of(target), b"c", (target, arguments, keywords) if keywords else (target, arguments), constructing)

    def attribute(self, target, name):
        result = self.ask("." + name, b"g", (target, name))
        if isinstance(result, Remote):
            self.labels[id(result)] = "." + name
            number = result._remote_number
            if self.origin_of(result) == "." + name and not self.is_expected(target):
                # A method of what should be data is no more to be used than that itself.
                self.lesser_origins[id(result)] = result, self.origin_of(target)
        return result

    def set_attribute(self, target, name, value):
        self.use(target)
        self.ask("." + name, b"s", (target, name, value))

    def next_of(self, target, *what):
        if not what or what[0] != "throw":
            return self.ask("next", b"n", (target, *what))
        error = next((one for one in what if isinstance(one, BaseException)), RuntimeError())
        certain, place = self.is_certain(error), error.__traceback__
        try:
            return self.ask("next", b"n", (target, *what[:3]))
        except StopIteration:
            # So a `with` statement's exception is kept from the test.
            if not self.may_keep(error, certain):
                self.refuse("a generator keeps an exception to itself")
            raise
        finally:
            error.__traceback__ = place

    def truth(self, target):
        # Asked each time: what is asked for truth is told nothing.
        if self.proxy_numbers.get(id(target)) in self.told:
            self.refuse("an object of class %s says itself whether it is true, which needs a reference to judge by" % type(target).__name__[:100])
        return self.ask("operator", b"o", ("__bool__", target)) is True

    def may_ask(self, name, target):
        """Whether an object may answer by its own special method: where that tells it nothing of what a
        test expects, or where the reference's objects did."""
        if name in HARMLESS or name in TEXTS and not isinstance(target, Remote):
            return True
        if self.allowed is None:
            return self.permits("operator " + name)
        # Of what is data at heart it would have been no question to the program.
        if name in CONVERSIONS and self.stands_for_data(target):
            return True
        # One that has only `__lt__` is asked for that by `>`.
        return any("operator " + kin in self.allowed for kin in KIN.get(name, (name,))) or "objects" in self.allowed and name in CONVERSIONS

    def stands_for_data(self, target):
        """Whether an object came from where the reference gave one that is data at heart."""
        return self.allowed is not None and "data in object from " + self.origin_of(target) in self.allowed

    def may_ask_own(self, name, is_told):
        """Whether a method that data has of its own answers in the place of the data's: where the
        reference's did, or it is told nothing."""
        if self.allowed is None:
            return self.permits("own ." + name)
        return "own ." + name in self.allowed or not is_told and "objects" in self.allowed

    def is_built(self, target):
        """Whether, without a reference, the test has made an object by a class that it names as one: it is
        told by its operators what it could be told by its methods."""
        return self.allowed is not None and "objects" in self.allowed and self.origin_of(target)[:1].isupper()

    def may_compute(self, name, target):
        """Whether such an object may be computed with: what is a number at heart computes as one."""
        return name in COMPUTED and (isinstance(target, Remote) or isinstance(target, HOLDING)) and self.is_built(target)

    def compute(self, target, name, arguments):
        """What becomes of such objects is one of them: data would be compared with what was told."""
        origin = self.origin_of(target)
        result = self.ask(origin, b"o", (name, target, *arguments), True)
        if not all(self.is_built(argument) for argument in arguments) or self.proxy_numbers.get(id(target)) in self.told:
            # It may have been told what is expected: what it is as a number would be its answer.
            self.told.add(self.proxy_numbers.get(id(result)))
        if isinstance(result, Remote) or result is NotImplemented or not isinstance(target, Remote) and isinstance(result, HOLDING):
            return result
        self.refuse("computing with an object of class %s gives data, which needs a reference to judge by" % type(target).__name__[:100])

    def may_decide(self, name, target, arguments):
        """Whether such an object may say what it holds, and which of two comes first where Python sorts
        them: the order shows in what they hold. An order that the test itself asks for is no data."""
        if name == "__contains__":
            return self.is_built(target)
        return name in ORDERED and self.is_built(target) and self.is_built(arguments[0]) and not is_compared()

    def operate(self, target, name, *arguments):
        if name in ("__eq__", "__ne__") and arguments[0] is None:
            return name == "__ne__"
        if name == "__len__" and not (self.may_ask(name, target) and self.is_expected(target)):
            # Whoever makes a list of it asks first, and goes on without.
            raise TypeError("an object of class %s, where the problem asks for data" % type(target).__name__[:100])
        if name in NUMBERS and self.proxy_numbers.get(id(target)) in self.told:
            self.refuse("an object of class %s is a number by its own word, which needs a reference to judge by" % type(target).__name__[:100])
        if name == "__contains__" and isinstance(target, Remote) and hasattr(type(target), "__iter__") and self.stands_for_data(target):
            # By what it holds, as that of the reference: it is not told what is looked for.
            return arguments[0] in list(target)
        if not self.may_ask(name, target):
            if self.may_compute(name, target):
                return self.compute(target, name, arguments)
            if not self.may_decide(name, target, arguments):
                self.refuse("an object of class %s, where the problem asks for data" % type(target).__name__[:100])
        if name not in HARMLESS and not (name in TEXTS and not isinstance(target, Remote)):
            self.use(target)
        if name in ("__exit__", "__aexit__"):
            return self.leave(target, name, *arguments)
        copies = name in ("__copy__", "__deepcopy__") and not isinstance(target, Remote)
        result = self.ask("operator " + name, b"o", (name, target, *arguments), copies)
        if name == "__iter__" and isinstance(result, Remote):
            result = RemoteIterator(self, result._remote_number)
            self.proxy_numbers[id(result)] = result._remote_number
            self.iterators.append(result)
        return result

    def leave(self, target, name, kind=None, error=None, traceback=None):
        """Leaves a `with` statement."""
        certain = error is not None and self.is_certain(error)
        answer = self.ask("operator", b"o", (name, target, kind, error, None))
        if error is not None:
            # Where it came from is lost on the way, and an outer `with` statement looks at it too.
            error.__traceback__ = traceback
        if kind is not None and bool(answer) and not self.may_keep(error, certain):
            self.refuse("an object of class %s keeps an exception to itself" % type(target).__name__[:100])
        return answer

    def may_keep(self, error, certain=False):
        """Whether an exception may be kept from the test: where the reference keeps such a one, and
        without it where the test raises it for that. Any other would have ended the test."""
        names = {kind.__name__ for kind in type.mro(type(error))} - {"object", "BaseException", "Exception"} or {"Exception"}
        if self.allowed is None:
            return all([self.permits("swallow " + name) for name in names])
        return any("swallow " + name in self.allowed for name in names) or certain and "objects" in self.allowed

    def is_certain(self, error):
        """Whether a test raises this whatever the program does. Failing an assertion is never its aim."""
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code.co_filename != "<test>":
            traceback = traceback.tb_next
        if traceback is None or traceback.tb_next is not None or isinstance(error, AssertionError):
            return False
        return traceback.tb_lineno in raising_lines(self.source, set(self.labels.values()))

    def perform(self, kind, values):
        """What a candidate may do with what the test handed to it: call it, take its next item, and
        use the public attributes of objects of the test's own classes."""
        if not values:
            raise Garbage("a request without a target")
        try:
            return self.done(kind, values)
        except AssertionError as error:
            self.asserted = self.asserted or is_of_test(error) or any(error is one for one in self.handed_on)
            raise

    def serve(self, kind):
        label = self.label
        if kind == 109:
            # Objects among them come from where names do.
            self.label = "names"
        try:
            Peer.serve(self, kind)
        finally:
            self.label = label

    def rename(self, names=None, *more):
        """Names that have come to mean something else in the program, as far as the test has left them."""
        if type(names) is not dict or more or not self.given.keys() >= names.keys():
            raise Garbage("names of nothing")
        for name, value in names.items():
            if self.namespace.get(name) is self.given[name]:
                self.give(name, value)

    def give(self, name, value):
        self.namespace[name] = self.given[name] = value
        self.labels[id(value)] = name

    def done(self, kind, values):
        if kind == 119:
            return warn(*values)
        if kind == 109:
            return self.rename(*values)
        target = values[1] if kind == 111 and len(values) > 1 else values[0]
        if not self.handed_over(target):
            raise AttributeError("the test keeps this to itself")
        if kind == 99 and 2 <= len(values) <= 3 and type(values[1]) is tuple and callable(target):
            keywords = values[2] if len(values) == 3 else {}
            if type(keywords) is dict:
                return target(*values[1], **keywords)
        if kind == 110 and type(target) in ITERATORS:
            if len(values) == 3 and values[1] == "send" and type(target) is types.GeneratorType:
                return target.send(values[2])
            return next(target)
        name = values[1] if len(values) > 1 else ""
        is_own = type(target).__module__ == "__main__" or isinstance(target, type) and target.__module__ == "__main__"
        is_function = type(target) in (types.FunctionType, types.MethodType)
        if is_file(target) and kind == 103 and type(name) is str and name in FILE_METHODS:
            return getattr(target, name)
        if is_file(target) and kind == 111 and values[0] in FILE_OPERATORS:
            return operate(target, values[0], *values[2:])
        if kind == 103 and name in NAMES_OF_ITS_OWN and (is_function or is_own):
            return getattr(target, name)
        if kind == 111 and (values[0] == "__signature__" and is_function or is_own and (values[0] in BIT_OF or values[0] in ASKED_OF_OWN)):
            return operate(target, values[0], *values[2:])
        if not is_own or type(name) is not str or name.startswith("_"):
            raise AttributeError("the test keeps this to itself")
        if kind == 103:
            return getattr(target, name)
        if kind == 115 and len(values) == 3:
            return setattr(target, name, values[2])
        raise Garbage("an unknown request")


# What holds values, and is compared by them.
HOLDING = (list, tuple, dict, set, frozenset, collections.deque)


def is_of_container(value):
    """A method of a list's or of a file's in memory: `seen.append`."""
    return type(value) is types.BuiltinMethodType and (
        type(value.__self__) in CONTAINERS or is_file(value.__self__) and value.__name__ in FILE_METHODS)


def is_compared():
    """Whether it is Python code that asks for the comparison at hand, and not a function like `sorted`."""
    import dis

    frame = sys._getframe(1)
    judge = frame.f_code.co_filename
    while frame is not None and frame.f_code.co_filename == judge:
        frame = frame.f_back
    return frame is None or "COMPARE" in dis.opname[frame.f_code.co_code[frame.f_lasti]]


def is_of_test(error):
    """Whether an assertion failed on this side, and not in the program that the test's function called."""
    traceback = error.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename != is_of_test.__code__.co_filename


def raising_lines(source, program):
    """Lines of a test on which a statement stands, directly in a `with`, that can do nothing but raise:
    a `raise`, or an expression of constants and functions of Python's own."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.With, ast.AsyncWith)):
            for statement in node.body:
                span = range(statement.lineno, statement.end_lineno + 1)
                alone = all(other is statement or other.end_lineno < span[0] or other.lineno > span[-1] for other in node.body)
                if alone and (isinstance(statement, ast.Raise) or is_constant(statement, program)):
                    lines.update(span)
    return lines


def is_constant(statement, program):
    if not isinstance(statement, (ast.Expr, ast.Assign)):
        return False
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return names <= RAISING - program


def warn(message=None, line=0, *more):
    """A warning of the candidate's, at a place of its own in the module of the test."""
    if not isinstance(message, Warning) or type(line) is not int or not 0 <= line < 1 << 31 or more:
        raise Garbage("a warning that is none")
    registry = sys.modules["__main__"].__dict__.setdefault("__warningregistry__", {})
    warnings.warn_explicit(message, type(message), "/candidate.py", line, "__main__", registry)
