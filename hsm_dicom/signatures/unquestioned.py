"""Refusal of changes to a signed object whose signatures may have been made over another object.

A person who removes a signature, adds a time stamp to it or adds another signature assumes that the object is the
signed one. If it is not, the change hides that: it removes evidence, or a second signature confirms content that the
first one does not cover. Objects with a finding about wrapped content, fragments or the level are thus not changed.

Signatures that only leave something unsigned (elements, picture, geometry, identity, Number of Frames), and content
outside every MAC, do not prevent a change: the verdict lists these before and after. A signature that does not show its
level prevents it only if it covers SOP Class UID and SOP Instance UID, or the object has neither. If they are
unsigned, it stays questionable anyway.
"""

from __future__ import annotations

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.signatures.anomalies.outside import OutsideContent
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight
from hsm_dicom.signatures.anomalies.remarks import Siblings
from hsm_dicom.signatures.errors import QuestionedObjectError
from hsm_dicom.signatures.integrity import find_anomalies
from hsm_dicom.signatures.profiles.rules import SOP_CLASS_UID, SOP_INSTANCE_UID
from hsm_dicom.signatures.read import SignatureItem, read_signature_items


def require_unquestioned(file: DicomFile) -> None:
    """Raise QuestionedObjectError if a signature in the object may have been made over another object.

    This hashes nothing: the findings are those of a verification, whether or not the MACs match.
    """
    items = read_signature_items(file)
    outside, siblings = OutsideContent(file, items), Siblings(items)
    for item in items:
        if item.historic:
            continue
        clauses = [
            anomaly.clause for anomaly in find_anomalies(file, item, outside, siblings) if _is_refused(item, anomaly)
        ]
        if clauses:
            raise QuestionedObjectError(
                f"{file.name}: the object may not be what was signed, and a change to its signatures would hide that. "
                f"Of signature {item.uid or item.number}: {'; '.join(clauses)}. Nothing was written. "
                "Run hsm-dicom verify to see all findings, and ask the sender for the object as it was signed."
            )


def _is_refused(item: SignatureItem, anomaly: Anomaly) -> bool:
    if anomaly.code is AnomalyCode.LEVEL_OPEN:
        return all(tag not in item.level or _covers(item, tag) for tag in (SOP_CLASS_UID, SOP_INSTANCE_UID))
    return anomaly.weight >= Weight.QUESTION and anomaly.code is not AnomalyCode.FRAME_COUNT_OPEN


def _covers(item: SignatureItem, tag: int) -> bool:
    return item.mac is not None and tag in item.mac.tags
