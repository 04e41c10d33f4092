"""Remedies of errors as options of the commands; the libraries report only facts.

The remedies of devices' errors are in `hsm_dicom.remedies`, since the API and the service have the same ones.
"""

from __future__ import annotations

from hsm_dicom.dataset.errors import CopyInPlaceError, TargetExistsError, TargetIsSourceError
from hsm_dicom.errors import DicomError
from hsm_dicom.identity.errors import CertificateExpiredError, CertificateNotYetValidError, NoTokenCertificateError
from hsm_dicom.signatures.errors import (
    AmbiguousSignatureError,
    ItemLikeObjectError,
    MissingPurposeError,
    ResumeConflictError,
    SignaturesLostError,
    SignedInPlaceError,
    UncoveredContentError,
    WeakMacAlgorithmError,
)
from tokens.errors import Error

_FOR_ERRORS: dict[type[Exception], str] = {
    TargetExistsError: "Choose another file, or add --overwrite.",
    TargetIsSourceError: "Choose another file, or use --in-place to replace it.",
    CopyInPlaceError: "Use --out or --out-dir instead of --in-place.",
    CertificateNotYetValidError: (
        "Store a certificate that is valid now (hsm-dicom key import-cert), or check the clock of this computer."
    ),
    CertificateExpiredError: "Have a new one issued; hsm-dicom key csr makes the request.",
    NoTokenCertificateError: "Store it there (hsm-dicom key import-cert), or give its file.",
    AmbiguousSignatureError: "Choose one of them with --uid.",
    ItemLikeObjectError: (
        "Sign the main Data Set (without --item), or choose elements with --tag and leave SOPInstanceUID out."
    ),
    SignedInPlaceError: "To add another signature, run without --resume.",
    ResumeConflictError: "Sign into another folder, or replace it with --overwrite.",
    SignaturesLostError: "Sign it without --trim-padding.",
    UncoveredContentError: "To sign the other elements only, add --allow-uncovered.",
    MissingPurposeError: "Add --purpose NUMBER; hsm-dicom purposes lists the numbers.",
    WeakMacAlgorithmError: "Use --mac sha256, sha384 or sha512; to sign with it nevertheless, add --allow-weak.",
}


def remedy_of(error: Error) -> str | None:
    """Return what to type, as a sentence: the options for this error, else its own remedy.

    The first class in the table that fits decides, so a subclass stands before its base.
    """
    if isinstance(error, DicomError) and error.is_repairable:
        return "To sign a clean copy of it, add --repair."
    return next((remedy for kind, remedy in _FOR_ERRORS.items() if isinstance(error, kind)), error.remedy)
