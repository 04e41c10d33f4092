"""Reading a PNG of 8 bits without interlacing (ISO/IEC 15948), to see what was drawn."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

_CHANNELS = {0: 1, 2: 3, 6: 4}


@dataclass(frozen=True)
class Pixels:
    """Rows of samples, from the top left."""

    width: int
    height: int
    channels: int
    data: bytes

    def at(self, x: int, y: int) -> tuple[int, ...]:
        """One pixel."""
        start = (y * self.width + x) * self.channels
        return tuple(self.data[start : start + self.channels])

    @property
    def colours(self) -> set[tuple[int, ...]]:
        """All colours that occur."""
        step = self.channels
        return {tuple(self.data[at : at + step]) for at in range(0, len(self.data), step)}


def pixels_of_uri(uri: str) -> Pixels:
    """The pixels of a data: URI."""
    return read_png(base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True))


def read_png(png: bytes) -> Pixels:
    """Decode, checking every chunk."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, header = 8, b"", b""
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack(">I", png[at + 8 + length : at + 12 + length]) == (zlib.crc32(kind + content),)
        header = content if kind == b"IHDR" else header
        packed += content if kind == b"IDAT" else b""
        at += 12 + length
    assert kind == b"IEND"
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0)
    channels = _CHANNELS[colour]
    return Pixels(width, height, channels, _unfiltered(zlib.decompress(packed), width * channels, height, channels))


def _unfiltered(data: bytes, stride: int, height: int, step: int) -> bytes:
    assert len(data) == (stride + 1) * height
    above = bytearray(stride)
    out = bytearray()
    for row in range(height):
        kind = data[row * (stride + 1)]
        line = bytearray(data[row * (stride + 1) + 1 : (row + 1) * (stride + 1)])
        if kind == 2:
            line = bytearray((a + b) & 0xFF for a, b in zip(line, above, strict=True))
        elif kind:
            for i in range(stride):
                left, up = line[i - step] if i >= step else 0, above[i]
                corner = above[i - step] if i >= step else 0
                line[i] = (line[i] + _predicted(kind, left, up, corner)) & 0xFF
        out += line
        above = line
    return bytes(out)


def _predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 3:
        return (left + up) // 2
    distances = [(abs(left + up - corner - value), order) for order, value in enumerate((left, up, corner))]
    return (left, up, corner)[min(distances)[1]]
