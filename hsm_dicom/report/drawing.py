"""Conversion of a frame to a small picture of 8 bits: sampling, colour conversion, contrast stretching."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal

from hsm_dicom.dataset.octets.source import swap_bytes

_Code = Literal["B", "b", "H", "h", "I", "i"]
_CODES: dict[tuple[int, bool], _Code] = {
    (1, False): "B",
    (1, True): "b",
    (2, False): "H",
    (2, True): "h",
    (4, False): "I",
    (4, True): "i",
}
_CUT = 200
"""Stretching may clip one in this many pixels at either end of the scale."""


@dataclass(frozen=True)
class Palette:
    """The colours of PALETTE COLOR, 8 bits each, and the pixel value of the first one."""

    first: int
    tables: tuple[bytes, bytes, bytes]


@dataclass(frozen=True)
class Frame:
    """One frame, little endian, as PS3.3 C.7.6.3 describes it. `shift` is the number of bits below those stored."""

    data: bytes = field(repr=False)
    rows: int
    columns: int
    samples: int
    planar: bool
    photometric: str
    bytes_per_sample: int
    stored_bits: int
    shift: int
    signed: bool
    palette: Palette | None = None


def draw(frame: Frame, side: int) -> tuple[int, int, int, bytes]:
    """Return width, height, channels (1 grey, 3 RGB) and pixels of a picture of at most `side` squared."""
    step = -(-max(frame.rows, frame.columns) // side)
    planes = [_sample(frame, sample, step) for sample in range(frame.samples)]
    width, height = -(-frame.columns // step), -(-frame.rows // step)
    if frame.palette is not None:
        colours = [_convert_colour(planes[0], table, frame.palette.first) for table in frame.palette.tables]
        return width, height, 3, _interleave(colours)
    if frame.samples == 1:
        return width, height, 1, _stretch(planes[0], inverse=frame.photometric == "MONOCHROME1")
    channels = [_to_eight_bits(plane, frame.stored_bits) for plane in planes]
    if frame.photometric == "YBR_FULL":
        channels = _rgb(channels)
    return width, height, 3, _interleave(channels)


def _sample(frame: Frame, sample: int, step: int) -> list[int]:
    """Return every `step`th value of every `step`th row."""
    size = frame.bytes_per_sample
    data = swap_bytes(frame.data, size) if sys.byteorder == "big" and size > 1 else frame.data
    signed = frame.signed and frame.stored_bits == size * 8
    view = memoryview(data).cast(_CODES[size, signed])
    apart, offset = (1, sample * frame.rows * frame.columns) if frame.planar else (frame.samples, sample)
    stride = frame.columns * apart
    values: list[int] = []
    for row in range(0, frame.rows, step):
        begin = offset + row * stride
        values += view[begin : begin + stride : apart * step]
    if frame.stored_bits == size * 8:
        return values
    mask = (1 << frame.stored_bits) - 1
    values = [value >> frame.shift & mask for value in values]
    if not frame.signed:
        return values
    sign = 1 << frame.stored_bits - 1
    return [(value ^ sign) - sign for value in values]


def _stretch(values: list[int], *, inverse: bool) -> bytes:
    ordered = sorted(values)
    low, high = ordered[len(ordered) // _CUT], ordered[-1 - len(ordered) // _CUT]
    if low == high:
        low, high = ordered[0], ordered[-1]
    scale = 255 / ((high - low) or 1)
    flip = 255 if inverse else 0
    return bytes(int((min(max(value, low), high) - low) * scale + 0.5) ^ flip for value in values)


def _convert_colour(values: list[int], table: bytes, first: int) -> bytes:
    last = len(table) - 1
    return bytes(table[min(max(value - first, 0), last)] for value in values)


def _to_eight_bits(values: list[int], bits: int) -> bytes:
    return bytes(value >> bits - 8 & 0xFF if bits >= 8 else value << 8 - bits & 0xFF for value in values)


def _rgb(channels: list[bytes]) -> list[bytes]:
    """Convert YBR_FULL to RGB (PS3.3 C.7.6.3.1.2)."""
    red, green, blue = bytearray(), bytearray(), bytearray()
    for y, cb, cr in zip(*channels, strict=True):
        red.append(_clamp(y + 1.402 * (cr - 128)))
        green.append(_clamp(y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)))
        blue.append(_clamp(y + 1.772 * (cb - 128)))
    return [bytes(red), bytes(green), bytes(blue)]


def _clamp(value: float) -> int:
    return min(max(round(value), 0), 255)


def _interleave(channels: list[bytes]) -> bytes:
    out = bytearray(3 * len(channels[0]))
    for number, channel in enumerate(channels):
        out[number::3] = channel
    return bytes(out)
