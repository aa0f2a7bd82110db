"""Plain data as tagged bytes, for both kinds of interpreter that the executor starts.

Only Python's own data types are written; an instance of a subclass is written as the data it
holds, so no method of a candidate's class decides what arrives.
"""

import collections
import decimal
import fractions
import itertools
import struct

MAX_DEPTH = 64
# Decimals and fractions are compared in time that grows with the square of their digits.
MAX_DIGITS, MAX_BITS = 4300, 14284


class NotPlain(Exception):
    pass


class TooLarge(Exception):
    pass


def encode(value, limit):
    """A value as tagged bytes; raises NotPlain or TooLarge."""
    parts = []
    write(value, 0, parts, limit)
    return b"".join(parts)


def write(value, depth, parts, room):
    """Appends a value; returns how many bytes there is room for after it."""
    kind = type(value)
    if depth > MAX_DEPTH:
        raise NotPlain("nested too deep")
    if value is None:
        data = b"n"
    elif kind is bool:
        data = b"t" if value else b"f"
    elif issubclass(kind, int):
        value = int.__add__(value, 0)
        data = sized(b"i", (b"%x" % value) if value >= 0 else b"-%x" % -value)
    elif issubclass(kind, float):
        data = b"d" + struct.pack("<d", float.__add__(value, 0.0))
    elif issubclass(kind, complex):
        value = complex.__add__(value, 0j)
        data = b"c" + struct.pack("<dd", value.real, value.imag)
    elif issubclass(kind, str):
        data = sized(b"s", str.encode(value, "utf-8"))
    elif issubclass(kind, bytes):
        data = sized(b"b", bytes.join(b"", [value]))
    elif kind is bytearray:
        data = sized(b"b", bytes(value))
    elif issubclass(kind, list):
        return items(b"l", list.__len__(value), list.__iter__(value), depth, parts, room)
    elif issubclass(kind, tuple):
        return items(b"u", tuple.__len__(value), tuple.__iter__(value), depth, parts, room)
    elif issubclass(kind, set):
        return items(b"e", set.__len__(value), set.__iter__(value), depth, parts, room)
    elif issubclass(kind, frozenset):
        return items(b"z", frozenset.__len__(value), frozenset.__iter__(value), depth, parts, room)
    elif issubclass(kind, dict):
        pairs = itertools.chain.from_iterable(dict.items(value))
        return items(b"m", dict.__len__(value), pairs, depth, parts, room)
    elif kind is collections.deque:
        return items(b"q", len(value), list(value), depth, parts, room)
    elif kind is decimal.Decimal:
        text = str(value).encode()
        if len(text) > MAX_DIGITS:
            raise NotPlain("a decimal of more than %d digits" % MAX_DIGITS)
        data = sized(b"D", text)
    elif kind is fractions.Fraction:
        if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
            raise NotPlain("a fraction of more than %d digits" % MAX_DIGITS)
        parts.append(b"F")
        room = write(value.numerator, depth, parts, room - 1)
        return write(value.denominator, depth, parts, room)
    else:
        raise NotPlain(type.__getattribute__(kind, "__name__"))
    return append(data, parts, room)


def append(data, parts, room):
    if len(data) > room:
        raise TooLarge
    parts.append(data)
    return room - len(data)


def sized(tag, data):
    return tag + struct.pack("<I", len(data)) + data


def items(tag, count, values, depth, parts, room):
    room = append(tag + struct.pack("<I", count), parts, room)
    for item in values:
        room = write(item, depth + 1, parts, room)
    return room


def decode(data):
    """The value of such bytes, which are well formed: they have passed through the worker."""
    at = 0

    def take(count):
        nonlocal at
        at += count
        return data[at - count:at]

    def length():
        return struct.unpack("<I", take(4))[0]

    def items():
        return [visit() for _ in range(length())]

    def visit():
        tag = take(1)
        if tag == b"n":
            return None
        if tag in (b"t", b"f"):
            return tag == b"t"
        if tag == b"i":
            return int(take(length()), 16)
        if tag == b"d":
            return struct.unpack("<d", take(8))[0]
        if tag == b"c":
            return complex(*struct.unpack("<dd", take(16)))
        if tag == b"s":
            return take(length()).decode("utf-8")
        if tag == b"b":
            return bytes(take(length()))
        if tag == b"l":
            return items()
        if tag == b"u":
            return tuple(items())
        if tag == b"e":
            return set(items())
        if tag == b"z":
            return frozenset(items())
        if tag == b"q":
            return collections.deque(items())
        if tag == b"m":
            return {visit(): visit() for _ in range(length())}
        if tag == b"D":
            return decimal.Decimal(take(length()).decode())
        if tag == b"F":
            return fractions.Fraction(visit(), visit())
        raise ValueError("unknown tag")

    return visit()
