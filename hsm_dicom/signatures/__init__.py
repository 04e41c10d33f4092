"""DICOM digital signatures: PS3.15 Annex C, PS3.3 C.12.1.1.3.

Creating, with any RSA (or, outside the profiles, EC) private key of ``cryptography``'s kind, token keys included::

    from hsm_dicom.signatures import Profile, SigningRequest, sign, verify

    request = SigningRequest(certificate_der, Profile.CREATOR)
    report = sign("ct.dcm", "signed.dcm", key, request)        # output None signs in place
    print(report.uid, len(report.signed), "attributes signed, left out:", report.left_out)

The same in three steps: ``prepare`` and ``finish`` may run in any ``concurrent.futures`` executor (a plan can be
pickled), ``sign_digest`` in the one process that holds the token::

    plan = prepare("ct.dcm", request)
    finish(plan, sign_digest(key, plan), "signed.dcm")

Verifying, by mathematics alone; whether the certificate is trusted is the caller's next question::

    for signature in verify("signed.dcm").signatures:
        print(signature.finding.value, signature.reason, signature.signed_at, signature.coverage)

Modules: ``create`` (with ``insert``), ``verify`` (with ``read``, ``coverage``, ``check``), ``profiles`` (with the
generated ``profile_tables``), ``purposes``, ``algorithms``, ``mac`` (the byte stream), ``attributes``, ``errors``.
"""

from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS
from hsm_dicom.signatures.coverage import Coverage, Share
from hsm_dicom.signatures.create import (
    Plan,
    SigningReport,
    SigningRequest,
    demand_matching_key,
    finish,
    prepare,
    sign,
    sign_digest,
)
from hsm_dicom.signatures.errors import (
    KeyMismatchError,
    NoSuchSignatureError,
    NotSignableError,
    ProfileError,
    SignatureError,
    UnknownMacAlgorithmError,
    WeakMacAlgorithmError,
)
from hsm_dicom.signatures.profiles import Profile
from hsm_dicom.signatures.purposes import PURPOSES
from hsm_dicom.signatures.read import Purpose
from hsm_dicom.signatures.verify import Finding, VerifiedFile, VerifiedSignature, dump_macs, verify

__all__ = [
    "MAC_ALGORITHMS",
    "PURPOSES",
    "Coverage",
    "Finding",
    "KeyMismatchError",
    "NoSuchSignatureError",
    "NotSignableError",
    "Plan",
    "Profile",
    "ProfileError",
    "Purpose",
    "Share",
    "SignatureError",
    "SigningReport",
    "SigningRequest",
    "UnknownMacAlgorithmError",
    "VerifiedFile",
    "VerifiedSignature",
    "WeakMacAlgorithmError",
    "demand_matching_key",
    "dump_macs",
    "finish",
    "prepare",
    "sign",
    "sign_digest",
    "verify",
]
