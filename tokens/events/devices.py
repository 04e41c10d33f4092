"""The events of tokens and cards."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from tokens.events.bus import absorb_events, emit
from tokens.events.event import Event


class OperationOutcome(StrEnum):
    """How an operation ended."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    UNANSWERED = "unanswered"
    """The device has not answered a login or a ceremony step in time. If it answers later, another event says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceEvent(Event):
    """Base of the events of devices. `duration` is in seconds; `reason` is a sentence unless `outcome` is SUCCEEDED."""

    token_serial: str
    token_label: str
    outcome: OperationOutcome = OperationOutcome.SUCCEEDED
    duration: float = 0.0
    reason: str = ""

    def log_level(self) -> int:
        """Return `level`, which is INFO, for an operation that succeeded, WARNING for any other."""
        return self.level if self.outcome is OperationOutcome.SUCCEEDED else logging.WARNING

    def describe(self) -> str:
        """Return the event as one line for a log."""
        line = f"token '{self.token_label}' (serial {self.token_serial}): {self.operation_text()}: {self.outcome}"
        return f"{line} in {self.duration * 1000:.1f} ms" + (f": {self.reason}" if self.reason else "")

    def operation_text(self) -> str:
        """Return what the device was asked to do, for a log."""
        return type(self).__name__


@dataclass(frozen=True, kw_only=True, slots=True)
class Login(DeviceEvent):
    """A PIN was presented, or refused before it was (then `outcome` is REFUSED and `presented` is False).

    `late` marks the answer to a login whose `outcome` was UNANSWERED before.
    """

    role: str = "user"
    presented: bool = True
    late: bool = False

    def operation_text(self) -> str:
        """Return the role, and whether the PIN was presented."""
        what = f"{self.role} login, answered late" if self.late else f"{self.role} login"
        return what if self.presented else f"{what}, PIN not presented"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyUse(DeviceEvent):
    """A key was used. `operation` is sign, decrypt …; `mechanism` is the PKCS#11 or ISO/IEC 7816 name.

    `count` is more than 1 if a rate was measured with the key; `duration` is then the sum of all uses. `spki_sha256` is
    the SHA-256 of the public key, and `certificate_serial` the serial number of the certificate that the key is used
    with, both in hexadecimal; a secret key has neither, and a key that was opened without a certificate has no serial.
    """

    key_label: str
    operation: str
    mechanism: str
    count: int = 1
    spki_sha256: str = ""
    certificate_serial: str = ""

    def operation_text(self) -> str:
        """Return the operation, the key and the mechanism."""
        times = f", {self.count} times" if self.count > 1 else ""
        return f"{self.operation} with key '{self.key_label}' ({self.mechanism}){times}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CeremonyStep(DeviceEvent):
    """An officer changed a token. `step` is initialise, generate, import, delete, set-pin or change-pin.

    `late` marks the answer to a step whose `outcome` was UNANSWERED before. `spki_sha256` is the SHA-256 of the public
    half of the key, and `certificate_serial` the serial number of the certificate that was stored or deleted (of the
    key's newest one, if a key was), both in hexadecimal; each is empty if there is none.
    """

    step: str
    object: str
    late: bool = False
    spki_sha256: str = ""
    certificate_serial: str = ""

    def operation_text(self) -> str:
        """Return the step and the object that it changed."""
        return f"{self.step} {self.object}".rstrip() + (", answered late" if self.late else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconnection(DeviceEvent):
    """The driver reconnected, or failed to, after a session, a token or a module was lost."""

    step: str

    def operation_text(self) -> str:
        """Return what the driver did."""
        return f"reconnection: {self.step}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedOver(DeviceEvent):
    """A key group ceased to use a member. `reason` is the fault.

    `group` and `member` are the names of both. `state` is open if the member is used again as soon as a probe succeeds,
    and excluded if it is not until the group is opened again. `serving` are the members that still work. If there is
    none, `faults` are those of all members, and one line of the log reports the loss of the whole group.
    """

    group: str
    member: str
    state: str
    serving: tuple[str, ...]
    faults: tuple[str, ...] = ()

    def log_level(self) -> int:
        """Return WARNING if another member works, ERROR if none does."""
        return logging.WARNING if self.serving else logging.ERROR

    def describe(self) -> str:
        """Return the group, the member, which members still work, and the fault."""
        if self.faults:
            return f"{self.group}: none of its tokens works: {' '.join(self.faults)}"
        until = "until it is opened again" if self.state == "excluded" else "until a probe succeeds"
        serving = f"uses {', '.join(self.serving)} instead" if self.serving else "has no other token that works"
        return f"{self.group}: {self.member} is not used {until}, and the key {serving}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored(DeviceEvent):
    """A key group uses a member again, after a verified operation. `duration` is how long it was not used."""

    group: str
    member: str

    def describe(self) -> str:
        """Return the group, the member, and how long it was not used."""
        return f"{self.group}: {self.member} is used again after {self.duration:.1f} seconds"


class KeyUseSummary:
    """Sum of uses of keys, so that a measurement of thousands of uses is one event for each key and mechanism.

    It contains only successful uses. A failure is an event of its own, which is delivered at once.
    """

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._sums: dict[KeyUse, tuple[int, float]] = {}

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Add the uses of keys on this thread until the block ends."""
        with absorb_events(self.add):
            yield

    def add(self, event: Event) -> bool:
        """Add the event if it is a successful use of a key, and return whether it is."""
        if not isinstance(event, KeyUse) or event.outcome is not OperationOutcome.SUCCEEDED:
            return False
        kind = replace(event, duration=0.0, count=1)
        with self._adding:
            count, seconds = self._sums.get(kind, (0, 0.0))
            self._sums[kind] = count + event.count, seconds + event.duration
        return True

    def emit(self) -> None:
        """Emit one event for each key, operation and mechanism, and reset the sums."""
        for kind, (count, seconds) in self._sums.items():
            emit(replace(kind, count=count, duration=seconds))
        self._sums.clear()
