"""What must happen around fork(): nobody inside a module while it happens, and a clean start in the child.

A PKCS#11 session, and every lock that another thread held, is worthless in a child process. Whoever owns such
things registers here. Only `os.fork` and what is built on it (multiprocessing) calls these; `subprocess` does not
come this way.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """Something that must be quiet while the process forks."""

    def before_fork(self) -> None:
        """Become quiet. Must return within a few seconds whatever happens."""

    def after_fork_in_parent(self) -> None:
        """Go on as before."""

    def after_fork_in_child(self) -> None:
        """Forget sessions and locks: the child makes its own."""


_registered: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_registering = threading.Lock()
_turn = threading.Lock()
_told: list[ForkAware] = []


def register(owner: ForkAware) -> None:
    """Have `owner` told of every fork for as long as it lives."""
    with _registering:
        _registered.add(owner)


def _before() -> None:
    # One fork at a time: what the owners do before and after belongs together.
    _turn.acquire()
    with _registering:
        _told[:] = list(_registered)
    for owner in _told:
        owner.before_fork()


def _after_in_parent() -> None:
    for owner in reversed(_told):
        owner.after_fork_in_parent()
    _told.clear()
    _turn.release()


def _after_in_child() -> None:
    global _registering, _turn
    _registering, _turn = threading.Lock(), threading.Lock()
    for owner in reversed(_told):
        owner.after_fork_in_child()
    _told.clear()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


class LockAcrossForks:
    """A lock that no child inherits held. `with` it as any lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held_for_fork = False
        register(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Have what the lock guards in order, if that can be had soon."""
        self._held_for_fork = self._lock.acquire(timeout=1.0)

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        if self._held_for_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """A lock of its own."""
        self._lock = threading.Lock()
