"""Which signature a time stamp is for, and whether one that came back is over it."""

from __future__ import annotations

from pathlib import Path

from hsm_dicom.cli.render.output import count
from hsm_dicom.errors import DicomError
from hsm_dicom.signatures import VerifiedSignature, check_integrity
from hsm_dicom.timestamps.files import read_reply
from hsm_dicom.timestamps.protocol import TimestampError
from hsm_dicom.timestamps.validation import verify_token
from hsm_dicom.trust import CertificateValidator, TrustStore


class NoSingleSignatureError(DicomError):
    """Which signature is meant cannot be told."""


def the_signature(file: Path, uid: str | None) -> VerifiedSignature:
    """The signature with this UID; without one, the only one.

    Raises `NoSingleSignatureError`, which lists what is there.
    """
    signatures = [one for one in check_integrity(file).signatures if one.signature]
    wanted = [one for one in signatures if uid in (None, one.uid)]
    if len(wanted) == 1:
        return wanted[0]
    there = ", ".join(one.uid for one in signatures) or "none"
    asked = "which signature is meant must be said with --uid" if uid is None else f"no signature has the UID {uid}"
    raise NoSingleSignatureError(f"{file}: {asked}; of {count(len(signatures), 'signature')} there: {there}.")


def checked_token(file: Path, query: Path, reply: Path, uid_file: Path) -> tuple[str, bytes, str]:
    """The UID of the signature, the token (DER) over it, and what it says in words.

    Raises `TimestampError` where the reply is no answer to the query, or not a good stamp over this signature. Whether
    its authority is trusted is for whoever verifies.
    """
    answer = read_reply(query, reply, uid_file)
    signature = the_signature(file, answer.signature_uid)
    verdict = verify_token(answer.token, signature.signature, CertificateValidator(TrustStore([])))
    if verdict.problem is not None:
        raise TimestampError(f"{reply}: {verdict.text}")
    return (
        answer.signature_uid,
        answer.token,
        f"Existed at {verdict.time:%Y-%m-%d %H:%M:%S} UTC, says {verdict.authority}.",
    )
