"""Remove signatures from a file, and add a time stamp to one.

A MAC Parameters Item goes with the last signature that refers to it, a sequence with its last Item; no other byte
changes but the lengths of what encloses them. Signatures in Original Attributes Sequence are history and stay.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import UNDEFINED_LENGTH
from hsm_dicom.dataset.encode import NewElement, encode_element
from hsm_dicom.dataset.rewrite import Edit, write_edited
from hsm_dicom.dataset.tags import DIGITAL_SIGNATURES_SEQUENCE, MAC_PARAMETERS_SEQUENCE, is_historic
from hsm_dicom.signatures import attributes as a
from hsm_dicom.signatures.creation.insert import grow
from hsm_dicom.signatures.errors import NoSuchSignatureError, SignatureError
from hsm_dicom.signatures.read import SignatureItem, read_mac_id_number, read_signature_items
from hsm_dicom.signatures.unquestioned import require_unquestioned

StrPath = str | os.PathLike[str]


def remove(path: StrPath, uids: Collection[str], output: StrPath | None, *, overwrite: bool = False) -> tuple[str, ...]:
    """Remove the signatures with these Digital Signature UIDs; ``output`` None works in place.

    Returns the UIDs removed. Raises NoSuchSignatureError, which lists the missing ones, QuestionedObjectError, and
    DicomFileError; nothing is written then. Raises TypeError for one UID instead of a list.
    """
    if isinstance(uids, str):
        raise TypeError("uids must be a list of Digital Signature UIDs, not str.")
    with DicomFile.open(path) as file:
        require_unquestioned(file)
        items = [item for item in read_signature_items(file) if not item.historic]
        missing = set(uids) - {item.uid for item in items}
        if missing:
            raise NoSuchSignatureError(f"{file.name}: there is no signature {', '.join(sorted(missing))}.")
        chosen = [item for item in items if item.uid in uids]
        write_edited(file, make_removal_edits(file, chosen), output, overwrite=overwrite)
        return tuple(item.uid for item in chosen)


def make_removal_edits(file: DicomFile, chosen: Collection[SignatureItem]) -> list[Edit]:
    """Return the edits that remove these signatures, none of them historic, from the file."""
    items = [item for item in read_signature_items(file) if not item.historic]
    changes = _Changes(file)
    for level in {item.level.path: item.level for item in chosen}.values():
        gone = {item.number for item in chosen if item.level.path == level.path}
        staying = [item for item in items if item.level.path == level.path and item.number not in gone]
        unused = {item.mac_id for item in chosen if item.level.path == level.path}
        unused -= {item.mac_id for item in staying} | {None}
        changes.drop(level, DIGITAL_SIGNATURES_SEQUENCE, gone)
        changes.drop(level, MAC_PARAMETERS_SEQUENCE, _with_mac_ids(file, level, unused))
    return changes.edits()


def remove_all(path: StrPath, output: StrPath | None, *, overwrite: bool = False) -> tuple[str, ...]:
    """Remove all signatures and MAC Parameters at all levels, readable or not; return the UIDs removed.

    Raises NoSuchSignatureError if there are none, QuestionedObjectError, and DicomFileError.
    """
    with DicomFile.open(path) as file:
        require_unquestioned(file)
        changes = _Changes(file)
        for level in file.find_signed_levels():
            if not is_historic(level.path):
                changes.drop(level, DIGITAL_SIGNATURES_SEQUENCE, None)
                changes.drop(level, MAC_PARAMETERS_SEQUENCE, None)
        if not (edits := changes.edits()):
            raise NoSuchSignatureError(f"{file.name}: there is no signature to remove.")
        uids = tuple(item.uid for item in read_signature_items(file) if not item.historic)
        write_edited(file, edits, output, overwrite=overwrite)
        return uids


def add_timestamp(path: StrPath, uid: str, token: bytes, output: StrPath | None, *, overwrite: bool = False) -> None:
    """Store a TimeStampToken (RFC 3161, DER) over the value of Signature as Certified Timestamp of one signature.

    The caller must check that it is over that value. Raises NoSuchSignatureError, SignatureError if the
    signature has a timestamp already, QuestionedObjectError, and DicomFileError.
    """
    with DicomFile.open(path) as file:
        require_unquestioned(file)
        item = _find_signature(file, uid)
        if a.CERTIFIED_TIMESTAMP in item.item or a.CERTIFIED_TIMESTAMP_TYPE in item.item:
            raise SignatureError(f"{file.name}: signature {uid} has a time stamp already.")
        at = item.item.position_for(a.CERTIFIED_TIMESTAMP_TYPE)
        data = encode_element(NewElement(a.CERTIFIED_TIMESTAMP_TYPE, "CS", a.CMS_TIMESTAMP), file.syntax)
        data += encode_element(NewElement(a.CERTIFIED_TIMESTAMP, "OB", token), file.syntax)
        edits = [grow(file, field, len(data)) for field in file.length_fields(item.item.path)]
        write_edited(file, [Edit(at, at, data), *edits], output, overwrite=overwrite)


def _find_signature(file: DicomFile, uid: str) -> SignatureItem:
    found = [item for item in read_signature_items(file) if item.uid == uid and not item.historic]
    if len(found) != 1:
        problem = "there is no signature" if not found else f"{len(found)} signatures have the UID"
        raise NoSuchSignatureError(f"{file.name}: {problem} {uid}.")
    return found[0]


def _with_mac_ids(file: DicomFile, level: DataSet, mac_ids: Collection[int | None]) -> set[int]:
    """Numbers of the MAC Parameters Items that have one of these MAC IDs."""
    sequence = level.get(MAC_PARAMETERS_SEQUENCE)
    if sequence is None or sequence.vr != "SQ":
        return set()
    items = file.data_sets(level, sequence)
    return {item.path[-1][1] for item in items if read_mac_id_number(file, item) in mac_ids}


class _Changes:
    """Spans to leave out, each with the length fields that count its bytes."""

    def __init__(self, file: DicomFile) -> None:
        self._file = file
        self._spans: dict[tuple[int, int], tuple[int, ...]] = {}

    def drop(self, level: DataSet, tag: int, numbers: Collection[int] | None) -> None:
        """Leave out the Items with these numbers, or the whole element where ``numbers`` is None or all of them."""
        sequence = level.get(tag)
        if sequence is None or (numbers is not None and not numbers):
            return
        items = self._file.items(level, sequence) if sequence.vr == "SQ" else []
        fields = self._file.length_fields(level.path)
        group_length = level.get(tag & 0xFFFF0000)
        if group_length is not None:
            fields += (group_length.value,)
        if numbers is None or len(numbers) == len(items):
            self._spans[sequence.start, sequence.end] = fields
            return
        length = sequence.value - 4
        if self._file.number(self._file.source.read(length, length + 4)) != UNDEFINED_LENGTH:
            fields += (length,)
        for number in numbers:
            self._spans[items[number].start, items[number].end] = fields

    def edits(self) -> list[Edit]:
        """What to write; spans inside other spans go with these."""
        outermost = {
            (start, end): fields
            for (start, end), fields in self._spans.items()
            if not any(s <= start and end <= e and (s, e) != (start, end) for s, e in self._spans)
        }
        shrinking: dict[int, int] = {}
        for (start, end), fields in outermost.items():
            for length_field in fields:
                shrinking[length_field] = shrinking.get(length_field, 0) + start - end
        edits = [Edit(start, end, b"") for start, end in outermost]
        return edits + [grow(self._file, length_field, by) for length_field, by in shrinking.items()]
