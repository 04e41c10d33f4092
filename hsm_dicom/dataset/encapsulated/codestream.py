"""Start and end detection of compressed frames and JPEG-family codestreams (PS3.5 8.2, Annexes A and G).

This module reads only markers, never coefficients: it tracks the position of a decoder and decodes nothing.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from itertools import pairwise
from struct import unpack

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"

RLE_HEADER = 64
LONGEST_START = RLE_HEADER
"""Octets that `begins_frame` reads."""

END_OF_IMAGE = b"\xff\xd9"
"""EOI of ISO/IEC 10918-1, and EOC of ISO/IEC 15444-1."""
PADDING = b"\0\xff"
"""Octets that writers append after a frame's end marker: NULs for an even length, and JPEG fill bytes."""

_START_OF_IMAGE = b"\xff\xd8\xff"
_START_OF_CODESTREAM = b"\xff\x4f\xff\x51"
_OTHER_STARTS = (
    b"\xff\x0a",  # JPEG XL codestream
    b"\0\0\0\x0cJXL ",
    b"\0\0\0\x0cjP  ",  # a JP2 file, which some writers use in place of a codestream
    b"\0\0\x01\xb3",  # MPEG-2 sequence header
    b"\0\0\0\x01",  # H.264 and H.265 start code
)

_ANY_START = re.compile(rb"\xff\xd8\xff|\xff\x4f\xff\x51")
_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_MARKER_IN_JPEG_DATA = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")  # not a stuffed octet, not RST0 to RST7
_MARKER_IN_JPEG_2000_DATA = re.compile(rb"\xff[\x90-\xfe]")
_SOS, _SOT, _SOD, _SOP, _EPH, _END = 0xDA, 0x90, 0x93, 0x91, 0x92, 0xD9
_SOT_LENGTH = 10
"""Octets of an SOT marker segment through Psot, the length of the tile-part (ISO/IEC 15444-1 A.4.2)."""
_WITHOUT_LENGTH = frozenset((0x01, 0x4F, _SOD, _EPH, *range(0xD0, 0xDA)))


def has_one_fragment_a_frame(syntax: str) -> bool:
    """Return whether each frame is one fragment in this Transfer Syntax (PS3.5 A.4.2, A.4.13)."""
    return syntax in (RLE_LOSSLESS, DEFLATED_IMAGE_FRAME)


