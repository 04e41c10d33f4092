"""C-STORE as SCP (PS3.4, Annex B): SOP Instances are received into a folder, completely or not at all.

Each is written to a temporary name while it arrives, synced to disk, parsed from its first byte to its last, and then
renamed to its SOP Instance UID and `.dcm`. An existing file is never overwritten: receiving the same Data Set again
succeeds, another one is refused. The Data Set is stored byte for byte as it was received.
"""

from __future__ import annotations

import errno
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from hsm_dicom.dataset import DicomFile, DicomFileError
from hsm_dicom.events import emit
from hsm_dicom.network._pynetdicom import map_accepted_contexts
from hsm_dicom.network.acceptor import get_connection_facts
from hsm_dicom.network.dimse.commands import CommandSet
from hsm_dicom.network.dimse.messages import get_sink
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.settings import Quarantine, StorageSettings
from hsm_dicom.network.storage.incoming import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    NOT_ACCEPTED,
    OTHER_CONTENT,
    OUT_OF_RESOURCES,
    SUCCESS,
    Incoming,
    RefusedInstanceError,
    uid_or_none,
)
from hsm_dicom.network.storage.leftovers import remove_leftovers
from hsm_dicom.network.storage.policy_check import COMMENT_LENGTH, CheckFile, Refusal
from hsm_dicom.network.upper_layer.association import Handlers
from hsm_dicom.transport.events import InstanceReceived, log

_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018
_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC
_COMPARED_BYTES = 1 << 20


@dataclass(frozen=True)
class _Answer:
    """What became of an instance. `file` is empty if it was not stored; `what` completes "instance … from …"."""

    status: int
    what: str
    comment: str = ""
    file: str = ""
    unmet: tuple[str, ...] = ()


class Receiver:
    """Stores what C-STORE brings. `handlers` and `start_storing` go to the acceptor."""

    def __init__(self, name: str, settings: StorageSettings, check: CheckFile | None = None) -> None:
        """Make the folder, or remove unfinished files from it.

        `check` decides on each file. Raises `SettingsError` for a folder that cannot be written, and for a quarantine
        on another file system.
        """
        self._name = name
        self._folder = settings.folder
        self._quarantine = settings.quarantine
        self._largest = settings.largest_object_mib << 20
        self._check = check
        _make_folder(self._folder)
        if self._quarantine is not None:
            _make_quarantine(self._quarantine, self._folder)
        removed = remove_leftovers(self._folder)
        if removed:
            log.warning("%s: removed unfinished files of an earlier run in %s: %d.", name, self._folder, removed)

    @property
    def handlers(self) -> Handlers:
        """For pynetdicom's `evt_handlers`."""
        return [(evt.EVT_C_STORE, self.receive)]

    def start_storing(self, association: Association, context_id: int, command: CommandSet) -> Incoming:
        """Return the place for the Data Set of a C-STORE request."""
        return Incoming(self._folder, map_accepted_contexts(association)[context_id], command, self._largest)

    def receive(self, event: Event) -> Dataset:
        """Store the instance (EVT_C_STORE), and return the answer's status and Error Comment."""
        incoming = get_sink(event.request)
        if not isinstance(incoming, Incoming):
            raise TypeError("This handler is for EVT_C_STORE, with start_storing for the same association.")
        try:
            answer = self._store(incoming, event.assoc.requestor.ae_title.strip())
        except RefusedInstanceError as refused:
            answer = _Answer(refused.status, f"refused: {refused}", str(refused))
        except OSError as error:
            log.error("%s: %s cannot be written to (%s).", self._name, self._folder, error.strerror)
            comment = "no room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "cannot be written"
            answer = _Answer(OUT_OF_RESOURCES, f"not stored: {error.strerror}", comment)
        finally:
            incoming.discard()
        self._report(event, incoming.sop_instance_uid or "", answer)
        response = Dataset()
        response.Status = answer.status
        if answer.comment:
            response.ErrorComment = answer.comment[:COMMENT_LENGTH]
        return response

    def _store(self, incoming: Incoming, calling_ae_title: str) -> _Answer:
        beside = incoming.finish()
        _require_sound(beside, incoming)
        refusal = self._check(beside, calling_ae_title) if self._check else None
        if refusal is None:
            path = self._keep(beside, incoming)
            return _Answer(SUCCESS, f"stored as {path}", file=str(path))
        if self._quarantine is None:
            return _Answer(NOT_ACCEPTED, f"refused: {refusal.text}", refusal.comment, unmet=refusal.unmet)
        path = _put_into_quarantine(beside, f"{incoming.sop_instance_uid}", refusal, self._quarantine.folder)
        return _Answer(
            SUCCESS if self._quarantine.answers_success else NOT_ACCEPTED,
            f"put into quarantine as {path}: {refusal.text}",
            "" if self._quarantine.answers_success else refusal.comment,
            str(path),
            refusal.unmet,
        )

    def _keep(self, beside: Path, incoming: Incoming) -> Path:
        place = self._folder / f"{incoming.sop_instance_uid}.dcm"
        try:
            os.link(beside, place)
        except FileExistsError:
            if not same_data_set(beside, place):
                raise RefusedInstanceError(OTHER_CONTENT, "Another object has this SOP Instance UID already.") from None
        _sync_folder(self._folder)
        return place

    def _report(self, event: Event, uid: str, answer: _Answer) -> None:
        facts = get_connection_facts(event.assoc)
        requestor = event.assoc.requestor
        emit(
            InstanceReceived(
                name=self._name,
                address=f"{requestor.address}:{requestor.port}",
                text=f"{self._name}: instance {uid or 'without a UID'} from '{requestor.ae_title.strip()}' "
                f"{answer.what}",
                sop_instance_uid=uid,
                status=answer.status,
                file=answer.file,
                subject=facts.subject if facts else "",
                unmet=answer.unmet,
            )
        )


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise SettingsError(
            f"{folder} cannot be written by this process.",
            remedy="Change its owner. In a unit of systemd, name the folder in ReadWritePaths=, too.",
        )


