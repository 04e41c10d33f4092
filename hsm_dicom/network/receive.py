"""C-STORE as SCP (PS3.4, Annex B): SOP Instances are received into a folder, completely or not at all.

Each is written to a temporary name while it arrives, synced to disk, parsed from its first byte to its last, and then
renamed to its SOP Instance UID and `.dcm`. An existing file is never overwritten: receiving the same Data Set again
succeeds, another one is refused. The Data Set is stored byte for byte as it was received.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.events import Event

from hsm_dicom.events import emit
from hsm_dicom.network._pynetdicom import map_accepted_contexts
from hsm_dicom.network.acceptor import get_connection_facts
from hsm_dicom.network.dimse.commands import COMMENT_LENGTH, CommandSet
from hsm_dicom.network.dimse.messages import get_sink
from hsm_dicom.network.settings import StorageSettings
from hsm_dicom.network.storage.comparison import same_data_set
from hsm_dicom.network.storage.folders import make_folder, sync_folder
from hsm_dicom.network.storage.incoming import (
    NOT_ACCEPTED,
    OTHER_CONTENT,
    OUT_OF_RESOURCES,
    SUCCESS,
    Incoming,
    RefusedInstanceError,
)
from hsm_dicom.network.storage.leftovers import remove_leftovers
from hsm_dicom.network.storage.policy_check import CheckFile
from hsm_dicom.network.storage.quarantine import make_quarantine, put_into_quarantine
from hsm_dicom.network.storage.soundness import require_sound
from hsm_dicom.network.upper_layer.association import Handlers
from hsm_dicom.transport.events import InstanceReceived, log


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
        make_folder(self._folder)
        if self._quarantine is not None:
            make_quarantine(self._quarantine.folder, self._folder)
        removed = remove_leftovers(self._folder)
        if removed:
            log.warning("%s: removed unfinished files of an earlier run in %s: %d.", name, self._folder, removed)

    @property
    def handlers(self) -> Handlers:
        """For pynetdicom's `evt_handlers`."""
        return [(evt.EVT_C_STORE, self.receive)]

    def start_storing(self, association: Association, context_id: int, command: CommandSet) -> Incoming:
        """Return the place for the Data Set of a C-STORE request."""
        context = map_accepted_contexts(association)[context_id]
        return Incoming(
            self._folder, str(context.abstract_syntax), str(context.transfer_syntax[0]), command, self._largest
        )

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
        require_sound(beside, incoming.sop_class_uid, incoming.sop_instance_uid)
        refusal = self._check(beside, calling_ae_title) if self._check else None
        if refusal is None:
            path = self._keep(beside, incoming)
            return _Answer(SUCCESS, f"stored as {path}", file=str(path))
        if self._quarantine is None:
            return _Answer(NOT_ACCEPTED, f"refused: {refusal.text}", refusal.comment, unmet=refusal.unmet)
        path = put_into_quarantine(beside, f"{incoming.sop_instance_uid}", refusal, self._quarantine.folder)
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
        sync_folder(self._folder)
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
