"""Plain values as bytes, between a process and the module that it isolates.

A module that takes over its process can send anything, so decoding creates plain values only: None, booleans, numbers,
text, bytes, lists and dictionaries, and the few number types and parameters of PKCS#11. Each value is one octet that
gives its kind, followed by its content; numbers are big-endian.

| kind | content                                   | value                                     |
|------|-------------------------------------------|-------------------------------------------|
| N    |                                           | None                                      |
| F, T |                                           | False, True                               |
| I    | 8 octets                                  | an unsigned number (CK_ULONG)             |
| D    | 8 octets                                  | a floating-point number                   |
| E    | 1 octet, 8 octets                         | a number of a type in `_NUMBER_TYPES`     |
| S    | length (4 octets), UTF-8                  | text                                      |
| B    | length, octets                            | bytes                                     |
| W    | length, octets                            | a bytearray, which its receiver wipes     |
| P    | length, octets                            | the parameter of a derivation             |
| L    | count (4 octets), values                  | a list                                    |
| M    | count, pairs of values                    | a dictionary                              |
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import IntEnum

from pkcs11 import MGF, Mechanism

from tokens.errors import Error
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.calls.functions import Function
from tokens.pkcs11.calls.structures import DerivationData

_NUMBER_TYPES: tuple[type[IntEnum], ...] = (Mechanism, MGF, Function, UserType)
"""Number types by which a call tells its arguments apart."""

_OCTETS: dict[str, Callable[[memoryview], object]] = {
    "S": lambda octets: str(octets, "utf-8"),
    "B": bytes,
    "W": bytearray,
    "P": DerivationData,
}

_DEEPEST = 8
"""Lists within lists."""

_LONGEST_LIST = 1 << 20
"""Values in a list. A message can hold more, which would take many times its size in memory."""

_NUMBER, _FLOAT, _SIZE, _TYPED = struct.Struct(">Q"), struct.Struct(">d"), struct.Struct(">I"), struct.Struct(">BQ")


class MalformedError(Error):
    """What was received is not what the other process should have sent."""


def encode(value: object, into: bytearray) -> None:
    """Append a value. Raises TypeError or ValueError for one that has no encoding."""
    match value:
        case None:
            into += b"N"
        case bool():
            into += b"T" if value else b"F"
        case int():
            _encode_number(value, into)
        case float():
            into += b"D" + _FLOAT.pack(value)
        case str():
            _encode_octets(b"S", value.encode("utf-8"), into)
        case DerivationData():
            _encode_octets(b"P", value, into)
        case bytes():
            _encode_octets(b"B", value, into)
        case bytearray():
            _encode_octets(b"W", value, into)
        case list() | tuple():
            into += b"L" + _SIZE.pack(len(value))
            for item in value:
                encode(item, into)
        case Mapping():
            into += b"M" + _SIZE.pack(len(value))
            for key, item in value.items():
                encode(key, into)
                encode(item, into)
        case _:
            raise TypeError(f"{type(value).__name__} has no encoding.")


def decode(octets: bytearray) -> object:
    """Return the one value that the octets encode. Raises `MalformedError`."""
    try:
        with memoryview(octets) as view:
            value, end = _decode(view, 0, 0)
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise MalformedError(f"not an encoded value: {error}") from None
    if end != len(octets):
        raise MalformedError("more than one value")
    return value


def _encode_number(value: int, into: bytearray) -> None:
    if not 0 <= value < 1 << 64:
        raise ValueError("A number is not a CK_ULONG.")
    for place, kind in enumerate(_NUMBER_TYPES):
        if isinstance(value, kind):
            into += b"E" + _TYPED.pack(place, value)
            return
    into += b"I" + _NUMBER.pack(value)


def _encode_octets(kind: bytes, octets: bytes | bytearray, into: bytearray) -> None:
    into += kind + _SIZE.pack(len(octets))
    into += octets


def _decode(view: memoryview, at: int, depth: int) -> tuple[object, int]:
    if depth > _DEEPEST:
        raise ValueError("too many levels")
    kind, at = view[at], at + 1
    match chr(kind):
        case "N":
            return None, at
        case "T" | "F" as truth:
            return truth == "T", at
        case "I":
            return _NUMBER.unpack_from(view, at)[0], at + _NUMBER.size
        case "D":
            return _FLOAT.unpack_from(view, at)[0], at + _FLOAT.size
        case "E":
            place, number = _TYPED.unpack_from(view, at)
            return _NUMBER_TYPES[place](number), at + _TYPED.size
        case "L":
            return _decode_list(view, at, depth)
        case "M":
            return _decode_mapping(view, at, depth)
        case "S" | "B" | "W" | "P" as content:
            octets, at = _take(view, at)
            return _OCTETS[content](octets), at
        case _:
            raise ValueError("an unknown kind")


def _decode_list(view: memoryview, at: int, depth: int) -> tuple[list[object], int]:
    count, at = _count(view, at)
    items: list[object] = []
    for _ in range(count):
        item, at = _decode(view, at, depth + 1)
        items.append(item)
    return items, at


def _decode_mapping(view: memoryview, at: int, depth: int) -> tuple[dict[object, object], int]:
    count, at = _count(view, at)
    pairs: dict[object, object] = {}
    for _ in range(count):
        key, at = _decode(view, at, depth + 1)
        pairs[key], at = _decode(view, at, depth + 1)
    return pairs, at


def _count(view: memoryview, at: int) -> tuple[int, int]:
    (count,) = _SIZE.unpack_from(view, at)
    if count > _LONGEST_LIST:
        raise ValueError("too many values")
    return count, at + _SIZE.size


def _take(view: memoryview, at: int) -> tuple[memoryview, int]:
    (length,), at = _SIZE.unpack_from(view, at), at + _SIZE.size
    if at + length > len(view):
        raise ValueError("it ends too early")
    return view[at : at + length], at + length
