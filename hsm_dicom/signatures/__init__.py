"""DICOM digital signatures: PS3.15 Annex C, PS3.3 C.12.1.1.3.

The lower layer of `hsm_dicom.sign` and `hsm_dicom.verify`. Create a signature with any RSA private key of
``cryptography``'s kind, token keys included (outside the profiles, an EC key too)::

    from hsm_dicom.signatures import Profile, SigningRequest, check_integrity, sign

    request = SigningRequest(certificate, Profile.CREATOR)     # an x509.Certificate or its DER
    report = sign("ct.dcm", "signed.dcm", key, request)        # output None signs in place
    print(report.uid, len(report.signed), "attributes signed, left out:", report.left_out)

The same in three steps: ``prepare`` and ``finish`` may run in any ``concurrent.futures`` executor (a plan can be
pickled), ``sign_digest`` in the one process that holds the token::

    from hsm_dicom.signatures import finish, prepare, sign_digest

    plan = prepare("ct.dcm", request)
    finish(plan, sign_digest(key, plan), "signed-in-steps.dcm")

Check signatures without their signers; `hsm_dicom.validation` decides whether a signer is trusted::

    for signature in check_integrity("signed.dcm").signatures:
        print(signature.finding.value, signature.reason, signature.signed_at, signature.coverage)

List signatures and remove them: ``list_signatures``, ``remove``, ``remove_all``. ``add_timestamp`` stores a
TimeStampToken in a signature made before; `hsm_dicom.signing.add_timestamp` also checks it. To sign many files, use
`hsm_dicom.signing`.

| module or room | one idea                                                                         |
|----------------|----------------------------------------------------------------------------------|
| `creation`     | make a signature, in three steps                                                 |
| `integrity`    | check signatures; with `read`, `digests`, `mac`, `dcmtk_stream` and `check`      |
| `arriving`     | hash an object while its octets arrive                                           |
| `batch`        | check many files on an executor                                                  |
| `anomalies`    | why an object may not be what was signed although its signature is intact        |
| `coverage`     | what a signature covers                                                          |
| `profiles`     | the profiles of PS3.15 Annex C, and the purposes of CID 7007                     |
| `listing`      | list signatures without a check                                                  |
| `amend`        | remove signatures, add time stamps; with `unquestioned`                          |
| `algorithms`, `attributes`, `errors` | tables that all of them use                                |
"""

from typing import NoReturn

from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS
from hsm_dicom.signatures.amend import add_timestamp, remove, remove_all
from hsm_dicom.signatures.batch import IntegrityOutcome, check_files
from hsm_dicom.signatures.coverage.shares import Coverage, Share
from hsm_dicom.signatures.creation.create import (
    Plan,
    SigningReport,
    finish,
    prepare,
    require_matching_key,
    sign,
    sign_digest,
)
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.errors import (
    KeyMismatchError,
    NotSignableError,
    ProfileError,
    SignatureError,
)
from hsm_dicom.signatures.integrity import Finding, VerifiedFile, VerifiedSignature, check_integrity, dump_macs
from hsm_dicom.signatures.listing import ListedSignature, list_signatures
from hsm_dicom.signatures.profiles.purposes import PURPOSES
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.signatures.read import Purpose

__all__ = [
    "MAC_ALGORITHMS",
    "PURPOSES",
    "Coverage",
    "Finding",
    "IntegrityOutcome",
    "KeyMismatchError",
    "ListedSignature",
    "NotSignableError",
    "Plan",
    "Profile",
    "ProfileError",
    "Purpose",
    "Share",
    "SignatureError",
    "SigningReport",
    "SigningRequest",
    "VerifiedFile",
    "VerifiedSignature",
    "add_timestamp",
    "check_files",
    "check_integrity",
    "dump_macs",
    "finish",
    "list_signatures",
    "prepare",
    "remove",
    "remove_all",
    "require_matching_key",
    "sign",
    "sign_digest",
]


def __getattr__(name: str) -> NoReturn:
    if name == "verify":
        # ImportError, so that `from hsm_dicom.signatures import verify` shows the sentence.
        raise ImportError(
            "hsm_dicom.signatures.verify is gone. For the verdict call hsm_dicom.verify; for the mathematics alone "
            "call hsm_dicom.signatures.check_integrity.",
            name=__name__,
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
