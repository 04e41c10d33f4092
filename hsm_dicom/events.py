"""The events of DICOM security, and the JSON-lines file to which every event is written.

All events, those of devices too, are delivered on the bus of `tokens.events`: `emit` and `subscribe` here are that bus.
`logging` subscribes to it, and so does a JSON-lines file if one is configured:

    with EventFile(Path("/var/log/hsm-dicom/events.jsonl")).record():
        ...  # every event is one line of the file until the block ends

No event holds a PIN, a secret key, a byte of what a key was used on, or a patient's name. Files are given by path.

Each line is one JSON object. These members are always present:

| member     | meaning                                                                        |
|------------|--------------------------------------------------------------------------------|
| `schema`   | "hsm-dicom/event/2"                                                            |
| `time`     | when the event was over, UTC, RFC 3339 with microseconds                        |
| `process`  | the process id                                                                 |
| `operator` | who works: `--operator`, else the user behind sudo, else `login`                |
| `login`    | the user who logged in (the kernel's loginuid), else the user of the process    |
| `host`     | the name of this machine                                                       |
| `event`    | login, key-use, ceremony-step, reconnection, signature-made, signature-validated, configuration-read, … |

The others are the fields of the event's class, under their names, with `duration` in seconds.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from hsm_dicom.operators import current_operator
from tokens.events import Event, EventLostError, Subscription, emit, event_name, subscribe, subscriptions

__all__ = [
    "SCHEMA",
    "ConfigurationChanged",
    "ConfigurationRead",
    "DicomEvent",
    "Event",
    "EventFile",
    "EventLostError",
    "SignatureMade",
    "SignatureValidated",
    "as_json",
    "emit",
    "subscribe",
    "subscriptions",
]

log = logging.getLogger("hsm_dicom")

SCHEMA = "hsm-dicom/event/2"


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomEvent(Event):
    """Base of the events of this package. An event with a `text` is logged with it."""

    logger: ClassVar[logging.Logger] = log

    def describe(self) -> str:
        """Return the event as one line for a log."""
        return str(getattr(self, "text", event_name(self)))


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureMade(DicomEvent):
    """A signature was made and its file written. `signer` is the subject of the certificate (RFC 4514).

    `certificate_serial` is its serial number, and `spki_sha256` the SHA-256 of its public key, both in hexadecimal.
    """

    file: str
    target: str
    signature_uid: str
    profile: str
    mac_algorithm: str
    signer: str
    identity: str
    spki_sha256: str = ""
    certificate_serial: str = ""

    def describe(self) -> str:
        """Return the target, the signer and the UID of the signature."""
        return f"{self.target}: signed as '{self.signer}' ({self.signature_uid})"


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureValidated(DicomEvent):
    """A signature was validated. `verdict` is the result, `reason` the sentence that explains it."""

    file: str
    sop_instance_uid: str
    signature_uid: str
    verdict: str
    reason: str
    signer: str

    def describe(self) -> str:
        """Return the file, the signature, the verdict and its reason."""
        return f"{self.file}: signature {self.signature_uid}: {self.verdict}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationRead(DicomEvent):
    """A configuration was read. The SHA-256 of its bytes shows whether it has changed."""

    path: str
    sha256: str
    problems: int

    def describe(self) -> str:
        """Return the path, the digest and the number of problems."""
        return f"{self.path}: configuration read (SHA-256 {self.sha256}, {self.problems} problems)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigurationChanged(DicomEvent):
    """`identity rollover` or `identity retire` changed the table of an identity. `change` is what it says now.

    `previous_sha256` and `sha256` are of the file before and after. `serving` is the identity whose key serves by the
    change; `spki_sha256` and `certificate_serial`, both in hexadecimal, are of its certificate, and empty after
    `--back`, which opens no key.
    """

    path: str
    previous_sha256: str
    sha256: str
    identity: str
    change: str
    serving: str
    spki_sha256: str = ""
    certificate_serial: str = ""

    def describe(self) -> str:
        """Return the path and the change."""
        return f"{self.path}: {self.change} (SHA-256 {self.sha256})"


def as_json(event: Event, now: datetime) -> str:
    """The line of an event, without its end."""
    operator = current_operator()
    head = {
        "schema": SCHEMA,
        "time": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "process": os.getpid(),
        "event": event_name(event),
        "operator": operator.name,
        "login": operator.login,
        "host": operator.host,
    }
    return json.dumps(head | dataclasses.asdict(event))


class EventFile:
    """A JSON-lines file to which events are appended, each by one write, so that processes may share it.

    It is created with mode 0600. It may be moved away at any time (log rotation): the next event creates a new one. A
    file that cannot be written never stops the work: the events that it lacks are counted by its subscription, and the
    log reports the first that was lost, and how many there were once the file can be written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._missing = 0
        self._writing = threading.Lock()
        os.register_at_fork(after_in_child=self._after_fork)

    @contextmanager
    def record(self) -> Iterator[Subscription]:
        """Write every event of this process to the file until the block ends."""
        try:
            with subscribe(self.append) as subscription:
                yield subscription
        finally:
            self.close()

    def append(self, event: Event) -> None:
        """Write one event. Raises `EventLostError`, after logging the reason, if the file cannot be written."""
        line = as_json(event, datetime.now(UTC)).encode("ascii") + b"\n"
        with self._writing:
            try:
                self._write(line)
            except OSError as error:
                self._close()
                self._log_failure(error)
                raise EventLostError(f"The event was not written to {self.path}.") from error
            self._log_recovery()

    def close(self) -> None:
        """Close the file; the next event opens it again."""
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

    def _log_failure(self, error: OSError) -> None:
        if not self._missing:
            log.error(
                "Events are not being recorded: %s cannot be written (%s). Free space or correct [events].",
                self.path,
                error.strerror,
            )
        self._missing += 1

    def _log_recovery(self) -> None:
        if self._missing:
            log.error("Events are being recorded again in %s; %d before this are missing.", self.path, self._missing)
        self._missing = 0

    def _after_fork(self) -> None:
        self._writing = threading.Lock()
