"""The signature of this node on the objects of a route: made once for the same octets, and remembered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric import rsa

from hsm_dicom.dataset.octets.source import ObjectSource
from hsm_dicom.dataset.tags import format_tag
from hsm_dicom.errors import DicomError
from hsm_dicom.gateway.holding.records import SignatureRecord, SignatureRecords
from hsm_dicom.gateway.holding.settings import OnConflict, SigningSettings
from hsm_dicom.identity import Identity
from hsm_dicom.signatures.algorithms import find_mac_algorithm
from hsm_dicom.signatures.read import SignatureItem
from hsm_dicom.signing.arguments import build_request
from hsm_dicom.signing.insertions import Insertion, sign_insertion

_CONFLICT = "Another object with this SOP Instance UID was signed."


class ConflictError(DicomError):
    """Another object with the same SOP Instance UID was signed."""


@dataclass(frozen=True)
class Signed:
    """What the signature inserts. `left_out` are the tags that a new signature does not cover.

    `record` is the signature as it was stored. `is_new` is False if the same octets came before.
    """

    insertion: Insertion
    record: SignatureRecord
    left_out: tuple[str, ...] = ()
    is_new: bool = True
    conflicts: bool = False
    """Whether another object with this UID was signed, and this one is signed nevertheless."""


class ObjectSigner:
    """Signs for one route. Thread-safe."""

    def __init__(self, route: str, settings: SigningSettings, identity: Identity, records: SignatureRecords) -> None:
        self.settings = settings
        self._route, self._identity, self._records = route, identity, records
        is_rsa = isinstance(identity.key, rsa.RSAPrivateKey)
        profile = settings.profile or ("base" if is_rsa else "none")
        self._request = build_request(identity, profile, mac=settings.mac, purpose=settings.purpose)
        self.algorithm = find_mac_algorithm(settings.mac)

    def sign(self, source: ObjectSource, sop_instance_uid: str, received_sha256: bytes) -> Signed:
        """Return the signature over an object, which is on disk then.

        Raises `ConflictError`, `OSError`, and what `sign_insertion` raises.
        """
        known = self._records.find(self._route, sop_instance_uid)
        for record in known:
            if record.received_sha256 == received_sha256:
                return Signed(Insertion.decode(record.insertion), record, is_new=False)
        is_only = self.settings.on_conflict is OnConflict.REFUSE
        if known and is_only:
            raise ConflictError(_CONFLICT)
        insertion, report = sign_insertion(source, self._identity, self._request)
        made = SignatureRecord(received_sha256, insertion.encode(), report.uid)
        stored = self._records.add(self._route, sop_instance_uid, made, is_only=is_only)
        if stored is None:  # the other one came at the same time
            raise ConflictError(_CONFLICT)
        return Signed(
            Insertion.decode(stored.insertion),
            stored,
            tuple(format_tag(tag) for tag in report.left_out),
            is_new=stored.signature_uid == made.signature_uid,
            conflicts=bool(known),
        )

    def has_made(self, sop_instance_uid: str, signatures: Iterable[SignatureItem]) -> bool:
        """Return whether one of the signatures of an object is one that this route has made. Raises `OSError`.

        The UID alone proves nothing, since anybody may write it: value and certificate must be those on record. That
        the signature holds is not checked here.
        """
        known = {one.signature_uid: one.insertion for one in self._records.find(self._route, sop_instance_uid)}
        return any(
            not one.level.path
            and one.signature
            and one.certificate
            and one.signature in known.get(one.uid, b"")
            and one.certificate in known.get(one.uid, b"")
            for one in signatures
        )

    def note_status(self, sop_instance_uid: str, received_sha256: bytes, status: int, is_answered: bool) -> None:
        """Note what the target answered, and whether the caller was there to get it."""
        self._records.settle((self._route, sop_instance_uid, received_sha256), status, is_answered)

    def make_note(self, sop_instance_uid: str, received_sha256: bytes) -> partial[None]:
        """Return `note_status` for one object."""
        return partial(self.note_status, sop_instance_uid, received_sha256)
