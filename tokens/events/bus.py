"""The event bus of this process: typed events, their subscribers, and what each subscriber lost.

All packages built on `tokens` share one bus. `logging`, a file and a metric subscribe to it in the same way: each is a
callable that receives every event on the thread that caused it. If a subscriber raises, it loses the event; the bus
counts and logs the loss, and the operation continues.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, TypeVar, overload

from tokens.errors import Error
from tokens.events.event import Event
from tokens.events.log import EventLog
from tokens.process.forking import LockAcrossForks

log = logging.getLogger("tokens")


E = TypeVar("E", bound=Event)


class EventLostError(Error):
    """Raised by a subscriber that could not keep an event and has logged the reason itself."""


class Subscription:
    """One subscriber of the bus, and how many events it lost."""

    def __init__(self, handler: Callable[[Any], None], kind: type[Event], counting: LockAcrossForks) -> None:
        self.handler = handler
        self.kind = kind
        self._counting = counting
        self._lost = 0

    @property
    def lost(self) -> int:
        """How many events the subscriber lost: it raised, or could not write them."""
        return self._lost

    def __repr__(self) -> str:
        return f"<Subscription of {self.handler!r}, {self.lost} lost>"

    def deliver(self, event: Event) -> None:
        """Call the handler if it subscribed to this kind of event. Never raises."""
        if not isinstance(event, self.kind):
            return
        try:
            self.handler(event)
        except EventLostError:
            self._count_loss()
        except Exception:
            self._count_loss()
            with suppress(Exception):  # a filter of the logger, or the repr of the handler
                log.exception("An event could not be delivered to %r.", self.handler)

    def _count_loss(self) -> None:
        with self._counting:
            self._lost += 1


class _Deferral(threading.local):
    """The list or filter to which the events of this thread go first; see `QuietLock` and `absorb_events`."""

    def __init__(self) -> None:
        self.depth = 0
        """How often this thread holds a lock that defers events."""
        self.deferred: list[tuple[Event, bool]] = []
        self.absorb: Callable[[Event], bool] | None = None


class _Bus:
    """The subscribers of this process. `logging` is always the first."""

    def __init__(self) -> None:
        self.deferral = _Deferral()
        self.changing = LockAcrossForks()
        self.subscriptions: tuple[Subscription, ...] = (Subscription(EventLog(), Event, self.changing),)


_bus = _Bus()


@overload
def subscribe(handler: Callable[[Event], None]) -> AbstractContextManager[Subscription]: ...
@overload
def subscribe(handler: Callable[[E], None], kind: type[E]) -> AbstractContextManager[Subscription]: ...
@contextmanager
def subscribe(handler: Callable[[Any], None], kind: type[Event] = Event) -> Iterator[Subscription]:
    """Call `handler` with every event of a kind, on the thread that caused it, until the block ends.

    Yields the subscription, which counts the events that `handler` lost. Raises TypeError for a handler that cannot be
    called, and for a kind that is not a class of events.
    """
    if not callable(handler):
        raise TypeError(f"handler must be a function that takes an event, not {type(handler).__name__}.")
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        raise TypeError(f"kind must be a class of events, such as KeyUse, not {type(kind).__name__}.")
    subscription = Subscription(handler, kind, _bus.changing)
    with _bus.changing:
        _bus.subscriptions = (*_bus.subscriptions, subscription)
    try:
        yield subscription
    finally:
        with _bus.changing:
            _bus.subscriptions = tuple(one for one in _bus.subscriptions if one is not subscription)


def subscriptions() -> tuple[Subscription, ...]:
    """Return the current subscribers, `logging` first, each with the number of events it lost."""
    return _bus.subscriptions


class QuietLock:
    """A lock whose holder's events are delivered when it has released the lock, which a subscriber may need.

    It is acquired for a `with` block within `timeout` seconds, and may be acquired again by its holder. If another
    thread holds it for longer, the block raises what `make_error` returns.
    """

    def __init__(self, lock: threading.RLock, timeout: float, make_error: Callable[[], Error]) -> None:
        self._lock = lock
        self._timeout = timeout
        self._make_error = make_error

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=self._timeout):
            raise self._make_error()
        _bus.deferral.depth += 1

    def __exit__(self, *_: object) -> None:
        deferral = _bus.deferral
        deferral.depth -= 1
        try:
            self._lock.release()
        finally:
            if deferral.deferred and not deferral.depth:
                events, deferral.deferred = deferral.deferred, []
                for event, logged in events:
                    emit(event, logged=logged)


@contextmanager
def absorb_events(absorb: Callable[[Event], bool]) -> Iterator[None]:
    """Offer the events of this thread to `absorb`, which returns whether it keeps one, until the block ends.

    Blocks may be nested: what the inner one does not keep is offered to the outer one.
    """
    deferral = _bus.deferral
    before = deferral.absorb
    deferral.absorb = absorb if before is None else lambda event: absorb(event) or before(event)
    try:
        yield
    finally:
        deferral.absorb = before


def is_awaited(kind: type[Event], level: int) -> bool:
    """Return whether anyone may receive an event of a kind that is logged at a level; if not, it need not be made."""
    deferral = _bus.deferral
    return (
        deferral.depth > 0
        or deferral.absorb is not None
        or len(_bus.subscriptions) > 1  # `logging` is always one
        or kind.logger.isEnabledFor(level)
    )


def emit(event: Event, *, logged: bool = True) -> None:
    """Deliver an event to every subscriber. Never raises: what a subscriber loses is counted and logged.

    With `logged` False it is not written to `logging`, because another event with its reason is.
    """
    deferral = _bus.deferral
    if deferral.depth:
        deferral.deferred.append((event, logged))
        return
    if deferral.absorb is not None and deferral.absorb(event):
        return
    for subscription in _bus.subscriptions[0 if logged else 1 :]:
        subscription.deliver(event)
