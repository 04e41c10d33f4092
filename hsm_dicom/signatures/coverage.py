"""What a signature covers and what it leaves open: computed from the walk that its hash was computed from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from hsm_dicom.dataset.dicom_file import DataSet
from hsm_dicom.dataset.element import ITEM_TAG, Element
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    MAC_PARAMETERS_SEQUENCE,
    PIXEL_DATA,
    SPECIFIC_CHARACTER_SET,
    is_private,
)
from hsm_dicom.dataset.vr import TEXT

PIXEL_TAGS = frozenset((PIXEL_DATA, 0x7FE00008, 0x7FE00009))
"""Pixel Data, Float Pixel Data, Double Float Pixel Data."""

IDENTITY = {
    "patient": (0x00100010, 0x00100020, 0x00100021, 0x00100030),
    "study": (0x0020000D,),
    "series": (0x0020000E,),
    "SOP instance": (0x00080016, 0x00080018),
}
"""Attributes that say whose and which object this is; each group counts as covered when all that is there is."""

_OF_SIGNATURES = (MAC_PARAMETERS_SEQUENCE, DIGITAL_SIGNATURES_SEQUENCE)


class Share(Enum):
    """How a part of the object stands to a signature."""

    COVERED = "covered"
    NOT_COVERED = "not covered"
    EMPTY = "covered, but empty"
    ABSENT = "absent"


@dataclass(frozen=True)
class Coverage:
    """What one signature covers of the Data Set that it is in; tags ascend.

    ``open`` are elements that could have been signed but are not: left out when it was made, or added since.
    ``unsignable`` are elements that no signature can cover (UN, or a sequence with UN inside). Signatures themselves,
    group lengths and trailing padding are in neither list. ``missing`` were signed and are not there any more.
    """

    signed: tuple[int, ...]
    open: tuple[int, ...]
    unsignable: tuple[int, ...]
    missing: tuple[int, ...]
    pixel_data: Share
    identity: tuple[tuple[str, Share], ...]
    private_open: tuple[int, ...]
    character_set_open: bool
    """Text is signed but Specific Character Set is not: the same bytes can be made to read differently."""


def coverage(level: DataSet, listed: frozenset[int]) -> Coverage:
    """Sort the elements of a level by what a signature over the listed tags says about them."""
    signed = tuple(sorted(listed & level.signable_tags))
    left_open = tuple(sorted(level.signable_tags - listed))
    unsignable = tuple(e.tag for e in level.elements if e.has_un and e.tag not in _OF_SIGNATURES)
    # The character set of an Item without its own is that of the Data Set around it, which is outside as well.
    has_character_set = SPECIFIC_CHARACTER_SET in level or level.path != ()
    return Coverage(
        signed=signed,
        open=left_open,
        unsignable=unsignable,
        missing=tuple(sorted(listed - level.by_tag.keys())),
        pixel_data=_share(level, PIXEL_TAGS, listed),
        identity=tuple((name, _share(level, tags, listed)) for name, tags in IDENTITY.items()),
        private_open=tuple(sorted(filter(is_private, left_open + unsignable))),
        character_set_open=SPECIFIC_CHARACTER_SET not in listed
        and has_character_set
        and any(level[tag].vr in TEXT or level[tag].vr == "SQ" for tag in signed),
    )


def _share(level: DataSet, tags: frozenset[int] | tuple[int, ...], listed: frozenset[int]) -> Share:
    present = [element for tag in tags if (element := level.get(tag)) is not None]
    if not present:
        return Share.ABSENT
    if any(element.tag not in listed or not element.signable for element in present):
        return Share.NOT_COVERED
    return Share.EMPTY if all(map(is_empty, present)) else Share.COVERED


def is_empty(element: Element) -> bool:
    """Whether the value has no bytes; an encapsulated one counts as empty without a fragment behind its table."""
    if element.pieces is None:
        return element.end == element.value
    if ITEM_TAG not in element.pieces:  # a sequence without Items is a value; too many pieces to keep are one, too
        return False
    behind_table = element.pieces[element.pieces.index(ITEM_TAG) + 2 :]
    return all(isinstance(piece, bytes) or piece[0] == piece[1] for piece in behind_table)
