"""BER-TLV data objects, as cards hand them out (ISO/IEC 7816-4:2005, 5.2.2; ISO/IEC 8825-1)."""

from __future__ import annotations

from collections.abc import Iterator

from tokens.errors import CardLostError


def objects(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The data objects that stand side by side, as tag and value. Raises `CardLostError` where they cannot be read."""
    place = 0
    while place < len(data):
        if data[place] in (0x00, 0xFF):  # padding between objects
            place += 1
            continue
        tag, place = _tag(data, place)
        length, place = _length(data, place)
        if place + length > len(data):
            raise _broken()
        yield tag, data[place : place + length]
        place += length


def find(data: bytes, *path: int) -> bytes | None:
    """The value at the end of a path of tags, each inside the one before; None where it is not there."""
    for wanted in path:
        value = next((value for tag, value in objects(data) if tag == wanted), None)
        if value is None:
            return None
        data = value
    return data


def encode(tag: int, value: bytes) -> bytes:
    """One data object."""
    head = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    if len(value) < 0x80:
        return head + bytes([len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return head + bytes([0x80 | len(length)]) + length + value


def _tag(data: bytes, place: int) -> tuple[int, int]:
    tag = data[place]
    place += 1
    if tag & 0x1F == 0x1F:
        while True:
            if place >= len(data):
                raise _broken()
            tag = tag << 8 | data[place]
            place += 1
            if not tag & 0x80:
                break
    return tag, place


def _length(data: bytes, place: int) -> tuple[int, int]:
    if place >= len(data):
        raise _broken()
    first = data[place]
    place += 1
    if first < 0x80:
        return first, place
    size = first & 0x7F
    if not 1 <= size <= 3 or place + size > len(data):
        raise _broken()
    return int.from_bytes(data[place : place + size], "big"), place + size


def _broken() -> CardLostError:
    return CardLostError("The card's data objects (BER-TLV) cannot be read: part of them is missing.")
