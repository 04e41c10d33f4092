"""Parsing of DER (X.690) by asn1crypto: the end of a value, its content type, and GeneralizedTime."""

from __future__ import annotations

from datetime import datetime

from asn1crypto import core, parser  # type: ignore[import-untyped]

_UNIVERSAL, _CONSTRUCTED, _SEQUENCE = 0, 1, 16
_TIME_LENGTH = len("YYYYMMDDHHMMSSZ")


def remove_padding(data: bytes) -> bytes:
    """Return the DER SEQUENCE in `data` without the single 00 byte that makes an OB value even (PS3.5 6.2).

    Raises ValueError if `data` is not a definite-length SEQUENCE, is cut short, or has other bytes after it.
    """
    try:
        kind, method, tag, header, content, trailer = parser.parse(data)
    except ValueError as error:
        if data[:1] != bytes([_CONSTRUCTED << 5 | _SEQUENCE]):
            raise ValueError("it does not start as a DER SEQUENCE") from error
        raise ValueError("it is cut short, or its length is not DER") from error
    if (kind, method, tag) != (_UNIVERSAL, _CONSTRUCTED, _SEQUENCE):
        raise ValueError("it does not start as a DER SEQUENCE")
    if trailer:
        raise ValueError("its length is indefinite, which is not DER")
    end = len(header) + len(content)
    rest = data[end:]
    if rest not in (b"", b"\0"):
        raise ValueError(f"{len(rest)} bytes follow where it ends")
    return data[:end]


def without_pad_byte(data: bytes) -> bytes:
    """Remove the zero byte after a DER value; return anything else unchanged.

    DER states its own length, so a truncated value and one with other bytes after it stay different.
    """
    try:
        end = parser.peek(data)
    except ValueError:
        return data
    return data[:-1] if end == len(data) - 1 and data[-1] == 0 else data


def content_type(data: bytes) -> str | None:
    """Return the object identifier that a SEQUENCE begins with, such as a ContentInfo (RFC 5652 3), or None."""
    try:
        inner = parser.parse(data)[4]
        identifier: str = core.ObjectIdentifier.load(inner[: parser.peek(inner)], strict=True).dotted
    except (ValueError, TypeError):
        return None
    return identifier


def parse_generalized_time(der: bytes) -> datetime | None:
    """Return the time in a DER GeneralizedTime without fractions (X.690 11.7), or None for any other bytes."""
    try:
        value = core.GeneralizedTime.load(der, strict=True)
        time = value.native
    except (ValueError, TypeError):
        return None
    is_der = len(value.contents) == _TIME_LENGTH and value.contents.endswith(b"Z")
    return time if is_der and isinstance(time, datetime) else None
