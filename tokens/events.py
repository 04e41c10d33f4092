"""What devices did, as typed events: who is told, and what is never said.

An event names the token, the key, the operation, its mechanism, its outcome and how long it took. It never
holds a PIN, a secret, or any byte of what a key was used on.

>>> heard = []
>>> with subscribed(heard.append):
...     emit(Login(token_serial="1", token_label="CT room", outcome=Outcome.DONE, duration=0.01))
>>> heard[0].token_label
'CT room'
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from tokens.printable import printable

log = logging.getLogger("tokens")


class Outcome(StrEnum):
    """How something ended."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceEvent:
    """What every event says. `duration` is in seconds; `reason` is a sentence when it did not end well."""

    token_serial: str
    token_label: str
    outcome: Outcome
    duration: float
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Login(DeviceEvent):
    """A PIN was presented, or was held back (then `outcome` is REFUSED and `presented` is False)."""

    role: str = "user"
    presented: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyUse(DeviceEvent):
    """A key was used: `operation` is sign, decrypt …; `mechanism` is the PKCS#11 name.

    `count` is more than 1 where a rate was measured with it; `duration` is then the sum of theirs.
    """

    key_label: str
    operation: str
    mechanism: str
    count: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class CeremonyStep(DeviceEvent):
    """An officer changed a token: `step` is initialise, generate, import, delete, change-pin."""

    step: str
    subject: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery(DeviceEvent):
    """A lost session, token or module was looked for again."""

    step: str


Sink = Callable[[DeviceEvent], None]

_sinks: list[Sink] = []


class _Waiting(threading.local):
    """What this thread does not tell at once: events until its outermost `told_afterwards` ends, uses to be summed."""

    events: list[DeviceEvent] | None = None
    sum: UsesInSum | None = None


_waiting = _Waiting()


class UsesInSum:
    """Uses of keys that are told once for all, by `tell`: thousands of them, when a rate is measured.

    Only what went well is summed: a failure is an event of its own, and is told at once.
    """

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._sums: dict[KeyUse, tuple[int, float]] = {}

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Add what keys do on this thread until the block ends."""
        before, _waiting.sum = _waiting.sum, self
        try:
            yield
        finally:
            _waiting.sum = before

    def takes(self, event: DeviceEvent) -> bool:
        """Whether the event is one to be summed, and was added."""
        if not isinstance(event, KeyUse) or event.outcome is not Outcome.DONE:
            return False
        kind = replace(event, duration=0.0, count=1)
        with self._adding:
            count, seconds = self._sums.get(kind, (0, 0.0))
            self._sums[kind] = count + event.count, seconds + event.duration
        return True

    def tell(self) -> None:
        """One event for each key, operation and mechanism."""
        for kind, (count, seconds) in self._sums.items():
            emit(replace(kind, count=count, duration=seconds))
        self._sums.clear()


@contextmanager
def subscribed(sink: Sink) -> Iterator[None]:
    """Have `sink` called with every event, on the thread that caused it, until the block ends."""
    _sinks.append(sink)
    try:
        yield
    finally:
        _sinks.remove(sink)


@contextmanager
def told_afterwards() -> Iterator[None]:
    """Hold back what this thread has to tell until the block ends, since a sink may want what the block holds."""
    if _waiting.events is not None:
        yield
        return
    _waiting.events = []
    try:
        yield
    finally:
        events, _waiting.events = _waiting.events, None
        for event in events:
            emit(event)


def emit(event: DeviceEvent) -> None:
    """Tell the log and every sink. A sink that fails is logged and never stops the key's work."""
    if _waiting.events is not None:
        _waiting.events.append(event)
        return
    if _waiting.sum is not None and _waiting.sum.takes(event):
        return
    level = logging.INFO if event.outcome is Outcome.DONE else logging.WARNING
    if log.isEnabledFor(level):
        log.log(level, "%s", printable(describe(event)))
    for sink in tuple(_sinks):
        try:
            sink(event)
        except Exception:
            log.exception("An event could not be delivered.")


def describe(event: DeviceEvent) -> str:
    """One line for a log."""
    match event:
        case KeyUse():
            times = f", {event.count} times" if event.count > 1 else ""
            what = f"{event.operation} with key '{event.key_label}' ({event.mechanism}){times}"
        case Login():
            what = f"{event.role} login" if event.presented else f"{event.role} login held back"
        case CeremonyStep():
            what = f"{event.step} {event.subject}".rstrip()
        case Recovery():
            what = f"recovery: {event.step}"
        case _:
            what = type(event).__name__
    line = f"token '{event.token_label}' (serial {event.token_serial}): {what}: {event.outcome}"
    return f"{line} in {event.duration * 1000:.1f} ms" + (f": {event.reason}" if event.reason else "")
