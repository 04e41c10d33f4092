"""Integrity of signatures: whether each matches the bytes of the object (PS3.15 Annex C).

`hsm_dicom.validation` decides whether the signer is trusted and may sign. A signature is INTACT only if its
macro is complete and consistent, every listed element is present and signable, and the key of its certificate made it
over exactly the stream of PS3.3 C.12.1.1.3.1.2. A defect of one signature does not hide the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile, FileState
from hsm_dicom.dataset.errors import DicomFileError, FileChangedError
from hsm_dicom.dataset.inputs import ObjectInput, open_input
from hsm_dicom.dataset.octets.source import Content, ObjectSource
from hsm_dicom.dataset.tags import ItemPath, describe_tag, never_signable
from hsm_dicom.dataset.transfer_syntax import (
    DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    TransferSyntax,
)
from hsm_dicom.dataset.values import ObjectIdentity, read_identity
from hsm_dicom.dataset.vr import PLAIN, Reading
from hsm_dicom.signatures import attributes as a
from hsm_dicom.signatures.algorithms import MAC_ALGORITHMS
from hsm_dicom.signatures.anomalies.converted import CONVERTED, describe_reading
from hsm_dicom.signatures.anomalies.envelope import find_foreign_content
from hsm_dicom.signatures.anomalies.fragments import find_fragment_defects
from hsm_dicom.signatures.anomalies.level import find_open_level
from hsm_dicom.signatures.anomalies.outside import OutsideContent
from hsm_dicom.signatures.anomalies.record import Anomaly, Weight, has_weight
from hsm_dicom.signatures.anomalies.remarks import Siblings, find_remarks
from hsm_dicom.signatures.check import is_made_by, strip_pad_byte
from hsm_dicom.signatures.coverage.shares import Coverage, compute_coverage
from hsm_dicom.signatures.dcmtk_stream import describe_cut
from hsm_dicom.signatures.digests import Digests, _EffortLimitError
from hsm_dicom.signatures.mac import feed_covered, feed_own
from hsm_dicom.signatures.profiles.rules import Profile, find_profiles_met
from hsm_dicom.signatures.read import UID_OF_FILE, Purpose, SignatureItem, parse_date_time, read_signature_items


class Finding(Enum):
    """The result of the integrity check of one signature."""

    INTACT = "intact"
    """The key of the certificate signed the covered bytes as they are."""
    BROKEN = "broken"
    """Covered bytes were changed, or the signature never matched them."""
    PARTIAL = "partial"
    """It matches only a part: the program that made it wrongly left octets out of the byte stream."""
    UNCHECKABLE = "uncheckable"
    """The signature, or data that it refers to, is incomplete or of an unknown kind."""
    NOT_OFFERED = "not-offered"
    """This machine does not have the hash of its MAC algorithm, as where OpenSSL is in FIPS mode."""
    HISTORIC = "historic"
    """It is in Original Attributes Sequence and covers an earlier state of the object, so it cannot be checked."""


_SETTLED = (Finding.INTACT, Finding.HISTORIC)


@dataclass(frozen=True)
class VerifiedSignature:
    """One signature and its check result. Bytes are DER without pad byte; texts are as in the file, without padding."""

    place: ItemPath
    """Path of the signed Data Set: () for the main one."""
    number: int
    """Its Item number in Digital Signatures Sequence, from 0."""
    finding: Finding
    reason: str
    """One sentence that explains why it is not intact; empty if it is intact."""
    uid: str
    mac_id: int | None
    mac_algorithm: str
    transfer_syntax: str
    """MAC Calculation Transfer Syntax UID."""
    date_time: str
    """Digital Signature DateTime as claimed by the signer."""
    signed_at: datetime | None
    """``date_time`` with its time zone; None if it is malformed or lacks the UTC offset that PS3.3 requires."""
    certificate_type: str
    certificate: bytes
    purpose: Purpose | None
    signature: bytes
    """The value of Signature (0400,0120), which a time stamp covers."""
    timestamp_type: str
    timestamp: bytes | None
    """The TimeStampToken of RFC 3161, not yet checked."""
    coverage: Coverage | None
    """None if the signature does not list its covered elements."""
    profiles: tuple[Profile, ...]
    """The profiles of PS3.15 Annex C that it meets; empty unless it is intact and no anomaly questions it."""
    anomalies: tuple[Anomaly, ...] = ()
    """Reasons why the object may differ from the signed one although the signature is intact."""

    @property
    def intact(self) -> bool:
        return self.finding is Finding.INTACT


@dataclass(frozen=True)
class VerifiedFile:
    """An object and its signatures, both read from the same bytes."""

    name: str
    transfer_syntax: str
    identity: ObjectIdentity
    signatures: tuple[VerifiedSignature, ...]
    state: FileState | None = None
    """The state of the file that was read; None if it was not read from a path."""

    def __bool__(self) -> bool:
        raise TypeError("A VerifiedFile is neither true nor false: use the attribute intact of each of its signatures.")


def check_integrity(source: ObjectInput) -> VerifiedFile:
    """Check every signature at every level of an object, but not its signer; `hsm_dicom.verify` gives the verdict.

    ``source`` is a path, the encoded bytes, a binary file or a pydicom Dataset (see `hsm_dicom.dataset.inputs`). It may
    lack File Meta Information if only one reading is possible. Raises DicomFileError if it cannot be read as DICOM,
    FileChangedError if the file changes during the check, and TypeError for any other type.
    """
    with open_input(source) as path:
        return _check_integrity(path)


def _check_integrity(path: ObjectSource) -> VerifiedFile:
    with DicomFile.open(path, bare=True) as file:
        items = read_signature_items(file)
        found = _check_open(file, items)
        if file.syntax.implicit_vr:
            guess = _lists_private_of_unknown_vr(file, items)
            for reading in (PLAIN, *CONVERTED)[not guess :]:
                if all(one.finding in _SETTLED for one in found.signatures):
                    break
                found = _with_reading(found, path, file, reading._replace(guess_private=guess))
        return replace(found, state=None) if isinstance(path, Content) else found


def _with_reading(found: VerifiedFile, path: ObjectSource, file: DicomFile, reading: Reading) -> VerifiedFile:
    """Return the result with those signatures replaced that are intact only in this reading."""
    with DicomFile.open(path, reading=reading, bare=True) as other:
        if other.state != file.state:
            raise FileChangedError(file.name, "the file was changed while it was being read.")
        read_so = _check_open(other, read_signature_items(other)).signatures
    remarks = tuple(describe_reading(reading))
    signatures = [
        replace(new, anomalies=(*new.anomalies, *remarks)) if new.intact and not old.intact else old
        for old, new in zip(found.signatures, read_so, strict=True)
    ]
    return replace(found, signatures=tuple(signatures))


def _lists_private_of_unknown_vr(file: DicomFile, items: list[SignatureItem]) -> bool:
    """Return whether a signature covers private elements of a file in implicit VR, which does not store their VRs.

    A signer with a dictionary of private elements can still sign them, as DCMTK does. If the stream matches with the
    VRs of this library's dictionary, the signer used the same VRs; if not, the VRs are unknown.
    """
    return file.syntax.implicit_vr and any(
        item.level[tag].has_un
        for item in items
        for tag in (item.mac.tags if item.mac and not item.historic else ())
        if tag in item.level
    )


def _check_open(file: DicomFile, items: list[SignatureItem]) -> VerifiedFile:
    digests = Digests(file, items)
    outside, siblings = OutsideContent(file, items), Siblings(items)
    identity = read_identity(file)
    signatures = tuple(_check_signature(file, item, digests, outside, siblings) for item in items)
    file.check_unchanged()
    return VerifiedFile(file.name, file.syntax.uid, identity, signatures, file.state)


def dump_macs(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[str]:
    """Write the exact byte stream of each signature's MAC to ``FOLDER/<Digital Signature UID>.mac``.

    Returns the paths of the files; signatures that do not list covered elements have none. Listed elements that cannot
    be signed are not in the stream. Raises DicomFileError.
    """
    with DicomFile.open(path, bare=True) as file:
        items = read_signature_items(file)
        if not _lists_private_of_unknown_vr(file, items):
            return _dump(file, items, folder)
    with DicomFile.open(path, reading=Reading(guess_private=True), bare=True) as guessed:
        return _dump(guessed, read_signature_items(guessed), folder)


def _dump(file: DicomFile, items: list[SignatureItem], folder: str | os.PathLike[str]) -> list[str]:
    written = []
    for item in items:
        if item.mac is None or not UID_OF_FILE.fullmatch(item.uid):
            continue
        target = Path(folder, f"{item.uid}.mac")
        try:
            with target.open("wb") as out:
                feed_mac_stream(file, item, out.write)
        except OSError as error:
            raise DicomFileError(str(target), f"cannot be written: {error.strerror}.") from error
        written.append(str(target))
    return written


def feed_mac_stream(file: DicomFile, item: SignatureItem, write: Callable[[bytes | memoryview], object]) -> None:
    """Pass the exact byte stream of a signature's MAC to ``write``, in parts."""
    listed = item.level.signable_tags.intersection(item.mac.tags if item.mac else ())
    feed_covered(file, item.level, listed, write)
    feed_own(file, item.item, write)


