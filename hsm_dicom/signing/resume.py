"""Find whether an earlier run signed a file, from source and target alone.

A run stores no state, so no state can contradict the files. A target is the result of an earlier run under two
conditions. Without the signatures that were added, it equals the source byte for byte. One added signature is intact
and matches the request: the same certificate, place, elements, MAC algorithm and purpose. (A profile determines only
elements and purpose.) A file that is signed in place has no source to compare; its signature proves that the covered
elements are unchanged.

Any other file at the target is a conflict: another object under the same name, an older or newer state of the source,
or a signature made for another request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.dataset.octets.source import CHUNK
from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.dataset.tags import format_path
from hsm_dicom.dataset.values import read_text
from hsm_dicom.signatures.algorithms import find_mac_algorithm
from hsm_dicom.signatures.amend import make_removal_edits
from hsm_dicom.signatures.anomalies.record import Weight
from hsm_dicom.signatures.creation.repair import open_signable
from hsm_dicom.signatures.creation.request import SigningRequest, choose_purpose
from hsm_dicom.signatures.creation.selection import select_tags
from hsm_dicom.signatures.errors import ResumeConflictError, SignedInPlaceError
from hsm_dicom.signatures.integrity import check_integrity
from hsm_dicom.signatures.profiles.rules import SOP_INSTANCE_UID
from hsm_dicom.signatures.read import SignatureItem, read_signature_items


def find_earlier_signature(
    source: str, target: str | None, request: SigningRequest, *, timestamped: bool = False
) -> str | None:
    """Return the UID of the signature that an earlier run made for this job; None if there is none.

    ``target`` None means that the file is signed in place. ``timestamped`` requires a signature with a time stamp.
    Raises ResumeConflictError if the target is not the result of this job, DicomFileError if the source cannot be read,
    and SignatureError if the source cannot be signed under the request.
    """
    if target is None:
        return _find_in_place(source, request, timestamped=timestamped)
    if not os.path.lexists(target):
        return None
    with open_signable(source, request.item, repair=request.repair, trim=request.trim_padding) as (original, _):
        try:
            with DicomFile.open(target) as result:
                added = _find_added(original, result)
                problem = _compare_objects(original, result, added)
                found, reason = _find_matching(original, added, request, timestamped=timestamped)
        except DicomFileError as error:
            raise _make_conflict(source, target, f"it cannot be read: {error.reason}") from None
    if problem or found is None:
        raise _make_conflict(source, target, problem or reason)
    if reason := _explain_broken(target, found):
        raise _make_conflict(source, target, reason)
    return found.uid


def _find_in_place(path: str, request: SigningRequest, *, timestamped: bool) -> str | None:
    with DicomFile.open(path) as file:
        own = [item for item in _current_signatures(file) if item.certificate == request.certificate_der]
        if not own:
            return None
        found, reason = _find_matching(file, own, request, timestamped=timestamped)
    reason = reason if found is None else _explain_broken(path, found)
    if found is None or reason:
        raise SignedInPlaceError(f"{path}: it has a signature by this certificate already, but {reason}.")
    return found.uid


def _make_conflict(source: str, target: str, reason: str) -> ResumeConflictError:
    return ResumeConflictError(
        f"{source}: {target} exists, but it is not this file as it would be signed now: {reason}. Nothing was changed."
    )


def _current_signatures(file: DicomFile) -> list[SignatureItem]:
    return [item for item in read_signature_items(file) if not item.historic]


def _find_added(original: DicomFile, result: DicomFile) -> list[SignatureItem]:
    before = {item.uid for item in _current_signatures(original)}
    return [item for item in _current_signatures(result) if item.uid and item.uid not in before]


def _compare_objects(original: DicomFile, result: DicomFile, added: Sequence[SignatureItem]) -> str:
    """Return how the result, without the added signatures, differs from the original; empty if they are equal."""
    wanted, there = (read_text(file, file.main, SOP_INSTANCE_UID) for file in (original, result))
    if wanted != there:
        return f"it is another object (SOP Instance UID {there or 'missing'} instead of {wanted or 'missing'})"
    if (original.syntax, original.head) != (result.syntax, result.head):
        return "its Transfer Syntax or File Meta Information differs from the source's"
    if not _is_same(original, result, make_removal_edits(result, added)):
        return "it is another state of the object: without its new signatures it differs from the source"
    return ""


def _is_same(original: DicomFile, result: DicomFile, edits: Iterable[Edit]) -> bool:
    """Return whether ``result`` with the edits equals ``original`` byte for byte (inflated, if they are deflated)."""
    size = result.source.size
    ordered = sorted(edits, key=attrgetter("start"))
    if size + sum(len(edit.data) - (edit.end - edit.start) for edit in ordered) != original.source.size:
        return False
    at = position = 0
    for edit in chain(ordered, [Edit(size, size, b"")]):
        while at < edit.start:
            end = min(edit.start, at + CHUNK)
            if result.source.read(at, end) != original.source.read(position, position + end - at):
                return False
            position += end - at
            at = end
        if edit.data != original.source.read(position, position + len(edit.data)):
            return False
        position += len(edit.data)
        at = edit.end
    return True


def _find_matching(
    file: DicomFile, added: Sequence[SignatureItem], request: SigningRequest, *, timestamped: bool
) -> tuple[SignatureItem | None, str]:
    """Return the signature that matches the request, or None and the reason."""
    reason = "it carries no new signature by this certificate"
    try:
        level = file.item(request.item)
    except KeyError as missing:
        return None, f"there is no Item {missing.args[0]}"
    tags = select_tags(file, level, request)
    for item in added:
        if item.certificate != request.certificate_der:
            continue
        reason = _compare_request(item, request, tags, timestamped=timestamped)
        if not reason:
            return item, ""
    return None, reason


def _compare_request(item: SignatureItem, request: SigningRequest, tags: tuple[int, ...], *, timestamped: bool) -> str:
    """Return how the signature differs from the request, as a clause; empty if it matches."""
    if item.mac is None:
        return f"its signature cannot be read ({item.defect})"
    if item.level.path != request.item:
        return f"its signature is of {format_path(item.level.path) or 'the whole object'}"
    if item.mac.algorithm != find_mac_algorithm(request.mac).term:
        return f"its signature was made with {item.mac.algorithm}"
    if item.mac.tags != tags:
        return f"its signature covers other elements ({len(item.mac.tags)} of them; it would be {len(tags)} now)"
    if item.purpose != choose_purpose(request):
        return f"its signature has another purpose ({item.purpose or 'none'})"
    if timestamped and item.timestamp is None:
        return "its signature has no time stamp"
    return ""


def _explain_broken(path: str, found: SignatureItem) -> str:
    for signature in check_integrity(path).signatures:
        if signature.uid == found.uid and signature.place == found.level.path:
            questions = [anomaly.clause for anomaly in signature.anomalies if anomaly.weight >= Weight.QUESTION]
            if signature.intact and questions:
                return f"it may not be what was signed: {'; '.join(questions)}"
            return "" if signature.intact else f"its signature is not intact: {signature.reason.rstrip('.')}"
    return "its signature is gone"
