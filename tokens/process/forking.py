"""Fork hooks: no thread is inside a module while the process forks, and the child starts without inherited state.

A child process cannot use the PKCS#11 sessions of its parent, or a lock that another thread held. Owners of sessions
and locks register here. The registry keeps weak references, so a hook ends with its owner. `os.fork` and its users
(multiprocessing) call the hooks; `subprocess` does not.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Protocol

from tokens.errors import Error


class ForkAware(Protocol):
    """An object that must be idle while the process forks."""

    def before_fork(self) -> None:
        """Become idle. Must return within a few seconds in every case."""

    def after_fork_in_parent(self) -> None:
        """Continue."""

    def after_fork_in_child(self) -> None:
        """Discard sessions and locks: the child creates its own."""


class _ForkHooks:
    """The hooks of this process."""

    def __init__(self) -> None:
        self._owners: weakref.WeakSet[ForkAware] = weakref.WeakSet()
        self._registering = threading.Lock()
        self._turn = threading.Lock()
        self._called: list[ForkAware] = []
        os.register_at_fork(
            before=self._before, after_in_parent=self._after_in_parent, after_in_child=self._after_in_child
        )

    def register(self, owner: ForkAware) -> None:
        with self._registering:
            self._owners.add(owner)

    def _before(self) -> None:
        # One fork at a time: the hooks before and after a fork form a pair.
        self._turn.acquire()
        with self._registering:
            self._called = list(self._owners)
        for owner in self._called:
            owner.before_fork()

    def _after_in_parent(self) -> None:
        for owner in reversed(self._called):
            owner.after_fork_in_parent()
        self._called = []
        self._turn.release()

    def _after_in_child(self) -> None:
        self._registering, self._turn = threading.Lock(), threading.Lock()
        for owner in reversed(self._called):
            owner.after_fork_in_child()
        self._called = []


_hooks = _ForkHooks()


def register(owner: ForkAware) -> None:
    """Call the hooks of `owner` at every fork for as long as it lives."""
    _hooks.register(owner)


class _Refusals:
    """Reasons not to fork, asked before each fork.

    A fork hook cannot prevent a fork: Python reports what it raises and forks all the same. An audit hook can. It costs
    a little for each audited event and cannot be removed, so it is installed with the first reason.
    """

    def __init__(self) -> None:
        self._reasons: dict[int, Callable[[], Error | None]] = {}
        self._changing = threading.Lock()
        self._installed = False

    def add(self, owner: object, reason: Callable[[], Error | None]) -> None:
        with self._changing:
            self._reasons[id(owner)] = reason
            if not self._installed:
                self._installed = True
                sys.addaudithook(self._ask)

    def remove(self, owner: object) -> None:
        with self._changing:
            self._reasons.pop(id(owner), None)

    def _ask(self, event: str, _: tuple[object, ...]) -> None:
        if event in ("os.fork", "os.forkpty"):
            for reason in tuple(self._reasons.values()):
                error = reason()
                if error is not None:
                    raise error


_refusals = _Refusals()


def refuse_forks(owner: object, reason: Callable[[], Error | None]) -> None:
    """Make `os.fork` raise the error that `reason` returns, if it returns one, until `allow_forks`."""
    _refusals.add(owner, reason)


def allow_forks(owner: object) -> None:
    """Take back what `refuse_forks` did for this owner."""
    _refusals.remove(owner)


class LockAcrossForks:
    """A lock, used in a `with` statement, that no child process inherits locked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held_for_fork = False
        register(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def before_fork(self) -> None:
        """Acquire the lock if it becomes free within a second, so that the data it guards is consistent."""
        self._held_for_fork = self._lock.acquire(timeout=1.0)

    def after_fork_in_parent(self) -> None:
        """Continue."""
        if self._held_for_fork:
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Create a new lock."""
        self._lock = threading.Lock()
