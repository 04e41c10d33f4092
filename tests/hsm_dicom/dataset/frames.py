"""Compressed frames for tests: right in their markers and headers, with whatever octets a test puts into them."""

from __future__ import annotations

from struct import pack

ITEM = b"\xfe\xff\x00\xe0"
DELIMITER = b"\xfe\xff\xdd\xe0"
"""Sequence Delimitation Item, without its length."""

END_OF_IMAGE = b"\xff\xd9"


def even(data: bytes) -> bytes:
    """The same octets, with a NUL behind them if their number is odd."""
    return data + b"\0" * (len(data) % 2)


def jpeg_start(comment: bytes = b"") -> bytes:
    """What stands before the entropy-coded data of a JPEG frame of 8 by 8 samples, with a comment of even length."""
    frame_header = b"\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00"
    scan_header = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    comment = even(comment)
    return b"\xff\xd8\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + frame_header + b"\xff" + scan_header


def jpeg_frame(data: bytes = b"picture", comment: bytes = b"") -> bytes:
    """A JPEG frame with these octets as its entropy-coded data, with FF as FF 00 (ISO/IEC 10918-1 F.1.2.3)."""
    return even(jpeg_start(comment) + data + END_OF_IMAGE)


def jpeg_2000_frame(data: bytes = b"picture", comment: bytes = b"") -> bytes:
    """A JPEG 2000 frame of one tile-part with these octets as its packets."""
    size = b"\xff\x51\x00\x04\x00\x00"
    remark = b"\xff\x64" + (len(comment) + 2).to_bytes(2, "big") + comment
    tile = b"\xff\x90\x00\x0a\x00\x00" + (14 + len(data)).to_bytes(4, "big") + b"\x00\x01\xff\x93"
    return even(b"\xff\x4f" + size + remark + tile + data + END_OF_IMAGE)


def rle_frame(data: bytes = b"picture") -> bytes:
    """An RLE frame of one segment with these octets."""
    return pack("<16I", 1, 64, *[0] * 14) + even(data)
