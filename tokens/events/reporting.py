"""Measurement of an operation of a device, and its event, in the same way for every driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tokens.errors import AuthenticationFailedError, TokenError
from tokens.events.bus import emit
from tokens.events.devices import CeremonyStep, DeviceEvent, KeyUse, OperationOutcome


class Report:
    """The event that a block emits when it ends. Until then the block may change its members."""

    def __init__(self, event: DeviceEvent) -> None:
        self._event = event
        self._outcome: OperationOutcome | None = None

    def set(self, **members: Any) -> None:
        """Set members of the event that were not known when the block began."""
        self._event = replace(self._event, **members)

    def end(self, outcome: OperationOutcome, reason: str = "") -> None:
        """Set the outcome. Only the first call counts; the end of the block, or an exception, then changes nothing."""
        if self._outcome is None:
            self._outcome = outcome
            self.set(outcome=outcome, reason=reason)


@contextmanager
def report(
    event: DeviceEvent,
    *,
    refusals: type[TokenError] | tuple[type[TokenError], ...] = (),
    timed: bool = True,
    started: float | None = None,
) -> Iterator[Report]:
    """Emit `event` when the block ends, with its outcome and duration, whether the block succeeds or raises.

    A `TokenError` among `refusals` makes the outcome REFUSED, any other exception FAILED; the text of a `TokenError`
    is the reason. With `timed=False` the duration is zero, for operations whose duration would reveal a secret.
    `started` is `time.perf_counter()` of an operation that began before the block.
    """
    began = time.perf_counter() if started is None else started
    reported = Report(event)
    try:
        yield reported
        reported.end(OperationOutcome.SUCCEEDED)
    except TokenError as error:
        reported.end(OperationOutcome.REFUSED if isinstance(error, refusals) else OperationOutcome.FAILED, str(error))
        raise
    except BaseException:
        reported.end(OperationOutcome.FAILED)
        raise
    finally:
        if timed:
            reported.set(duration=time.perf_counter() - began)
        emit(reported._event)


@contextmanager
def report_key_use(
    serial: str, token_label: str, key_label: str, operation: str, mechanism: str, *, timed: bool = True
) -> Iterator[None]:
    """Emit a `KeyUse` when the block ends. `mechanism` is a PKCS#11 or an ISO/IEC 7816 name."""
    event = KeyUse(
        token_serial=serial,
        token_label=token_label,
        key_label=key_label,
        operation=operation,
        mechanism=mechanism,
    )
    with report(event, refusals=AuthenticationFailedError, timed=timed):
        yield


@contextmanager
def report_ceremony_step(serial: str, token_label: str, step: str, object_name: str) -> Iterator[Report]:
    """Emit a `CeremonyStep` when the block ends."""
    event = CeremonyStep(token_serial=serial, token_label=token_label, step=step, object=object_name)
    with report(event, refusals=TokenError) as reported:
        yield reported
