"""A Storage SCP over TLS that takes every association and answers each C-STORE as a test has it: right, wrong, late.

Its upper layer is written here, octet by octet (PS3.8, 9.3; PS3.7, Annex E), since a library would not answer wrongly.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.hsm_dicom.tls.fixtures import Hospital

C_STORE_RSP, C_ECHO_RSP = 0x8001, 0x8030
A_ABORT_BY_PROVIDER = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02"
CLOSE = b""
"""An answer that ends the connection."""


@dataclass(frozen=True)
class Request:
    """A C-STORE request as it came, with the answer that would be right."""

    context: int
    message_id: int
    sop_class: str
    instance: str
    number: int
    """How many requests came before it, in all associations."""

    def answer(
        self, status: int | None = 0, *, field: int = C_STORE_RSP, comment: bytes = b"", **wrong: int | str
    ) -> bytes:
        """A C-STORE response as one P-DATA-TF PDU; `wrong` replaces what the request says."""
        told = replace(self, **wrong)  # type: ignore[arg-type]
        elements = [(0x0002, _text(told.sop_class)), (0x0100, _us(field)), (0x0120, _us(told.message_id))]
        elements += [(0x0800, _us(0x0101)), *([] if status is None else [(0x0900, _us(status))])]
        elements += [(0x0902, comment + b" " * (len(comment) % 2))] if comment else []
        elements += [(0x1000, _text(told.instance))]
        body = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in elements)
        command = struct.pack("<HHII", 0, 0, 4, len(body)) + body
        return _pdu(4, struct.pack(">IBB", len(command) + 2, told.context, 3) + command)


Answering = Callable[[Request], bytes]


@dataclass
class OddSCP:
    """The server that runs, and what it was asked."""

    port: int
    requests: list[Request] = field(default_factory=list)
    associations: int = 0


@contextlib.contextmanager
def odd_scp(hospital: Hospital, answering: Answering, associating: bytes | None = None) -> Iterator[OddSCP]:
    """Serve while the block runs. `associating` goes out instead of an A-ASSOCIATE-AC."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*hospital.files(hospital.peer("PACS")))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = OddSCP(listening.getsockname()[1])

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    raw, _ = listening.accept()
                    running.associations += 1
                    with contextlib.suppress(OSError, EOFError), context.wrap_socket(raw, server_side=True) as secured:
                        secured.settimeout(10)
                        _serve(secured, running, answering, associating)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield running
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _serve(secured: ssl.SSLSocket, running: OddSCP, answering: Answering, associating: bytes | None) -> None:
    _, request = _read_pdu(secured)
    if associating is not None:
        secured.sendall(associating)
        return
    secured.sendall(_accept(request))
    command = b""
    while True:
        kind, content = _read_pdu(secured)
        if kind == 5:
            secured.sendall(_pdu(6, bytes(4)))
        if kind != 4:
            return
        for context, header, value in _values(content):
            command += value if header & 1 else b""
            if header == 2:  # the last fragment of the Data Set
                found = dict(_elements(command))
                command = b""
                told = Request(
                    context,
                    struct.unpack("<H", found[0x0110])[0],
                    found[0x0002].rstrip(b"\0").decode(),
                    found[0x1000].rstrip(b"\0").decode(),
                    len(running.requests),
                )
                running.requests.append(told)
                answer = answering(told)
                if answer == CLOSE:
                    return
                secured.sendall(answer)


def _accept(request: bytes) -> bytes:
    """An A-ASSOCIATE-AC that takes every context in its first Transfer Syntax."""
    contexts = b""
    for kind, body in _items(request[68:]):
        if kind == 0x20:
            syntax = next(value for kind, value in _items(body[4:]) if kind == 0x40)
            contexts += _item(0x21, bytes([body[0], 0, 0, 0]) + _item(0x40, syntax))
    user = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3"))
    return _pdu(2, request[:68] + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(content):
        length = struct.unpack_from(">H", content, place + 2)[0]
        yield content[place], content[place + 4 : place + 4 + length]
        place += 4 + length


def _values(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    place = 0
    while place < len(content):
        length, context, header = struct.unpack_from(">IBB", content, place)
        yield context, header, content[place + 6 : place + 4 + length]
        place += 4 + length


def _elements(command: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(command):
        _, number, length = struct.unpack_from("<HHI", command, place)
        yield number, command[place + 8 : place + 8 + length]
        place += 8 + length


def _read_pdu(secured: ssl.SSLSocket) -> tuple[int, bytes]:
    kind, _, length = struct.unpack(">BBI", _read(secured, 6))
    return kind, _read(secured, length)


def _read(secured: ssl.SSLSocket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = secured.recv(count - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def _pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBI", kind, 0, len(content)) + content


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def _text(value: str) -> bytes:
    return value.encode() + b"\0" * (len(value) % 2)


def _us(value: int) -> bytes:
    return struct.pack("<H", value)
