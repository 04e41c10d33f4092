"""The little DER that no parser at hand does for us (X.690): where a value ends, and a GeneralizedTime."""

from __future__ import annotations

from datetime import UTC, datetime


def remove_padding(data: bytes) -> bytes:
    """Return the one DER SEQUENCE in `data`, less the single 00 byte that makes an OB value even (PS3.5 6.2).

    Raises ValueError where `data` is no definite-length SEQUENCE, is cut short, or has anything else behind
    it.
    """
    end = _end_of_sequence(data)
    if end > len(data):
        raise ValueError(f"it is cut short: {end} bytes announced, {len(data)} present")
    rest = data[end:]
    if rest not in (b"", b"\0"):
        raise ValueError(f"{len(rest)} bytes follow where it ends")
    return data[:end]


def _end_of_sequence(data: bytes) -> int:
    if len(data) < 2 or data[0] != 0x30:
        raise ValueError("it does not start as a DER SEQUENCE")
    first = data[1]
    if first < 0x80:
        return 2 + first
    octets = first & 0x7F
    if not 1 <= octets <= 4 or len(data) < 2 + octets:
        raise ValueError("its length is not DER")
    return 2 + octets + int.from_bytes(data[2 : 2 + octets], "big")


def generalized_time(der: bytes) -> datetime | None:
    """The instant in a DER GeneralizedTime without fractions, None where the bytes are something else (X.690
    11.7)."""
    if der[:2] != b"\x18\x0f":
        return None
    try:
        return datetime.strptime(der[2:].decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
