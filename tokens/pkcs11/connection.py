"""One token, logged in, and a bounded pool of sessions on it: shared by every key of the token in this process.

PKCS#11 keeps one login for each process and token, and ends it with the session that logged in. So one session, the
anchor, is held open for the login, and worker sessions are opened without a PIN. A worker serves one job at a time and
is thrown away after any error, since an operation may be left half done in it.

A job that meets a lost session, token or module is done again once, after the token was found again by its serial
number, if need be through a module that was initialised again. What that does not heal is a `TokenLost`.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from pkcs11 import PrivateKey, Session, TokenFlag
from pkcs11 import exceptions as p11

from tokens import forking
from tokens.credentials import Credentials
from tokens.errors import (
    LoginUnanswered,
    ModuleError,
    NoSuchToken,
    PinSourceError,
    TokenBusy,
    TokenError,
    TokenLost,
    sentence_case,
)
from tokens.events import Outcome, Recovery, emit, told_afterwards
from tokens.pkcs11.capabilities import Capabilities, capabilities
from tokens.pkcs11.faults import TOKEN_LOST, SessionStale, is_healable, name, translated
from tokens.pkcs11.login import log_in
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import FoundToken, TokenInfo, find_token, tokens_now

DEFAULT_SESSIONS = 8
"""Worker sessions of one token at the most, unless configured."""

BUSY_TIMEOUT = 60.0
"""Seconds that a job waits for a session before `TokenBusy`."""

T = TypeVar("T")


@dataclass(eq=False)
class Worker:
    """One session, and the handles of the keys that were looked up in it."""

    session: Session
    epoch: int
    generation: int
    keys: weakref.WeakKeyDictionary[object, PrivateKey] = field(default_factory=weakref.WeakKeyDictionary)


class AttemptFailed(Exception):
    """A job failed in a session of this generation."""

    def __init__(self, error: Exception, generation: int) -> None:
        super().__init__(error, generation)
        self.error = error
        self.generation = generation


class Connection:
    """A logged-in token. Every method may be called from any thread."""

    def __init__(
        self,
        module: Module,
        token: TokenInfo,
        credentials: Credentials | None,
        sessions: int = DEFAULT_SESSIONS,
    ) -> None:
        self.module = module
        self.token = token
        self.credentials = credentials
        self._limit = max(1, sessions)
        self._changed = threading.Condition()
        self.authenticating = threading.Lock()
        """One context-specific login at a time, so that a PIN that went stale is refused once, not once a thread."""
        self._anchor: Session | None = None
        self._epoch = -1
        self._generation = 0
        self._idle: list[Worker] = []
        self._busy = 0
        self._closed = False
        self._token: FoundToken
        self._capabilities: Capabilities | None = None
        module.used_by(self)
        forking.register(self)

    # -- jobs -----------------------------------------------------------------------------------------------

    def run(self, job: Callable[[Worker], T], doing: str) -> T:
        """Do `job` with a session of its own; once more, if what went wrong can be healed.

        `doing` completes the sentence "The token could not …". Raises `tokens.errors`' classes only, and
        whatever `job` raises that is no PKCS#11 error.
        """
        try:
            return self._attempt(job)
        except AttemptFailed as failed:
            if not is_healable(failed.error):
                raise self._hopeless(failed.error, doing) from failed.error
            self._recover(failed)
        try:
            return self._attempt(job)
        except AttemptFailed as failed:
            if isinstance(failed.error, LoginUnanswered):
                raise failed.error from None
            if is_healable(failed.error):
                raise self._lost(doing, failed.error) from failed.error
            raise self._hopeless(failed.error, doing) from failed.error

    def _attempt(self, job: Callable[[Worker], T]) -> T:
        generation = self._generation
        try:
            worker = self._take()
            generation = worker.generation
            try:
                with self.module.gate:
                    if self.module.epoch != worker.epoch:
                        raise SessionStale
                    result = job(worker)
            except BaseException:
                self._drop(worker)
                raise
        except (p11.PKCS11Error, SessionStale, NoSuchToken, LoginUnanswered) as error:
            raise AttemptFailed(error, generation) from error
        self._give_back(worker)
        return result

    @contextlib.contextmanager
    def writable(self) -> Iterator[Session]:
        """A read-write session for a ceremony, logged in; PKCS#11 errors are left to the caller.

        Nobody is asked anything inside the block: it keeps the module from being initialised again.
        """
        with self.session_kept_open() as session, self.module.gate:
            yield session

    @contextlib.contextmanager
    def session_kept_open(self) -> Iterator[Session]:
        """A read-write session for as long as the block; each call in it enters the module's gate by itself."""
        self.connect()
        found = self._find()
        with self.module.gate:
            session = found.handle.open(rw=True)
        epoch = self.module.epoch
        try:
            yield session
        finally:
            self._close(session, epoch)

    def connect(self) -> None:
        """Log in now rather than at the first job."""
        self.run(lambda worker: None, "open a session")

    def is_alive(self) -> bool:
        """Whether the token answers in the login session; False too if the connection is being made or healed."""
        if not self._changed.acquire(blocking=False):
            return False
        try:
            if self._anchor is None or self._epoch != self.module.epoch:
                return False
            with self.module.gate:
                self._anchor.generate_random(64)
            return True
        except (p11.PKCS11Error, TokenLost, TokenBusy):
            return False
        finally:
            self._changed.release()

    def capabilities(self) -> Capabilities:
        """The mechanisms that the token lists; asked for once."""
        if self._capabilities is None:
            self._capabilities = self.run(lambda worker: capabilities(worker.session), "list its mechanisms")
        return self._capabilities

    def use_credentials(self, newer: Credentials) -> None:
        """Log in with these from now on, if they say something else or the PIN was refused here."""
        with self._owned():
            if self.credentials is None or self.credentials.is_replaced_by(newer):
                if self.credentials is not None:
                    self.credentials.forget()
                self.credentials = newer

    def distrust(self) -> None:
        """Begin anew: a handle has led to another object, so the module was initialised behind our back."""
        with self._owned():
            self._end_sessions()

    def close(self) -> None:
        """End all sessions and with them the login; wipe a PIN that was kept."""
        with self._changed:
            self._closed = True
            self._end_sessions()
            if self.credentials is not None:
                self.credentials.forget()
            self._changed.notify_all()

    # -- forks ----------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """The module is made quiet by its own owner."""

    def after_fork_in_parent(self) -> None:
        """Nothing was changed."""

    def after_fork_in_child(self) -> None:
        """The parent's sessions and its locks mean nothing here."""
        self._changed = threading.Condition()
        self.authenticating = threading.Lock()
        self._anchor = None
        self._epoch = -1
        self._generation += 1
        self._idle = []
        self._busy = 0

    # -- the pool -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _owned(self) -> Iterator[None]:
        # Whoever holds the lock may be logging in to a device that hangs: wait, but not for ever.
        # What is told of it is told afterwards: who listens may use a key of this very token.
        with told_afterwards():
            if not self._changed.acquire(timeout=BUSY_TIMEOUT):
                raise self._busy_error()
            try:
                yield
            finally:
                self._changed.release()

    def _take(self) -> Worker:
        deadline = time.monotonic() + BUSY_TIMEOUT
        with self._owned():
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
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise self._busy_error()

    def _open_worker(self) -> Worker | None:
        try:
            with self.module.gate:
                if self.module.epoch != self._epoch:
                    raise SessionStale
                session = self._token.handle.open()
        except p11.SessionCount:
            if not self._busy:
                raise
            # The token has fewer sessions than we were allowed: share those that there are.
            self._limit = self._busy
            return None
        return Worker(session, self._epoch, self._generation)

    def _give_back(self, worker: Worker) -> None:
        with self._changed:
            if worker.generation == self._generation and not self._closed:
                self._busy -= 1
                self._idle.append(worker)
                self._changed.notify()
            else:
                self._close(worker.session, worker.epoch)

    def _drop(self, worker: Worker) -> None:
        with self._changed:
            if worker.generation == self._generation:
                self._busy -= 1
                self._changed.notify()
            self._close(worker.session, worker.epoch)

    def _end_sessions(self) -> None:
        for worker in self._idle:
            self._close(worker.session, worker.epoch)
        self._idle.clear()
        if self._anchor is not None:
            self._close(self._anchor, self._epoch)
            self._anchor = None

    def _close(self, session: Session, epoch: int) -> None:
        # A module that is closed, or does not let anybody in, has no session that could be given back.
        with contextlib.suppress(p11.PKCS11Error, TokenLost, TokenBusy), self.module.gate:
            if self.module.epoch == epoch:
                session.close()

    # -- the login ------------------------------------------------------------------------------------------

    def _ensure_login(self) -> None:
        if self._closed:
            raise TokenLost(f"The connection to {self.token.description} was closed.")
        epoch = self.module.ready()
        if self._anchor is not None and self._epoch == epoch:
            return
        self._log_in_anew()

    def _log_in_anew(self) -> None:
        self._end_sessions()
        self._generation += 1
        self._busy = 0
        epoch = self.module.ready()
        found = self._find()
        with self.module.gate:
            anchor = found.handle.open()
        try:
            if TokenFlag.LOGIN_REQUIRED in found.info.flags:
                if self.credentials is None:
                    raise PinSourceError(
                        f"{sentence_case(found.info.description)} wants a PIN and no source for it was named; "
                        "add --pin prompt, pin-source in the URI, or pin in the configuration."
                    )
                log_in(self.module, session_handle(anchor), found.info, self.credentials)
        except BaseException:
            self._close(anchor, epoch)
            raise
        self._anchor, self._epoch, self._token = anchor, epoch, found

    def _find(self) -> FoundToken:
        return find_token(self.module, self.token.uri, tokens_now)

    # -- healing --------------------------------------------------------------------------------------------

    def _recover(self, failed: AttemptFailed) -> None:
        if isinstance(failed.error, SessionStale):
            return  # nothing was lost: the next session is of the new epoch
        started = time.perf_counter()
        with self._owned():
            if self._generation != failed.generation and self._anchor is not None:
                return  # another thread has healed it meanwhile
            try:
                step = self._find_again(failed.error)
            except TokenError as error:
                self._report(Outcome.FAILED, "looked for the token", started, str(error))
                raise
            self._report(Outcome.DONE, step, started, name(failed.error))

    def _find_again(self, cause: Exception) -> str:
        # Other tokens of this module would lose their sessions: leave it alone while one of them answers.
        needed_elsewhere = self.module.serves_others_than(self)
        if isinstance(cause, LoginUnanswered) and (needed_elsewhere or self._epoch == -1):
            raise cause  # nothing can be done that would make the next answer any other
        # After the loss of a device a PIN is presented in a fresh module only: a stale one may well answer it wrongly.
        if needed_elsewhere or not isinstance(cause, (LoginUnanswered, *TOKEN_LOST)):
            try:
                self._log_in_anew()
                return "logged in again"
            except (p11.PKCS11Error, NoSuchToken) as error:
                if needed_elsewhere:
                    raise self._lost("be found again", error) from error
        try:
            self.module.initialise_again(self.module.epoch)
            self._log_in_anew()
        except (p11.PKCS11Error, NoSuchToken, ModuleError) as error:
            raise self._lost("be found again", error) from error
        return "initialised the module and logged in again"

    def _hopeless(self, error: Exception, doing: str) -> Exception:
        return translated(error, doing) if isinstance(error, p11.PKCS11Error) else error

    def _lost(self, doing: str, error: Exception) -> TokenLost:
        reason = str(error) if isinstance(error, TokenError) else name(error)
        return TokenLost(
            f"{sentence_case(self.token.description)} is gone: it could not {doing} ({reason.rstrip('.')}). "
            "Put the token back or restore the connection; it is then used again without a restart."
        )

    def _busy_error(self) -> TokenBusy:
        return TokenBusy(
            f"No session on {self.token.description} became free within {BUSY_TIMEOUT:.0f} seconds; "
            "see whether it still answers, or allow more sessions."
        )

    def _report(self, outcome: Outcome, step: str, started: float, reason: str) -> None:
        emit(
            Recovery(
                token_serial=self.token.serial,
                token_label=self.token.label,
                outcome=outcome,
                duration=time.perf_counter() - started,
                reason=reason,
                step=step,
            )
        )


def session_handle(session: Session) -> int:
    """CK_SESSION_HANDLE, which python-pkcs11's types do not mention."""
    return int(session.handle)  # type: ignore[attr-defined]
