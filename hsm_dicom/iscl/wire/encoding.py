"""Octets to messages and back. Any octets give a message, the need for more, or a `RemoteProtocolError`.

A message is a header of 32 octets (eight unsigned integers of 32 bits: indicator, message id, data length, option,
time stamp, error number, two fillers) and its data. What a header announces is checked before any of the data is
waited for, so that a peer cannot make a receiver store more than one message of a kind that it awaits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from functools import cache
from typing import NamedTuple

from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from hsm_dicom.iscl.wire.messages import ACK, HEADER_LENGTH, MESSAGES, DataBlock, Message, describe
from hsm_dicom.iscl.wire.profile import ByteOrder, Counted, Octets, Rest, Value, WireProfile, Word


class Header(NamedTuple):
    """The header's fields, in their order."""

    indicator: int
    message_id: int
    data_length: int
    option: int
    time_stamp: int
    error_number: int
    filler: int
    second_filler: int

    @property
    def has_unused(self) -> bool:
        """Whether a field is set that has no known use."""
        return any((self.indicator, self.time_stamp, self.error_number, self.filler, self.second_filler))


def parse_header(octets: bytes | bytearray, profile: WireProfile) -> Header:
    """Parse the header in the first 32 octets."""
    return Header._make(_words(profile.byte_order, 8).unpack_from(octets))


def data_bounds(kind: type[Message], profile: WireProfile, variable: int) -> tuple[int, int]:
    """Return the least and the most octets of data that a message of this kind may have.

    `variable` bounds what its layout leaves open: a data block's or through-mode data's length.
    """
    least = most = 0
    for item in profile.items[kind]:
        match item:
            case Word() | Octets() | Value():
                least += item.length
                most += item.length
            case Counted():
                least += Word.length
                most += Word.length + item.most
            case Rest():
                most += variable if item.most is None else item.most
    return least, most


def parse(header: Header, data: bytes, profile: WireProfile) -> Message:
    """Parse a message from its header and data. Raises `RemoteProtocolError`."""
    kind = MESSAGES.get(header.message_id)
    if kind is None:
        raise RemoteProtocolError(
            ErrorCode.UNEXPECTED_MESSAGE, f"The peer sent a message of the unknown id {header.message_id:#010x}."
        )
    if not profile.unused_fields_ignored and header.has_unused:
        raise RemoteProtocolError(
            ErrorCode.UNEXPECTED_OPTION, f"The peer set unused header fields in its {describe(kind)}."
        )
    fields: dict[str, int | bytes] = {}
    word = _words(profile.byte_order, 1)
    place = 0
    for item in profile.items[kind]:
        match item:
            case Word():
                fields[item.name], place = _word(kind, data, place, word), place + Word.length
            case Octets():
                fields[item.name], place = _piece(kind, data, place, item.length), place + item.length
            case Value():
                value = _piece(kind, data, place, item.length)
                fields[item.name], place = _order(value, profile), place + item.length
            case Counted():
                count, place = _word(kind, data, place, word), place + Word.length
                if count > item.most:
                    raise _wrong_length(kind)
                fields[item.name], place = _piece(kind, data, place, count), place + count
            case Rest():
                fields[item.name], place = data[place:], len(data)
    if place != len(data):
        raise _wrong_length(kind)
    build_kind: Callable[..., Message] = kind
    return build_kind(option=header.option, **fields)


def build(message: Message, profile: WireProfile, error_number: int = 0) -> bytes:
    """Build the octets of a message. Raises `LocalProtocolError` for a field that does not fit its place."""
    kind = type(message)
    pieces: list[bytes] = []
    word = _words(profile.byte_order, 1)
    for item in profile.items[kind]:
        value = getattr(message, item.name)
        match item:
            case Word():
                pieces.append(word.pack(value))
            case Octets() if len(value) == item.length:
                pieces.append(value)
            case Value() if len(value) == item.length:
                pieces.append(_order(value, profile))
            case Counted() if len(value) <= item.most:
                pieces += [word.pack(len(value)), value]
            case Rest() if item.most is None or len(value) <= item.most:
                pieces.append(value)
            case _:
                raise LocalProtocolError(
                    ErrorCode.UNEXPECTED_LENGTH,
                    f"The {item.name} of a {describe(kind)} cannot be {len(value)} octets long.",
                )
    data_length = sum(map(len, pieces))
    header = (0, message.id, data_length, message.option, 0, error_number, 0, 0)
    return b"".join((_words(profile.byte_order, 8).pack(*header), *pieces))


