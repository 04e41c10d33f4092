"""The option to type for what an error reports: libraries report facts, and this table knows the command line."""

from __future__ import annotations

from hsm_dicom.dataset.errors import TargetExistsError, TargetIsSourceError
from hsm_dicom.signatures.errors import MissingPurposeError, WeakMacAlgorithmError
from hsm_dicom.trust import Reason
from hsm_dicom.validation.result import Cause

_FOR_ERRORS: dict[type[Exception], str] = {
    TargetExistsError: "Name another file, or add --overwrite.",
    TargetIsSourceError: "Name another file, or use --in-place to replace it.",
    MissingPurposeError: "Add --purpose NUMBER; hsm-dicom purposes lists the numbers.",
    WeakMacAlgorithmError: "Use --mac sha256, sha384 or sha512; to sign with it all the same, add --allow-weak.",
}

_FOR_CODES: dict[str, str] = {
    Reason.NO_ANCHORS: "Add --trust FILE with the certificate of a CA.",
    Cause.TIMESTAMP_NOT_JUDGED: "Add --tsa FILE with the certificate of the authority's CA.",
}


def remedy_of(error: Exception) -> str:
    """Return what to type against an error, as a sentence; empty where its own text says it all."""
    return next((remedy for kind, remedy in _FOR_ERRORS.items() if isinstance(error, kind)), "")


def remedy_for(code: str) -> str:
    """Return what to type against a ground of a verdict, as a sentence; empty where nothing to type helps."""
    return _FOR_CODES.get(code, "")
