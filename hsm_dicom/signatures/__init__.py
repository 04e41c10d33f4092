"""DICOM digital signatures: PS3.15 Annex C, PS3.3 C.12.1.1.3.

Creating, with any RSA (or, outside the profiles, EC) private key of ``cryptography``'s kind, token keys included::

    from hsm_dicom.signatures import Profile, SigningRequest, check_integrity, sign

    request = SigningRequest(certificate_der, Profile.CREATOR)
    report = sign("ct.dcm", "signed.dcm", key, request)        # output None signs in place
    print(report.uid, len(report.signed), "attributes signed, left out:", report.left_out)

The same in three steps: ``prepare`` and ``finish`` may run in any ``concurrent.futures`` executor (a plan can be
pickled), ``sign_digest`` in the one process that holds the token::

    from hsm_dicom.signatures import finish, prepare, sign_digest

    plan = prepare("ct.dcm", request)
    finish(plan, sign_digest(key, plan), "signed-in-steps.dcm")

Verifying, by mathematics alone; whether the certificate is trusted is the caller's next question::

    for signature in check_integrity("signed.dcm").signatures:
        print(signature.finding.value, signature.reason, signature.signed_at, signature.coverage)

Look at signatures and take them out again: ``list_signatures``, ``remove``, ``remove_all``. ``add_timestamp`` puts a
TimeStampToken into a signature made before. Many files at once: `hsm_dicom.signing`.

Rooms: ``creation``, ``anomalies``, ``coverage``, ``profiles``. Modules: ``integrity`` (with ``read``, ``digests``,
``mac``, ``dcmtk_stream``, ``check``), ``listing``, ``amend`` (with ``unquestioned``), ``algorithms``, ``attributes``,
``errors``.
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
