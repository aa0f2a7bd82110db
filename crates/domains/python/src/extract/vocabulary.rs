//! Names and methods that Python itself brings.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Names that every module has.
const BUILTINS: &str = "\
    ArithmeticError AssertionError AttributeError BaseException BaseExceptionGroup BlockingIOError \
    BrokenPipeError BufferError BytesWarning ChildProcessError ConnectionAbortedError \
    ConnectionError ConnectionRefusedError ConnectionResetError DeprecationWarning EOFError Ellipsis \
    EncodingWarning EnvironmentError Exception ExceptionGroup FileExistsError FileNotFoundError \
    FloatingPointError FutureWarning GeneratorExit IOError ImportError ImportWarning \
    IndentationError IndexError InterruptedError IsADirectoryError KeyError KeyboardInterrupt \
    LookupError MemoryError ModuleNotFoundError NameError NotADirectoryError NotImplemented \
    NotImplementedError OSError OverflowError PendingDeprecationWarning PermissionError \
    ProcessLookupError PythonFinalizationError RecursionError ReferenceError ResourceWarning \
    RuntimeError RuntimeWarning StopAsyncIteration StopIteration SyntaxError SyntaxWarning \
    SystemError SystemExit TabError TimeoutError TypeError UnboundLocalError UnicodeDecodeError \
    UnicodeEncodeError UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError \
    Warning WindowsError ZeroDivisionError __annotations__ __build_class__ __builtins__ __debug__ \
    __doc__ __file__ __import__ __loader__ __name__ __package__ __spec__ abs aiter all anext any \
    ascii bin bool breakpoint bytearray bytes callable chr classmethod compile complex copyright \
    credits delattr dict dir divmod enumerate eval exec exit filter float format frozenset getattr \
    globals hasattr hash help hex id input int isinstance issubclass iter len license list locals \
    map max memoryview min next object oct open ord pow print property quit range repr reversed \
    round set setattr slice sorted staticmethod str sum super tuple type vars zip";

/// Methods that leave their object as it is.
const READING: &str = "\
    items keys values get split rsplit splitlines join copy format index count find strip lstrip \
    rstrip lower upper title startswith endswith replace isdigit isalpha union intersection \
    difference issubset encode decode most_common zfill isupper islower";

/// Whether every module has a name.
pub(super) fn is_builtin(name: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| BUILTINS.split_whitespace().collect());
    WORDS.contains(name)
}

/// Whether a method of this name leaves its object as it is.
pub(super) fn only_reads(method: &str) -> bool {
    static WORDS: LazyLock<HashSet<&str>> = LazyLock::new(|| READING.split_whitespace().collect());
    WORDS.contains(method)
}
