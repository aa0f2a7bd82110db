"""What is wrong with tests, found by running them with stand-ins for a program."""

import ast
import collections
import copy
import warnings


class Raised(Exception):
    """What a program raises of itself."""


TOO_LARGE = "%s takes too much memory by itself, whatever the program does: make it smaller, or raise the memory limit"


def named(at):
    """What a test is called that comes at this place after the tests' setup."""
    return "test %d" % at if at else "test_setup"


def is_raised_by_test(error):
    """Whether nothing of the judge's own is what raised this while a test ran."""
    frames, own = error.__traceback__.tb_next, run_once.__code__.co_filename
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == own:
            return False
        frames = frames.tb_next
    return True


class StandInProgram:
    """What a program defines, and all that comes of it, by the program's mood. A test that passes in
    every mood checks nothing.

    agrees      is equal to everything, and above and below it
    disagrees   is equal to nothing, and neither above nor below it
    None        gives None wherever it is called
    object      gives an object that can do nothing
    spoils      gives its argument, after changing what it was given
    raises      raises wherever it is used
    rejects     raises what a test may turn into a failure of its own
    (value,)    gives this value, a literal of the test's, and turns what it is given into it
    """

    # What a test does with a program that no other process could do with one.
    unfit = None
    MOODS = "disagrees", "None", "object", "spoils", "raises", "rejects", "agrees"
    mood, touched = "agrees", False

    def __getattr__(self, name):
        StandInProgram.touched = True
        if name.startswith("__") and name not in ("__name__", "__doc__") or self.mood in ("None", "object", "spoils") or type(self.mood) is tuple:
            raise AttributeError(name)
        return answered(self)

    def __call__(self, *arguments, **keywords):
        StandInProgram.touched = True
        note_crossing((arguments, keywords), "hands over")
        if self.mood == "spoils":
            return spoiled([*arguments, *keywords.values()])
        if type(self.mood) is tuple:
            return turned([*arguments, *keywords.values()], self.mood[0])
        return answered(None if self.mood == "None" else object() if self.mood == "object" else self)

    @property
    def __class__(self):
        StandInProgram.touched = True
        return StandInProgram

    def __iter__(self):
        return iter((answered(self),))

    def __hash__(self):
        return hash(StandInProgram)

    def __len__(self):
        return answered(1)

    def __float__(self):
        return answered(1.0)

    __int__ = __index__ = __len__

    def __bool__(self):
        return answered(StandInProgram.mood != "disagrees")


def note_crossing(value, what):
    """Notes the first value of a test's that cannot be sent to a program in another process."""
    if StandInProgram.unfit or StandInProgram.mood not in ("disagrees", "agrees"):
        return
    peer = TesterPeer(-1, frozenset(), None)
    try:
        peer.message((value,))
    except Unfit:
        StandInProgram.unfit = "%s an object of class %s" % (what, (peer.refused or "").rpartition(" ")[2])
    except Exception:
        pass


def spoiled(arguments):
    """The first of some arguments, all of which are changed as far as they can be."""
    for argument in arguments:
        try:
            if isinstance(argument, (list, dict, set, bytearray, collections.deque)):
                argument.clear()
            elif hasattr(argument, "__next__"):
                next(argument)
            elif callable(argument):
                argument()
        except Exception:
            pass
    return arguments[0] if arguments else None


def turned(arguments, value):
    """A copy of a value, after what can be changed of some arguments has become it, or has got it."""
    warnings.warn(str(value))
    for argument in arguments:
        try:
            if isinstance(argument, (list, bytearray, collections.deque)):
                argument[:] = value
            elif isinstance(argument, dict):
                argument.update(value if isinstance(value, dict) else {value: value})
            elif isinstance(argument, set):
                argument.update(value if isinstance(value, (set, list, tuple)) else {value})
            elif callable(argument):
                argument(value)
        except Exception:
            if isinstance(argument, (list, collections.deque)):
                argument.append(value)
    return copy.deepcopy(value)


# So many of a test's literals are tried.
MOST_LITERALS = 24


def literals_of(source):
    """The literals of a test, and some that every test is tried with."""
    found = {repr(value): value for value in (False, True, 0, 1, "")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Constant, ast.List, ast.Dict, ast.Set, ast.Tuple, ast.UnaryOp)):
            try:
                value = ast.literal_eval(node)
            except (ValueError, TypeError, MemoryError, RecursionError, SyntaxError):
                continue
            found.setdefault(repr(value), value)
    return list(found.values())[:MOST_LITERALS]


def answered(value):
    """What a stand-in gives, unless it is in the mood to raise."""
    Steps.step()
    StandInProgram.touched = True
    if StandInProgram.mood == "raises":
        raise Raised
    if StandInProgram.mood == "rejects":
        raise KeyError
    return value


