"""Selection of the elements that a signature covers, with reasons for refusals (PS3.3 C.12.1.1.3.1.1)."""

from __future__ import annotations

from collections.abc import Set

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    MAC_PARAMETERS_SEQUENCE,
    describe_tag,
    format_path,
    never_signable,
)
from hsm_dicom.signatures import attributes as a
from hsm_dicom.signatures.anomalies.fragments import find_frame_count_tags, require_unambiguous_fragments
from hsm_dicom.signatures.anomalies.level import require_item
from hsm_dicom.signatures.coverage.main_content import explain_unsignable
from hsm_dicom.signatures.coverage.parts import PIXEL_DATA_TAGS, is_relied_on
from hsm_dicom.signatures.coverage.shares import is_empty
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.errors import NotSignableError, ProfileError, UncoveredContentError
from hsm_dicom.signatures.profiles.rules import REQUIRED_IF_PRESENT, find_object_shortcomings, find_required_tags


def select_tags(file: DicomFile, level: DataSet, request: SigningRequest) -> tuple[int, ...]:
    """Return the tags of this level that the request signs, ascending.

    Raises ProfileError, NotSignableError, and UncoveredContentError if identity or content would stay unsigned.
    """
    shortcomings = find_object_shortcomings(request.profile, file, level)
    if shortcomings:
        raise ProfileError(f"{file.name}: not fit for profile {request.profile.value}. {' '.join(shortcomings)}")
    if request.tags is None:
        tags = level.signable_tags
    else:
        refused = [refusal for tag in request.tags if (refusal := _explain_refusal(file, level, tag))]
        if refused:
            raise NotSignableError(f"{file.name}: {'; '.join(refused)}.")
        tags = frozenset(request.tags) | find_required_tags(request.profile, level)
        tags |= find_frame_count_tags(level, tags)
    if not tags:
        raise NotSignableError(f"{file.name}: there is nothing that could be signed.")
    if len(tags) > a.MAX_TAGS:
        raise NotSignableError(
            f"{file.name}: {len(tags)} attributes are more than the {a.MAX_TAGS} that can be listed."
        )
    for tag in PIXEL_DATA_TAGS & tags:
        if is_empty(level[tag]):
            raise NotSignableError(f"{file.name}: {describe_tag(tag)} is empty; an image without pixels is not signed.")
    require_unambiguous_fragments(file, level.path, tags)
    require_item(file, level, tags)
    if not request.allow_uncovered and (uncovered := find_uncovered_tags(level, tags, request)):
        reasons = [f"{describe_tag(tag)}: {explain_unsignable(file, level, level[tag])}" for tag in uncovered]
        raise UncoveredContentError(f"{file.name}: its identity or content would not be covered. {'; '.join(reasons)}.")
    return tuple(sorted(tags))


def find_uncovered_tags(level: DataSet, signed: Set[int], request: SigningRequest) -> tuple[int, ...]:
    """Return the requested tags of the object's identity and content that the signature does not cover."""
    missing = level.by_tag.keys() - signed
    if request.tags is not None:
        missing &= REQUIRED_IF_PRESENT.get(request.profile, frozenset())
    return tuple(sorted(filter(is_relied_on, missing)))


def find_left_out_tags(level: DataSet, signed: Set[int]) -> tuple[int, ...]:
    """Return the unsigned elements of the level, except group lengths and signatures."""
    own = (MAC_PARAMETERS_SEQUENCE, DIGITAL_SIGNATURES_SEQUENCE)
    left_out = level.by_tag.keys() - signed - set(own)
    return tuple(sorted(tag for tag in left_out if tag & 0xFFFF))


def find_overpadded_tags(file: DicomFile, level: DataSet, signed: Set[int]) -> tuple[int, ...]:
    """Return the signed elements that are, or hold, strings with more padding than an even length needs."""
    depth = len(level.path)
    inside = ((*path, (tag, 0)) for path, tag in file.overpadded)
    found = {place[depth][0] for place in inside if place[:depth] == level.path}
    return tuple(sorted(found & signed))


def _explain_refusal(file: DicomFile, level: DataSet, tag: int) -> str:
    """Return why a requested tag cannot be signed, or an empty string if it can."""
    if never_signable(tag):
        return f"{describe_tag(tag)} may never be signed (PS3.3 C.12.1.1.3.1.1)"
    element = level.get(tag)
    if element is None:
        return f"{describe_tag(tag)} is not there" + (f" in {format_path(level.path)}" if level.path else "")
    if element.has_un:
        return f"{describe_tag(tag)} cannot be signed: {explain_unsignable(file, level, element)}"
    return ""
