"""Integrity codes of a message that arrives in pieces: MD5, or DES-MAC on the device (PS3.15-2008 Table B.2-1).

An MD5 digest protects a message only once it is encrypted, which `algorithms` does.
"""

from __future__ import annotations

import hashlib

from hsm_dicom.iscl.wire.profile import DES_BLOCK, MacPadding
from tokens.secrets import DataKey

MD5_LENGTH = 16
"""Octets of an MD5 digest."""

LEAST = 32 * 1024
"""Octets for which a call of the device is worth its while before the message is complete."""


class Code:
    """A code being made."""

    other_order_is_out_of_reach = False
    """Whether the peer may have made the code in the other order of PS3.15, which cannot be verified here."""

    def update(self, data: bytes | memoryview) -> None:
        """Take a piece of the message."""
        raise NotImplementedError

    def value(self) -> bytes:
        """Return the code of all pieces."""
        raise NotImplementedError

    def other_value(self) -> bytes | None:
        """Return the code in the other order of PS3.15, if it can be made."""
        return None


class NoCode(Code):
    """Where messages have no MAC."""

    def update(self, data: bytes | memoryview) -> None:
        """Ignore a piece."""


class Md5(Code):
    """MD5 of the message; and, with the session key, of the encrypted random number and the message."""

    def __init__(self, session_key: bytes | None, asked: bool) -> None:
        self._digest = hashlib.md5(usedforsecurity=False)
        self._other = None if session_key is None else hashlib.md5(session_key, usedforsecurity=False)
        self.other_order_is_out_of_reach = asked and session_key is None

    def update(self, data: bytes | memoryview) -> None:
        """Add a piece to the digests of both orders."""
        self._digest.update(data)
        if self._other is not None:
            self._other.update(data)

    def value(self) -> bytes:
        """Return 16 octets."""
        return self._digest.digest()

    def other_value(self) -> bytes | None:
        """Return 16 octets, if the session key is known."""
        return None if self._other is None else self._other.digest()


class DesMac(Code):
    """ISO/IEC 9797-1 MAC algorithm 1 with DES (FIPS 113), made by the device."""

    def __init__(self, key: DataKey, padding: MacPadding, length: int) -> None:
        self.key = key
        self._padding = padding
        self._length = length
        self._waiting = b""
        self._last = bytes(DES_BLOCK)
        self._value: bytes | None = None

    @property
    def waiting(self) -> int:
        """Octets that were not passed to the device yet."""
        return len(self._waiting)

    def update(self, data: bytes | memoryview) -> None:
        """Pass a piece to the device at once, so that little remains to be done after the last one."""
        waiting = b"".join((self._waiting, data))
        # The last block waits: it may need padding.
        whole = (len(waiting) - 1) // DES_BLOCK * DES_BLOCK
        if whole >= LEAST:
            self._last = self.key.mac(waiting[:whole], self._last)
            waiting = waiting[whole:]
        self._waiting = waiting
        self._value = None

    def value(self) -> bytes:
        """Return as many octets as the profile keeps."""
        return self.finish(self.key)

    def finish(self, key: DataKey) -> bytes:
        """Return `value`, which is made with this key: the own one, or what `DataKey.carry_out` gives for it."""
        if self._value is None:
            self._value = self._make(key)
        return self._value

    def _make(self, key: DataKey) -> bytes:
        data = self._waiting
        if self._padding is MacPadding.METHOD_2:
            data += b"\x80"
        data += bytes(-len(data) % DES_BLOCK)
        return key.mac(data, self._last)[: self._length]
