"""Level of a signature: over an object, or over an Item inside one.

The MAC stream of PS3.3 C.12.1.1.3.1.2 does not contain the place of its Data Set. The signature of an Item therefore
fits an object that consists of the Item's content. An object differs from most Items by the attributes that PS3.3
requires in every SOP instance: SOP Class UID and SOP Instance UID, which the File Meta Information repeats, and, if it
belongs to a study, Modality and Series Number. One of these two suffices, since some writers omit the other. An Item
that has all of these cannot be distinguished from an object, and this package does not sign it.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.tags import format_path, tag_name
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight
from hsm_dicom.signatures.errors import ItemLikeObjectError
from hsm_dicom.signatures.profiles.rules import SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID
from hsm_dicom.signatures.read import SignatureItem

MODALITY = 0x00080060
SERIES_NUMBER = 0x00200011

_NAMED_IN_META = {
    0x00020002: (SOP_CLASS_UID, "SOP Class"),
    0x00020003: (SOP_INSTANCE_UID, "SOP Instance"),
}
"""Media Storage SOP Class UID and SOP Instance UID (PS3.10 7.1), with the attributes that they repeat."""


def find_missing_marks(signed: Set[int]) -> list[int]:
    """Return the tags that a signature over these tags lacks to show that it is over an object."""
    missing = [tag for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID) if tag not in signed]
    if STUDY_INSTANCE_UID in signed and not {MODALITY, SERIES_NUMBER}.intersection(signed):
        missing.append(MODALITY)
    return missing


def require_item(file: DicomFile, level: DataSet, signed: Set[int]) -> None:
    """Raise ItemLikeObjectError for an Item whose signature would also fit an object with the Item's content."""
    if level.path and not find_missing_marks(signed):
        raise ItemLikeObjectError(
            f"{file.name}: the Item {format_path(level.path)} has SOP Class UID and SOP Instance UID as an object has, "
            "so its signature would also fit an object that consists of its content."
        )


def find_open_level(file: DicomFile, item: SignatureItem) -> Iterator[Anomaly]:
    """Yield the reasons why a signature over the main Data Set may have been made over other data."""
    if file.is_bare:
        yield Anomaly(
            AnomalyCode.BARE_DATA_SET,
            Weight.REMARK,
            f"the file has no file meta information; it was read as {file.syntax.uid}, the only way it can be read to "
            "its end",
            "Other programs may read it in another way, or not at all. Ask the sender for a DICOM file (PS3.10).",
        )
    if item.level.path or item.mac is None:
        return
    lacking = find_missing_marks(item.level.signable_tags.intersection(item.mac.tags))
    if lacking:
        names = ", ".join(map(tag_name, lacking))
        yield Anomaly(
            AnomalyCode.LEVEL_OPEN,
            Weight.REMARK,
            f"it may have been made for an Item inside another object, since it does not cover {names}",
            "A signature fits any Data Set with the elements that it covers, at whatever level this stands.",
        )
    for tag, (repeated, name) in () if file.is_bare else _NAMED_IN_META.items():
        element = item.level.get(repeated)
        in_meta = file.meta_value(tag)
        if element is None or (in_meta is not None and _same(in_meta, file.value(element))):
            continue
        says = "does not name its" if in_meta is None else "names another"
        yield Anomaly(
            AnomalyCode.FILE_META_DIFFERS,
            Weight.REMARK,
            f"the file meta information {says} {name} UID",
            "No signature covers the file meta information; programs may rely on it.",
        )


def _same(one: bytes, other: bytes) -> bool:
    return one.rstrip(b"\0 ") == other.rstrip(b"\0 ")
