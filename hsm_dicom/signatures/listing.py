"""List the signatures of a file and their attributes, without a check."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import DicomFileError, TargetExistsError
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures.read import UID_OF_FILE, Purpose, parse_date_time, read_signature_items


@dataclass(frozen=True)
class ListedSignature:
    """One signature as it is in the file, not checked. ``defect`` says what could not be read."""

    uid: str
    place: ItemPath
    number: int
    date_time: str
    signed_at: datetime | None
    mac_id: int | None
    mac_algorithm: str
    mac_transfer_syntax: str
    tags: tuple[int, ...]
    certificate: bytes
    purpose: Purpose | None
    timestamped: bool
    historic: bool
    defect: str


def list_signatures(path: str | os.PathLike[str]) -> tuple[ListedSignature, ...]:
    """Return every signature at every level. Raises DicomFileError."""
    with DicomFile.open(path) as file:
        return tuple(
            ListedSignature(
                uid=item.uid,
                place=item.level.path,
                number=item.number,
                date_time=item.date_time,
                signed_at=parse_date_time(item.date_time),
                mac_id=item.mac_id,
                mac_algorithm=item.mac.algorithm if item.mac else "",
                mac_transfer_syntax=item.mac.transfer_syntax if item.mac else "",
                tags=item.mac.tags if item.mac else (),
                certificate=item.certificate,
                purpose=item.purpose,
                timestamped=item.timestamp is not None,
                historic=item.historic,
                defect=item.defect,
            )
            for item in read_signature_items(file)
        )


def save_certificate(signature: ListedSignature, folder: str | os.PathLike[str]) -> Path | None:
    """Write the certificate of a signature's signer to ``FOLDER/<Digital Signature UID>.pem``, and return its path.

    None for a signature without a certificate or a usable UID. Nothing is checked of the certificate. Raises
    DicomFileError if the file cannot be written, or exists with other content.
    """
    if not signature.certificate or not UID_OF_FILE.fullmatch(signature.uid):
        return None
    target = Path(folder, f"{signature.uid}.pem")
    pem = ssl.DER_cert_to_PEM_cert(signature.certificate).encode()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(pem)
    except FileExistsError:
        if target.read_bytes() != pem:
            raise TargetExistsError(str(target), "exists already, with other content.") from None
    except OSError as error:
        raise DicomFileError(str(target), f"cannot be written: {error.strerror}.") from error
    return target
