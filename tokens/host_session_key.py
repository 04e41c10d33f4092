"""A session key in this process's memory, if its device cannot keep it and the caller allows this."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeVar

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, modes

from tokens.errors import TokenLostError

T = TypeVar("T")


class HostSessionKey:
    """A DES key that the host uses. Satisfies `tokens.secrets.DeviceDataKey`. Closing overwrites the key."""

    on_device = False

    def __init__(self, value: bytes) -> None:
        self._value = bytearray(value)

    @property
    def value(self) -> bytes | None:
        """Return the key's 8 bytes."""
        return bytes(self._key())

    def mac(self, data: bytes, iv: bytes) -> bytes:
        """Return the last block of the CBC encryption."""
        return self.encrypt(data, iv)[-8:]

    def encrypt(self, data: bytes, iv: bytes) -> bytes:
        """CBC without padding."""
        return _process(self._cipher(iv).encryptor(), data)

    def decrypt(self, data: bytes, iv: bytes) -> bytes:
        """CBC without padding."""
        return _process(self._cipher(iv).decryptor(), data)

    def carry_out(self, operations: Callable[[Self], T]) -> T:
        """Carry out the operations one by one."""
        return operations(self)

    def close(self) -> None:
        """Wipe the key."""
        for place in range(len(self._value)):
            self._value[place] = 0
        self._value.clear()

    def __repr__(self) -> str:
        return "<HostSessionKey>"

    def _key(self) -> bytearray:
        if not self._value:
            raise TokenLostError("This session key was closed.")
        return self._value

    def _cipher(self, iv: bytes) -> Cipher[modes.CBC]:
        # Triple DES with three equal parts is single DES, which `cryptography` no longer offers by itself.
        return Cipher(TripleDES(bytes(self._key()) * 3), modes.CBC(iv))


def _process(context: CipherContext, data: bytes) -> bytes:
    return context.update(data) + context.finalize()
