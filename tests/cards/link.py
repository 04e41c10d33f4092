"""A card's end of the wire to Debian's virtual reader, vpcd (package vsmartcard-vpcd, 3.3).

The reader listens, the card dials: the connection is the card's presence in the slot. A message is two bytes of length
and its content; one byte is a control (power off, on, reset, or the question for the ATR), anything longer an APDU.
"""

from __future__ import annotations

import socket
import struct
from enum import Enum
from typing import Protocol

_OFF, _ON, _RESET, _ATR = 0, 1, 2, 4


class Card(Protocol):
    """What speaks through the wire."""

    atr: bytes

    def power(self, on: bool) -> None:
        """Power came or went, or the card was reset: volatile state is gone."""

    def answer(self, apdu: bytes) -> bytes | Misbehaviour:
        """The response to a command, with its status word; or something that no card should do."""


class Misbehaviour(Enum):
    """What the wire can be made to do instead of answering."""

    PULLED = "pulled"
    """The card leaves the slot."""
    TRUNCATED = "truncated"
    """64 bytes are promised, 10 are sent, and the card leaves: vpcd passes the 10 on as a good answer."""


def insert(port: int) -> socket.socket:
    """Put a card into the slot that listens on this port of 127.0.0.1."""
    wire = socket.create_connection(("127.0.0.1", port), timeout=5)
    wire.settimeout(None)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def serve(wire: socket.socket, card: Card) -> None:
    """Answer until the wire is cut, from either end."""
    try:
        while True:
            message = _read(wire, struct.unpack(">H", _read(wire, 2))[0])
            if len(message) > 1:
                answer = card.answer(message)
                if answer is Misbehaviour.TRUNCATED:
                    wire.sendall(struct.pack(">H", 64) + bytes(10))
                if isinstance(answer, Misbehaviour):
                    return
                _write(wire, answer)
            elif message[0] == _ATR:
                _write(wire, card.atr)
            elif message[0] in (_OFF, _ON, _RESET):
                card.power(message[0] != _OFF)
    except (EOFError, OSError):
        return
    finally:
        pull(wire)


def pull(wire: socket.socket) -> None:
    """Take the card out."""
    try:
        wire.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
    finally:
        wire.close()


def _read(wire: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        # vpcd sends length and content in two writes: without this, delayed acknowledgement costs 40 ms an APDU.
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = wire.recv(length - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _write(wire: socket.socket, data: bytes) -> None:
    wire.sendall(struct.pack(">H", len(data)) + data)
