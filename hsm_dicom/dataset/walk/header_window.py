"""The bytes around the position of a walk, and fields of headers in them (PS3.5 7.1.2, 7.5)."""

from __future__ import annotations

from struct import Struct

from hsm_dicom.dataset.octets.source import Source
from hsm_dicom.dataset.transfer_syntax import TransferSyntax
from hsm_dicom.dataset.walk.refusals import Refusals

LONGEST_HEADER = 12
"""Octets of an element's header with a 32-bit length behind an explicit VR."""


class HeaderWindow(Refusals):
    """A part of the source: ``buffer``, which begins at the offset ``base``.

    It contains the complete header of an element at an offset up to ``refill_at``. Call ``load`` for later offsets.
    """

    def __init__(self, source: Source, syntax: TransferSyntax) -> None:
        super().__init__(source)
        order = ">" if syntax.big_endian else "<"
        self.unpack_header = Struct(order + ("HHI" if syntax.implicit_vr else "HH2sH")).unpack_from
        self._unpack_item_header = Struct(order + "HHI").unpack_from
        self._unpack_u32 = Struct(order + "I").unpack_from
        self.buffer = b""
        self.base = 0
        self.refill_at = -1

    def load(self, pos: int) -> None:
        """Read the part of the source that begins at this offset."""
        self.buffer, self.base = self._source.window(pos)
        end = self.base + len(self.buffer)
        self.refill_at = end - LONGEST_HEADER if end < self._source.size else end

    def item_header(self, pos: int, end: int) -> tuple[int, int]:
        """Return tag and length of the Item or delimiter at this offset."""
        if end - pos < 8:
            self._fail(pos, None, "an Item's header is cut short; the file is truncated or corrupt.")
        if pos > self.refill_at:
            self.load(pos)
        group, number, length = self._unpack_item_header(self.buffer, pos - self.base)
        return group << 16 | number, length

    def long_length(self, pos: int, tag: int, reserved: int, end: int) -> int:
        """Return the 32-bit length of the element at this offset. ``reserved`` is the field behind its VR."""
        if reserved:
            self._fail(pos, tag, "the reserved bytes behind its VR are not zero, as PS3.5 7.1.2 demands.")
        if pos + LONGEST_HEADER > end:
            self._fail(pos, tag, "the file ends inside its header; it is truncated.")
        return self.u32(pos + 8)

    def u32(self, pos: int) -> int:
        """Return the 32-bit number at this offset, which must be in the buffer."""
        number: int = self._unpack_u32(self.buffer, pos - self.base)[0]
        return number
