"""Whether the digital signatures of a received file hold (PS3.15 A.2: validate the signatures of what is received)."""

from __future__ import annotations

from pathlib import Path

from hsm_dicom.dataset import DicomFileError
from hsm_dicom.signatures.anomalies import Weight, has_weight
from hsm_dicom.signatures.verify import Finding, verify


def check_signatures(path: Path) -> str | None:
    """Why a file is refused, as a sentence of at most 64 characters; None for one whose signatures all hold.

    A file without signatures passes. This is mathematics alone: whether a signer is trusted, `hsm-dicom verify` says. A
    signature that fits, of an object that may not be what was signed, does not pass.
    """
    try:
        signatures = verify(path).signatures
    except DicomFileError:
        return "It is not read as a DICOM file."
    for signature in signatures:
        if signature.finding is Finding.BROKEN:
            return "A digital signature does not hold: it was changed."
        if signature.finding is Finding.UNCHECKABLE:
            return "A digital signature is incomplete or of unknown kind."
        if has_weight(signature.anomalies, Weight.QUESTION):
            return "The object may not be what its digital signature is for."
    return None
