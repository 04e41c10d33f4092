"""Creation of signatures (PS3.15 Annex C, PS3.3 C.12.1.1.3), in three steps that need not share a process.

``prepare`` reads the file and computes the digest; ``sign_digest`` is the only step that uses the key; ``finish``
writes the signed file. A ``Plan`` can be pickled, so prepare and finish may run in any executor while one process uses
the token. ``sign`` runs all three.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from struct import pack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from hsm_dicom.dataset.dicom_file import DicomFile, EncodedFile, FileState
from hsm_dicom.dataset.encode import NewElement, NewItem, encode_tags, mac_encoding
from hsm_dicom.dataset.errors import CopyInPlaceError, FileChangedError
from hsm_dicom.dataset.octets.hashed import StreamHash
from hsm_dicom.dataset.octets.source import ObjectSource
from hsm_dicom.dataset.rewrite import Edit, StagedFile, publish, write_stream
from hsm_dicom.dataset.tags import (
    DIGITAL_SIGNATURES_SEQUENCE,
    MAC_PARAMETERS_SEQUENCE,
    ItemPath,
)
from hsm_dicom.dataset.transfer_syntax import EXPLICIT_VR_LITTLE_ENDIAN, TransferSyntax
from hsm_dicom.signatures import attributes as a
from hsm_dicom.signatures.algorithms import MacAlgorithm, find_mac_algorithm
from hsm_dicom.signatures.check import is_made_by
from hsm_dicom.signatures.creation.insert import Insertion, find_insertion, make_insertion_edits
from hsm_dicom.signatures.creation.repair import RepairedContent, open_signable
from hsm_dicom.signatures.creation.request import SigningRequest, choose_purpose
from hsm_dicom.signatures.creation.selection import (
    find_left_out_tags,
    find_overpadded_tags,
    find_uncovered_tags,
    select_tags,
)
from hsm_dicom.signatures.dcmtk_stream import count_left_out
from hsm_dicom.signatures.errors import (
    KeyMismatchError,
    NoSuchSignatureError,
    ProfileError,
    SignatureError,
    WeakMacAlgorithmError,
)
from hsm_dicom.signatures.mac import feed_covered
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.signatures.read import Purpose, read_mac_id_number
from hsm_dicom.signatures.unquestioned import require_unquestioned
from tokens.errors import MechanismNotOfferedError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Timestamper = Callable[[bytes], bytes]
"""A callable that takes the value of Signature (0400,0120) and returns an RFC 3161 TimeStampToken over it, in DER."""


@dataclass(frozen=True)
class Plan:
    """A signature complete except for the key's result over ``digest``. Returned by ``prepare``; can be pickled."""

    name: str
    source: ObjectSource
    state: FileState
    syntax: TransferSyntax
    head: int
    repaired: RepairedContent | None
    request: SigningRequest
    uid: str
    digest: bytes
    signed: tuple[int, ...]
    left_out: tuple[int, ...]
    uncovered: tuple[int, ...]
    overpadded: tuple[int, ...]
    unhashed_by_dcmtk: int
    mac_item: NewItem
    signature_item: NewItem
    insertion: Insertion


@dataclass(frozen=True)
class SigningReport:
    """Report on one signature: the elements that it covers, and those of the same Data Set that it does not.

    ``left_out`` are the elements that contain UN or were not requested.
    ``uncovered`` are those of ``left_out`` that belong to the object's identity or content and should have been
    signed; it is empty without ``SigningRequest.allow_uncovered``.
    ``overpadded`` are signed attributes that are, or hold, strings with more padding than an even length needs.
    Their signature is valid by the standard, which signs values as encoded. DCMTK (seen in 3.6.7) strips surplus
    padding before hashing and reports the signature as corrupted; DCMTK programs that rewrite the file remove it.
    ``unhashed_by_dcmtk`` is the number of signed octets in nested sequences that DCMTK's dcmsign 3.6.7 leaves out of
    its hash (see ``dcmtk_stream``); it then reports the signature as corrupted, too.
    """

    source: str
    target: str
    uid: str
    place: ItemPath
    profile: Profile
    mac: str
    signed: tuple[int, ...]
    left_out: tuple[int, ...]
    uncovered: tuple[int, ...]
    overpadded: tuple[int, ...]
    unhashed_by_dcmtk: int
    timestamped: bool
    repaired: tuple[str, ...] = ()
    """Differences between the file and the clean copy that was signed in its place, each as a clause."""

    @property
    def dcmsign_disagrees(self) -> bool:
        """Whether DCMTK's dcmsign 3.6.7 reports this signature as corrupted, although it is valid by the standard."""
        return bool(self.overpadded or self.unhashed_by_dcmtk)


