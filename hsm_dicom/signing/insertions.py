"""Sign an object, and return what a signature inserts instead of writing a file.

    insertion = sign_insertion("received.dcm", node, build_request(node, "base"))

Whoever has the object can make the same signed object again, octet for octet, from a few thousand octets.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hsm_dicom.dataset.octets.source import ObjectSource
from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.events import emit
from hsm_dicom.identity import Identity
from hsm_dicom.signatures.creation.create import SigningReport, make_report, open_signed
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signing.checks import make_signature_event
from hsm_dicom.signing.objects import sign_plan

_EDIT = struct.Struct(">QQI")


@dataclass(frozen=True)
class Insertion:
    """What a signature changes in a Data Set. Offsets count from the first byte of the Data Set, inflated."""

    edits: tuple[Edit, ...]

    def encode(self) -> bytes:
        """Return it as bytes, for `decode`."""
        return b"".join(_EDIT.pack(one.start, one.end, len(one.data)) + one.data for one in self.edits)

    @classmethod
    def decode(cls, data: bytes) -> Insertion:
        """Return what `encode` made these bytes of. Raises ValueError if they are cut off."""
        return cls(tuple(_decode(data)))

    def shift(self, offset: int) -> list[Edit]:
        """Return the edits of a file whose Data Set begins at an offset."""
        return [Edit(one.start + offset, one.end + offset, one.data) for one in self.edits]


def sign_insertion(source: ObjectSource, signer: Identity, request: SigningRequest) -> tuple[Insertion, SigningReport]:
    """Sign an object, and return what to insert into it, and a report (PS3.15 Annex C).

    Emits the event `SignatureMade`. Raises TokenError, SignatureError, DicomFileError, and CertificateExpiredError if
    the certificate is not valid now.
    """
    signer.select().require_current()
    identity, plan, signature = sign_plan(source, signer, request)
    with open_signed(plan, signature) as (file, edits):
        insertion = Insertion(tuple(Edit(one.start - file.head, one.end - file.head, one.data) for one in edits))
    report = make_report(plan, plan.name, timestamped=False)
    emit(make_signature_event(report, identity.certificate, identity.name))
    return insertion, report


def _decode(data: bytes) -> Iterator[Edit]:
    at = 0
    while at < len(data):
        if len(data) - at < _EDIT.size:
            raise ValueError("an insertion that is cut off")
        start, end, length = _EDIT.unpack_from(data, at)
        at += _EDIT.size
        if len(data) - at < length:
            raise ValueError("an insertion that is cut off")
        yield Edit(start, end, data[at : at + length])
        at += length
