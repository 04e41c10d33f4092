"""Byte stream that DCMTK 3.6.7's dcmsign hashes, which lacks parts of nested sequences.

PS3.3 C.12.1.1.3.1.2 includes the whole content of sequences in the MAC. dcmsign encodes the data to hash into a buffer
of 16,384 octets, and empties the buffer into the hash when the next part does not fit. If that happens inside a nested
sequence, dcmsign loses its position. The rule was derived from `dcmsign --dump` over objects of many shapes;
tests/interop/dcmsign/test_dcmtk_stream.py checks it:

1. If the buffer has no room for a part, dcmsign empties it before it writes the part. The header of an element needs
   8 or 12 octets (by its VR), that of a sequence or of encapsulated Pixel Data 12 (8 are written), an Item tag or a
   Sequence Delimitation Item 4. A value is cut wherever the buffer is full.
2. The buffer is kept from one listed element to the next, and is empty before the signature's own Item.
3. When the buffer is emptied between the first Item tag and the end of the last Item of a sequence of the second level
   (a sequence in an Item of a listed sequence), everything up to that sequence's delimiter is left out, including
   deeper sequences. The delimiter is written. Encapsulated Pixel Data does not count as a sequence here.

dcmsign does not detect changes to the octets left out. Other versions of DCMTK were not tested.
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
"""Size of dcmsign's buffer in octets."""

_STRUCTURE = 8
"""Octets in the header of a sequence or of encapsulated Pixel Data, which has no length in a MAC."""

_LOSING_LEVEL = 2
"""Nesting level of sequences at which dcmsign loses its position."""


def feed_as_dcmtk(file: DicomFile, level: DataSet, tags: Set[int], update: Update | None) -> int:
    """Pass the octets of the listed elements that dcmsign hashes to ``update``, and return how many it leaves out.

    ``update`` None only counts them. The signature's own Item follows as in the standard's stream.
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
    """Return whether dcmsign may leave out part of a stream of ``size`` octets over the listed elements."""
    return size > BUFFER and any(_may_nest(e) for e in level.elements if e.vr == "SQ" and e.tag in tags)


def count_left_out(file: DicomFile, level: DataSet, tags: Set[int], size: int) -> int:
    """Return how many of the ``size`` octets of the stream over the listed elements dcmsign leaves out."""
    return feed_as_dcmtk(file, level, tags, None) if can_leave_out(level, tags, size) else 0


def describe_cut(left_out: int) -> Anomaly:
    """Return the anomaly of a signature by dcmsign over a stream that lacks ``left_out`` octets."""
    return Anomaly(
        AnomalyCode.DCMTK_STREAM,
        Weight.DOUBT,
        f"it was made by DCMTK's dcmsign, and {left_out:,} octets of nested sequences are not protected",
        "dcmsign 3.6.7 leaves out what follows in a nested sequence when its buffer of 16,384 octets is full, and that "
        "may have been changed since. Compare it with the original, and sign that again with another program.",
    )


def _may_nest(element: Element) -> bool:
    """Return whether the element may hold a nested sequence; it has no pieces if there were too many to keep."""
    return element.vr == "SQ" and (not element.pieces or element.pieces.count(SEQUENCE_DELIMITATION_TAG) > 1)


class _Stream:
    """State of dcmsign's buffer, with a count of the octets left out."""

    def __init__(self, file: DicomFile, update: Update | None) -> None:
        self._file = file
        self._update = update
        self._filled = 0
        self._open: list[bool] = []  # open structures: True for a sequence, False for Pixel Data
        self._depth = 0
        self._lost = False
        self.left_out = 0

    def write(self, level: DataSet, element: Element) -> None:
        """Write one element of the signed level."""
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
        """Write a header, an Item tag or a delimiter; these are never cut."""
        if not self._lost and BUFFER - self._filled < room:
            self._empty()
        if self._lost:
            self.left_out += len(data)
            return
        self._filled += len(data)
        if self._update is not None:
            self._update(data)

    def _value(self, start: int, end: int, unit: int) -> None:
        """Write a value up to the octet at which dcmsign loses its position."""
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
        """Feed the first ``size`` octets of a value, which may end inside a unit of ``unit`` octets."""
        whole, rest = start + size // unit * unit, size % unit
        self._feed(start, whole, unit)
        if rest and self._update is not None:
            self._update(self._file.source.read(whole, whole + unit)[::-1][:rest])