def sign(
    path: ObjectSource,
    output: str | os.PathLike[str] | None,
    key: PrivateKey,
    request: SigningRequest,
    *,
    timestamp: Timestamper | None = None,
    overwrite: bool = False,
) -> SigningReport:
    """Sign one file; ``output`` None signs in place.

    Raises DicomFileError, SignatureError, and the errors of the key. After any error, the original is unchanged.
    """
    require_matching_key(key, request)
    plan = prepare(path, request)
    signature = sign_digest(key, plan)
    token = None if timestamp is None else timestamp(signature)
    return finish(plan, signature, output, timestamp=token, overwrite=overwrite)


def require_matching_key(key: PrivateKey, request: SigningRequest) -> None:
    """Raise KeyMismatchError unless the key belongs to the request's certificate."""
    if key.public_key() != _certificate_key(request):
        raise KeyMismatchError(
            "The certificate belongs to another key; name the certificate that was issued for this key."
        )


def prepare(path: ObjectSource, request: SigningRequest) -> Plan:
    """Read a file and compute the digest to sign. Uses no key and writes no file."""
    algorithm = _choose_algorithm(request)
    purpose = choose_purpose(request)
    with open_signable(path, request.item, repair=request.repair, trim=request.trim_padding, note_padding=True) as (
        file,
        repaired,
    ):
        try:
            level = file.item(request.item)
        except KeyError as missing:
            raise NoSuchSignatureError(f"{file.name}: there is no Item {missing.args[0]}.") from None
        require_unquestioned(file)
        signed = select_tags(file, level, request)
        covered = frozenset(signed)
        uid = f"2.25.{uuid.uuid4().int}"
        mac_id = _free_mac_id(file)
        syntax = file.syntax.uid if file.syntax.encapsulated else EXPLICIT_VR_LITTLE_ENDIAN
        mac_item = (
            NewElement(a.MAC_ID_NUMBER, "US", pack("<H", mac_id)),
            NewElement(a.MAC_CALCULATION_TRANSFER_SYNTAX_UID, "UI", syntax.encode()),
            NewElement(a.MAC_ALGORITHM, "CS", algorithm.term.encode()),
            NewElement(a.DATA_ELEMENTS_SIGNED, "AT", encode_tags(signed)),
        )
        signature_item = _signature_item(mac_id, uid, request, purpose)
        state = StreamHash(algorithm.new())
        size = state.begin(file.source, partial(feed_covered, file, level, covered))
        for element in signature_item:
            if element.tag not in a.LEFT_OUT_OF_MAC:
                state.update(mac_encoding(element))
        file.check_unchanged()
        return Plan(
            name=file.name,
            source=path,
            state=file.state,
            syntax=file.syntax,
            head=file.head,
            repaired=repaired,
            request=request,
            uid=uid,
            digest=state.digest(),
            signed=signed,
            left_out=find_left_out_tags(level, covered),
            uncovered=find_uncovered_tags(level, covered, request) if request.allow_uncovered else (),
            overpadded=find_overpadded_tags(file, level, covered),
            unhashed_by_dcmtk=count_left_out(file, level, covered, size),
            mac_item=mac_item,
            signature_item=signature_item,
            insertion=find_insertion(file, level),
        )


def sign_digest(key: PrivateKey, plan: Plan) -> bytes:
    """Return the value of Signature (0400,0120): RSASSA-PKCS1-v1_5 or ECDSA (DER) over the plan's digest.

    If the device of an RSA key cannot sign an external digest, it receives the octets and hashes them itself.
    """
    return sign_hashed(key, plan.digest, plan.request.mac, lambda: plan)


