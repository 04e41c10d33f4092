"""Grounds about elements that a signature does not cover, for "questionable" and for "valid, but"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hsm_dicom.config.policy_sections import Part
from hsm_dicom.dataset.tags import SPECIFIC_CHARACTER_SET, format_path, format_tag, is_private, tag_name
from hsm_dicom.signatures.coverage.parts import CONTENT, GEOMETRY, GRAVEST, SEEN, is_of_picture, is_relied_on
from hsm_dicom.signatures.coverage.shares import Coverage, Share
from hsm_dicom.signatures.integrity import VerifiedSignature
from hsm_dicom.signatures.profiles.rules import SOP_INSTANCE_UID
from hsm_dicom.validation.result import Cause, Ground

NAMED = 3
"""The number of elements that a clause lists; it counts the others."""

_ADDED_OR_LEFT_OUT = "They were left out when it was made, or added since; anyone may have written them."


def find_coverage_questions(signature: VerifiedSignature) -> Iterator[Ground]:
    """Yield which of picture, geometry, content and identity are not covered.

    Readers rely on these, so each makes an intact signature by a trusted signer questionable.
    """
    covers = signature.coverage
    if covers is None:
        return
    if covers.pixel_data is Share.NOT_COVERED:
        yield Ground(
            Cause.PIXEL_DATA_OPEN,
            "the pixel data is not covered",
            "The picture may be another one than the signer had.",
        )
    elif covers.picture is Share.NOT_COVERED:
        yield Ground(
            Cause.PICTURE_OPEN,
            f"the picture is not covered: {_list_gravest_first(covers.list_uncovered(is_of_picture))}",
            "The same pixel data can be made to show another picture: turned, cut, inverted, or with something drawn "
            "over it.",
        )
    if covers.geometry is Share.NOT_COVERED:
        yield Ground(
            Cause.GEOMETRY_OPEN,
            f"the geometry is not covered: {_list_gravest_first(covers.list_uncovered(GEOMETRY.__contains__))}",
            "What is measured, which side is shown, or which values are visible may be different.",
        )
    if covers.content is Share.NOT_COVERED:
        yield Ground(
            Cause.CONTENT_OPEN,
            f"the content is not covered: {list_names(covers.list_uncovered(CONTENT.__contains__))}",
            "The object's content may differ from what the signer saw.",
        )
    uncovered = [name for name, share in covers.identity if share is Share.NOT_COVERED]
    if uncovered:
        yield Ground(
            Cause.IDENTITY_OPEN,
            f"the identity of the {_list_words(uncovered)} is not covered",
            "The object may belong to another patient, study or series.",
        )


def find_coverage_cautions(signature: VerifiedSignature) -> Iterator[Ground]:
    """Yield what else can be changed without breaking this signature, the gravest first."""
    covers = signature.coverage
    if covers is None:
        return
    if signature.place:
        yield Ground(
            Cause.ITEM_ONLY,
            f"it covers the Item {format_path(signature.place)} only, not the object",
            "Only a signature over the main Data Set protects the whole object.",
        )
    if covers.character_set_open:
        yield Ground(
            Cause.CHARACTER_SET_OPEN,
            "Specific Character Set is not covered while text is",
            "The same bytes can be made to read as other letters.",
        )
    seen = covers.list_uncovered(SEEN.__contains__)
    if seen:
        kind = "that changes what is seen or measured", "that change what is seen or measured"
        yield Ground(
            Cause.SEEN_OPEN,
            _describe_uncovered(seen, f"element {kind[0]}", f"elements {kind[1]}"),
            _ADDED_OR_LEFT_OUT,
        )
    yield from _open_elements(covers)


def _open_elements(covers: Coverage) -> Iterator[Ground]:
    private = covers.private_open
    if private:
        yield Ground(
            Cause.PRIVATE_OPEN,
            _describe_uncovered(private, "private element", "private elements"),
            _ADDED_OR_LEFT_OUT,
        )
    unsignable = [tag for tag in covers.unsignable if not is_private(tag)]
    if unsignable:
        yield Ground(
            Cause.UNKNOWN_VR_OPEN,
            _describe_uncovered(unsignable, "element of unknown VR", "elements of unknown VR"),
            "No signature can cover what is UN, or has UN inside (PS3.3 C.12.1.1.3.1.1).",
        )
    others = [tag for tag in covers.open if not _has_own_ground(tag, covers) and not is_private(tag)]
    if others:
        yield Ground(
            Cause.ELEMENTS_OPEN,
            _describe_uncovered(others, "element", "elements"),
            _ADDED_OR_LEFT_OUT,
        )


def _has_own_ground(tag: int, covers: Coverage) -> bool:
    """Return whether another ground is about this element if it is not covered."""
    if tag == SPECIFIC_CHARACTER_SET:
        return covers.character_set_open
    return tag in SEEN or is_relied_on(tag)


def is_part_covered(covers: Coverage, part: Part) -> bool:
    """Return whether a signature covers a part that the policy requires.

    A part that the object does not have counts as covered, except the SOP Instance UID, which must be there.
    """
    match part:
        case Part.PIXEL_DATA:
            return covers.picture is not Share.NOT_COVERED
        case Part.GEOMETRY:
            return covers.geometry is not Share.NOT_COVERED
        case Part.CONTENT:
            return covers.content is not Share.NOT_COVERED
        case Part.IDENTITY:
            identity = all(share is not Share.NOT_COVERED for _, share in covers.identity)
            return SOP_INSTANCE_UID in covers.signed and identity


def list_names(tags: Sequence[int], limit: int = NAMED) -> str:
    """Return the first tags, by keyword if PS3.6 has one, and the number of the others."""
    shown = [format_tag(tag) if is_private(tag) else tag_name(tag) or format_tag(tag) for tag in tags[:limit]]
    more = len(tags) - limit
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _list_gravest_first(tags: Sequence[int]) -> str:
    return list_names([tag for tag in GRAVEST if tag in tags] + [tag for tag in tags if tag not in GRAVEST])


def _describe_uncovered(tags: Sequence[int], one: str, many: str) -> str:
    counted = f"1 {one} is" if len(tags) == 1 else f"{len(tags)} {many} are"
    return f"{counted} not covered: {list_names(tags)}"


def _list_words(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
