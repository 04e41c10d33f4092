"""The login session of one token, called the anchor, and a bounded pool of worker sessions.

PKCS#11 keeps one login for each process and token, and ends it with the session that logged in. The anchor therefore
stays open, and worker sessions are opened without a PIN. A worker carries out one job at a time. On a token that allows
only one session, the anchor is the worker.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass, field
from typing import Any

from pkcs11 import exceptions as p11

from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import Facts, PinSourceError, Reason, TokenBusyError, TokenLostError, sentence_case
from tokens.events.bus import QuietLock
from tokens.pins.credentials import Credentials
from tokens.pkcs11.calls.capabilities import Capabilities
from tokens.pkcs11.calls.faults import _StaleSessionError
from tokens.pkcs11.login.flags import requires_login
from tokens.pkcs11.login.presentation import log_in
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo, find_again
from tokens.process import forking
from tokens.process.reconnecting import may_reconnect

DEFAULT_SESSIONS = 8
"""The default maximum of worker sessions of one token."""

BUSY_TIMEOUT = 60.0
"""Seconds that a job waits for a session before it fails with `TokenBusyError`."""


@dataclass(eq=False)
class Worker:
    """One session, and the handles of the keys that were looked up in it."""

    session: int
    """CK_SESSION_HANDLE."""
    epoch: int
    generation: int
    keys: weakref.WeakKeyDictionary[object, Any] = field(default_factory=weakref.WeakKeyDictionary)
    """What each owner looked up in the session."""


class SessionPool:
    """The sessions of one token. `tokens.pkcs11.connection` acquires and releases them."""

    def __init__(
        self,
        module: Module,
        token: TokenInfo,
        credentials: Credentials | None,
        sessions: int = DEFAULT_SESSIONS,
        deadlines: CallDeadlines = DEFAULT_DEADLINES,
    ) -> None:
        self.module = module
        self.token = token
        self.credentials = credentials
        self.deadlines = deadlines
        self._limit = max(1, sessions)
        self._make_locks()
        self._anchor: int | None = None
        self._epoch = -1
        self._generation = 0
        self._idle: list[Worker] = []
        self._busy = 0
        self._waiting = 0
        self._closed = False
        self._open_ceremonies = 0
        self._failing = False
        self._next_reinitialisation = 0.0
        self._token: TokenInfo
        self._capabilities: Capabilities | None = None
        module.add_user(self)
        forking.register(self)

    def is_alive(self) -> bool:
        """Return whether the token answers and its last job succeeded; False also during a reconnection."""
        if self._failing or not self._lock.acquire(blocking=False):
            return False
        try:
            if self._anchor is None or self._epoch != self.module.epoch:
                return False
            self.module.queries.check_alive(self._anchor)
            return True
        except (p11.PKCS11Error, TokenLostError, TokenBusyError):
            return False
        finally:
            self._lock.release()

    def check_answers(self) -> None:
        """Raise `TokenLostError` while a call has not returned from the token or its module. Makes no call."""
        self.module.check_answers(self.token.slot_id if self._epoch == -1 else self._token.slot_id)

    def use_deadlines(self, deadlines: CallDeadlines) -> None:
        """Use these deadlines from now on."""
        if deadlines != self.deadlines:
            self.deadlines = deadlines
            if self._epoch != -1:
                self.module.use_deadlines(self._token.slot_id, deadlines)

    # -- forks ----------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: the module's owner waits for calls in progress."""

    def after_fork_in_parent(self) -> None:
        """Do nothing: `before_fork` changed nothing."""

    def after_fork_in_child(self) -> None:
        """Forget the parent's sessions and locks, which are invalid in the child."""
        self._make_locks()
        self._anchor = None
        self._epoch = -1
        self._generation += 1
        self._idle = []
        self._busy = self._waiting = 0
        self._open_ceremonies = 0

    def _make_locks(self) -> None:
        self._lock = threading.RLock()
        self._quiet_lock = QuietLock(self._lock, BUSY_TIMEOUT, self._busy_error)
        """The same lock: the thread that holds it may be logging in to a device that hangs."""
        self._changed = threading.Condition(self._lock)
        self.authenticating = threading.Lock()
        """Held during a context-specific login, so that an outdated PIN is refused only once."""

    # -- the pool -------------------------------------------------------------------------------------------

    def _acquire(self) -> Worker:
        deadline = time.monotonic() + BUSY_TIMEOUT
        with self._quiet_lock:
            while True:
                self._ensure_login()
                if self._idle:
                    self._busy += 1
                    return self._idle.pop()
                if self._busy < self._limit:
                    worker = self._open_worker()
                    if worker is not None:
                        self._busy += 1
                        return worker
                self._waiting += 1
                try:
                    is_woken = self._changed.wait(max(0.0, deadline - time.monotonic()))
                finally:
                    self._waiting -= 1
                if not is_woken:
                    raise self._busy_error()

    def _open_worker(self) -> Worker | None:
        try:
            if self.module.epoch != self._epoch:
                raise _StaleSessionError
            session = self.module.queries.open_session(self._token.slot_id)
        except p11.SessionCount:
            # The token allows fewer sessions than the limit: share the existing ones.
            self._limit = max(1, self._busy)
            if self._busy or self._anchor is None:
                return None
            session = self._anchor
        return Worker(session, self._epoch, self._generation)

    def _release(self, worker: Worker) -> None:
        with self._lock:
            if worker.generation == self._generation and not self._closed:
                self._busy -= 1
                self._idle.append(worker)
                if self._waiting:
                    self._changed.notify()
            else:
                self.module.close_session(worker.session, worker.epoch)

    def _discard(self, worker: Worker) -> None:
        with self._changed:
            if worker.generation == self._generation:
                self._busy -= 1
                self._changed.notify()
                if worker.session == self._anchor:
                    self._anchor = None  # this ends the login; the next job logs in again
            self.module.close_session(worker.session, worker.epoch)

    def _end_sessions(self) -> None:
        self._end_idle_workers()
        if self._anchor is not None:
            self.module.close_session(self._anchor, self._epoch)
            self._anchor = None

    def _end_idle_workers(self) -> None:
        for worker in self._idle:
            if worker.session != self._anchor:
                self.module.close_session(worker.session, worker.epoch)
        self._idle.clear()

    def _open_writable(self) -> int:
        """Open a read-write session or, on a token that allows only one session, return the anchor."""
        slot = self._find_token().slot_id
        try:
            return self.module.queries.open_session(slot, writable=True)
        except p11.SessionCount:
            with self._quiet_lock:
                self._end_idle_workers()
        try:
            return self.module.queries.open_session(slot, writable=True)
        except p11.SessionCount:
            with self._quiet_lock:
                if self._busy:
                    raise
                self._log_in_again(writable=True)
                if self._anchor is None:
                    raise
                self._busy, self._limit = 1, 1
                return self._anchor

    def _close_writable(self, session: int, epoch: int) -> None:
        with self._changed:
            if session == self._anchor:
                self._busy = 0
                self._changed.notify()
                return
        self.module.close_session(session, epoch)

    # -- the login ------------------------------------------------------------------------------------------

    def _ensure_login(self) -> None:
        if self._closed:
            raise TokenLostError(f"The connection to {self.token.description} was closed.")
        epoch = self.module.ready()
        if self._anchor is not None and self._epoch == epoch:
            return
        if self._epoch != -1 and not may_reconnect():
            raise TokenLostError(f"{sentence_case(self.token.description)} is not connected now.")
        self._log_in_again()

    def _log_in_again(self, *, writable: bool = False) -> None:
        self._end_sessions()
        self._generation += 1
        self._busy = 0
        epoch = self.module.ready()
        found = self._find_token()
        self.module.use_deadlines(found.slot_id, self.deadlines)
        anchor = self.module.queries.open_session(found.slot_id, writable=writable)
        try:
            if requires_login(found, self.credentials):
                if self.credentials is None:
                    raise PinSourceError(
                        f"{sentence_case(found.description)} requires a PIN, and no PIN source was given.",
                        remedy="Add pin-source to the URI, or pass a PIN source.",
                        facts=Facts(reason=Reason.PIN_SOURCE_MISSING, uri=str(found.uri)),
                    )
                log_in(self.module, anchor, found, self.credentials)
        except BaseException:
            self.module.close_session(anchor, epoch)
            raise
        self._anchor, self._epoch, self._token = anchor, epoch, found

    def _find_token(self) -> TokenInfo:
        return find_again(self.module, self.token)

    def close(self) -> None:
        """End all sessions and the login, and wipe a kept PIN."""
        with self._changed:
            self._closed = True
            self._end_sessions()
            if self.credentials is not None:
                self.credentials.forget()
            self._changed.notify_all()

    def _busy_error(self) -> TokenBusyError:
        return TokenBusyError(
            f"No session on {self.token.description} became free within {BUSY_TIMEOUT:.0f} seconds.",
            remedy="Check that it still answers, or allow more sessions.",
        )