def is_video(syntax: str) -> bool:
    """Return whether the fragments of this Transfer Syntax are parts of a video (PS3.5 A.4.5 to A.4.9)."""
    return re.fullmatch(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?", syntax) is not None


def has_markers(syntax: str) -> bool:
    """Return whether frames of this Transfer Syntax are codestreams of JPEG, JPEG-LS, JPEG 2000 or HTJ2K."""
    number = re.fullmatch(r"1\.2\.840\.10008\.1\.2\.4\.(\d+)", syntax)
    return number is not None and (int(number[1]) < 100 or int(number[1]) > 200)


def has_tile_parts(syntax: str) -> bool:
    """Return whether frames of this Transfer Syntax are codestreams of JPEG 2000 or HTJ2K."""
    return re.fullmatch(r"1\.2\.840\.10008\.1\.2\.4\.(9[0-3]|20[1-3])", syntax) is not None


def begins_frame(data: bytes) -> bool:
    """Return whether these octets begin a frame in one of the codings of PS3.5."""
    starts = (_START_OF_IMAGE, _START_OF_CODESTREAM, *_OTHER_STARTS)
    return data.startswith(starts) or is_rle_header(data[:RLE_HEADER])


def begins_as(syntax: str, data: bytes) -> bool:
    """Return whether these octets may begin Pixel Data of this Transfer Syntax; True if it prescribes no start."""
    number = re.fullmatch(r"1\.2\.840\.10008\.1\.2\.4\.(\d+)", syntax)
    if number is None or is_video(syntax) or not has_markers(syntax):
        return True
    is_jpeg = int(number[1]) < 90
    return data.startswith(_START_OF_IMAGE if is_jpeg else (_START_OF_CODESTREAM, *_OTHER_STARTS[2:3]))


def begins_codestream(data: bytes) -> bool:
    """Return whether these octets begin a codestream of JPEG, JPEG-LS or JPEG 2000."""
    return data.startswith((_START_OF_IMAGE, _START_OF_CODESTREAM))


def is_rle_header(header: bytes) -> bool:
    """Return whether these are the 64 octets that begin an RLE frame (PS3.5 G.5)."""
    if len(header) < RLE_HEADER:
        return False
    count, *offsets = unpack("<16I", header)
    if not 1 <= count <= 15 or offsets[0] != RLE_HEADER or any(offsets[count:]):
        return False
    used = offsets[:count]
    return all(before < after for before, after in pairwise(used))


class _Place(Enum):
    BEFORE_START = auto()
    MARKERS = auto()
    SEGMENT = auto()
    DATA = auto()
    ENDED = auto()


class Codestream:
    """Decoder position in one JPEG, JPEG-LS or JPEG 2000 frame that is fed in parts, in order.

    Like decoders, it skips octets before a marker that are not entropy-coded.
    """

    def __init__(self) -> None:
        self._place = _Place.BEFORE_START
        self._in_data = _MARKER_IN_JPEG_DATA
        self._then = _Place.MARKERS
        self._left = 0
        self._carry = b""
        self.fed = 0
        """Number of octets fed."""
        self._surplus = 0
        self.length: int | None = None
        """Number of octets through the end marker; None before the end marker."""
        self._tile_part: tuple[int, int] | None = None
        self.misfit = 0
        """Actual minus declared octets of the first JPEG 2000 tile-part with a wrong length; else 0."""

    @property
    def in_entropy_coded_data(self) -> bool:
        """Whether the next octet belongs to entropy-coded data, where any octets may occur by chance."""
        return self._place is _Place.DATA

    @property
    def has_surplus(self) -> bool:
        """Whether the end marker is followed by anything other than padding.

        One octet of any value is padding: DCMTK's JPEG-LS encoder (seen in 3.6.7) leaves uninitialised memory there.
        """
        return self._surplus > 1

    def feed(self, part: bytes) -> None:
        """Process the next octets of the frame."""
        data = self._carry + part if self._carry else part
        self.fed += len(part)
        self._carry = b""
        at = 0
        while at < len(data):
            if self._place is _Place.ENDED:
                self._surplus += len(data[at:].strip(PADDING))
                return
            if self._place is _Place.SEGMENT:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                if not self._left:
                    self._place = self._then
                continue
            found = self._pattern().search(data, at)
            if found is None:
                # A marker, the start of a frame or a length may be cut: keep its possible first octets.
                keep = 3 if self._place is _Place.BEFORE_START else 1
                self._carry = data[max(at, len(data) - keep) :]
                return
            if self._place is _Place.BEFORE_START:
                is_jpeg_2000 = data[found.start() + 1] == _START_OF_CODESTREAM[1]
                self._in_data = _MARKER_IN_JPEG_2000_DATA if is_jpeg_2000 else _MARKER_IN_JPEG_DATA
                self._place = _Place.MARKERS
                at = found.start() + 2
                continue
            if not self._marker(data, found.start()):
                self._carry = data[found.start() :]
                return
            at = found.start() + (2 if data[found.start() + 1] in _WITHOUT_LENGTH else 4)

    def _pattern(self) -> re.Pattern[bytes]:
        if self._place is _Place.BEFORE_START:
            return _ANY_START
        return self._in_data if self._place is _Place.DATA else _MARKER

    def _marker(self, data: bytes, at: int) -> bool:
        """Process the marker at this offset; return False if its length is not complete yet."""
        code = data[at + 1]
        if code in (_SOT, _END) and not self._note_tile_part(data, at):
            return False
        if code in _WITHOUT_LENGTH:
            if code == _END:
                self._place = _Place.ENDED
                self.length = self.fed - len(data) + at + len(END_OF_IMAGE)
            elif code in (_SOD, _EPH):
                self._place = _Place.DATA
            return True
        if len(data) - at < 4:
            return False
        self._then = _Place.DATA if code in (_SOS, _SOP) else _Place.MARKERS
        self._left = max(0, int.from_bytes(data[at + 2 : at + 4], "big") - 2)
        self._place = _Place.SEGMENT if self._left else self._then
        return True

    def _note_tile_part(self, data: bytes, at: int) -> bool:
        """Check the length of the tile-part that ends here; return False if the next one's length is incomplete."""
        is_start = data[at + 1] == _SOT
        if is_start and len(data) - at < _SOT_LENGTH:
            return False
        start = self.fed - len(data) + at
        if self._tile_part is not None and not self.misfit:
            before, length = self._tile_part
            self.misfit = start - before - length if length else 0
        self._tile_part = (start, int.from_bytes(data[at + 6 : at + 10], "big")) if is_start else None
        return True