def _define_moods():
    def compared(holds):
        return lambda self, other=None: answered((StandInProgram.mood != "disagrees") is holds)

    def equal(holds):
        def method(self, other=None):
            note_crossing(other, "compares what a program gives with")
            return answered((StandInProgram.mood != "disagrees") is holds)

        return method

    def computed(self, *arguments):
        return answered(self)

    for name in "lt le gt ge contains".split():
        setattr(StandInProgram, "__%s__" % name, compared(True))
    StandInProgram.__eq__, StandInProgram.__ne__ = equal(True), equal(False)
    for name in ("add sub mul truediv floordiv mod divmod pow and or xor lshift rshift matmul".split()):
        for form in "__%s__", "__r%s__":
            setattr(StandInProgram, form % name, computed)
    for name in "neg pos abs invert getitem round enter".split():
        setattr(StandInProgram, "__%s__" % name, computed)
    for name in "setitem delitem exit".split():
        setattr(StandInProgram, "__%s__" % name, lambda self, *arguments: answered(None))


_define_moods()
# What a test may raise since a stand-in is no function, class or module.
OF_STAND_INS = (TypeError, AttributeError, ImportError, KeyError)


def attempt(test, namespace, mood):
    """What a test raises with a program in this mood; None where it passes."""
    StandInProgram.mood, StandInProgram.touched = mood, False
    try:
        exec(test, namespace)
    except BaseException as error:
        # `unittest.main()` ends so where all is well.
        return None if type(error) is SystemExit and not error.code else error


def passes_always(test, source, namespace, error):
    """Whether a test, which raised this with the first mood, passes in all of them. Raising may be what
    it turns into a failure of its own: then it checks for that."""
    if error is not None:
        return False
    for mood in (*StandInProgram.MOODS[1:-1], *((value,) for value in literals_of(source))):
        error = attempt(test, namespace, mood)
        if error is not None and not (mood == "raises" and type(error) is Raised or mood == "rejects" and type(error) is KeyError):
            return False
    return True


def untouched_import(error, names):
    """What a test raises since a module, or something in it, is not there: no program changes that."""
    absent = isinstance(error, ImportError) and (error.name or "").split(".")[0] not in (*names, "", "candidate", "__main__")
    of_module = isinstance(error, AttributeError) and isinstance(getattr(error, "obj", None), types.ModuleType)
    return describe(error).decode("utf-8", "replace") if absent or of_module else None


def look(job, names):
    """The first fault of the tests; none of one that puts something of its own in a name's place, which
    is then what it is about. The mood that agrees comes last of all for each test: what follows
    needs what it came to, and is not looked at where it came to nothing."""
    stand_ins = {name: StandInProgram() for name in names}
    namespace = world(job, stand_ins)
    function = job["entry_point"] or "the program"
    for at, source in enumerate((job["test_setup"], *job["tests"])):
        where, test = named(at), counting(ast.parse(source))
        first = attempt(test, namespace, StandInProgram.MOODS[0])
        untouched = first is not None and not StandInProgram.touched and not isinstance(first, OF_STAND_INS)
        if untouched and type(first) is MemoryError:
            namespace.clear()
            return TOO_LARGE % where
        missing = untouched_import(first, names) if first is not None and not StandInProgram.touched else None
        if missing and at:
            return "%s fails before it uses %s: %s: install what is missing, if it is no part of Python, and add it to the packages that programs may import" % (where, function, missing)
        # What a reference does decides on a test; a setup that fails without a program fails with any.
        if untouched and not (at and job["reference"]):
            return "%s fails before it uses %s: %s" % (where, function, describe(first).decode("utf-8", "replace"))
        always = at and passes_always(test, source, namespace, first)
        last = attempt(test, namespace, StandInProgram.MOODS[-1])
        if any(namespace.get(name) is not stand_in for name, stand_in in stand_ins.items()):
            return None
        if StandInProgram.unfit and not job["reference"]:
            return "%s %s, which needs a reference to judge by: give one" % (where, StandInProgram.unfit)
        if always and last is None:
            return "%s passes whatever the program does: expected an assert about %s that is reached" % (where, function)
        if last is not None:
            return None


def fault_of(job, names):
    """What is wrong with tests that no program has a part in; None if nothing is seen."""
    NotData.was_raised, Steps.left = False, MOST_STEPS
    try:
        fault = look(job, names)
    except BaseException:
        return None
    return None if NotData.was_raised else fault


def failure_of_setup(job):
    """What the problem's setup raises before any candidate has a part in it; None if it does not."""
    if job["setup"] == warm_setup:
        return None
    try:
        run_setup(job["setup"], new_module("__main__").__dict__)
    except BaseException as error:
        return "setup fails: %s" % describe(error).decode("utf-8", "replace")
