"""Elements in the Items of a signature that PS3.3 Table C.12-6 does not define there.

The MAC stream of PS3.3 C.12.1.1.3.1.2 is the covered elements followed by the elements of the signature's own Item,
without a separator. Covered elements with tags below MAC ID Number (0400,0005) can therefore be moved into that Item,
removed from Data Elements Signed, and replaced: the stream stays the same. No honest program writes such an Item.
Any other foreign element was signed as a part of the Item, or is outside every MAC; it is reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Set

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.tags import never_signable
from hsm_dicom.signatures import attributes as a
from hsm_dicom.signatures.anomalies.ignorable import is_ignorable
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Place, Weight, list_elements
from hsm_dicom.signatures.read import SignatureItem


def find_foreign_content(file: DicomFile, item: SignatureItem) -> Iterator[Anomaly]:
    """Yield the anomalies about foreign elements in the signature's two Items."""
    foreign = find_foreign_elements(file, item)
    wrapped = [place for place in foreign if _is_wrapped(file, item.item, place)]
    if wrapped:
        names = list_elements([((), tag) for _, tag in wrapped])
        yield Anomaly(
            AnomalyCode.WRAPPED_CONTENT,
            Weight.DOUBT,
            f"content of the object may have been moved into the signature's own Item and replaced: {names}",
            "The MAC is the same for an element of the object and for one of the Item. "
            "Ask the sender for the object as it was signed.",
        )
    others = [place for place in foreign if place not in wrapped]
    if others:
        yield Anomaly(
            AnomalyCode.FOREIGN_CONTENT,
            Weight.REMARK,
            f"the signature's Items hold what does not belong there: {list_elements(others)}",
            "Programs that show objects do not show it.",
        )


def find_foreign_elements(file: DicomFile, item: SignatureItem) -> list[Place]:
    """Return the elements of the signature's two Items that PS3.3 does not define there and that are not ignorable."""
    found = [(item.item.path, element.tag) for element in _foreign(file, item.item, a.SIGNATURE_ITEM)]
    if item.mac is not None:
        found += [(item.mac.item.path, e.tag) for e in _foreign(file, item.mac.item, a.MAC_PARAMETERS_ITEM)]
    found += _foreign_to_purpose(file, item.item, a.PURPOSE_CODE_SEQUENCE)
    if a.CERTIFIED_TIMESTAMP_TYPE in item.item and a.CERTIFIED_TIMESTAMP not in item.item:
        found.append((item.item.path, a.CERTIFIED_TIMESTAMP_TYPE))
    return found


def _is_wrapped(file: DicomFile, signature_item: DataSet, place: Place) -> bool:
    """Return whether an element precedes the Item's own in the MAC, or would with the VR of a private dictionary."""
    path, tag = place
    if path != signature_item.path or tag >= a.MAC_ID_NUMBER:
        return False
    element = signature_item[tag]
    return element.signable or (file.syntax.implicit_vr and element.has_un and not never_signable(tag))


def _foreign(file: DicomFile, item: DataSet, allowed: Set[int]) -> Iterator[Element]:
    return (e for e in item.elements if e.tag not in allowed and not is_ignorable(file, e))


def _foreign_to_purpose(file: DicomFile, level: DataSet, tag: int) -> list[Place]:
    """Return the elements of code Items that are not in the Code Sequence Macro."""
    sequence = level.get(tag)
    if sequence is None or sequence.vr != "SQ":
        return []
    found: list[Place] = []
    for code in file.data_sets(level, sequence):
        found += [(code.path, element.tag) for element in _foreign(file, code, a.CODE_SEQUENCE_MACRO)]
        found += _foreign_to_purpose(file, code, a.EQUIVALENT_CODE_SEQUENCE)
    return found