def data_header(length: int, profile: WireProfile) -> bytes:
    """Return the header of data blocks with so many octets; empty if their layout has more than the data."""
    if profile.items[DataBlock] != (Rest("data"),):
        return b""
    return _words(profile.byte_order, 8).pack(0, DataBlock.id, length, ACK, 0, 0, 0, 0)


def build_run(header: bytes, length: int, data: bytes) -> bytes:
    """Build data blocks with this header and `length` octets each."""
    pieces: list[bytes | memoryview] = [header] * (2 * len(data) // length)
    with memoryview(data) as octets:
        pieces[1::2] = (octets[start : start + length] for start in range(0, len(data), length))
        return b"".join(pieces)


class MessageReader:
    """Cuts a stream of octets into messages. Holds at most the octets last fed and one unfinished message."""

    def __init__(self, profile: WireProfile, *, keeps_octets: bool = False) -> None:
        self.octets = b""
        """The octets of the message last read, if they are kept."""
        self._keeps_octets = keeps_octets
        self._profile = profile
        self._buffer = bytearray()
        self._bounds: dict[tuple[type[Message], int], tuple[int, int]] = {}

    def feed(self, octets: bytes) -> None:
        """Take what the connection brought."""
        self._buffer += octets

    @property
    def is_empty(self) -> bool:
        """Whether nothing is begun and unfinished."""
        return not self._buffer

    def read(self, variable: int, awaited: Collection[type[Message]] | None = None) -> Message | None:
        """Return the next message; None if more octets are needed.

        `variable` is what `data_bounds` says; `awaited` are the kinds that may come now (any, where None).
        Raises `RemoteProtocolError` as soon as the header shows that the message is none of them, or too long.
        """
        if len(self._buffer) < HEADER_LENGTH:
            return None
        header = parse_header(self._buffer, self._profile)
        kind = MESSAGES.get(header.message_id)
        if kind is not None:
            if awaited is not None and kind not in awaited:
                raise RemoteProtocolError(
                    ErrorCode.UNEXPECTED_MESSAGE,
                    f"The peer sent a {describe(kind)} where none may come.",
                )
            least, most = self._bounds.get((kind, variable)) or self._find_bounds(kind, variable)
            if not least <= header.data_length <= most:
                raise _wrong_length(kind)
            if len(self._buffer) < HEADER_LENGTH + header.data_length:
                return None
        end = HEADER_LENGTH + header.data_length
        with memoryview(self._buffer) as octets:
            data = bytes(octets[HEADER_LENGTH:end])
            if self._keeps_octets:
                self.octets = bytes(octets[:end])
        del self._buffer[:end]
        return parse(header, data, self._profile)

    def _find_bounds(self, kind: type[Message], variable: int) -> tuple[int, int]:
        bounds = self._bounds[kind, variable] = data_bounds(kind, self._profile, variable)
        return bounds

    def read_run(self, header: bytes, length: int, most: int) -> bytes:
        """Return the data of up to `most` blocks with this header and `length` octets each, as far as they arrived."""
        block = len(header) + length
        end = 0
        while end < most * block and end + block <= len(self._buffer) and self._buffer.startswith(header, end):
            end += block
        with memoryview(self._buffer) as octets:
            data = b"".join([octets[start + len(header) : start + block] for start in range(0, end, block)])
        del self._buffer[:end]
        return data


@cache
def _words(order: ByteOrder, count: int) -> struct.Struct:
    return struct.Struct(f"{'>' if order is ByteOrder.BIG else '<'}{count}I")


def _word(kind: type[Message], data: bytes, place: int, word: struct.Struct) -> int:
    try:
        value: int = word.unpack_from(data, place)[0]
    except struct.error:
        raise _wrong_length(kind) from None
    return value


def _order(value: bytes, profile: WireProfile) -> bytes:
    return value[::-1] if profile.reversed_values else value


def _piece(kind: type[Message], data: bytes, place: int, length: int) -> bytes:
    piece = data[place : place + length]
    if len(piece) != length:
        raise _wrong_length(kind)
    return piece


def _wrong_length(kind: type[Message]) -> RemoteProtocolError:
    return RemoteProtocolError(
        ErrorCode.UNEXPECTED_LENGTH, f"The peer sent a {describe(kind)} of a length that it cannot have."
    )
