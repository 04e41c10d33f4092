"""Tags: their names, how people write them, and which of them may never be signed (PS3.3 C.12.1.1.3.1.1).

A tag is an ``int`` of 32 bits, group in the upper half. An Item's place is an ``ItemPath``: pairs of sequence tag and
Item number (from 0), outermost first; the main Data Set is the empty path.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeAlias

from hsm_dicom.errors import DicomError

ItemPath: TypeAlias = tuple[tuple[int, int], ...]

ITEM = 0xFFFEE000
ITEM_DELIMITATION = 0xFFFEE00D
SEQUENCE_DELIMITATION = 0xFFFEE0DD

LENGTH_TO_END = 0x00080001
SPECIFIC_CHARACTER_SET = 0x00080005
NUMBER_OF_FRAMES = 0x00280008
ORIGINAL_ATTRIBUTES_SEQUENCE = 0x04000561
MAC_PARAMETERS_SEQUENCE = 0x4FFE0001
PIXEL_DATA = 0x7FE00010
DIGITAL_SIGNATURES_SEQUENCE = 0xFFFAFFFA
DATA_SET_TRAILING_PADDING = 0xFFFCFFFC

_NUMERIC = re.compile(r"\(?\s*([0-9A-Fa-f]{4})\s*,?\s*([0-9A-Fa-f]{4})\s*\)?")
_STEP = re.compile(r"(?P<tag>[^\[\]]+)\[(?P<item>\d{1,9})\]")


class TagError(DicomError):
    """A tag, keyword or Item place that a person wrote could not be understood."""


def never_signable(tag: int) -> bool:
    """Return whether PS3.3 C.12.1.1.3.1.1 excludes this tag from every signature, whatever its VR and value."""
    group = tag >> 16
    return (
        tag & 0xFFFF == 0
        or group < 0x0008
        or group in (0xFFFA, 0xFFFE)
        or tag in (LENGTH_TO_END, MAC_PARAMETERS_SEQUENCE, DATA_SET_TRAILING_PADDING)
    )


def is_private(tag: int) -> bool:
    """Return whether the tag belongs to an odd group (PS3.5 7.8)."""
    return bool(tag & 0x10000)


def is_historic(path: ItemPath) -> bool:
    """Return whether an Item is in an Original Attributes Sequence, and so describes an earlier state of the object."""
    return any(tag == ORIGINAL_ATTRIBUTES_SEQUENCE for tag, _ in path)


def format_tag(tag: int) -> str:
    """Return a tag as text, such as ``(0010,0010)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=4096)
def tag_name(tag: int) -> str:
    """Return the keyword of PS3.6, ``private`` for a private tag, else an empty string."""
    from pydicom.datadict import keyword_for_tag  # costs a fifth of a second, so not at import

    if is_private(tag):
        return "private"
    return keyword_for_tag(tag)


def describe_tag(tag: int) -> str:
    """Return a tag with its keyword, as ``(0010,0010) PatientName``, or the tag alone where PS3.6 has no keyword."""
    name = tag_name(tag)
    return f"{format_tag(tag)} {name}" if name else format_tag(tag)


def name_element(path: ItemPath, tag: int) -> str:
    """Return the place of an element: ``ContentSequence[0].TextValue``, with the number where PS3.6 has no keyword."""
    name = format_tag(tag) if is_private(tag) else tag_name(tag) or format_tag(tag)
    return f"{format_path(path)}.{name}" if path else name


def parse_tag(text: str) -> int:
    """Read ``0010,0010``, ``(0010,0010)``, ``00100010`` or a keyword of PS3.6 such as ``PatientName``."""
    numeric = _NUMERIC.fullmatch(text.strip())
    if numeric:
        return int(numeric[1] + numeric[2], 16)
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(text.strip())
    if tag is None:
        raise TagError(f"{text!r} is neither a tag such as 0010,0010 nor a keyword of PS3.6 such as PatientName.")
    return int(tag)


def parse_path(text: str) -> ItemPath:
    """Read the place of an Item, such as ``ReferencedImageSequence[0]`` or ``0040,A730[2].0040,A730[0]``."""
    path = []
    for step in text.split("."):
        match = _STEP.fullmatch(step.strip())
        if match is None:
            raise TagError(
                f"{text!r} does not name an Item: write a sequence and the number of its Item from 0, "
                "such as ReferencedImageSequence[0], with a dot between levels."
            )
        path.append((parse_tag(match["tag"]), int(match["item"])))
    return tuple(path)


def format_path(path: ItemPath) -> str:
    """Return the place of an Item in the form that :func:`parse_path` reads; the main Data Set is an empty string."""
    return ".".join(f"{tag_name(tag) or format_tag(tag)}[{item}]" for tag, item in path)
