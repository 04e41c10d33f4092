"""Minimal PNG encoder for 8-bit pixels (ISO/IEC 15948)."""

from __future__ import annotations

import struct
import zlib

_COLOUR_TYPES = {1: 0, 3: 2}


def png(width: int, height: int, channels: int, data: bytes) -> bytes:
    """Encode rows of pixels of one channel (grey) or three (RGB), from the top left."""
    stride = width * channels
    rows = b"".join(b"\0" + data[at : at + stride] for at in range(0, stride * height, stride))
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
