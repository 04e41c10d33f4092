"""Telling of one use of a key as it happens, so that every driver tells it alike."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tokens.errors import AuthenticationFailedError, TokenError
from tokens.events import CeremonyStep, KeyUse, Outcome, emit


@contextmanager
def key_use(serial: str, token_label: str, key_label: str, operation: str, mechanism: str) -> Iterator[None]:
    """Emit a `KeyUse` when the block ends, well or not. `mechanism` is a PKCS#11 or an ISO/IEC 7816 name."""
    started = time.perf_counter()
    outcome, reason = Outcome.FAILED, ""
    try:
        yield
        outcome = Outcome.DONE
    except AuthenticationFailedError as error:
        outcome, reason = Outcome.REFUSED, str(error)
        raise
    except TokenError as error:
        reason = str(error)
        raise
    finally:
        emit(
            KeyUse(
                token_serial=serial,
                token_label=token_label,
                outcome=outcome,
                duration=time.perf_counter() - started,
                reason=reason,
                key_label=key_label,
                operation=operation,
                mechanism=mechanism,
            )
        )


@contextmanager
def ceremony_step(serial: str, token_label: str, step: str, subject: str) -> Iterator[None]:
    """Emit a `CeremonyStep` when the block ends, well or not."""
    started = time.perf_counter()
    outcome, reason = Outcome.FAILED, ""
    try:
        yield
        outcome = Outcome.DONE
    except TokenError as error:
        outcome, reason = Outcome.REFUSED, str(error)
        raise
    finally:
        emit(
            CeremonyStep(
                token_serial=serial,
                token_label=token_label,
                outcome=outcome,
                duration=time.perf_counter() - started,
                reason=reason,
                step=step,
                subject=subject,
            )
        )
