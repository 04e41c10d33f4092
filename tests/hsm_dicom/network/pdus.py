"""PDUs as a peer would send them, right or wrong (PS3.8, 9.3; PS3.7, Annex E)."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable, Sequence

from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
VERIFICATION, CT = str(Verification), str(CTImageStorage)
APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
C_STORE_RQ, C_ECHO_RQ = 0x0001, 0x0030


def pdu(kind: int, body: bytes) -> bytes:
    return bytes([kind, 0]) + len(body).to_bytes(4, "big") + body


def item(kind: int, content: bytes) -> bytes:
    return bytes([kind, 0]) + len(content).to_bytes(2, "big") + content


def context(number: int, abstract: str = VERIFICATION, syntaxes: Iterable[str] = (IMPLICIT,)) -> bytes:
    return item(
        0x20,
        bytes([number, 0, 0, 0])
        + item(0x30, abstract.encode())
        + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes),
    )


USER_INFORMATION = item(0x51, (16384).to_bytes(4, "big")) + item(0x52, b"1.2.3.4")


def associate_rq(
    *contexts: bytes,
    calling: bytes = b"CT1",
    called: bytes = b"NODE",
    version: int = 1,
    user_information: bytes = USER_INFORMATION,
    more: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ; without contexts, one for Verification."""
    return pdu(
        1,
        version.to_bytes(2, "big")
        + bytes(2)
        + called.ljust(16)
        + calling.ljust(16)
        + bytes(32)
        + item(0x10, APPLICATION_CONTEXT)
        + b"".join(contexts or [context(1)])
        + more
        + item(0x50, user_information),
    )


def element(tag: int, value: bytes | str | int) -> bytes:
    """An element of implicit VR little endian; numbers are US."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    data = value.encode() if isinstance(value, str) else value
    data += b"\0" * (len(data) % 2)
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(data)) + data


def command(*elements: bytes) -> bytes:
    data = b"".join(elements)
    return element(0x00000000, struct.pack("<I", len(data))) + data


def echo_rq() -> bytes:
    return command(
        element(0x00000002, VERIFICATION),
        element(0x00000100, C_ECHO_RQ),
        element(0x00000110, 1),
        element(0x00000800, 0x0101),
    )


def store_rq(instance: str, sop_class: str = CT, message_id: int = 1) -> bytes:
    return command(
        element(0x00000002, sop_class),
        element(0x00000100, C_STORE_RQ),
        element(0x00000110, message_id),
        element(0x00000700, 0),
        element(0x00000800, 1),
        element(0x00001000, instance),
    )


def value(number: int, data: bytes, *, is_command: bool = False, last: bool = True) -> bytes:
    """A Presentation Data Value."""
    header = bytes([number, (1 if is_command else 0) | (2 if last else 0)])
    return (len(data) + 2).to_bytes(4, "big") + header + data


def p_data(number: int, data: bytes, *, is_command: bool = False, last: bool = True) -> bytes:
    return pdu(4, value(number, data, is_command=is_command, last=last))


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def read_pdu(connection: socket.socket) -> tuple[int, bytes]:
    """Type and body of the next PDU. Raises EOFError at the end."""
    header = read_exactly(connection, 6)
    return header[0], read_exactly(connection, int.from_bytes(header[2:], "big"))


def types_until_the_end(connection: socket.socket) -> list[int]:
    """The types of all PDUs until the peer closes."""
    types = []
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            types.append(read_pdu(connection)[0])
    return types


def status_of(body: bytes) -> int:
    """The status in a P-DATA-TF that holds one response."""
    data, at = body[6:], 0
    while at + 8 <= len(data):
        group, number, length = struct.unpack_from("<HHI", data, at)
        if (group, number) == (0x0000, 0x0900):
            return int(struct.unpack_from("<H", data, at + 8)[0])
        at += 8 + length
    raise AssertionError("There is no status.")


def data_set(elements: Sequence[bytes]) -> bytes:
    return b"".join(elements)
