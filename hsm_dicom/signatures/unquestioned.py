"""No change to a signed object whose signatures may be over something else.

A person who removes a signature, adds a time stamp to it or signs beside it takes the object for what was signed. If it
may be another one, the change hides that: evidence is gone, or a second signature vouches for content that the first
one was not made for. So objects with a finding about wrapped content, fragments or the level are left as they are.

Signatures that only leave something open (elements, picture, geometry, identity, Number of Frames), and content outside
every MAC, are no obstacle: the verdict names these before and after. A signature that does not show its level is one
only if it covers SOP Class UID and SOP Instance UID, or there are none: if they are open, it stays questionable anyway.
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
    """Raise QuestionedObjectError if the object may be another one than a signature in it was made for.

    Nothing is hashed: the findings are those that a verification has, whether the MACs fit or not.
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
