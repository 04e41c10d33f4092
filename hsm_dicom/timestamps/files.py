"""Get time stamps without a network, in two steps through files that dcmsign can read too.

Signing writes a query (`.tsq`, a TimeStampReq of RFC 3161) and a UID file that names the signature; the query
travels to an authority, for example through `openssl ts`; its reply (`.tsr`, a TimeStampResp) is read against
the query, and the token goes into the signature that the UID file names. The same as dcmsign's
--timestamp-file and --insert-timestamp.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from hsm_dicom.timestamps.protocol import (
    LARGEST_RESPONSE,
    TimestampError,
    TimestampRequest,
    extract_token,
    read_request,
)

_GENERIC_FILE = "1.2.276.0.7230010.3.1.0.1"
"""DCMTK's SOP class for a file that is no SOP instance, which is what dcmsign writes into its UID files."""


@dataclass(frozen=True)
class Reply:
    """The reply to a query: the UID of the signature, the query, and the token (DER)."""

    signature_uid: str
    request: TimestampRequest
    token: bytes


def write_query(request: TimestampRequest, signature_uid: str, query: Path, uid_file: Path) -> None:
    """Write the query and the UID file.

    Raises TimestampError if one of them cannot be written, or exists already, since its reply may be on the way.
    """
    _write_new(query, request.der)
    try:
        _write_new(uid_file, _uid_file(signature_uid))
    except TimestampError:
        query.unlink()
        raise


def read_reply(query: Path, reply: Path, uid_file: Path) -> Reply:
    """Return the token of the reply, checked to answer the query. Raises TimestampError with the file."""
    request = _read_query(query)
    try:
        token = extract_token(_content(reply), request)
    except TimestampError as error:
        raise TimestampError(f"{reply}: {error}") from error
    return Reply(_read_uid(uid_file), request, token)


def _read_query(path: Path) -> TimestampRequest:
    try:
        return read_request(_content(path))
    except TimestampError as error:
        raise TimestampError(f"{path}: {error}") from error


def _read_uid(path: Path) -> str:
    try:
        with io.BytesIO(_content(path)) as file:
            uid = pydicom.dcmread(file, specific_tags=["DigitalSignatureUID"]).DigitalSignatureUID
    except TimestampError:
        raise
    except Exception as error:  # a foreign parser on a foreign file
        raise TimestampError(f"{path}: holds no Digital Signature UID ({type(error).__name__}).") from error
    return str(uid)


def _uid_file(signature_uid: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(_GENERIC_FILE)
    meta.MediaStorageSOPInstanceUID = UID(signature_uid)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    content = Dataset()
    content.DigitalSignatureUID = UID(signature_uid)
    content.file_meta = meta
    with io.BytesIO() as file:
        pydicom.dcmwrite(file, content, enforce_file_format=True)
        return file.getvalue()


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_RESPONSE + 1)
    except OSError as error:
        raise TimestampError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    if len(data) > LARGEST_RESPONSE:
        raise TimestampError(f"{path}: is larger than {LARGEST_RESPONSE} bytes, which no such file is.")
    return data


def _write_new(path: Path, data: bytes) -> None:
    try:
        file = path.open("xb")
    except FileExistsError as error:
        raise TimestampError(f"{path}: exists; its reply may be on the way. Name another file.") from error
    except OSError as error:
        raise TimestampError(f"{path}: cannot be written ({error.strerror}). Check the folder.") from error
    try:
        with file:
            file.write(data)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise TimestampError(f"{path}: cannot be written ({error.strerror}). Make room for it.") from error
