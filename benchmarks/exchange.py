"""The shortest exchange of messages that ISCL allows: its steps in their order, and nothing else.

The end that receives may not answer a request before it has judged the message before, and the end that sends may not
send a message before that answer. So between two messages the token of the receiver waits for the answer's and the
next message's way. Here two processes do just that over loopback sockets: python-pkcs11 encrypts the next message while
the other end decrypts the last one and computes its MD5; requests and answers have the lengths that they have in ISCL,
and are not read. Whatever a real end does beside (checks, padding, events, threads, deadlines) comes on top.

With SoftHSM on two cores, comparing the best rounds of both, this exchange of messages of 16 KiB had 0.81 to 0.83 of
the token's own rate with MD5 (medians on a loaded machine were mostly 0.66 to 0.77): with one pass of the token, no
implementation that decrypts a message in one call comes to 0.85 there. With DES-MAC, the token works twice as long for
the same wait, and the best rounds had 0.86 to 0.92.
"""

from __future__ import annotations

import hashlib
import socket
import time
from multiprocessing.connection import Connection
from typing import Any

from pkcs11 import Attribute, Mechanism, ObjectClass

from benchmarks.bare import open_bare_session
from tokens import open_token
from tokens.secrets import ZERO_IV
from tokens.uri import Pkcs11Uri

REQUEST = 64
ANSWER = 36
BESIDES = 8 + 24 + 3 * 32
"""Octets of a message on the wire beside its data: padding, the encrypted MAC, and three headers."""


class BareKey:
    """An encryption key in a session of python-pkcs11, which no deadline and no pool stands before."""

    def __init__(self, connection: Any, index: int = 1) -> None:
        session = open_bare_session(connection)
        label = f"secret-encryption-{index}"
        (self._key,) = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: label})

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt whole blocks."""
        return bytes(self._key.encrypt(data, mechanism=Mechanism.DES3_CBC, mechanism_param=ZERO_IV))

    def decrypt(self, data: bytes) -> bytes:
        """Decrypt whole blocks."""
        return bytes(self._key.decrypt(data, mechanism=Mechanism.DES3_CBC, mechanism_param=ZERO_IV))


def exchange(line: socket.socket, key: BareKey, data: bytes, size: int, passes: int) -> None:
    """Send the data in messages of so many octets; with two passes, each is encrypted twice, as for a DES-MAC.

    The first message was asked for by `begin`, or by the exchange before.
    """
    sealed = _seal(key, data[:size], passes)
    for start in range(0, len(data), size):
        line.sendall(sealed + bytes(REQUEST))
        following = data[start + size : start + 2 * size]
        if following:
            sealed = _seal(key, following, passes)
        _take(line, ANSWER)


def begin(port: int) -> socket.socket:
    """Connect to the other end, and ask for the first message."""
    line = socket.create_connection(("127.0.0.1", port))
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(bytes(REQUEST))
    _take(line, ANSWER)
    return line


def answer(parent: Connection, uri: Pkcs11Uri, size: int, passes: int) -> None:
    """Be the other end, in a process of its own: tells its port first."""
    with open_token(uri) as connection, socket.create_server(("127.0.0.1", 0)) as listener:
        key = BareKey(connection)
        parent.send(listener.getsockname()[1])
        line = listener.accept()[0]
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            _take(line, REQUEST)
            line.sendall(bytes(ANSWER))
            message = _take(line, size + BESIDES)
            plain = key.decrypt(message[: size + 32])
            if passes == 1:
                hashlib.md5(plain, usedforsecurity=False).digest()
            else:
                key.encrypt(plain)


def bare_seconds(key: BareKey, size: int, repeats: int = 64) -> float:
    """Return the seconds that the token takes for one message of this size, by itself."""
    data = bytes(size)
    started = time.perf_counter()
    for _ in range(repeats):
        key.decrypt(data)
    return (time.perf_counter() - started) / repeats


def _seal(key: BareKey, data: bytes, passes: int) -> bytes:
    if passes == 2:
        key.encrypt(data)
    else:
        hashlib.md5(data, usedforsecurity=False).digest()
    return key.encrypt(data + bytes(32)) + bytes(BESIDES - 32)


def _take(line: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        received = line.recv_into(view)
        if not received:
            raise EOFError
        view = view[received:]
    return bytes(buffer)
