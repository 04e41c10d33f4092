"""Data Sets and command sets encoded by hand, with what pydicom does not write (PS3.5, 7.1 and 7.5; PS3.7, 6.3.1)."""

from __future__ import annotations

import struct

from tests.hsm_dicom.gateway.inspect.conversations import BIG_ENDIAN, FORTH, IMPLICIT, STUDY, Direction, Value

UNDEFINED = 0xFFFFFFFF
STUDY_INSTANCE_UID = 0x0020000D
PATIENT_NAME = 0x00100010

_LONG = ("OB", "OW", "SQ", "UN", "UT")


def element(syntax: str, tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    """An element, with a length of its own if given."""
    order = ">" if syntax == BIG_ENDIAN else "<"
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return head + struct.pack("<I", size) + value
    if vr in _LONG:
        return head + vr.encode() + bytes(2) + struct.pack(order + "I", size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


def delimiter(syntax: str, number: int, length: int = 0) -> bytes:
    """An Item (E000), an Item Delimitation (E00D) or a Sequence Delimitation (E0DD)."""
    return struct.pack((">" if syntax == BIG_ENDIAN else "<") + "HHI", 0xFFFE, number, length)


def item(syntax: str, content: bytes, *, undefined: bool = True) -> bytes:
    if undefined:
        return delimiter(syntax, 0xE000, UNDEFINED) + content + delimiter(syntax, 0xE00D)
    return delimiter(syntax, 0xE000, len(content)) + content


def sequence(syntax: str, tag: int, *items: bytes, vr: str = "SQ", inside: str | None = None) -> bytes:
    """A sequence of undefined length, with the delimiters of the Transfer Syntax of its Items."""
    content = b"".join(items) + delimiter(inside or syntax, 0xE0DD)
    return element(syntax, tag, vr, content, UNDEFINED)


def study(syntax: str, uid: str = STUDY) -> bytes:
    """The Study Instance UID."""
    value = uid.encode()
    return element(syntax, STUDY_INSTANCE_UID, "UI", value + b"\0" * (len(value) % 2))


def command(content: bytes, direction: Direction = FORTH, *, last: bool = True, context_id: int = 1) -> Value:
    """A fragment of a command set."""
    return Value(direction, context_id, 3 if last else 1, content)


def data(content: bytes, direction: Direction = FORTH, *, last: bool = True, context_id: int = 1) -> Value:
    """A fragment of a Data Set."""
    return Value(direction, context_id, 2 if last else 0, content)


def number(tag: int, value: int) -> bytes:
    """An element of a command set that is a number."""
    return element(IMPLICIT, tag, "US", struct.pack("<H", value))


def text(tag: int, value: bytes) -> bytes:
    """An element of a command set with characters."""
    return element(IMPLICIT, tag, "UI", value)


def store_rq(uid: bytes = b"1.2.3.6.1\0", message_id: int = 1) -> bytes:
    """The command set of a C-STORE-RQ with this SOP Class and SOP Instance UID."""
    return (
        text(0x0002, uid)
        + number(0x0100, 0x0001)
        + number(0x0110, message_id)
        + number(0x0700, 0)
        + number(0x0800, 0x0001)
        + text(0x1000, uid)
    )


def store_rsp(uid: bytes = b"1.2.3.6.1\0", message_id: int = 1, status: int = 0x0000) -> bytes:
    """The command set of its response."""
    return (
        text(0x0002, uid)
        + number(0x0100, 0x8001)
        + number(0x0120, message_id)
        + number(0x0800, 0x0101)
        + number(0x0900, status)
        + text(0x1000, uid)
    )