@dataclass
class _Refusal(Exception):
    finding: Finding
    reason: str
    anomalies: tuple[Anomaly, ...] = ()


def _check_signature(
    file: DicomFile, item: SignatureItem, digests: Digests, outside: OutsideContent, siblings: Siblings
) -> VerifiedSignature:
    finding, reason = Finding.INTACT, ""
    anomalies: tuple[Anomaly, ...] = ()
    covers = None
    try:
        if item.mac is not None and not item.historic:
            covers = compute_coverage(item.level, frozenset(item.mac.tags))
        _check(file, item, digests)
        anomalies = find_anomalies(file, item, outside, siblings)
    except _Refusal as refusal:
        finding, reason, anomalies = refusal.finding, refusal.reason, refusal.anomalies
    intact = finding is Finding.INTACT
    meets = intact and not has_weight(anomalies, Weight.QUESTION)
    key = _public_key(item.certificate)
    return VerifiedSignature(
        place=item.level.path,
        number=item.number,
        finding=finding,
        reason=reason,
        uid=item.uid,
        mac_id=item.mac_id,
        mac_algorithm=item.mac.algorithm if item.mac else "",
        transfer_syntax=item.mac.transfer_syntax if item.mac else "",
        date_time=item.date_time,
        signed_at=parse_date_time(item.date_time),
        certificate_type=item.certificate_type,
        certificate=item.certificate,
        purpose=item.purpose,
        signature=strip_pad_byte(key, item.signature),
        timestamp_type=item.timestamp_type,
        timestamp=item.timestamp,
        coverage=covers,
        profiles=find_profiles_met(file, item, key) if meets else (),
        anomalies=anomalies,
    )


