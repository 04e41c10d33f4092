"""Measurement of an operation of a device, and its event, in the same way for every driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from tokens.errors import AuthenticationFailedError, TokenError, TokenTimeoutError
from tokens.events.bus import emit
from tokens.events.devices import CeremonyStep, DeviceEvent, KeyUse, OperationOutcome

T = TypeVar("T")


class Report:
    """The event that a block emits when it ends. Until then the block may change its members."""

    __slots__ = ("_event", "_members")

    def __init__(self, event: DeviceEvent) -> None:
        self._event = event
        self._members: dict[str, Any] = {}

    def set(self, **members: Any) -> None:
        """Set members of the event that were not known when the block began."""
        self._members.update(members)

    def end(self, outcome: OperationOutcome, reason: str = "") -> None:
        """Set the outcome. Only the first call counts; the end of the block, or an exception, then changes nothing."""
        if "outcome" not in self._members:
            self._members.update(outcome=outcome, reason=reason)

    def make_event(self) -> DeviceEvent:
        """Return the event with everything that was set."""
        return replace(self._event, **self._members)


class _Reporting(AbstractContextManager[T]):
    """Emits an event when a block ends. Not a generator: this is done for every use of a key."""

    __slots__ = ("_began", "_given", "_refusals", "_reported", "_timed")

    def __init__(
        self,
        reported: Report,
        given: T,
        refusals: type[TokenError] | tuple[type[TokenError], ...],
        timed: bool,
        started: float | None,
    ) -> None:
        self._reported = reported
        self._given = given
        self._refusals = refusals
        self._timed = timed
        self._began = time.perf_counter() if started is None else started

    def __enter__(self) -> T:
        return self._given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        reported = self._reported
        if error is None:
            reported.end(OperationOutcome.SUCCEEDED)
        elif isinstance(error, TokenError):
            refused = isinstance(error, self._refusals)
            reported.end(OperationOutcome.REFUSED if refused else OperationOutcome.FAILED, str(error))
        else:
            reported.end(OperationOutcome.FAILED)
        if self._timed:
            reported.set(duration=time.perf_counter() - self._began)
        emit(reported.make_event())


def report(
    event: DeviceEvent,
    *,
    refusals: type[TokenError] | tuple[type[TokenError], ...] = (),
    timed: bool = True,
    started: float | None = None,
) -> AbstractContextManager[Report]:
    """Emit `event` when the block ends, with its outcome and duration, whether the block succeeds or raises.

    A `TokenError` among `refusals` makes the outcome REFUSED, any other exception FAILED; the text of a `TokenError`
    is the reason. With `timed=False` the duration is zero, for operations whose duration would reveal a secret.
    `started` is `time.perf_counter()` of an operation that began before the block.
    """
    reported = Report(event)
    return _Reporting(reported, reported, refusals, timed, started)


def report_key_use(
    serial: str, token_label: str, key_label: str, operation: str, mechanism: str, *, timed: bool = True
) -> AbstractContextManager[None]:
    """Emit a `KeyUse` when the block ends. `mechanism` is a PKCS#11 or an ISO/IEC 7816 name."""
    event = KeyUse(
        token_serial=serial,
        token_label=token_label,
        key_label=key_label,
        operation=operation,
        mechanism=mechanism,
    )
    return _Reporting(Report(event), None, AuthenticationFailedError, timed, None)


@contextmanager
def report_ceremony_step(serial: str, token_label: str, step: str, object_name: str) -> Iterator[Report]:
    """Emit a `CeremonyStep` when the block ends."""
    event = CeremonyStep(token_serial=serial, token_label=token_label, step=step, object=object_name)
    with report(event, refusals=TokenError) as reported:
        try:
            yield reported
        except TokenTimeoutError as error:
            reported.end(OperationOutcome.UNANSWERED, str(error))
            raise
