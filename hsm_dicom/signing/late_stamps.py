"""Time stamps for signatures that were made before: which signature is meant, and whether a stamp is over it."""

from __future__ import annotations

import os
from pathlib import Path

from hsm_dicom.errors import DicomError
from hsm_dicom.signatures import amend
from hsm_dicom.signatures.integrity import VerifiedSignature, check_integrity
from hsm_dicom.signing.checks import check_timestamp
from hsm_dicom.timestamps.files import Reply, read_reply
from hsm_dicom.timestamps.protocol import TimestampError
from hsm_dicom.timestamps.validation import TimestampVerdict

StrPath = str | os.PathLike[str]


class NoSingleSignatureError(DicomError):
    """Several signatures fit what was asked for, or none."""


def find_signature(path: StrPath, uid: str | None = None) -> VerifiedSignature:
    """Return the signature with this Digital Signature UID; without one, the only signature.

    Raises NoSingleSignatureError, which lists the signatures that are there, and DicomFileError.
    """
    signatures = [one for one in check_integrity(path).signatures if one.signature]
    wanted = [one for one in signatures if uid in (None, one.uid)]
    if len(wanted) == 1:
        return wanted[0]
    there = ", ".join(one.uid for one in signatures) or "none"
    count = "1 signature" if len(signatures) == 1 else f"{len(signatures)} signatures"
    problem = "name one signature by its UID (--uid)" if uid is None else f"no signature has the UID {uid}"
    raise NoSingleSignatureError(f"{os.fspath(path)}: {problem}; it has {count}: {there}.")


def read_reply_for(path: StrPath, query: Path, reply: Path, uid_file: Path) -> tuple[Reply, TimestampVerdict]:
    """Return an authority's reply that answers the query and is over the signature that the UID file names.

    Raises TimestampError, NoSingleSignatureError and DicomFileError.
    """
    answer = read_reply(query, reply, uid_file)
    signature = find_signature(path, answer.signature_uid)
    try:
        return answer, check_timestamp(answer.token, signature.signature)
    except TimestampError as error:
        raise TimestampError(f"{reply}: {error}") from error


def add_timestamp(path: StrPath, uid: str, token: bytes, output: StrPath | None, *, overwrite: bool = False) -> None:
    """Store a TimeStampToken (RFC 3161, DER) as Certified Timestamp of a signature; ``output`` None works in place.

    Raises TimestampError if the token is not over this signature, and what `hsm_dicom.signatures.add_timestamp` raises.
    """
    check_timestamp(token, find_signature(path, uid).signature)
    amend.add_timestamp(path, uid, token, output, overwrite=overwrite)