def sign_hashed(key: PrivateKey, digest: bytes, mac: str, load_plan: Callable[[], Plan]) -> bytes:
    """Do what ``sign_digest`` does from the digest of a plan and its MAC algorithm; few devices need the whole plan."""
    algorithm = find_mac_algorithm(mac)
    prehashed = Prehashed(algorithm.hash)
    if not isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, ec.ECDSA(prehashed))
    try:
        return key.sign(digest, padding.PKCS1v15(), prehashed)
    except MechanismNotOfferedError:
        # For example, a TPM with a key that may sign but not decrypt.
        return key.sign(_mac_stream(load_plan()), padding.PKCS1v15(), algorithm.hash)


def _mac_stream(plan: Plan) -> bytes:
    """Return the octets that the plan's digest is over. Raises FileChangedError if the file has changed."""
    pieces: list[bytes] = []
    request = plan.request
    with open_signable(plan.source, request.item, repair=request.repair, trim=request.trim_padding) as (file, _):
        feed_covered(file, file.item(request.item), set(plan.signed), lambda piece: pieces.append(bytes(piece)))
    pieces += [mac_encoding(element) for element in plan.signature_item if element.tag not in a.LEFT_OUT_OF_MAC]
    stream = b"".join(pieces)
    state = find_mac_algorithm(plan.request.mac).new()
    state.update(stream)
    if state.digest() != plan.digest:
        raise FileChangedError(plan.name, "the file was changed since it was read; nothing was written.")
    return stream


def finish(
    plan: Plan,
    signature: bytes,
    output: str | os.PathLike[str] | None,
    *,
    timestamp: bytes | None = None,
    overwrite: bool = False,
) -> SigningReport:
    """Write the signed file, with the TimeStampToken (DER) over the signature if given.

    Raises KeyMismatchError if the certificate's key did not make the signature, and DicomFileError. After an error,
    nothing is written.
    """
    with stage(plan, signature, output, timestamp=timestamp, overwrite=overwrite) as (file, report):
        (error,) = publish([file])
        if error is not None:
            raise error
    return report


@contextmanager
def stage(
    plan: Plan,
    signature: bytes,
    output: str | os.PathLike[str] | None,
    *,
    timestamp: bytes | None = None,
    overwrite: bool = False,
) -> Iterator[tuple[StagedFile, SigningReport]]:
    """Yield the signed file as ``finish`` writes it, before it is published, and its report."""
    if plan.repaired is not None and output is None:
        raise CopyInPlaceError(plan.name, "needs a clean copy, which never replaces the original.")
    with (
        open_signed(plan, signature, timestamp) as (file, edits),
        StagedFile(file, edits, output, overwrite=overwrite) as new,
    ):
        yield (
            new,
            make_report(plan, plan.name if output is None else os.fspath(output), timestamped=timestamp is not None),
        )


def finish_stream(
    plan: Plan,
    signature: bytes,
    write: Callable[[bytes | memoryview], object],
    *,
    target: str,
    timestamp: bytes | None = None,
) -> SigningReport:
    """Pass the signed object to ``write`` in parts, and return its report, with ``target`` as the object's name.

    Raises the errors of ``finish`` and of ``write``. After an error, some parts may have been written.
    """
    with open_signed(plan, signature, timestamp) as (file, edits):
        write_stream(file, edits, write)
    return make_report(plan, target, timestamped=timestamp is not None)


@contextmanager
def open_signed(
    plan: Plan, signature: bytes, timestamp: bytes | None = None
) -> Iterator[tuple[EncodedFile, list[Edit]]]:
    """Reopen the object and yield it with the edits that add the signature. Raises the errors of ``finish``."""
    request = plan.request
    if not is_made_by(_certificate_key(request), signature, plan.digest, find_mac_algorithm(request.mac)):
        raise KeyMismatchError(
            f"{plan.name}: what the key returned does not verify with the certificate; nothing was written."
        )
    added = [NewElement(a.SIGNATURE, "OB", signature)]
    if timestamp is not None:
        added += [
            NewElement(a.CERTIFIED_TIMESTAMP_TYPE, "CS", a.CMS_TIMESTAMP),
            NewElement(a.CERTIFIED_TIMESTAMP, "OB", timestamp),
        ]
    item = tuple(sorted((*plan.signature_item, *added)))
    content = plan.repaired.make_again(plan.source) if plan.repaired else None
    with EncodedFile.reopen(plan.source, plan.syntax, plan.head, plan.state, content=content) as file:
        yield file, make_insertion_edits(file, plan.insertion, plan.mac_item, item)


