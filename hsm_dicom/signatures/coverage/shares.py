"""Signed and unsigned shares of an object, computed from the same walk as the hash of the signature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from hsm_dicom.dataset.dicom_file import DataSet
from hsm_dicom.dataset.element import ITEM_TAG, Element
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    MAC_PARAMETERS_SEQUENCE,
    SPECIFIC_CHARACTER_SET,
    is_private,
)
from hsm_dicom.dataset.vr import TEXT
from hsm_dicom.signatures.coverage.parts import CONTENT, GEOMETRY, IDENTITY, PIXEL_DATA_TAGS, is_of_picture

_OF_SIGNATURES = (MAC_PARAMETERS_SEQUENCE, DIGITAL_SIGNATURES_SEQUENCE)


class Share(Enum):
    """Whether a signature covers a part of the object."""

    COVERED = "covered"
    NOT_COVERED = "not covered"
    EMPTY = "covered, but empty"
    ABSENT = "absent"


@dataclass(frozen=True)
class Coverage:
    """Coverage of a Data Set by one of its signatures; tags ascend.

    ``open`` are signable elements that are unsigned: left out at signing, or added later.
    ``unsignable`` are elements that no signature can cover (UN, or a sequence with UN inside). Signatures,
    group lengths and trailing padding are in neither list. ``missing`` are signed elements that no longer exist.
    """

    signed: tuple[int, ...]
    open: tuple[int, ...]
    unsignable: tuple[int, ...]
    missing: tuple[int, ...]
    pixel_data: Share
    """Pixel Data itself."""
    picture: Share
    """Pixel Data, the attributes that define how to read it, and overlays and curves."""
    geometry: Share
    """Spacing, orientation, position, rescale, VOI and modality LUT."""
    content: Share
    """Texts, documents, waveforms, contours, plans, presentations."""
    identity: tuple[tuple[str, Share], ...]
    private_open: tuple[int, ...]
    character_set_open: bool
    """Text is signed but Specific Character Set is not, so the same bytes can be displayed as other text."""

    def list_uncovered(self, belongs: Callable[[int], bool]) -> list[int]:
        """Return the tags of the present, uncovered elements for which ``belongs`` returns true."""
        return sorted(filter(belongs, self.open + self.unsignable))


def compute_coverage(level: DataSet, listed: frozenset[int]) -> Coverage:
    """Compute the coverage of a level by a signature over the listed tags."""
    signed = tuple(sorted(listed & level.signable_tags))
    left_open = tuple(sorted(level.signable_tags - listed))
    unsignable = tuple(e.tag for e in level.elements if e.has_un and e.tag not in _OF_SIGNATURES)
    # An Item without a character set uses that of the Data Set around it, which is unsigned as well.
    has_character_set = SPECIFIC_CHARACTER_SET in level or level.path != ()
    return Coverage(
        signed=signed,
        open=left_open,
        unsignable=unsignable,
        missing=tuple(sorted(listed - level.by_tag.keys())),
        pixel_data=_share(level, PIXEL_DATA_TAGS.__contains__, listed),
        picture=_share(level, is_of_picture, listed),
        geometry=_share(level, GEOMETRY.__contains__, listed),
        content=_share(level, CONTENT.__contains__, listed),
        identity=tuple((name, _share(level, tags.__contains__, listed)) for name, tags in IDENTITY.items()),
        private_open=tuple(sorted(filter(is_private, left_open + unsignable))),
        character_set_open=SPECIFIC_CHARACTER_SET not in listed
        and has_character_set
        and any(level[tag].vr in TEXT or level[tag].vr == "SQ" for tag in signed),
    )


def _share(level: DataSet, belongs: Callable[[int], bool], listed: frozenset[int]) -> Share:
    present = [element for element in level.elements if belongs(element.tag)]
    if not present:
        return Share.ABSENT
    if any(element.tag not in listed or not element.signable for element in present):
        return Share.NOT_COVERED
    return Share.EMPTY if all(map(is_empty, present)) else Share.COVERED


def is_empty(element: Element) -> bool:
    """Return whether the value has no bytes; an encapsulated value is empty if no fragment follows its table."""
    if element.pieces is None:
        return element.end == element.value
    if ITEM_TAG not in element.pieces:  # a sequence without Items is a value, as are too many pieces to keep
        return False
    behind_table = element.pieces[element.pieces.index(ITEM_TAG) + 2 :]
    return all(isinstance(piece, bytes) or piece[0] == piece[1] for piece in behind_table)
