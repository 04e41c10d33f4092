"""A PKCS#11 module as the driver sees it, in this process (`module`) or in one of its own (`isolation`)."""

from __future__ import annotations

import abc
import contextlib
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from pkcs11 import exceptions as p11

from tokens.deadlines import CallDeadlines
from tokens.errors import TokenTimeoutError, fresh_copy
from tokens.pkcs11.calls.cryptoki import Cryptoki
from tokens.pkcs11.calls.queries import ModuleData, Queries
from tokens.process.forking import LockAcrossForks

T = TypeVar("T")


SILENCE_REMEMBERED = 10.0
"""Seconds for which a search passes over a slot that did not answer."""


class ModuleUser(Protocol):
    """An object that has sessions of a module."""

    def is_alive(self) -> bool:
        """Return whether these sessions work."""


class Module(abc.ABC):
    """One module. Owners of sessions compare `epoch`, which changes with every initialisation."""

    cryptoki: Cryptoki
    """The calls that return a CK_RV."""
    queries: Queries
    """The calls that return data."""

    def __init__(self, path: Path, init_string: str | None) -> None:
        self.path = path
        """The absolute path of the first request, often a link that an upgrade changes."""
        self.init_string = init_string
        self.epoch = 0
        self._users: weakref.WeakSet[ModuleUser] = weakref.WeakSet()
        self._users_lock = LockAcrossForks()
        self._data = ModuleData("", "", "")
        self._silent: dict[int, tuple[float, TokenTimeoutError]] = {}

    @property
    def manufacturer(self) -> str:
        """CK_INFO's manufacturerID."""
        return self._data.manufacturer

    @property
    def library_description(self) -> str:
        """CK_INFO's libraryDescription."""
        return self._data.description

    @property
    def version(self) -> str:
        """CK_INFO's libraryVersion, as RFC 7512 writes it."""
        return self._data.version

    @property
    def description(self) -> str:
        """The module's own name and version."""
        return f"{self._data.description} {self.version} ({self.manufacturer})".strip()

    @property
    @abc.abstractmethod
    def is_isolated(self) -> bool:
        """Whether it runs in a process of its own."""

    @property
    @abc.abstractmethod
    def is_fenced(self) -> bool:
        """Whether nothing of the module is called, because a call has not returned."""

    @abc.abstractmethod
    def check_answers(self, slot: int) -> None:
        """Raise `TokenLostError` while the token in a slot, or the module, is known not to answer. Makes no call."""

    @abc.abstractmethod
    def run(self, job: Callable[[], T], late: Callable[[T | BaseException], None] | None = None) -> T:
        """Carry out a job that makes several calls; see `CallThreads.run`."""

    @abc.abstractmethod
    def use_deadlines(self, slot: int, deadlines: CallDeadlines) -> None:
        """Use these deadlines for the token in a slot."""

    @abc.abstractmethod
    def close_session(self, session: int, epoch: int) -> None:
        """Close a session of an epoch, as soon as its token answers. Never raises."""

    @abc.abstractmethod
    def ready(self) -> int:
        """Return the current epoch; initialise the module first if necessary. Call it before a job.

        Raises `TokenLostError` if the module cannot be used in this process.
        """

    @abc.abstractmethod
    def reinitialise(self, seen: int) -> None:
        """Initialise the module again, once for all threads that lost it in epoch `seen`.

        Ends every session of this module in this process. Raises `TokenLostError` if that is not possible.
        """

    def add_user(self, user: ModuleUser) -> None:
        """Register an object that has sessions of this module. A new initialisation would end these sessions."""
        with self._users_lock:
            self._users.add(user)

    def is_used_by_others(self, user: ModuleUser) -> bool:
        """Return whether sessions of another user work."""
        with self._users_lock:
            others = [other for other in self._users if other is not user]
        return any(other.is_alive() for other in others)

    def record_silence(self, slot: int, error: TokenTimeoutError) -> None:
        """Record that a slot did not answer what token it has, so that a search passes it over for a while."""
        self._silent[slot] = (time.monotonic() + SILENCE_REMEMBERED, error)

    def recall_silence(self, slot: int) -> TokenTimeoutError | None:
        """Return the error of a slot that did not answer lately."""
        until, error = self._silent.get(slot, (0.0, None))
        return None if error is None or time.monotonic() >= until else fresh_copy(error)

    def _read_data(self) -> None:
        with contextlib.suppress(p11.PKCS11Error):
            self._data = self.queries.module()
