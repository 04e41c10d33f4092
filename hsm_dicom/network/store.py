"""C-STORE as SCU (PS3.4, Annex B): send files byte for byte, so that signatures over them stay valid.

Files are not converted: each Data Set is proposed only in its stored Transfer Syntax. A file that the peer does not
accept is reported, and the others are sent. Only the answer to its own request (`dimse.answers`) confirms that a file
was stored. After a lost connection, a new one is opened while files are being stored, and a few times more.
"""

from __future__ import annotations

import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext
from pynetdicom.status import code_to_category

from hsm_dicom.dataset.folders import FolderError, is_folder, list_folder
from hsm_dicom.errors import DicomError
from hsm_dicom.network._pynetdicom import keep_stored_bytes
from hsm_dicom.network.errors import AssociationLostError, AssociationRejectedError, ConnectError
from hsm_dicom.network.requestor import Opened, Timeouts, associate
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.port import ConnectionFacts, SecureTransport

MOST_CONTEXTS = 128
"""Maximum number of presentation contexts in one association: odd IDs from 1 to 255 (PS3.8, 9.3.2.2)."""

_REJECTED_TRANSIENT = 2
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_PASSING = (FailureReason.TIMED_OUT, FailureReason.CLOSED)


@dataclass(frozen=True)
class Instance:
    """One file to send, with the values of its File Meta Information."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@dataclass(frozen=True)
class FileOutcome:
    """Outcome of one file. `status` is that of the peer (PS3.4, Table B.2-1); None if the file was not sent."""

    path: Path
    sop_instance_uid: str
    status: int | None
    text: str
    attempts: int = 1

    @property
    def done(self) -> bool:
        """Whether the peer has the instance: success, or success with a warning."""
        return self.status is not None and code_to_category(self.status) in ("Success", "Warning")


@dataclass(frozen=True)
class StoreResult:
    """Outcomes of all files, in the order in which they became final."""

    peer: str
    outcomes: tuple[FileOutcome, ...]
    facts: ConnectionFacts | None
    seconds: float

    @property
    def done(self) -> bool:
        """Whether the peer has every instance."""
        return all(outcome.done for outcome in self.outcomes)


Progress = Callable[[FileOutcome], None]


def store(
    peer: Peer,
    transport: SecureTransport,
    calling_ae_title: str,
    files: Iterable[Path],
    *,
    attempts: int = 3,
    pause: float = 1.0,
    timeouts: Timeouts | None = None,
    progress: Progress = lambda outcome: None,
) -> StoreResult:
    """Send files, and the files in folders, to a peer. Failures are in the result, not raised.

    `attempts` is the maximum number of consecutive associations that end, for a temporary reason, without a file
    stored. After each of them, the function waits for `pause` seconds, doubled each time. A file during which an
    association ended is sent again after the others. `progress` is called once for each file, with its final outcome.
    """
    job = _Job(peer, transport, calling_ae_title, attempts, pause, timeouts, progress)
    started = time.monotonic()
    for batch in _batches(job.readable(files)):
        job.send(batch)
    return StoreResult(peer.name, tuple(job.outcomes), job.facts, time.monotonic() - started)


class _Job:
    """One call of `store`."""

    def __init__(
        self,
        peer: Peer,
        transport: SecureTransport,
        calling_ae_title: str,
        attempts: int,
        pause: float,
        timeouts: Timeouts | None,
        progress: Progress,
    ) -> None:
        self._peer, self._transport, self._calling = peer, transport, calling_ae_title
        self._attempts, self._pause, self._patience, self._progress = attempts, pause, timeouts, progress
        self.outcomes: list[FileOutcome] = []
        self.facts: ConnectionFacts | None = None

    def readable(self, files: Iterable[Path]) -> list[Instance]:
        """List the instances in the files; report unusable files at once."""
        instances = []
        for path in expand_folders(files):
            found = FileOutcome(path.path, "", None, str(path)) if isinstance(path, FolderError) else _read(path)
            if isinstance(found, Instance):
                instances.append(found)
            else:
                self._settle(found)
        return instances

    def send(self, batch: Sequence[Instance]) -> None:
        """Send one batch, in further associations while files are being stored, and a few more."""
        waiting = deque(_Waiting(instance) for instance in batch)
        why, fruitless = "", 0
        while waiting:
            before = len(waiting)
            final = fruitless + 1 == self._attempts
            try:
                self._attempt(waiting, final)
                why = "The peer ran out of resources."
            except DicomError as error:
                why = str(error)
                final = final or not _may_pass(error)
            if len(waiting) < before:
                fruitless = 0
                continue
            fruitless += 1
            if final:
                break
            time.sleep(self._pause * 2 ** (fruitless - 1))
        for one in waiting:
            tries = max(one.tries, fruitless)
            uid = one.instance.sop_instance_uid
            self._settle(FileOutcome(one.instance.path, uid, None, one.why or why, tries))

    def _attempt(self, waiting: deque[_Waiting], final: bool) -> None:
        """Send in one association; remove finished instances from `waiting`, and move the one that fails to the end."""
        contexts = _contexts(one.instance for one in waiting)
        with associate(self._peer, self._transport, self._calling, contexts, self._patience) as opened:
            self.facts = opened.facts
            for _ in range(len(waiting)):
                one = waiting[0]
                waiting.rotate(-1)
                one.tries += 1
                try:
                    outcome = _send_instance(opened.association, one.instance)
                except RuntimeError as error:
                    raise self._mark_lost(opened, one) from error
                if outcome is None:
                    raise self._mark_lost(opened, one)
                if outcome.status not in _OUT_OF_RESOURCES or final:
                    waiting.pop()
                    self._settle(replace(outcome, attempts=one.tries))

    def _mark_lost(self, opened: Opened, one: _Waiting) -> AssociationLostError:
        lost = opened.make_lost_error(self._peer)
        one.why = str(lost)
        return lost

    def _settle(self, outcome: FileOutcome) -> None:
        self.outcomes.append(outcome)
        self._progress(outcome)


@dataclass(eq=False)
class _Waiting:
    """An instance without a final outcome, with the number of attempts and the reason of the last lost association."""

    instance: Instance
    tries: int = 0
    why: str = ""


def expand_folders(files: Iterable[Path]) -> Iterator[Path | FolderError]:
    """List the files, including those in folders, and an error for each omitted folder."""
    for path in files:
        if is_folder(path):
            content = list_folder(path)
            yield from content.left_out
            yield from content.files
        else:
            yield path


def _read(path: Path) -> Instance | FileOutcome:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return FileOutcome(path, "", None, f"{path} is not a regular file.")
        meta, _ = split_dataset(path)
        return Instance(
            path, str(meta.MediaStorageSOPClassUID), str(meta.MediaStorageSOPInstanceUID), str(meta.TransferSyntaxUID)
        )
    except OSError as error:
        return FileOutcome(path, "", None, f"{path} cannot be read ({error.strerror}).")
    except (InvalidDicomError, AttributeError, ValueError, EOFError):
        return FileOutcome(path, "", None, f"{path} is no DICOM file with complete File Meta Information.")


def _batches(instances: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Split instances into batches that each need at most 128 presentation contexts."""
    batch: list[Instance] = []
    kinds: set[tuple[str, str]] = set()
    for instance in instances:
        kind = (instance.sop_class_uid, instance.transfer_syntax_uid)
        if kind not in kinds and len(kinds) == MOST_CONTEXTS:
            yield batch
            batch, kinds = [], set()
        kinds.add(kind)
        batch.append(instance)
    if batch:
        yield batch


