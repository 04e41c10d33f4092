"""Waiting for descriptors: one thread waits, and other threads may have it wait for a connection again (epoll(7)).

`selectors` cannot report a descriptor once only. A thread that computes a handshake would have to wake the waiting
thread for each message of the peer, just to be told what to wait for next.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hsm_dicom.transport.port import Wants

T = TypeVar("T")

_EVENTS = {Wants.TO_READ: select.EPOLLIN, Wants.TO_WRITE: select.EPOLLOUT}


class Readiness(Generic[T]):
    """Descriptors, and what each of them is for. A descriptor is forgotten before it is closed, or its number misleads.

    `wait` and `close` are for one thread, the others for any.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, T] = {}
        self._changing = threading.Lock()

    def watch(self, descriptor: int, what: T) -> None:
        """Report a descriptor whenever it can be read."""
        with self._changing:
            self._watched[descriptor] = what
            self._epoll.register(descriptor, select.EPOLLIN)

    def arm(self, descriptor: int, what: T, wants: Wants, begin: Callable[[], None] = lambda: None) -> None:
        """Report a descriptor once, when it is ready. `begin` is called before that can happen.

        Does nothing after `close`.
        """
        events = _EVENTS[wants] | select.EPOLLONESHOT
        with self._changing:
            if self._epoll.closed:
                return
            begin()
            is_known = descriptor in self._watched
            self._watched[descriptor] = what
            (self._epoll.modify if is_known else self._epoll.register)(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Report a descriptor no more. Harmless to repeat."""
        with self._changing:
            if self._watched.pop(descriptor, None) is not None and not self._epoll.closed:
                self._epoll.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[T]:
        """Return what is ready within so many seconds; None: without a limit."""
        ready = self._epoll.poll(seconds)
        found = (self._watched.get(descriptor) for descriptor, _ in ready)
        return [what for what in found if what is not None]

    def close(self) -> None:
        """Close what the system keeps. Nothing is reported any more."""
        with self._changing:
            self._epoll.close()
