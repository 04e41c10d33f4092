"""Insertion of a signature's two Items into a file: positions and length fields (PS3.3 C.12.1.1.3, PS3.5 7.5)."""

from __future__ import annotations

from typing import NamedTuple

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile, EncodedFile
from hsm_dicom.dataset.element import UNDEFINED_LENGTH
from hsm_dicom.dataset.encode import NewElement, NewItem, encode_element, encode_item
from hsm_dicom.dataset.errors import MalformedDataSetError
from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.dataset.tags import DIGITAL_SIGNATURES_SEQUENCE, MAC_PARAMETERS_SEQUENCE


class Slot(NamedTuple):
    """Position of a new Item: its offset, whether its sequence exists, and the length fields that count its bytes."""

    tag: int
    at: int
    exists: bool
    length_fields: tuple[int, ...]


class Insertion(NamedTuple):
    """Positions of both Items of a signature, and the length fields of enclosing structures that count both."""

    mac_parameters: Slot
    signatures: Slot
    length_fields: tuple[int, ...]


def find_insertion(file: DicomFile, level: DataSet) -> Insertion:
    """Find the positions for a new signature in this Data Set."""
    return Insertion(
        _slot(file, level, MAC_PARAMETERS_SEQUENCE),
        _slot(file, level, DIGITAL_SIGNATURES_SEQUENCE),
        file.length_fields(level.path),
    )


def make_insertion_edits(file: EncodedFile, where: Insertion, mac_item: NewItem, signature_item: NewItem) -> list[Edit]:
    """Return the edits that insert the two Items."""
    edits = []
    growth: dict[int, int] = {}
    total = 0
    for slot, item in ((where.mac_parameters, mac_item), (where.signatures, signature_item)):
        if slot.exists:
            data = encode_item(item, file.syntax)
        else:
            data = encode_element(NewElement(slot.tag, "SQ", (item,)), file.syntax)
        edits.append(Edit(slot.at, slot.at, data))
        total += len(data)
        for field in slot.length_fields:
            growth[field] = growth.get(field, 0) + len(data)
    for field in where.length_fields:
        growth[field] = growth.get(field, 0) + total
    return edits + [grow(file, field, by) for field, by in growth.items()]


def grow(file: EncodedFile, field: int, by: int) -> Edit:
    """Return the edit that adds ``by`` bytes to a 32-bit length field."""
    length = file.number(file.source.read(field, field + 4)) + by
    if not 0 <= length < UNDEFINED_LENGTH:
        raise MalformedDataSetError(file.name, field, None, f"a length of {length} bytes cannot be encoded here.")
    return Edit(field, field + 4, length.to_bytes(4, "big" if file.syntax.big_endian else "little"))


def _slot(file: DicomFile, level: DataSet, tag: int) -> Slot:
    sequence = level.get(tag)
    group_length = level.get(tag & 0xFFFF0000)
    fields = () if group_length is None else (group_length.value,)
    if sequence is None:
        return Slot(tag, level.position_for(tag), False, fields)
    if sequence.vr != "SQ":
        raise MalformedDataSetError(file.name, sequence.start, tag, f"it has VR {sequence.vr} instead of SQ.")
    field = sequence.value - 4
    if file.source.read(field, field + 4) == b"\xff\xff\xff\xff":
        return Slot(tag, sequence.end - 8, True, fields)
    return Slot(tag, sequence.end, True, (*fields, field))
