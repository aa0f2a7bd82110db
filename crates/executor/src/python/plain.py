"""Plain data as tagged bytes, for both kinds of interpreter that the executor starts.

Only Python's own data types are written; an instance of a subclass is written as the data it
holds, so no method of a candidate's class decides what arrives.
"""

import collections
import decimal
import fractions
import struct

MAX_DEPTH = 64


class NotPlain(Exception):
    pass


class TooLarge(Exception):
    pass


def encode(value, limit):
    """A value as tagged bytes; raises NotPlain or TooLarge."""
    parts, size = [], 0

    def put(data):
        nonlocal size
        size += len(data)
        if size > limit:
            raise TooLarge
        parts.append(data)

    def sized(tag, data):
        put(tag + struct.pack("<I", len(data)))
        put(data)

    def items(tag, count, values, depth):
        put(tag + struct.pack("<I", count))
        for item in values:
            visit(item, depth)

    def visit(value, depth):
        kind = type(value)
        if depth > MAX_DEPTH:
            raise NotPlain("nested too deep")
        if value is None:
            put(b"n")
        elif kind is bool:
            put(b"t" if value else b"f")
        elif issubclass(kind, int):
            value = int.__add__(value, 0)
            sized(b"i", (b"%x" % value) if value >= 0 else b"-%x" % -value)
        elif issubclass(kind, float):
            put(b"d" + struct.pack("<d", float.__add__(value, 0.0)))
        elif issubclass(kind, complex):
            value = complex.__add__(value, 0j)
            put(b"c" + struct.pack("<dd", value.real, value.imag))
        elif issubclass(kind, str):
            sized(b"s", str.encode(value, "utf-8"))
        elif issubclass(kind, bytes):
            sized(b"b", bytes.join(b"", [value]))
        elif kind is bytearray:
            sized(b"b", bytes(value))
        elif issubclass(kind, list):
            items(b"l", list.__len__(value), list.__iter__(value), depth + 1)
        elif issubclass(kind, tuple):
            items(b"u", tuple.__len__(value), tuple.__iter__(value), depth + 1)
        elif issubclass(kind, set):
            items(b"e", set.__len__(value), set.__iter__(value), depth + 1)
        elif issubclass(kind, frozenset):
            items(b"z", frozenset.__len__(value), frozenset.__iter__(value), depth + 1)
        elif issubclass(kind, dict):
            put(b"m" + struct.pack("<I", dict.__len__(value)))
            for key, item in dict.items(value):
                visit(key, depth + 1)
                visit(item, depth + 1)
        elif kind is collections.deque:
            items(b"q", len(value), list(value), depth + 1)
        elif kind is decimal.Decimal:
            sized(b"D", str(value).encode())
        elif kind is fractions.Fraction:
            put(b"F")
            visit(value.numerator, depth)
            visit(value.denominator, depth)
        else:
            raise NotPlain(type.__getattribute__(kind, "__name__"))

    visit(value, 0)
    return b"".join(parts)


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