def _make_quarantine(quarantine: Quarantine, store: Path) -> None:
    """Make the folder of the quarantine. Files are linked into it, so it must be on the store's file system."""
    _make_folder(quarantine.folder)
    if quarantine.folder.stat().st_dev != store.stat().st_dev:
        raise SettingsError(
            f"{quarantine.folder} is on another file system than {store}.",
            remedy="Name a folder for quarantine on the file system of store, or remove the key.",
        )


def _put_into_quarantine(beside: Path, uid: str, refusal: Refusal, folder: Path) -> Path:
    """Keep a file that was not accepted, with the reasons beside it as JSON; an equal one that is there is kept."""
    for number in itertools.count(1):
        place = folder / (f"{uid}.dcm" if number == 1 else f"{uid}-{number}.dcm")
        try:
            os.link(beside, place)
        except FileExistsError:
            if not same_data_set(beside, place):
                continue
        break
    _write_reasons(place.with_suffix(".json"), refusal)
    _sync_folder(folder)
    return place


def _write_reasons(place: Path, refusal: Refusal) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{refusal.report}\n")
        file.flush()
        os.fsync(file.fileno())


def _require_sound(path: Path, incoming: Incoming) -> None:
    """Refuse a Data Set that does not end where it should, or that is another instance than its request says."""
    try:
        with DicomFile.open(path) as file:
            found = [
                uid_or_none(file.value(element).decode("latin-1").rstrip("\0 "))
                if (element := file.main.get(tag))
                else None
                for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID)
            ]
    except DicomFileError as error:
        raise RefusedInstanceError(CANNOT_UNDERSTAND, f"The Data Set is malformed: {error.reason}") from error
    if found != [incoming.sop_class_uid, incoming.sop_instance_uid]:
        raise RefusedInstanceError(DOES_NOT_MATCH_SOP_CLASS, "The Data Set is of another instance or SOP Class.")


def same_data_set(one: Path, other: Path) -> bool:
    """Return whether two files hold the same Data Set in the same encoding.

    The File Meta Information is not compared, nor is Data Set Trailing Padding (FFFC,FFFC), nor how a deflated Data Set
    was deflated. A file that is malformed is like no other.
    """
    try:
        with DicomFile.open(one) as first, DicomFile.open(other) as second:
            start, end = first.main.start, _end_without_padding(first)
            shift = second.main.start - start
            if first.syntax != second.syntax or _end_without_padding(second) - shift != end:
                return False
            return all(
                first.source.read(at, min(end, at + _COMPARED_BYTES))
                == second.source.read(at + shift, min(end, at + _COMPARED_BYTES) + shift)
                for at in range(start, end, _COMPARED_BYTES)
            )
    except DicomFileError:
        return False


def _end_without_padding(file: DicomFile) -> int:
    padding = file.main.get(_DATA_SET_TRAILING_PADDING)
    return file.main.end if padding is None else padding.start


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