def _contexts(instances: Iterable[Instance]) -> list[PresentationContext]:
    kinds = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in instances)
    return [build_context(sop_class, syntax) for sop_class, syntax in kinds]


def _send_instance(association: Association, instance: Instance) -> FileOutcome | None:
    """Send one instance, and return its outcome; None without a matching answer. Raises RuntimeError after an abort."""
    try:
        with keep_stored_bytes():
            answer = association.send_c_store(instance.path)
    except ValueError:
        return FileOutcome(
            instance.path,
            instance.sop_instance_uid,
            None,
            f"{instance.path} is not accepted by the peer: SOP Class {instance.sop_class_uid} in Transfer Syntax "
            f"{instance.transfer_syntax_uid} was not accepted, and hsm-dicom does not convert files.",
        )
    except (OSError, AttributeError, InvalidDicomError) as error:
        return FileOutcome(
            instance.path, instance.sop_instance_uid, None, f"{instance.path} cannot be read any more ({error})."
        )
    if "Status" not in answer:
        return None
    status = int(answer.Status)
    comment = str(answer.get("ErrorComment", "")).strip()
    category = code_to_category(status).lower()
    words = f"{instance.path}: {category} (status {status:04X})" + (f": {comment}" if comment else "")
    return FileOutcome(instance.path, instance.sop_instance_uid, status, words)


def _may_pass(error: DicomError) -> bool:
    """Return whether another attempt may succeed."""
    if isinstance(error, AssociationRejectedError):
        return error.result == _REJECTED_TRANSIENT
    if isinstance(error, HandshakeError):
        return error.reason in _PASSING
    return isinstance(error, ConnectError | AssociationLostError)
