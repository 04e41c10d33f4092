"""Values for display, decoded from the bytes of the walk (PS3.5 6.1, 6.2)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.tags import SPECIFIC_CHARACTER_SET
from hsm_dicom.dataset.vr import TEXT


@dataclass(frozen=True)
class ObjectIdentity:
    """Whose and which object this is; absent attributes are empty."""

    patient_name: str = ""
    patient_id: str = ""
    patient_birth_date: str = ""
    study_date: str = ""
    modality: str = ""
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


_IDENTITY_TAGS = {
    "patient_name": 0x00100010,
    "patient_id": 0x00100020,
    "patient_birth_date": 0x00100030,
    "study_date": 0x00080020,
    "modality": 0x00080060,
    "study_instance_uid": 0x0020000D,
    "series_instance_uid": 0x0020000E,
    "sop_class_uid": 0x00080016,
    "sop_instance_uid": 0x00080018,
}

LARGEST_TEXT = 1024

_TEXT_DELIMITERS = {ord(character) for character in "\n\f\r\t\\"}
_PERSON_NAME_DELIMITERS = _TEXT_DELIMITERS | {ord(character) for character in "^="}


def read_identity(file: DicomFile) -> ObjectIdentity:
    """Decode the identifying attributes of the main Data Set."""
    return ObjectIdentity(**{name: read_text(file, file.main, tag) for name, tag in _IDENTITY_TAGS.items()})


def read_text(file: DicomFile, level: DataSet, tag: int) -> str:
    """Return a string value as text, without padding; empty for values over LARGEST_TEXT bytes and for other VRs.

    Bytes that are not in the character set become U+FFFD.
    """
    element = level.get(tag)
    if element is None or element.pieces is not None or element.end - element.value > LARGEST_TEXT:
        return ""
    value = file.value(element).rstrip(b"\0 ")
    if element.vr not in TEXT or (value.isascii() and b"\x1b" not in value):
        return value.decode("ascii", "replace")
    from pydicom.charset import decode_bytes, python_encoding

    terms = [term.strip() for term in _character_sets(file, level).split("\\")]
    encodings = [python_encoding.get(term, "iso8859") for term in terms]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode_bytes(value, encodings, _PERSON_NAME_DELIMITERS if element.vr == "PN" else _TEXT_DELIMITERS)


def _character_sets(file: DicomFile, level: DataSet) -> str:
    element = level.get(SPECIFIC_CHARACTER_SET) or file.main.get(SPECIFIC_CHARACTER_SET)
    if element is None or element.end - element.value > LARGEST_TEXT:
        return ""
    return file.value(element).decode("ascii", "replace")
