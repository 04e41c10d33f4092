"""Events of the attempts of a group's members. A fault is logged once, by the event of the group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tokens.events import Event, KeyUse, OperationOutcome, Reconnection, emit
from tokens.events.bus import absorb_events


def is_failed_attempt(event: Event) -> bool:
    """Return whether an event is a use of a key, or a reconnection, that failed."""
    return isinstance(event, KeyUse | Reconnection) and event.outcome is not OperationOutcome.SUCCEEDED


@contextmanager
def hold_failed_attempts(are_logged: Callable[[BaseException | None], bool]) -> Iterator[None]:
    """Deliver the events of failed attempts on this thread when the block ends.

    They are logged only if `are_logged` returns so for what the block raised: the group reports the fault of a member.
    """
    held: list[Event] = []

    def hold(event: Event) -> bool:
        if is_failed_attempt(event):
            held.append(event)
            return True
        return False

    failure: BaseException | None = None
    try:
        with absorb_events(hold):
            yield
    except BaseException as error:
        failure = error
        raise
    finally:
        for event in held:
            emit(event, logged=are_logged(failure))
