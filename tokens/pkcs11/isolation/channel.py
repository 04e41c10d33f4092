"""Messages over a socket between two processes of one user: a length of four octets, then the content."""

from __future__ import annotations

import contextlib
import socket
import struct

from tokens.errors import Error
from tokens.pkcs11.isolation.encoding import MalformedError

LONGEST = 1 << 24
"""The most octets in a message, 16 MiB."""

_LENGTH = struct.Struct(">I")


class EndedError(Error):
    """The other process has closed the socket, or has ended."""


class Channel:
    """One end of a socket, for one call at a time."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end

    def send(self, content: bytearray) -> None:
        """Send a message and wipe it. Raises `EndedError` and TimeoutError."""
        # One packet for nearly every message: the other process wakes once.
        framed = bytearray(_LENGTH.pack(len(content)))
        framed += content
        try:
            self._socket.sendall(framed)
        except TimeoutError:
            raise
        except OSError as error:
            raise EndedError from error
        finally:
            framed[:] = bytes(len(framed))
            content[:] = bytes(len(content))

    def receive(self) -> bytearray:
        """Return the next message, which its receiver wipes. Raises `EndedError`, `MalformedError`, TimeoutError."""
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size))
        if length > LONGEST:
            raise MalformedError(f"a message of {length} bytes")
        return self._read(length)

    def set_timeout(self, seconds: float) -> None:
        """Make `send` and `receive` raise TimeoutError when nothing was sent or received for so long."""
        self._socket.settimeout(seconds)

    def shut(self) -> None:
        """Make a thread that waits at this end leave with `EndedError`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this end, which no thread may be using. The copy that a fork made stays open."""
        self._socket.close()

    def _read(self, length: int) -> bytearray:
        octets = bytearray(length)
        with memoryview(octets) as view:
            read = 0
            while read < length:
                try:
                    more = self._socket.recv_into(view[read:])
                except TimeoutError:
                    raise
                except OSError as error:
                    raise EndedError from error
                if not more:
                    raise EndedError
                read += more
        return octets
