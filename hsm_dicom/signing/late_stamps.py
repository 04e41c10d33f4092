"""Add time stamps to existing signatures: find the signature, check that the time stamp is over it, store it."""

from __future__ import annotations

import os
from pathlib import Path

from hsm_dicom.signatures import amend
from hsm_dicom.signatures.errors import AmbiguousSignatureError, NoSingleSignatureError
from hsm_dicom.signatures.integrity import VerifiedSignature, check_integrity
from hsm_dicom.signing.checks import check_timestamp
from hsm_dicom.timestamps.files import Reply, read_reply
from hsm_dicom.timestamps.protocol import TimestampError
from hsm_dicom.timestamps.validation import TimestampVerdict

StrPath = str | os.PathLike[str]


def find_signature(path: StrPath, uid: str | None = None) -> VerifiedSignature:
    """Return the signature with this Digital Signature UID; without a UID, the only signature.

    Raises AmbiguousSignatureError, NoSingleSignatureError and DicomFileError.
    """
    signatures = [one for one in check_integrity(path).signatures if one.signature]
    wanted = [one for one in signatures if uid in (None, one.uid)]
    if len(wanted) == 1:
        return wanted[0]
    there = ", ".join(one.uid for one in signatures) or "none"
    count = "1 signature" if len(signatures) == 1 else f"{len(signatures)} signatures"
    if uid is not None:
        having = f"{len(wanted)} signatures have" if wanted else "no signature has"
        raise NoSingleSignatureError(f"{os.fspath(path)}: {having} the UID {uid}; it has {count}: {there}.")
    if not signatures:
        raise NoSingleSignatureError(f"{os.fspath(path)}: it has no signature.")
    raise AmbiguousSignatureError(f"{os.fspath(path)}: it has {count}: {there}.")


def read_reply_for(path: StrPath, query: Path, reply: Path, uid_file: Path) -> tuple[Reply, TimestampVerdict]:
    """Read an authority's reply to a query, and check that it is over the signature whose UID is in the UID file.

    Raises TimestampError, NoSingleSignatureError and DicomFileError.
    """
    answer = read_reply(query, reply, uid_file)
    signature = find_signature(path, answer.signature_uid)
    try:
        return answer, check_timestamp(answer.token, signature.signature)
    except TimestampError as error:
        raise TimestampError(f"{reply}: {error}") from error


def add_timestamp(path: StrPath, uid: str, token: bytes, output: StrPath | None, *, overwrite: bool = False) -> None:
    """Store a TimeStampToken (RFC 3161, DER) as Certified Timestamp of a signature; in place for ``output`` None.

    Raises TimestampError if the token is not over this signature, and what `hsm_dicom.signatures.add_timestamp` raises.
    """
    check_timestamp(token, find_signature(path, uid).signature)
    amend.add_timestamp(path, uid, token, output, overwrite=overwrite)
