"""Measurement of an operation of a device, and its event, in the same way for every driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

from tokens.errors import AuthenticationFailedError, TokenError, TokenTimeoutError
from tokens.events.bus import emit, is_awaited
from tokens.events.devices import CeremonyStep, DeviceEvent, KeyUse, OperationOutcome


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


@contextmanager
def report(
    event: DeviceEvent,
    *,
    refusals: type[TokenError] | tuple[type[TokenError], ...] = (),
    started: float | None = None,
) -> Iterator[Report]:
    """Emit `event` when the block ends, with its outcome and duration, whether the block succeeds or raises.

    A `TokenError` among `refusals` makes the outcome REFUSED, any other exception FAILED; the text of a `TokenError`
    is the reason. `started` is `time.perf_counter()` of an operation that began before the block.
    """
    began = time.perf_counter() if started is None else started
    reported = Report(event)
    try:
        yield reported
    except BaseException as error:
        reported.end(*_judge(error, refusals))
        raise
    else:
        reported.end(OperationOutcome.SUCCEEDED)
    finally:
        reported.set(duration=time.perf_counter() - began)
        emit(reported.make_event())


class KeyUseReport(AbstractContextManager[None]):
    """Emits a `KeyUse` when its block ends. `mechanism` is a PKCS#11 or an ISO/IEC 7816 name.

    With `timed=False` the duration is zero, for operations whose duration would reveal a secret. Every use of a key has
    such a block, so it is not a generator, and does not make the event of a success that nobody receives.
    """

    __slots__ = ("_began", "_ended", "_names", "_timed")

    def __init__(
        self,
        serial: str,
        token_label: str,
        key_label: str,
        operation: str,
        mechanism: str,
        *,
        spki_sha256: str = "",
        certificate_serial: str = "",
        timed: bool = True,
    ) -> None:
        self._names = serial, token_label, key_label, operation, mechanism, spki_sha256, certificate_serial
        self._timed = timed
        self._ended = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock: the operation has succeeded, whatever happens until `__exit__`."""
        self._ended = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended:
            error = None
        if error is None and not is_awaited(KeyUse, KeyUse.level):
            return
        outcome, reason = _judge(error, AuthenticationFailedError)
        duration = (self._ended or time.perf_counter()) - self._began if self._timed else 0.0
        serial, token_label, key_label, operation, mechanism, spki_sha256, certificate_serial = self._names
        emit(
            KeyUse(
                token_serial=serial,
                token_label=token_label,
                key_label=key_label,
                operation=operation,
                mechanism=mechanism,
                outcome=outcome,
                duration=duration,
                reason=reason,
                spki_sha256=spki_sha256,
                certificate_serial=certificate_serial,
            )
        )


def _judge(
    error: BaseException | None, refusals: type[TokenError] | tuple[type[TokenError], ...]
) -> tuple[OperationOutcome, str]:
    """Return the outcome of a block, and the reason if a `TokenError` gives one."""
    if error is None:
        return OperationOutcome.SUCCEEDED, ""
    if not isinstance(error, TokenError):
        return OperationOutcome.FAILED, ""
    return OperationOutcome.REFUSED if isinstance(error, refusals) else OperationOutcome.FAILED, str(error)


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
