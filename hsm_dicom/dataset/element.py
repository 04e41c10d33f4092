"""Results of a walk (positions of Data Elements and Items) and their header encodings in the MAC byte stream."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from hsm_dicom.dataset.octets.source import Piece
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.dataset.vr import FORMS, SHORT

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM_TAG = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITATION_TAG = b"\xfe\xff\xdd\xe0"

_SHORT_HEADER = Struct("<HH2sH")
_LONG_HEADER = Struct("<HH2sHI")


class Element(NamedTuple):
    """One Data Element of one level.

    ``start``, ``value`` and ``end`` are the offsets of its first byte, of its value, and of the byte after it (after
    its delimiter, if it has one). ``vr`` is the VR in explicit VR little endian. ``pieces`` is its MAC byte stream
    if that is more than one header and one span; it is empty if there were too many pieces to keep
    (``Walker.stream`` recreates them). ``has_un`` is True if it is, or contains at any depth, an element of VR UN.
    ``signable`` is True if neither a UN nor its tag excludes it from signatures (PS3.3 C.12.1.1.3.1.1).
    """

    tag: int
    vr: str
    start: int
    value: int
    end: int
    pieces: tuple[Piece, ...] | None
    has_un: bool
    signable: bool


class ItemBounds(NamedTuple):
    """Offsets of one Item of a sequence: its tag, its content, and the byte after it and its delimiter."""

    start: int
    value: int
    content_end: int
    end: int


class EncapsulatedPlace(NamedTuple):
    """Position of encapsulated Pixel Data: path and first byte of its Data Set, then offsets of its element."""

    path: ItemPath
    level_start: int
    start: int
    value: int
    end: int


def explicit_header(tag: int, vr: str, length: int | None) -> bytes:
    """Encode an element header in explicit VR little endian.

    With ``length`` None, the header is that of a sequence in the MAC byte stream. A length over 16 bits requires a VR
    with a 32-bit length field.
    """
    group, number = tag >> 16, tag & 0xFFFF
    if length is None:
        return _SHORT_HEADER.pack(group, number, vr.encode(), 0)
    if FORMS[vr] == SHORT:
        return _SHORT_HEADER.pack(group, number, vr.encode(), length)
    return _LONG_HEADER.pack(group, number, vr.encode(), 0, length)
