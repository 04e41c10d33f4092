"""BER-TLV data objects of cards (ISO/IEC 7816-4:2005, 5.2.2; ISO/IEC 8825-1): the only parser for what a card sends."""

from __future__ import annotations

from collections.abc import Iterator

from tokens.errors import CardLostError


def objects(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the data objects of a sequence, as tag and value. Raises `CardLostError` if they cannot be read."""
    for tag, begin, end in _places(data):
        yield tag, data[begin:end]


def find(data: bytes, *path: int) -> bytes | None:
    """Return the value at the end of a path of tags, each inside the one before; None if it does not exist."""
    for wanted in path:
        value = next((value for tag, value in objects(data) if tag == wanted), None)
        if value is None:
            return None
        data = value
    return data


def unwrap(data: bytes, tag: int) -> bytes:
    """Return the value if the data is one object with this tag, else the data: some cards leave out the tag."""
    try:
        found = list(objects(data))
    except CardLostError:
        return data
    return found[0][1] if [known for known, _ in found] == [tag] else data


def first_object(data: bytes) -> bytes:
    """Return the first object with its tag and length: a file may be filled up behind it. Raises `CardLostError`."""
    for _, _, end in _places(data):
        return data[:end]
    return b""


def encode(tag: int, value: bytes) -> bytes:
    """Return one data object."""
    head = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    if len(value) < 0x80:
        return head + bytes([len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return head + bytes([0x80 | len(length)]) + length + value


def _places(data: bytes) -> Iterator[tuple[int, int, int]]:
    place = 0
    while place < len(data):
        if data[place] in (0x00, 0xFF):  # padding between objects
            place += 1
            continue
        tag, place = _tag(data, place)
        length, place = _length(data, place)
        if place + length > len(data):
            raise _make_broken_error()
        yield tag, place, place + length
        place += length


def _tag(data: bytes, place: int) -> tuple[int, int]:
    tag = data[place]
    place += 1
    if tag & 0x1F == 0x1F:
        while True:
            if place >= len(data):
                raise _make_broken_error()
            tag = tag << 8 | data[place]
            place += 1
            if not tag & 0x80:
                break
    return tag, place


def _length(data: bytes, place: int) -> tuple[int, int]:
    if place >= len(data):
        raise _make_broken_error()
    first = data[place]
    place += 1
    if first < 0x80:
        return first, place
    size = first & 0x7F
    if not 1 <= size <= 3 or place + size > len(data):
        raise _make_broken_error()
    return int.from_bytes(data[place : place + size], "big"), place + size


def _make_broken_error() -> CardLostError:
    return CardLostError("The card's data objects (BER-TLV) cannot be read: part of them is missing.")
