"""What a walk yields, Data Elements and Items by their places, and the encodings that a MAC has for their headers."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from hsm_dicom.dataset.octets.source import Piece
from hsm_dicom.dataset.tags import Path
from hsm_dicom.dataset.vr import FORMS, SHORT

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM_TAG = b"\xfe\xff\x00\xe0"
SEQUENCE_DELIMITATION_TAG = b"\xfe\xff\xdd\xe0"

_SHORT_HEADER = Struct("<HH2sH")
_LONG_HEADER = Struct("<HH2sHI")


class Element(NamedTuple):
    """One Data Element of one level.

    ``start``, ``value`` and ``end`` are offsets of its first byte, of its value, and of the byte behind it (behind
    its delimiter, if it has one). ``vr`` is the VR in explicit VR little endian. ``pieces`` is its MAC byte stream
    where that is not one header and one span; it is empty where there were too many to keep (``Walker.stream`` makes
    them anew). ``has_un`` tells that it is, or holds at any depth, an element of VR UN; ``signable`` that neither
    that nor its tag bars it from signatures (PS3.3 C.12.1.1.3.1.1).
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
    """Where one Item of a sequence lies: its tag, its content, and the byte behind it with any delimiter."""

    start: int
    value: int
    content_end: int
    end: int


class EncapsulatedPlace(NamedTuple):
    """Where encapsulated Pixel Data lies: the place and first byte of its Data Set, then its element's bytes."""

    path: Path
    level_start: int
    start: int
    value: int
    end: int


def explicit_header(tag: int, vr: str, length: int | None) -> bytes:
    """The header of an element in explicit VR little endian; with ``length`` None, as the MAC has it for a sequence.

    A length beyond 16 bits is given only for VRs that have a 32-bit length field.
    """
    group, number = tag >> 16, tag & 0xFFFF
    if length is None:
        return _SHORT_HEADER.pack(group, number, vr.encode(), 0)
    if FORMS[vr] == SHORT:
        return _SHORT_HEADER.pack(group, number, vr.encode(), length)
    return _LONG_HEADER.pack(group, number, vr.encode(), 0, length)
