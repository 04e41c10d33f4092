"""C-STORE as SCP (PS3.4, Annex B): SOP Instances received into a folder, whole or not at all.

Each is written beside its place, forced to disk, and then given its name: SOP Instance UID and `.dcm`. A name that is
taken is never overwritten; the same bytes again are a success, other bytes are refused. The Data Set is stored as it
came, byte for byte.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event

from hsm_dicom.events import emit
from hsm_dicom.network.acceptor import facts_of
from hsm_dicom.network.association import Handlers
from hsm_dicom.network.events import InstanceReceived, log
from hsm_dicom.network.settings import StorageSettings

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
NOT_ACCEPTED = 0xC001
"""A status of our own in the range "Cannot understand" (PS3.4, Table B.2-1): refused by the signature check."""
OTHER_CONTENT = 0xC002
"""Likewise: another object has this SOP Instance UID already."""

CheckFile = Callable[[Path], str | None]
"""Looks at a received file before it gets its name: why it is refused, as a sentence, or None."""

_UID = re.compile(r"[0-9.]{1,64}\Z")
_SOP_INSTANCE_UID = 0x00080018
_HEAD_BYTES = 65536
_numbers = itertools.count(1)


class RefusedInstance(Exception):
    """Why an instance is not stored: a status for the peer, and a sentence that may go out as its Error Comment."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


class Receiver:
    """Stores what C-STORE brings. `handlers` goes to the acceptor."""

    def __init__(self, name: str, settings: StorageSettings, check: CheckFile | None = None) -> None:
        """Makes the folder. `check` decides on each file, where `settings.check_signatures` asks for it."""
        self._name = name
        self._folder = settings.folder
        self._check = check if settings.check_signatures else None
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def handlers(self) -> Handlers:
        """For pynetdicom's `evt_handlers`."""
        return [(evt.EVT_C_STORE, self.receive)]

    def receive(self, event: Event) -> Dataset:
        """EVT_C_STORE: store the instance; the answer's status and Error Comment."""
        request = event.request
        if not isinstance(request, C_STORE) or request.DataSet is None:
            raise TypeError("This handler is for EVT_C_STORE.")
        uid = str(request.AffectedSOPInstanceUID)
        answer = Dataset()
        try:
            path = self._store(event, request, request.DataSet.getbuffer(), uid)
        except RefusedInstance as refused:
            answer.Status = refused.status
            answer.ErrorComment = str(refused)[:64]  # VR LO
            self._tell(event, uid, refused.status, "", f"refused: {refused}")
            return answer
        except OSError as error:
            log.error("%s: %s cannot be written to (%s).", self._name, self._folder, error.strerror)
            answer.Status = OUT_OF_RESOURCES
            answer.ErrorComment = "no room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "cannot be written"
            self._tell(event, uid, OUT_OF_RESOURCES, "", f"not stored: {error.strerror}")
            return answer
        answer.Status = SUCCESS
        self._tell(event, uid, SUCCESS, str(path), f"stored as {path}")
        return answer

    def _store(self, event: Event, request: C_STORE, data: memoryview, uid: str) -> Path:
        if not _UID.match(uid):
            raise RefusedInstance(CANNOT_UNDERSTAND, "The Affected SOP Instance UID is no UID.")
        _demand_same_instance(bytes(data[:_HEAD_BYTES]), UID(event.context.transfer_syntax), request)
        head = b"\0" * 128 + b"DICM" + encode_file_meta(event.file_meta)
        place = self._folder / f"{uid}.dcm"
        beside = self._folder / f".{uid}.{os.getpid()}.{next(_numbers)}.part"
        try:
            _write(beside, head, data)
            why = self._check(beside) if self._check else None
            if why is not None:
                raise RefusedInstance(NOT_ACCEPTED, why)
            _name(beside, place)
        finally:
            beside.unlink(missing_ok=True)
        _sync_folder(self._folder)
        return place

    def _tell(self, event: Event, uid: str, status: int, file: str, what: str) -> None:
        facts = facts_of(event.assoc)
        requestor = event.assoc.requestor
        emit(
            InstanceReceived(
                name=self._name,
                address=f"{requestor.address}:{requestor.port}",
                sentence=f"{self._name}: instance {uid} from '{requestor.ae_title.strip()}' {what}",
                sop_instance_uid=uid,
                status=status,
                file=file,
                subject=facts.subject if facts else "",
            )
        )


def _demand_same_instance(head: bytes, syntax: UID, request: C_STORE) -> None:
    """Refuse a Data Set that says it is another instance, or of another SOP Class, than the request says."""
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, _HEAD_BYTES)
        found = read_dataset(
            io.BytesIO(head),
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag > _SOP_INSTANCE_UID,
        )
        sop_class, instance = str(found.get("SOPClassUID", "")), str(found.get("SOPInstanceUID", ""))
    except Exception as error:  # a foreign parser on bytes from the network
        raise RefusedInstance(CANNOT_UNDERSTAND, "The Data Set cannot be read.") from error
    if sop_class != request.AffectedSOPClassUID or instance != request.AffectedSOPInstanceUID:
        raise RefusedInstance(DOES_NOT_MATCH_SOP_CLASS, "The Data Set is of another instance or SOP Class.")


def _write(path: Path, head: bytes, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(head)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _name(beside: Path, place: Path) -> None:
    """Give the file its name unless it is taken; the same content under it is as good."""
    try:
        os.link(beside, place)
    except FileExistsError:
        if not _same_content(beside, place):
            raise RefusedInstance(OTHER_CONTENT, "Another object has this SOP Instance UID already.") from None


def _same_content(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(1 << 20):
            if chunk != second.read(1 << 20):
                return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
