"""Decoder of one frame of RLE Lossless (PS3.5 Annex G)."""

from __future__ import annotations

import struct

MOST_RUNS = 1 << 20
"""Largest number of runs in a frame, which limits the work for a hostile one; real runs have many bytes."""

_HEADER = struct.Struct("<16I")


class _RleError(ValueError):
    """The frame does not conform to PS3.5 Annex G; the message is a sentence."""


def decode_rle_frame(data: bytes, pixels: int, samples: int, width: int) -> bytes:
    """Return the frame as planes of little endian samples of `width` bytes. Raises _RleError."""
    if len(data) < _HEADER.size:
        raise _RleError("The RLE header is cut short.")
    count, *offsets = _HEADER.unpack_from(data)
    if count != samples * width:
        raise _RleError(f"It has {count} RLE segments instead of {samples * width}.")
    ends = [*offsets[1:count], len(data)]
    frame = bytearray(samples * pixels * width)
    runs = 0
    for number, (start, end) in enumerate(zip(offsets[:count], ends, strict=True)):
        if not _HEADER.size <= start <= end <= len(data):
            raise _RleError("An RLE segment lies outside the frame.")
        sample, byte = divmod(number, width)
        plane = memoryview(frame)[sample * pixels * width : (sample + 1) * pixels * width]
        unpacked, runs = _unpack(data, start, end, pixels, runs)
        plane[width - 1 - byte :: width] = unpacked  # the most significant byte comes first
    return bytes(frame)


def _unpack(data: bytes, at: int, end: int, size: int, runs: int) -> tuple[bytes, int]:
    """Return the first `size` bytes of an unpacked segment, and the number of runs so far."""
    out = bytearray()
    while len(out) < size:
        runs += 1
        if runs > MOST_RUNS:
            raise _RleError("The RLE frame has more runs than are unpacked here.")
        if at + 1 >= end:
            raise _RleError("An RLE segment is shorter than its pixels.")
        head = data[at]
        if head < 128:
            out += data[at + 1 : min(at + 2 + head, end)]
            at += 2 + head
        elif head > 128:
            out += data[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return bytes(out[:size]), runs
