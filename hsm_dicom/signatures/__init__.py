"""DICOM digital signatures: PS3.15 Annex C, PS3.3 C.12.1.1.3.

Creating, with any RSA (or, outside the profiles, EC) private key of ``cryptography``'s kind, token keys included::

    from hsm_dicom.signatures import Profile, SigningRequest, sign, verify

    request = SigningRequest(certificate_der, Profile.CREATOR)
    report = sign("ct.dcm", "signed.dcm", key, request)        # output None signs in place
    print(report.uid, len(report.signed), "attributes signed, left out:", report.left_out)

The same in three steps: ``prepare`` and ``finish`` may run in any ``concurrent.futures`` executor (a plan can be
pickled), ``sign_digest`` in the one process that holds the token::

    from hsm_dicom.signatures import finish, prepare, sign_digest

    plan = prepare("ct.dcm", request)
    finish(plan, sign_digest(key, plan), "signed-in-steps.dcm")

Verifying, by mathematics alone; whether the certificate is trusted is the caller's next question::

    for signature in verify("signed.dcm").signatures:
        print(signature.finding.value, signature.reason, signature.signed_at, signature.coverage)

Many files on any executor, one token session each: ``sign_files``, ``verify_files``; ``find_earlier_signature`` says
whether an earlier run has signed a file already. Looking and taking out again:
``list_signatures``, ``remove``, ``remove_all``; ``add_timestamp`` puts a TimeStampToken into a signature made before.

Modules: ``create`` (with ``request``, ``selection``, ``main_content``, ``insert``, ``repair``), ``amend``, ``batch``
(with ``resume``), ``listing``, ``verify`` (with ``read``, ``digests``, ``dcmtk_stream``, ``converted``, ``coverage``
by ``parts``, ``check``), ``anomalies`` (found by ``envelope``, ``level``, ``fragments``, ``outside`` with
``ignorable``, ``remarks``; ``unquestioned`` refuses changes by them), ``profiles`` (with the generated
``profile_tables``), ``purposes``, ``algorithms``, ``mac`` (the byte stream), ``attributes``, ``errors``.
"""

from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS
from hsm_dicom.signatures.amend import add_timestamp, remove, remove_all
from hsm_dicom.signatures.batch import SigningJob, SigningOutcome, VerificationOutcome, sign_files, verify_files
from hsm_dicom.signatures.coverage import Coverage, Share
from hsm_dicom.signatures.create import (
    Plan,
    SigningReport,
    demand_matching_key,
    finish,
    prepare,
    sign,
    sign_digest,
)
from hsm_dicom.signatures.errors import (
    AmbiguousPixelDataError,
    KeyMismatchError,
    NoSuchSignatureError,
    NotSignableError,
    ProfileError,
    QuestionedObjectError,
    ResumeConflictError,
    SignatureError,
    UncoveredContentError,
    UnknownMacAlgorithmError,
    WeakMacAlgorithmError,
)
from hsm_dicom.signatures.listing import ListedSignature, list_signatures
from hsm_dicom.signatures.profiles import Profile
from hsm_dicom.signatures.purposes import PURPOSES
from hsm_dicom.signatures.read import Purpose
from hsm_dicom.signatures.request import SigningRequest
from hsm_dicom.signatures.resume import find_earlier_signature
from hsm_dicom.signatures.verify import Finding, VerifiedFile, VerifiedSignature, dump_macs, verify

__all__ = [
    "MAC_ALGORITHMS",
    "PURPOSES",
    "AmbiguousPixelDataError",
    "Coverage",
    "Finding",
    "KeyMismatchError",
    "ListedSignature",
    "NoSuchSignatureError",
    "NotSignableError",
    "Plan",
    "Profile",
    "ProfileError",
    "Purpose",
    "QuestionedObjectError",
    "ResumeConflictError",
    "Share",
    "SignatureError",
    "SigningJob",
    "SigningOutcome",
    "SigningReport",
    "SigningRequest",
    "UncoveredContentError",
    "UnknownMacAlgorithmError",
    "VerificationOutcome",
    "VerifiedFile",
    "VerifiedSignature",
    "WeakMacAlgorithmError",
    "add_timestamp",
    "demand_matching_key",
    "dump_macs",
    "find_earlier_signature",
    "finish",
    "list_signatures",
    "prepare",
    "remove",
    "remove_all",
    "sign",
    "sign_digest",
    "sign_files",
    "verify",
    "verify_files",
]
