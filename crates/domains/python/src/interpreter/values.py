"""Values as tagged bytes, for the judge to compare.

Only the data that a value holds is written: no method of a class of the candidate's decides what
arrives. `wire.rs` is the reader.

    n t f            None, True, False             i d c  int (hexadecimal), float, complex
    s b              str, bytes or bytearray       l u e z q  list, tuple, set, frozenset, deque
    m K R            dict, view of keys or items, range
    D F O            Decimal, Fraction, anything else (the name of its type)
"""

import collections
import collections.abc
import decimal
import fractions
import itertools
import struct
import sys
import types

MAX_DEPTH = 220
# Decimals and fractions are compared in time that grows with the square of their digits.
MAX_DIGITS, MAX_BITS = 4300, 14284


class NotPlain(Exception):
    pass


class TooLarge(Exception):
    pass


def encode(value, limit):
    """A value as tagged bytes; raises NotPlain or TooLarge."""
    data = scalar(value, type(value))
    if data is not None and len(data) <= limit:
        return data
    parts = []
    write(value, 0, parts, limit)
    return b"".join(parts)


def sized(tag, data, pack=struct.Struct("<I").pack):
    return tag + pack(len(data)) + data


def scalar(value, kind):
    """The bytes of a value that holds no others; None if it is no such value."""
    if value is None:
        return b"n"
    if kind is bool:
        return b"t" if value else b"f"
    if issubclass(kind, int):
        value = int.__add__(value, 0)
        return sized(b"i", b"%x" % value if value >= 0 else b"-%x" % -value)
    if issubclass(kind, float):
        return b"d" + struct.pack("<d", float.__add__(value, 0.0))
    if issubclass(kind, str):
        return sized(b"s", str.encode(value, "utf-8"))
    if issubclass(kind, complex):
        value = complex.__add__(value, 0j)
        return b"c" + struct.pack("<dd", value.real, value.imag)
    if issubclass(kind, bytes):
        return sized(b"b", bytes.join(b"", [value]))
    if issubclass(kind, bytearray):
        return sized(b"b", bytes(memoryview(value)))
    return None


def write(value, depth, parts, room):
    """Appends a value; returns how many bytes there is room for after it."""
    kind = type(value)
    if depth > MAX_DEPTH:
        raise NotPlain("nested more than %d deep" % MAX_DEPTH)
    data = scalar(value, kind)
    if data is not None:
        return append(data, parts, room)
    if issubclass(kind, list):
        return items(b"l", list.__len__(value), list.__iter__(value), depth, parts, room)
    if issubclass(kind, tuple):
        return items(b"u", tuple.__len__(value), tuple.__iter__(value), depth, parts, room)
    if issubclass(kind, set):
        return items(b"e", set.__len__(value), set.__iter__(value), depth, parts, room)
    if issubclass(kind, frozenset):
        return items(b"z", frozenset.__len__(value), frozenset.__iter__(value), depth, parts, room)
    if issubclass(kind, dict):
        pairs = itertools.chain.from_iterable(dict.items(value))
        return items(b"m", dict.__len__(value), pairs, depth, parts, room)
    return write_other(value, kind, depth, parts, room)


def write_other(value, kind, depth, parts, room):
    """The rarer ones, none of which can be subclassed by accident."""
    if issubclass(kind, collections.deque):
        values = list(collections.deque.__iter__(value))
        return items(b"q", len(values), values, depth, parts, room)
    if kind in VIEWS:
        values = list(value)
        return items(b"K", len(values), values, depth, parts, room)
    if kind is range:
        return items(b"R", 3, (value.start, value.stop, value.step), depth, parts, room)
    if issubclass(kind, decimal.Decimal):
        text = decimal.Decimal.__str__(value).encode()
        if len(text) > MAX_DIGITS:
            raise NotPlain("a decimal of more than %d digits" % MAX_DIGITS)
        return append(sized(b"D", text), parts, room)
    if issubclass(kind, fractions.Fraction):
        above, below = numerator(value), denominator(value)
        if type(above) is not int or type(below) is not int:
            raise NotPlain(kind.__name__)
        if max(above.bit_length(), below.bit_length()) > MAX_BITS:
            raise NotPlain("a fraction of more than %d digits" % MAX_DIGITS)
        parts.append(b"F")
        return write(below, depth, parts, write(above, depth, parts, room - 1))
    if kind in (collections.abc.KeysView, collections.abc.ItemsView):
        values = list(value)
        return items(b"K", len(values), values, depth, parts, room)
    held = held_data(value, kind)
    if held is not None:
        return write(held, depth, parts, room)
    if depth == 0:
        raise NotPlain("a value of type " + kind.__name__)
    # Inside a container it is equal to nothing, and the rest may still be of interest.
    return append(sized(b"O", kind.__name__.encode("utf-8", "replace")[:100]), parts, room)


def held_data(value, kind):
    """What the standard library's wrappers and numpy's numbers hold."""
    for wrapper, data in (
        (collections.UserList, list), (collections.UserDict, dict), (collections.UserString, str)
    ):
        if issubclass(kind, wrapper):
            held = object.__getattribute__(value, "__dict__").get("data")
            return held if isinstance(held, data) else None
    if kind is collections.ChainMap:
        maps = list(value.maps)
        return dict(pair for held in maps[::-1] for pair in dict.items(held)) if all(isinstance(held, dict) for held in maps) else None
    if kind is types.MappingProxyType:
        return dict(value)
    if kind is memoryview:
        return value.tobytes() if value.format == "B" and value.ndim == 1 else None
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, getattr(numpy, "generic", ())):
        held = numpy.generic.item(value)
        return held if type(held) in (bool, int, float, complex, str, bytes) else None
    return None


def append(data, parts, room):
    if len(data) > room:
        raise TooLarge
    parts.append(data)
    return room - len(data)


def items(tag, count, values, depth, parts, room, pack=struct.Struct("<I").pack):
    room = append(tag + pack(count), parts, room)
    for item in values:
        room = write(item, depth + 1, parts, room)
    return room


VIEWS = (type({}.keys()), type({}.items()), type(collections.OrderedDict().keys()),
         type(collections.OrderedDict().items()))
numerator = fractions.Fraction._numerator.__get__
denominator = fractions.Fraction._denominator.__get__
