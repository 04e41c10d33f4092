"""The byte stream that DCMTK 3.6.7's dcmsign hashes: parts of nested sequences are missing from it.

PS3.3 C.12.1.1.3.1.2 has the whole content of sequences in the MAC. dcmsign encodes what it hashes into a buffer of
16,384 octets, and empties that into the hash when the next part does not fit. Inside a sequence that is nested in
another one, it loses its place when that happens. The rule was derived from `dcmsign --dump` over objects of many
shapes, and tests/interop/dcmsign/test_dcmtk_stream.py compares both anew:

1. A part is written where the buffer has room for it, else the buffer is emptied first. Room for 8 or 12 octets is
   needed for the header of an element (by its VR), 12 for that of a sequence or of encapsulated Pixel Data (8 are
   written), 4 for an Item tag or a Sequence Delimitation Item. A value is cut wherever the buffer is full.
2. The buffer goes on from one listed element to the next, and is empty before the signature's own Item.
3. When the buffer is emptied between the first Item tag and the end of the last Item of a sequence of the second level
   (one in an Item of a sequence that is listed), everything up to that sequence's delimiter is left out, deeper
   sequences included. The delimiter is written. Encapsulated Pixel Data does not count as a sequence here.

What is left out can be changed without dcmsign noticing. Other versions of DCMTK were not tried.
"""

from __future__ import annotations

from collections.abc import Set

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import SEQUENCE_DELIMITATION_TAG, Element, explicit_header
from hsm_dicom.dataset.octets.pieces import feed_pieces
from hsm_dicom.dataset.octets.source import Piece
from hsm_dicom.dataset.vr import SWAPPED_UNITS
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight
from hsm_dicom.signatures.mac import Update

BUFFER = 16384
"""Octets of dcmsign's buffer."""

_STRUCTURE = 8
"""Octets of the header of a sequence or of encapsulated Pixel Data, which has no length in a MAC."""

_LOSING_LEVEL = 2
"""The nesting of sequences at which the place is lost."""


def feed_as_dcmtk(file: DicomFile, level: DataSet, tags: Set[int], update: Update | None) -> int:
    """Give what dcmsign hashes of the listed elements to ``update``, and return how many octets it leaves out.

    With ``update`` None they are counted only. The signature's own Item comes behind it as in the standard's stream.
    """
    listed = [element for element in level.elements if element.tag in tags]
    nesting = [number for number, element in enumerate(listed) if _may_nest(element)]
    if update is None:
        listed = listed[: nesting[-1] + 1] if nesting else []
    stream = _Stream(file, update)
    for element in listed:
        stream.write(level, element)
    return stream.left_out


def can_leave_out(level: DataSet, tags: Set[int], size: int) -> bool:
    """Return whether dcmsign may leave a part out of a stream of this many octets over the listed elements."""
    return size > BUFFER and any(_may_nest(element) for element in level.elements if element.tag in tags)


def count_left_out(file: DicomFile, level: DataSet, tags: Set[int], size: int) -> int:
    """Return how many octets dcmsign leaves out of the stream over the listed elements, which has ``size`` octets."""
    return feed_as_dcmtk(file, level, tags, None) if can_leave_out(level, tags, size) else 0


def describe_cut(left_out: int) -> Anomaly:
    """The anomaly of a signature that dcmsign made over a stream without so many octets."""
    return Anomaly(
        AnomalyCode.DCMTK_STREAM,
        Weight.DOUBT,
        f"it was made by DCMTK's dcmsign, and {left_out:,} octets of nested sequences are not protected",
        "dcmsign 3.6.7 leaves out what follows in a nested sequence when its buffer of 16,384 octets is full, and that "
        "may have been changed since. Compare it with the original, and sign that again with another program.",
    )


def _may_nest(element: Element) -> bool:
    """Whether the element may hold a sequence in a sequence; its pieces were dropped where there are too many."""
    return element.vr == "SQ" and (not element.pieces or element.pieces.count(SEQUENCE_DELIMITATION_TAG) > 1)


class _Stream:
    """dcmsign's buffer, and what went through it."""

    def __init__(self, file: DicomFile, update: Update | None) -> None:
        self._file = file
        self._update = update
        self._filled = 0
        self._open: list[bool] = []  # sequences, and encapsulated Pixel Data, that are being written
        self._depth = 0
        self._lost = False
        self.left_out = 0

    def write(self, level: DataSet, element: Element) -> None:
        """Write one element of the level that is signed."""
        if element.pieces is not None:
            feed_pieces(self._file, level, element, self._write_piece)
            return
        header = explicit_header(element.tag, element.vr, element.end - element.value)
        self._part(header, len(header))
        unit = SWAPPED_UNITS.get(element.vr, 1) if self._file.syntax.big_endian else 1
        self._value(element.value, element.end, unit)

    def _write_piece(self, piece: Piece) -> None:
        if not isinstance(piece, bytes):
            self._value(*piece)
        elif piece == SEQUENCE_DELIMITATION_TAG:
            self._end()
            self._part(piece, 4)
        elif len(piece) == _STRUCTURE and piece[4:6] in (b"SQ", b"OB"):  # any other OB has a header of 12 octets
            self._part(piece, 12)
            self._open.append(piece[4:6] == b"SQ")
            self._depth += self._open[-1]
        else:
            self._part(piece, len(piece))

    def _end(self) -> None:
        if self._open.pop():
            if self._depth == _LOSING_LEVEL:
                self._lost = False
            self._depth -= 1

    def _part(self, data: bytes, room: int) -> None:
        """Write a header, an Item tag or a delimiter, which is never cut."""
        if not self._lost and BUFFER - self._filled < room:
            self._empty()
        if self._lost:
            self.left_out += len(data)
            return
        self._filled += len(data)
        if self._update is not None:
            self._update(data)

    def _value(self, start: int, end: int, unit: int) -> None:
        """Write a value, up to where the place is lost."""
        room = BUFFER - self._filled
        size = end - start
        if self._lost:
            self.left_out += size
        elif size <= room:
            self._filled += size
            self._feed(start, end, unit)
        elif self._depth < _LOSING_LEVEL:
            self._filled = (size - room - 1) % BUFFER + 1
            self._feed(start, end, unit)
        else:
            self._empty()
            self.left_out += size - room
            self._feed_head(start, room, unit)

    def _empty(self) -> None:
        self._filled = 0
        self._lost = self._depth >= _LOSING_LEVEL

    def _feed(self, start: int, end: int, unit: int) -> None:
        if self._update is not None:
            self._file.source.feed([(start, end, unit)], self._update)

    def _feed_head(self, start: int, size: int, unit: int) -> None:
        """Feed the first octets of a value, which may end within one of its units."""
        whole, rest = start + size // unit * unit, size % unit
        self._feed(start, whole, unit)
        if rest and self._update is not None:
            self._update(self._file.source.read(whole, whole + unit)[::-1][:rest])
