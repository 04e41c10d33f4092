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
_forking: list[ForkAware] = []


def register(owner: ForkAware) -> None:
    """Have `owner` told of every fork for as long as it lives."""
    with _registering:
        _registered.add(owner)


def _before() -> None:
    with _registering:
        _forking[:] = list(_registered)
    for owner in _forking:
        owner.before_fork()


def _after_in_parent() -> None:
    for owner in reversed(_forking):
        owner.after_fork_in_parent()
    _forking.clear()


def _after_in_child() -> None:
    global _registering
    _registering = threading.Lock()
    for owner in reversed(_forking):
        owner.after_fork_in_child()
    _forking.clear()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
