"""What happened, as typed events: a key was used, a signature made, a verdict given, a configuration read.

Devices tell theirs through `tokens.events`; the ones of DICOM are here. Both go to `logging`, and to a JSON-lines file
where one is configured:

    with EventFile(Path("/var/log/hsm-dicom/events.jsonl")).recording():
        ...  # everything that keys do meanwhile is one line each

No event holds a PIN, a secret, a byte of what a key was used on, or a patient's name. Files are named by their paths.

Each line is one JSON object. Always there:

| member     | meaning                                                                        |
|------------|--------------------------------------------------------------------------------|
| `schema`   | "hsm-dicom/event/1"                                                            |
| `time`     | when the event was over, UTC, RFC 3339 with microseconds                        |
| `process`  | the process id                                                                 |
| `event`    | login, key-use, ceremony-step, recovery, signature-made, verdict-given, configuration-read |

The others are the fields of the event's class, under their names, with `duration` in seconds.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from hsm_dicom.repetition import Repetition
from tokens import events as devices
from tokens.events import DeviceEvent
from tokens.printable import printable

log = logging.getLogger("hsm_dicom")

SCHEMA = "hsm-dicom/event/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomEvent:
    """Base of the events of this package. An event of a class of its own may have a `sentence` for the log."""

    level: ClassVar[int] = logging.INFO
    """How loud the log is about it."""

    @property
    def standing(self) -> Hashable | None:
        """What a remark that holds for every association is about; None for an event of its own.

        The log has such a remark once an hour, with a count. Sinks get every event.
        """
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureMade(DicomEvent):
    """A signature was made and its file written. `signer` is the subject of the certificate (RFC 4514)."""

    file: str
    target: str
    signature_uid: str
    profile: str
    mac_algorithm: str
    signer: str
    identity: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictGiven(DicomEvent):
    """A signature was judged. `verdict` is the word that was said, `reason` the sentence behind it."""

    file: str
    sop_instance_uid: str
    signature_uid: str
    verdict: str
    reason: str
    signer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationRead(DicomEvent):
    """A configuration was read: the SHA-256 of its bytes tells whether it is the one of yesterday."""

    path: str
    sha256: str
    problems: int


Event = DeviceEvent | DicomEvent
Sink = Callable[[Event], None]

_sinks: list[Sink] = []
_repetition = Repetition()


@contextmanager
def subscribed(sink: Sink) -> Iterator[None]:
    """Have `sink` called with every event, of devices too, on the thread that caused it, until the block ends."""
    _sinks.append(sink)
    try:
        with devices.subscribed(sink):
            yield
    finally:
        _sinks.remove(sink)


def emit(event: DicomEvent) -> None:
    """Tell the log and every sink. A sink that fails is logged and never stops the work."""
    if log.isEnabledFor(event.level):
        _log(event)
    for sink in tuple(_sinks):
        try:
            sink(event)
        except Exception:
            log.exception("An event could not be delivered.")


def _log(event: DicomEvent) -> None:
    left_out: int | None = 0
    if event.standing is not None:
        left_out = _repetition.count((type(event), event.standing))
    if left_out is None:
        return
    more = f" (And {left_out} more times since this was last logged.)" if left_out else ""
    log.log(event.level, "%s%s", printable(describe(event)), more)


def describe(event: Event) -> str:
    """One line for a log."""
    match event:
        case DeviceEvent():
            return devices.describe(event)
        case SignatureMade():
            return f"{event.target}: signed as '{event.signer}' ({event.signature_uid})"
        case VerdictGiven():
            return f"{event.file}: signature {event.signature_uid}: {event.verdict}: {event.reason}"
        case ConfigurationRead():
            return f"{event.path}: configuration read (SHA-256 {event.sha256}, {event.problems} problems)"
        case _:
            return str(getattr(event, "sentence", event_name(event)))


def event_name(event: Event) -> str:
    """The name of an event in a file: key-use for KeyUse."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(event).__name__).lower()


def as_json(event: Event, now: datetime) -> str:
    """The line of an event, without its end."""
    head = {
        "schema": SCHEMA,
        "time": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "process": os.getpid(),
        "event": event_name(event),
    }
    return json.dumps(head | dataclasses.asdict(event))


class EventFile:
    """A JSON-lines file that events are appended to, each by one write, so that processes may share it.

    It is made with mode 0600. It may be moved away at any time (log rotation): the next event makes a new one. A file
    that cannot be written never stops what is recorded; it is said once in the log, and once more when it works again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._failing = False
        self._writing = threading.Lock()
        os.register_at_fork(after_in_child=self._after_fork)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record every event of this process until the block ends."""
        try:
            with subscribed(self.append):
                yield
        finally:
            self.close()

    def append(self, event: Event) -> None:
        """Write one event. Never raises."""
        line = as_json(event, datetime.now(UTC)).encode("ascii") + b"\n"
        with self._writing:
            try:
                self._write(line)
            except OSError as error:
                self._close()
                self._say_failing(error)
            else:
                self._say_working()

    def close(self) -> None:
        """Let go of the file; a further event opens it again."""
        with self._writing:
            self._close()

    def _write(self, line: bytes) -> None:
        descriptor = self._open()
        while line:
            line = line[os.write(descriptor, line) :]

    def _open(self) -> int:
        if self._descriptor is not None:
            if self._is_in_place(self._descriptor):
                return self._descriptor
            self._close()
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            # What a full disk or a crash cut off stays on its own line: a reader loses one event and not two.
            os.write(self._descriptor, b"\n")
        return self._descriptor

    def _is_in_place(self, descriptor: int) -> bool:
        """Whether the open file still is the one at our path."""
        try:
            here, there = os.fstat(descriptor), self.path.stat()
        except FileNotFoundError:
            return False
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _say_failing(self, error: OSError) -> None:
        if not self._failing:
            log.error(
                "Events are not being recorded: %s cannot be written (%s). Free space or correct [events].",
                self.path,
                error.strerror,
            )
        self._failing = True

    def _say_working(self) -> None:
        if self._failing:
            log.error("Events are being recorded again in %s; some before this are missing.", self.path)
        self._failing = False

    def _after_fork(self) -> None:
        self._writing = threading.Lock()