def make_report(plan: Plan, target: str, *, timestamped: bool) -> SigningReport:
    """Return the report on a signature that was written to a target."""
    request = plan.request
    return SigningReport(
        source=plan.name,
        target=target,
        uid=plan.uid,
        place=request.item,
        profile=request.profile,
        mac=request.mac.upper(),
        signed=plan.signed,
        left_out=plan.left_out,
        uncovered=plan.uncovered,
        overpadded=plan.overpadded,
        unhashed_by_dcmtk=plan.unhashed_by_dcmtk,
        timestamped=timestamped,
        repaired=plan.repaired.changes if plan.repaired else (),
    )


def _choose_algorithm(request: SigningRequest) -> MacAlgorithm:
    algorithm = find_mac_algorithm(request.mac)
    if algorithm.weak and not request.allow_weak:
        raise WeakMacAlgorithmError(
            f"{algorithm.term} is too weak for new signatures (SHA256, SHA384 and SHA512 are not)."
        )
    return algorithm


@lru_cache(16)
def _load_key(certificate_der: bytes) -> object:
    return x509.load_der_x509_certificate(certificate_der).public_key()


def _certificate_key(request: SigningRequest) -> object:
    try:
        key = _load_key(request.certificate_der)
    except ValueError as error:
        raise KeyMismatchError(f"The certificate cannot be read: {error}.") from error
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyMismatchError("DICOM signatures are made with RSA keys, or with EC keys outside the profiles.")
    if request.profile is not Profile.NONE:
        raise ProfileError("The profiles of PS3.15 Annex C are for RSA keys; sign with an EC key under profile none.")
    return key


def _free_mac_id(file: DicomFile) -> int:
    """Return the lowest number unused by all MAC Parameters and signatures of the instance (PS3.3 C.12.1.1.3)."""
    used = set()
    for level in file.find_signed_levels():
        for tag in (MAC_PARAMETERS_SEQUENCE, DIGITAL_SIGNATURES_SEQUENCE):
            sequence = level.get(tag)
            for item in file.data_sets(level, sequence) if sequence is not None and sequence.vr == "SQ" else ():
                used.add(read_mac_id_number(file, item))
    free = next(number for number in range(len(used) + 1) if number not in used)
    if free > 0xFFFF:
        raise SignatureError(f"{file.name}: all MAC ID Numbers are taken; remove signatures first.")
    return free


def _signature_item(mac_id: int, uid: str, request: SigningRequest, purpose: Purpose | None) -> NewItem:
    now = datetime.now().astimezone()
    elements = [
        NewElement(a.MAC_ID_NUMBER, "US", pack("<H", mac_id)),
        NewElement(a.DIGITAL_SIGNATURE_UID, "UI", uid.encode()),
        NewElement(a.DIGITAL_SIGNATURE_DATETIME, "DT", now.strftime("%Y%m%d%H%M%S.%f%z").encode()),
        NewElement(a.CERTIFICATE_TYPE, "CS", a.X509_CERTIFICATE),
        NewElement(a.CERTIFICATE_OF_SIGNER, "OB", request.certificate_der),
    ]
    if purpose is not None:
        code = (
            NewElement(a.CODE_VALUE, "SH", purpose.code.encode()),
            NewElement(a.CODING_SCHEME_DESIGNATOR, "SH", purpose.scheme.encode()),
            NewElement(a.CODE_MEANING, "LO", purpose.meaning.encode()),
        )
        elements.append(NewElement(a.PURPOSE_CODE_SEQUENCE, "SQ", (code,)))
    return tuple(elements)
