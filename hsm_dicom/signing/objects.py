"""Sign one object: bytes, a file or a Dataset, with all checks."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypedDict, Unpack, overload

from hsm_dicom.arguments import kind_of, path_text, require_bool
from hsm_dicom.dataset.errors import TargetIsSourceError
from hsm_dicom.dataset.inputs import (
    BYTES_NAME,
    DATASET_NAME,
    FILE_NAME,
    ObjectInput,
    decode_dataset,
    is_dataset,
    open_input,
)
from hsm_dicom.dataset.octets.source import Content, ObjectSource
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.events import emit
from hsm_dicom.identity import Identity
from hsm_dicom.signatures.creation.create import (
    Plan,
    SigningReport,
    Timestamper,
    finish,
    finish_stream,
    prepare,
    sign_digest,
)
from hsm_dicom.signatures.creation.request import SigningRequest
from hsm_dicom.signatures.profiles.rules import Profile
from hsm_dicom.signing.arguments import Signer, Tag, build_request, resolve_signer, resolve_timestamper
from hsm_dicom.signing.checks import make_signature_event
from tokens.errors import TokenError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

ObjectPath: TypeAlias = str | os.PathLike[str]
ObjectOutput: TypeAlias = ObjectPath | BinaryIO


class SigningOptions(TypedDict, total=False):
    """The keyword arguments of `sign`."""

    mac: str
    tags: Iterable[Tag] | None
    item: str | ItemPath | None
    purpose: int | None
    timestamp: str | Timestamper | None
    overwrite: bool
    allow_weak: bool
    allow_uncovered: bool
    repair: bool
    trim_padding: bool


@overload
def sign(
    source: ObjectInput,
    target: ObjectOutput,
    signer: Signer,
    profile: Profile | str = ...,
    **options: Unpack[SigningOptions],
) -> SigningReport: ...
@overload
def sign(
    source: bytes | bytearray | memoryview,
    target: None,
    signer: Signer,
    profile: Profile | str = ...,
    **options: Unpack[SigningOptions],
) -> bytes: ...
@overload
def sign(
    source: Dataset,
    target: None,
    signer: Signer,
    profile: Profile | str = ...,
    **options: Unpack[SigningOptions],
) -> FileDataset: ...
def sign(
    source: ObjectInput,
    target: ObjectOutput | None,
    signer: Signer,
    profile: Profile | str = "creator",
    *,
    mac: str = "sha256",
    tags: Iterable[Tag] | None = None,
    item: str | ItemPath | None = None,
    purpose: int | None = None,
    timestamp: str | Timestamper | None = None,
    overwrite: bool = False,
    allow_weak: bool = False,
    allow_uncovered: bool = False,
    repair: bool = False,
    trim_padding: bool = False,
) -> SigningReport | bytes | FileDataset:
    """Sign a DICOM object (PS3.15 Annex C), and return a report or the signed object.

    ``source`` is a path, the bytes of a DICOM file, a binary file or a pydicom Dataset. ``target`` is a path or a
    binary file; a `SigningReport` is returned. With None, bytes are signed to bytes, and a Dataset to a new
    FileDataset. A new file is written under a temporary name and then renamed. ``overwrite`` replaces an existing
    file; with it, ``target`` may be the path of the source.

    A Dataset is encoded by pydicom in the Transfer Syntax of its ``file_meta``, and the FileDataset is read from the
    signed encoding. Values that were not assigned keep their bytes; group lengths are omitted, and File Meta
    Information is completed (see `hsm_dicom.dataset.inputs`). Write the FileDataset with ``save_as``: its signatures
    stay valid unless a covered value is assigned again or the Transfer Syntax changes.

    ``signer`` is an `Identity`, or a private key of ``cryptography``'s kind (token keys included) with its
    x509.Certificate. ``profile`` is "none", "base", "creator", "authorization", "sr" or "sr-verification"; an EC key
    needs "none". ``mac`` is "sha256", "sha384" or "sha512"; "sha1", "md5" and "ripemd160" need ``allow_weak``.
    ``tags`` are numbers or keywords; None signs every element that can be signed. Elements that the profile requires
    are always signed. ``item`` is the place of an Item to sign in, such as "ReferencedImageSequence[0]". ``purpose`` is
    a code of CID 7007. ``timestamp`` is the URL of a time stamping authority (RFC 3161), or a function from the bytes
    of the signature to a TimeStampToken over them. For ``allow_uncovered``, ``repair`` and ``trim_padding`` see
    `hsm_dicom.signatures.SigningRequest`.

    Each signature emits the event `SignatureMade`. Raises TypeError and ValueError for invalid arguments, and
    hsm_dicom.Error for all other failures: DicomFileError, SignatureError, TimestampError, TokenError, and
    CertificateExpiredError if the certificate is not valid now. A failure writes nothing, except that a binary file may
    have received a part. An OSError of a binary file is raised unchanged.
    """
    identity = resolve_signer(signer)
    request = build_request(
        identity,
        profile,
        mac=mac,
        tags=tags,
        item=item,
        purpose=purpose,
        allow_weak=allow_weak,
        allow_uncovered=allow_uncovered,
        repair=repair,
        trim_padding=trim_padding,
    )
    stamp = resolve_timestamper(timestamp)
    require_bool("overwrite", overwrite)
    _check_target(source, target)
    identity.select().require_current()
    with open_input(source) as path:
        identity, plan, signature = sign_plan(path, identity, request)
        token = None if stamp is None else stamp(signature)
        if target is None:
            buffer = io.BytesIO()
            name = DATASET_NAME if is_dataset(source) else BYTES_NAME
            report = finish_stream(plan, signature, buffer.write, target=name, timestamp=token)
        elif isinstance(target, str | os.PathLike):
            output = None if overwrite and _is_same_file(path, target) else target
            report = finish(plan, signature, output, timestamp=token, overwrite=overwrite)
        else:
            name = str(getattr(target, "name", FILE_NAME))
            report = finish_stream(plan, signature, _writer(target), target=name, timestamp=token)
    emit(make_signature_event(report, identity.certificate, identity.name))
    if target is not None:
        return report
    return decode_dataset(buffer.getvalue()) if is_dataset(source) else buffer.getvalue()


def sign_plan(path: ObjectSource, signer: Identity, request: SigningRequest) -> tuple[Identity, Plan, bytes]:
    """Sign the digest of an object; return who signed it, what was signed, and the signature.

    If the signer has siblings and the chosen one is lost, it is begun again with another one. Raises `TokenError`,
    `SignatureError` and `DicomFileError`.
    """
    lost: dict[int, TokenError] = {}
    while True:
        chosen = signer.select()
        if id(chosen) in lost:
            raise lost[id(chosen)]
        plan = prepare(path, replace(request, certificate=chosen.certificate))
        try:
            return chosen, plan, sign_digest(chosen.key, plan)
        except TokenError as error:
            if signer.siblings is None:
                raise
            lost[id(chosen)] = error


def _check_target(source: object, target: object) -> None:
    if target is None:
        if not isinstance(source, bytes | bytearray | memoryview) and not is_dataset(source):
            raise ValueError(
                "Only bytes and a Dataset are signed without a target. Give a path or a binary file to write to; to "
                "replace the source, give its path and overwrite=True."
            )
    elif isinstance(target, io.TextIOBase):
        raise TypeError("The target is open for text; open it in binary mode.")
    elif not isinstance(target, str | os.PathLike) and not callable(getattr(target, "write", None)):
        raise TypeError(
            f"The target must be a path, a binary file, or None for bytes and Datasets, not {kind_of(target)}."
        )
    elif isinstance(target, str | os.PathLike):
        path_text("The target", target)
    else:
        writable = getattr(target, "writable", None)
        if callable(writable) and not writable():  # raises ValueError if the file is closed
            raise ValueError("The target is open for reading only; open it for writing.")
        if _reads_from(source, target):
            name = str(getattr(target, "name", FILE_NAME))
            raise TargetIsSourceError(name, "is the source itself.")


def _reads_from(source: Any, target: Any) -> bool:
    """Return whether an open target is the source file, which writing would destroy before it is signed."""
    if source is target:
        return True
    try:
        written = os.fstat(target.fileno())
        is_path = isinstance(source, str | os.PathLike)
        read = Path(source).stat() if is_path else os.fstat(source.fileno())
    except (AttributeError, TypeError, OSError, ValueError):
        return False  # not a file of the operating system, or a missing one
    return stat.S_ISREG(written.st_mode) and os.path.samestat(written, read)


def _is_same_file(source: ObjectSource, target: ObjectPath) -> bool:
    try:
        return not isinstance(source, Content) and Path(source).samefile(target)
    except OSError:
        return False


def _writer(target: BinaryIO) -> Callable[[bytes | memoryview], None]:
    """Return a function that writes all of its data, because a raw file may accept only a part at once."""

    def write(data: bytes | memoryview) -> None:
        view = memoryview(data)
        while view:
            count = target.write(view)
            if count is None:
                raise BlockingIOError("The target cannot be written without waiting; give a blocking file.")
            if not isinstance(count, int) or not 0 < count <= len(view):  # else an endless loop, or lost bytes
                raise OSError(
                    f"The target's write() returned {count!r} for {len(view)} bytes; the object is incomplete."
                )
            view = view[count:]

    return write
