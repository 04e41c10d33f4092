"""Read the attributes of one object by their types, and note malformed values.

A missing attribute, and one whose value is malformed (CKA_EXTRACTABLE of no bytes), both read as
None. A malformed value is also noted in a sentence, because such a token cannot be trusted.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

from pkcs11 import Attribute

_NUMBER = ctypes.sizeof(ctypes.c_ulong)


class Attributes:
    """The attributes of one object, as the token reports them."""

    def __init__(self, values: Mapping[int, bytes]) -> None:
        self._values = values
        self._odd: dict[Attribute, str] = {}

    @property
    def odd(self) -> tuple[str, ...]:
        """A part of a sentence for each requested value that is malformed."""
        return tuple(self._odd.values())

    def has(self, kind: Attribute) -> bool:
        """Return whether the token reports a value, which may be empty."""
        return kind in self._values

    def flag(self, kind: Attribute) -> bool | None:
        """Return a CK_BBOOL: one byte, 0 or 1."""
        value = self._values.get(kind)
        if value is None or value in (b"\0", b"\1"):
            return None if value is None else value == b"\1"
        self._note(kind, value, "one byte, 0 or 1")
        return None

    def number(self, kind: Attribute) -> int | None:
        """Return a CK_ULONG."""
        value = self._values.get(kind)
        if value is None or len(value) == _NUMBER:
            return None if value is None else ctypes.c_ulong.from_buffer_copy(value).value
        self._note(kind, value, f"{_NUMBER} bytes")
        return None

    def octets(self, kind: Attribute) -> bytes:
        """Return bytes; empty if the token does not report them."""
        return self._values.get(kind, b"")

    def text(self, kind: Attribute) -> str:
        """Return text; empty if the token does not report it, or not in UTF-8."""
        try:
            return self.octets(kind).decode("utf-8")
        except UnicodeDecodeError:
            return ""

    def _note(self, kind: Attribute, value: bytes, due: str) -> None:
        what = f"the value 0x{value.hex()}" if 0 < len(value) <= 2 else f"{len(value)} bytes"
        self._odd[kind] = f"CKA_{kind.name} has {what} where {due} is due"


def pack(value: object) -> bytes:
    """Encode an attribute's value for a template: text in UTF-8, a number as CK_ULONG, True as one byte."""
    match value:
        case bool():
            return b"\1" if value else b"\0"
        case int():
            return bytes(ctypes.c_ulong(value))
        case str():
            return value.encode("utf-8")
        case _:
            return bytes(value)  # type: ignore[call-overload, no-any-return]
