"""The option to type for what an error or a verdict reports: libraries report facts; this table knows the options.

The remedies of devices' errors are in `hsm_dicom.remedies`, since the API and the service have the same ones.
"""

from __future__ import annotations

from hsm_dicom.dataset.errors import TargetExistsError, TargetIsSourceError
from hsm_dicom.signatures.errors import MissingPurposeError, WeakMacAlgorithmError
from hsm_dicom.trust import Reason
from hsm_dicom.validation.result import Cause
from tokens.errors import Error

_FOR_ERRORS: dict[type[Exception], str] = {
    TargetExistsError: "Choose another file, or add --overwrite.",
    TargetIsSourceError: "Choose another file, or use --in-place to replace it.",
    MissingPurposeError: "Add --purpose NUMBER; hsm-dicom purposes lists the numbers.",
    WeakMacAlgorithmError: "Use --mac sha256, sha384 or sha512; to sign with it nevertheless, add --allow-weak.",
}

_FOR_CODES: dict[str, str] = {
    Reason.NO_ANCHORS: "Add --trust FILE with the certificate of a CA.",
    Cause.TIMESTAMP_NOT_VALIDATED: "Add --tsa FILE with the certificate of the authority's CA.",
}


def remedy_of(error: Error) -> str | None:
    """Return what to type, as a sentence: the options for this error, else its own remedy."""
    return next((remedy for kind, remedy in _FOR_ERRORS.items() if isinstance(error, kind)), error.remedy)


def remedy_for(code: str) -> str:
    """Return what to type against a ground of a verdict, as a sentence; empty where nothing to type helps."""
    return _FOR_CODES.get(code, "")
