"""Waiting for descriptors with epoll(7), by one thread or by several.

`selectors` cannot report a descriptor once only. A thread that computes a handshake would have to wake the waiting
thread for each message of the peer, just to be told what to wait for next.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from hsm_dicom.transport.port import Wants

T = TypeVar("T")

_EVENTS = {Wants.TO_READ: select.EPOLLIN, Wants.TO_WRITE: select.EPOLLOUT}


class Readiness(Generic[T]):
    """Descriptors that one thread waits for, and what each of them is for.

    A descriptor is forgotten before it is closed, or its number misleads.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, T] = {}

    def watch(self, descriptor: int, what: T) -> None:
        """Report a descriptor whenever it can be read."""
        self._watched[descriptor] = what
        self._epoll.register(descriptor, select.EPOLLIN)

    def forget(self, descriptor: int) -> None:
        """Report a descriptor no more. Harmless to repeat."""
        if self._watched.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[T]:
        """Return what is ready within so many seconds; None: without a limit."""
        ready = self._epoll.poll(seconds)
        found = (self._watched.get(descriptor) for descriptor, _ in ready)
        return [what for what in found if what is not None]

    def close(self) -> None:
        """Close what the system keeps."""
        self._epoll.close()


class Turnstile(Generic[T]):
    """Descriptors that several threads wait for. Each is reported once, to one thread, until it is armed again.

    Any thread may use it. Whoever takes something, by `take` or `claim`, owns it until it is armed again.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._epoll.register(self._end, select.EPOLLIN)
        self._registered: dict[int, T] = {}
        self._armed: set[int] = set()
        self._has_ended = False
        self._changing = threading.Lock()

    def arm(self, descriptor: int, what: T, wants: Wants, begin: Callable[[], None] | None = None) -> None:
        """Report a descriptor once, when it is ready. `begin` is called before that can happen.

        Does nothing after `end`.
        """
        events = _EVENTS[wants] | select.EPOLLONESHOT
        with self._changing:
            if self._has_ended:
                return
            if begin is not None:
                begin()
            is_known = descriptor in self._registered
            self._registered[descriptor] = what
            self._armed.add(descriptor)
            (self._epoll.modify if is_known else self._epoll.register)(descriptor, events)

    def take(self, begin: Callable[[T], None]) -> T | None:
        """Wait for one that is ready, and return it; None after `end`. `begin` is called before others can notice."""
        while True:
            ((descriptor, _),) = self._epoll.poll(maxevents=1)
            if descriptor == self._end:
                return None
            with self._changing:
                if descriptor in self._armed:
                    self._armed.discard(descriptor)
                    what = self._registered[descriptor]
                    begin(what)
                    return what

    def claim(self, descriptor: int) -> bool:
        """Forget a descriptor if no thread has taken it, and return whether that is so."""
        with self._changing:
            if descriptor not in self._armed:
                return False
            self._remove(descriptor)
            return True

    def forget(self, descriptor: int) -> None:
        """Report a descriptor no more. Harmless to repeat."""
        with self._changing:
            if descriptor in self._registered:
                self._remove(descriptor)

    def end(self) -> None:
        """Have every `take` return None, now and later."""
        with self._changing:
            self._has_ended = True
        os.eventfd_write(self._end, 1)

    def close(self) -> None:
        """Close what the system keeps. No thread waits any more."""
        with self._changing:
            self._epoll.close()
            os.close(self._end)

    def _remove(self, descriptor: int) -> None:
        del self._registered[descriptor]
        self._armed.discard(descriptor)
        if not self._epoll.closed:
            self._epoll.unregister(descriptor)
