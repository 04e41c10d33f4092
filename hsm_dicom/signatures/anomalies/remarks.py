"""Find unusual properties of an intact signature, and report each as a remark with its possible meaning."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.encapsulated.codestream import LONGEST_START, begins_as
from hsm_dicom.dataset.tags import PIXEL_DATA
from hsm_dicom.signatures.anomalies.fragments import find_covered_pixel_data
from hsm_dicom.signatures.anomalies.record import Anomaly, AnomalyCode, Weight
from hsm_dicom.signatures.read import SignatureItem, parse_date_time

_EARLIEST, _LATEST = timedelta(hours=-12), timedelta(hours=14)
"""The range of UTC offsets that a DT value may have (PS3.5 6.2)."""


class Siblings:
    """The other signatures of an object, as far as one of them sheds light on another."""

    def __init__(self, items: Iterable[SignatureItem]) -> None:
        living = [item for item in items if not item.historic]
        self._uids = Counter(item.uid for item in living if item.uid)
        self._certificates: dict[bytes, set[bytes]] = defaultdict(set)
        if len({item.certificate for item in living}) > 1:
            for item in living:
                self._certificates[_key_of(item.certificate)].add(item.certificate)

    def remarks(self, item: SignatureItem) -> Iterator[Anomaly]:
        """Yield the remarks on this signature that follow from the others."""
        if self._uids[item.uid] > 1:
            yield _remark(
                AnomalyCode.SHARED_UID,
                "another signature of the object has the same Digital Signature UID",
                "A reference to this UID may mean either signature (PS3.3 C.12.1.1.3).",
            )
        if len(self._certificates.get(_key_of(item.certificate), ())) > 1:
            yield describe_other_certificate("another signature of the object has another certificate for the same key")


def describe_other_certificate(clause: str) -> Anomaly:
    """The remark on a signature whose certificate is not the only one for its key."""
    return _remark(
        AnomalyCode.OTHER_CERTIFICATE,
        clause,
        "Certificate of Signer is not in the MAC, so either may be the one that the signer used. Rely on the name only "
        "if both are certificates of the same person or device.",
    )


def find_remarks(file: DicomFile, item: SignatureItem, siblings: Siblings) -> Iterator[Anomaly]:
    """Yield the remarks on one signature."""
    yield from siblings.remarks(item)
    if _is_ca(item.certificate):
        yield _remark(
            AnomalyCode.SIGNED_BY_CA,
            "it was made with the key of a certification authority",
            "Such a key should sign certificates only; ask why it signed an object.",
        )
    claimed = parse_date_time(item.date_time)
    offset = claimed.utcoffset() if claimed is not None else None
    if offset is not None and not _EARLIEST <= offset <= _LATEST:
        yield _remark(
            AnomalyCode.ODD_OFFSET,
            f"its time has the UTC offset {item.date_time[-5:]}, which is outside of -1200 to +1400",
            "PS3.5 6.2 allows no other; the clock or the program of the signer is wrong.",
        )
    yield from _other_encoding(file, item)


def _other_encoding(file: DicomFile, item: SignatureItem) -> Iterator[Anomaly]:
    """Compare the pixels with the Transfer Syntax, which the MAC does not cover."""
    tags = item.mac.tags if item.mac else ()
    pixels = item.level.get(PIXEL_DATA)
    if item.level.path or pixels is None or PIXEL_DATA not in tags or not file.syntax.encapsulated:
        return
    says = f"as Transfer Syntax {file.syntax.uid} says"
    detail = "No signature covers the Transfer Syntax; it may have been changed since, and programs rely on it."
    if pixels.pieces is None:
        yield _remark(AnomalyCode.OTHER_ENCODING, f"its Pixel Data is not encapsulated {says}", detail)
        return
    for pixel_data in find_covered_pixel_data(file, (), tags):
        first = next(pixel_data.fragments(), None)
        if pixel_data.path or first is None:
            continue
        start, end = first
        if not begins_as(file.syntax.uid, file.source.read(start, min(end, start + LONGEST_START))):
            yield _remark(AnomalyCode.OTHER_ENCODING, f"its Pixel Data does not begin {says}", detail)


def _remark(code: AnomalyCode, clause: str, detail: str) -> Anomaly:
    return Anomaly(code, Weight.REMARK, clause, detail)


@lru_cache(maxsize=256)
def _key_of(certificate: bytes) -> bytes:
    """The public key of a certificate (DER); empty where it cannot be read."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:  # whatever a hostile certificate makes the parser raise
        return b""


@lru_cache(maxsize=256)
def _is_ca(certificate: bytes) -> bool:
    try:
        extensions = x509.load_der_x509_certificate(certificate).extensions
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except Exception:  # no such extension, or whatever a hostile certificate makes the parser raise
        return False
