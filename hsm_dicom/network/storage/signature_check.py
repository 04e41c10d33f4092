"""Whether the digital signatures of a received file hold (PS3.15 A.2: validate the signatures of what is received)."""

from __future__ import annotations

from pathlib import Path

from hsm_dicom.dataset import DicomFileError
from hsm_dicom.dataset.octets.source import Content
from hsm_dicom.signatures.anomalies.record import Weight, has_weight
from hsm_dicom.signatures.integrity import Finding, check_integrity

_REFUSALS = {
    Finding.BROKEN: "A digital signature does not hold: it was changed.",
    Finding.PARTIAL: "A digital signature (by dcmsign) protects a part only.",
    Finding.UNCHECKABLE: "A digital signature is incomplete or of unknown kind.",
    Finding.NOT_OFFERED: "The hash of a digital signature is not offered here.",
}


def check_signatures(path: Path | Content) -> str | None:
    """Return why a file is refused, as a sentence of at most 64 characters; None for one whose signatures all hold.

    This is mathematics alone, and no protection against forgers: a file without signatures passes, and so does one
    with signatures by a certificate that its sender made, over whatever the sender chose. Who signed, and what is
    covered, `hsm-dicom verify` says.
    """
    try:
        signatures = check_integrity(path).signatures
    except DicomFileError:
        return "It is not read as a DICOM file."
    for signature in signatures:
        if signature.finding in _REFUSALS:
            return _REFUSALS[signature.finding]
        if has_weight(signature.anomalies, Weight.QUESTION):
            return "The object may not be what its digital signature is for."
    return None