def find_anomalies(
    file: DicomFile, item: SignatureItem, outside: OutsideContent, siblings: Siblings
) -> tuple[Anomaly, ...]:
    """Return the anomalies of one signature, collected from all modules that find anomalies."""
    return (
        *find_foreign_content(file, item),
        *find_fragment_defects(file, item),
        *find_open_level(file, item),
        *outside.find(item),
        *find_remarks(file, item, siblings),
    )


def _check(file: DicomFile, item: SignatureItem, digests: Digests) -> None:
    if item.historic:
        raise _Refusal(Finding.HISTORIC, "It signed an earlier state of the object, kept in Original Attributes.")
    if item.defect or item.mac is None:
        raise _Refusal(Finding.UNCHECKABLE, f"The signature cannot be checked: {item.defect}.")
    algorithm = MAC_ALGORITHMS.get(item.mac.algorithm)
    if algorithm is None:
        raise _Refusal(Finding.UNCHECKABLE, f"MAC Algorithm {item.mac.algorithm!r} is none of PS3.3's.")
    if not algorithm.is_offered:
        raise _Refusal(
            Finding.NOT_OFFERED,
            f"The hash {algorithm.term} is not offered by Python's OpenSSL here, which may be in FIPS mode.",
        )
    if item.certificate_type.encode("latin-1") != a.X509_CERTIFICATE:
        raise _Refusal(Finding.UNCHECKABLE, f"Certificate Type {item.certificate_type!r} is not X509_1993_SIG.")
    _check_transfer_syntax(file.syntax, item.mac.transfer_syntax)
    _check_listed(item.level, item.mac.tags)
    key = _public_key(item.certificate)
    if key is None:
        raise _Refusal(Finding.UNCHECKABLE, "Certificate of Signer is not a readable X.509 certificate.")
    try:
        digest = digests.digest(item, algorithm)
    except _EffortLimitError as error:
        raise _Refusal(Finding.UNCHECKABLE, str(error)) from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _Refusal(Finding.UNCHECKABLE, f"The certificate's key ({type(key).__name__}) is neither RSA nor EC.")
    signature = strip_pad_byte(key, item.signature)
    if not is_made_by(key, signature, digest, algorithm):
        of_dcmtk = digests.digest_of_dcmtk(item, algorithm)
        if of_dcmtk is not None and is_made_by(key, signature, of_dcmtk.digest, algorithm):
            cut = describe_cut(of_dcmtk.left_out)
            raise _Refusal(Finding.PARTIAL, f"{cut.clause[:1].upper()}{cut.clause[1:]}.", (cut,))
        raise _Refusal(
            Finding.BROKEN, "What is covered is not what was signed: it was changed, or signed by another key."
        )


def _check_transfer_syntax(actual: TransferSyntax, claimed: str) -> None:
    """Check the claimed Transfer Syntax, which the signature does not protect, against that of the file."""
    if actual.encapsulated:
        fits = claimed == actual.uid
    else:
        fits = claimed in (EXPLICIT_VR_LITTLE_ENDIAN, DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN)
    if not fits:
        raise _Refusal(
            Finding.UNCHECKABLE,
            f"The MAC was calculated in Transfer Syntax {claimed!r}, but the object is now in {actual.uid}.",
        )


def _check_listed(level: DataSet, tags: tuple[int, ...]) -> None:
    for tag in sorted(set(tags) - level.signable_tags):
        if tag not in level:
            raise _Refusal(Finding.BROKEN, f"{describe_tag(tag)} was signed and is missing.")
        why = "it is one that may never be signed" if never_signable(tag) else "its VR, or one inside it, is not known"
        raise _Refusal(Finding.UNCHECKABLE, f"{describe_tag(tag)} is listed as signed but cannot be: {why}.")


@lru_cache(maxsize=256)
def _public_key(certificate: bytes) -> CertificatePublicKeyTypes | None:
    """Return the key of a certificate; None if it cannot be read.

    The signature on a certificate has whole octets (RFC 3279 2.2), but parsers accept unused bits in its BIT STRING.
    The octet that counts them is the only one of a certificate that can change without breaking the chain.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        unused_bits = certificate[-len(parsed.signature) - 1]
        return None if unused_bits else parsed.public_key()
    except Exception:  # a hostile certificate may make the parser raise any exception
        return None
