"""Which signatures a file holds and what they say of themselves, without computing a single hash."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.tags import Path
from hsm_dicom.signatures.read import Purpose, parse_date_time, signature_items


@dataclass(frozen=True)
class ListedSignature:
    """One signature by its own account; nothing of it is checked. ``oddity`` says what of it could not be read."""

    uid: str
    place: Path
    number: int
    date_time: str
    signed_at: datetime | None
    mac_id: int | None
    mac_algorithm: str
    tags: tuple[int, ...]
    certificate: bytes
    purpose: Purpose | None
    timestamped: bool
    historic: bool
    oddity: str


def list_signatures(path: str | os.PathLike[str]) -> tuple[ListedSignature, ...]:
    """Every signature at every level. Raises DicomFileError."""
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
                tags=item.mac.tags if item.mac else (),
                certificate=item.certificate,
                purpose=item.purpose,
                timestamped=item.timestamp is not None,
                historic=item.historic,
                oddity=item.oddity,
            )
            for item in signature_items(file)
        )
