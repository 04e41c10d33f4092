"""The connection to one token, logged in and shared by every key of the token in this process.

A worker session carries out one job at a time. It is discarded after an error, because an operation may be unfinished
in it.

A job that fails because a session, the token or the module was lost is repeated: first after finding the token again by
its serial number and logging in, then after initialising the module again. If both fail, `TokenLostError` is raised.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from pkcs11 import exceptions as p11

from tokens.errors import (
    LoginTimeoutError,
    LoginUnclearError,
    ModuleEndedError,
    ModuleError,
    ModuleFencedError,
    NoSuchKeyError,
    NoSuchTokenError,
    NotAPrivateKeyError,
    OperationFailedError,
    TokenError,
    TokenLostError,
    TokenTimeoutError,
    fresh_copy,
    sentence_case,
)
from tokens.events import OperationOutcome, Reconnection
from tokens.events.reporting import report
from tokens.pins.credentials import Credentials
from tokens.pkcs11.calls.capabilities import Capabilities
from tokens.pkcs11.calls.cryptoki import SessionState
from tokens.pkcs11.calls.faults import (
    HANDLE_LOST,
    TOKEN_LOST,
    _StaleSessionError,
    is_recoverable,
    is_vendor_defined,
    name,
    translate_error,
)
from tokens.pkcs11.calls.queries import Queries
from tokens.pkcs11.login.flags import requires_login
from tokens.pkcs11.objects import Objects
from tokens.pkcs11.sessions import SessionPool, Worker
from tokens.process.reconnecting import may_reconnect

REINITIALISATION_PAUSE = 60.0
"""Seconds before a module is initialised again for a failure that the last initialisation did not end."""

T = TypeVar("T")
E = TypeVar("E", bound=TokenError)


class _AttemptError(Exception):
    """A job failed in a session of this generation."""

    def __init__(self, error: Exception, generation: int) -> None:
        super().__init__(error, generation)
        self.error = error
        self.generation = generation


class Connection(SessionPool):
    """A logged-in token. Every method may be called from any thread."""

    # -- jobs -----------------------------------------------------------------------------------------------

    def run(self, job: Callable[[Worker], T], doing: str) -> T:
        """Carry out `job` in a session of its own, and repeat it after a reconnection if the token was lost.

        `doing` completes the sentence "The token could not …". Raises the classes of `tokens.errors`, and what `job`
        raises that is not a PKCS#11 error. A caller that does not wait for a reconnection gets `TokenLostError`.
        """
        try:
            return self._repeat(job, doing)
        except LoginTimeoutError:
            raise  # it names the token
        except (TokenTimeoutError, ModuleFencedError) as error:
            raise self._explain_silence(error, doing) from error

    def _repeat(self, job: Callable[[Worker], T], doing: str) -> T:
        steps = [self._try_reconnecting, self._reinitialise]
        vanished: Exception | None = None
        while True:
            generation = self._generation
            try:
                result = self._attempt(job)
            except _AttemptError as failed:
                if isinstance(failed.error, LoginUnclearError) and len(steps) < 2:
                    raise failed.error from None
                if not is_recoverable(failed.error):
                    raise self._translate(failed.error, doing) from failed.error
                if isinstance(failed.error, HANDLE_LOST) and vanished is None:
                    vanished = failed.error  # the object may have another handle, and the login may be intact
                    self._forget_handles()
                    continue
                self._failing = True
                if not steps or not may_reconnect() or not steps.pop(0)(failed):
                    raise self._lost_error(doing, failed.error) from failed.error
            except (NoSuchKeyError, NotAPrivateKeyError):
                # After its token was removed and restored, SoftHSM keeps the login and shows no objects. Only an object
                # that was there before this job is a reason to reconnect.
                if vanished is None or not steps or not may_reconnect():
                    raise
                self._failing = True
                if not steps.pop(0)(_AttemptError(vanished, generation)):
                    raise
            else:
                self._failing = False
                if len(steps) < 2:
                    self._next_reinitialisation = 0.0
                return result

    def _forget_handles(self) -> None:
        with self._quiet_lock:
            for worker in self._idle:
                worker.keys.clear()

    def _attempt(self, job: Callable[[Worker], T]) -> T:
        generation = self._generation
        try:
            worker = self._acquire()
            generation = worker.generation
            try:
                result = self.module.run(partial(self._run_checked, job, worker))
            except BaseException:
                self._discard(worker)
                raise
        except (
            p11.PKCS11Error,
            _StaleSessionError,
            NoSuchTokenError,
            LoginUnclearError,
            ModuleEndedError,
        ) as error:
            raise _AttemptError(error, generation) from error
        self._release(worker)
        return result

    def _run_checked(self, job: Callable[[Worker], T], worker: Worker) -> T:
        if self.module.epoch != worker.epoch:
            raise _StaleSessionError
        try:
            return job(worker)
        except (NoSuchKeyError, NotAPrivateKeyError):
            self.check_login(worker)  # a token that has forgotten the login hides its private objects
            raise

    def check_login(self, worker: Worker) -> None:
        """Raise CKR_USER_NOT_LOGGED_IN in a job, which leads to a new login, if the token has forgotten the login.

        Other code of this process may have called C_Logout, or the device may have been suspended.
        """
        if not requires_login(self._token, self.credentials):
            return
        state = self.module.queries.session_state(worker.session)
        if state not in (SessionState.RO_USER, SessionState.RW_USER):
            raise p11.UserNotLoggedIn

    @contextlib.contextmanager
    def writable(self) -> Iterator[int]:
        """Provide a logged-in read-write session for a ceremony; PKCS#11 errors are left to the caller.

        The module is not initialised again during the block.
        """
        self.connect()
        session = self._open_writable()
        epoch = self.module.epoch
        with self._changed:
            self._open_ceremonies += 1
        try:
            yield session
        finally:
            with self._changed:
                self._open_ceremonies -= 1
            self._close_writable(session, epoch)

    def open_session(self) -> int:
        """Open another session in a job, which its owner closes with `module.close_session`."""
        return self.module.queries.open_session(self._token.slot_id)

    def connect(self) -> None:
        """Log in now, and not at the first job."""
        self.run(self.check_login, "open a session")

    def capabilities(self) -> Capabilities:
        """Return the token's mechanisms and their properties, each of which is queried once."""
        if self._capabilities is None:
            self._capabilities = Capabilities(self._ask)
        return self._capabilities

    def use_credentials(self, newer: Credentials) -> None:
        """Log in with these credentials from now on, if they differ or the current PIN was refused."""
        with self._quiet_lock:
            if self.credentials is None or self.credentials.is_replaced_by(newer):
                if self.credentials is not None:
                    self.credentials.forget()
                self.credentials = newer

    def _ask(self, question: Callable[[Queries, int], list[int]]) -> list[int]:
        queries = self.module.queries
        return self.run(lambda worker: question(queries, self._token.slot_id), "list its mechanisms")

    def objects(self, session: int) -> Objects:
        """Return the objects that a session of this token shows."""
        return Objects(self.module.queries, session)

    def invalidate(self) -> None:
        """End all sessions: another component re-initialised the module, and handles are stale."""
        with self._quiet_lock:
            self._end_sessions()

    # -- reconnecting ---------------------------------------------------------------------------------------

    def _try_reconnecting(self, failed: _AttemptError) -> bool:
        """Find the token again and log in."""
        return isinstance(failed.error, _StaleSessionError) or self._reconnect_by(
            failed, lambda: self._reconnect(failed.error)
        )

    def _reinitialise(self, failed: _AttemptError) -> bool:
        """Initialise the module again, although the login works: some modules fail until C_Finalize.

        Returns False if the module may not be initialised again now.
        """
        if isinstance(failed.error, _StaleSessionError):
            return True
        if isinstance(failed.error, p11.UserNotLoggedIn):
            return False  # right after a login, this answer is about the key
        if (
            self._open_ceremonies
            or time.monotonic() < self._next_reinitialisation
            or self.module.is_used_by_others(self)
        ):
            return False
        return self._reconnect_by(failed, self._initialise_and_log_in)

    def _reconnect_by(self, failed: _AttemptError, step: Callable[[], str]) -> bool:
        with self._quiet_lock:
            if self._generation != failed.generation and self._anchor is not None:
                return True  # another thread has reconnected meanwhile
            event = Reconnection(
                token_serial=self.token.serial, token_label=self.token.label, step="looked for the token"
            )
            with report(event) as reported:
                done = step()
                reported.set(step=done)
                reported.end(OperationOutcome.SUCCEEDED, name(failed.error))
        return True

    def _reconnect(self, cause: Exception) -> str:
        # Initialising again would end the sessions of the module's other tokens and delete temporary keys.
        needed_elsewhere = self._open_ceremonies > 0 or self.module.is_used_by_others(self)
        if isinstance(cause, LoginUnclearError) and (needed_elsewhere or self._epoch == -1):
            raise cause  # no step is left that could change the next answer
        # After a device was lost, a PIN is presented only after a new C_Initialize: before it, the module may answer a
        # correct PIN with an error.
        if needed_elsewhere or not isinstance(cause, (LoginUnclearError, ModuleEndedError, *TOKEN_LOST)):
            try:
                self._log_in_again()
                return "logged in again"
            except (p11.PKCS11Error, NoSuchTokenError) as error:
                if needed_elsewhere:
                    raise self._lost_error("be found again", error) from error
        return self._initialise_and_log_in()

    def _initialise_and_log_in(self) -> str:
        self._next_reinitialisation = time.monotonic() + REINITIALISATION_PAUSE
        try:
            self.module.reinitialise(self.module.epoch)
            self._log_in_again()
        except (p11.PKCS11Error, NoSuchTokenError, ModuleError, ModuleEndedError) as error:
            raise self._lost_error("be found again", error) from error
        return "initialised the module and logged in again"

    def _explain_silence(self, error: E, doing: str) -> E:
        """Return the error of a call that was left, or not made, with the name of the token and what it was for."""
        named, cause = fresh_copy(error), error.message
        named.args = (f"{sentence_case(self.token.description)} could not {doing}: {cause[:1].lower()}{cause[1:]}",)
        return named

    def _translate(self, error: Exception, doing: str) -> Exception:
        return translate_error(error, doing) if isinstance(error, p11.PKCS11Error) else error

    def _lost_error(self, doing: str, error: Exception) -> TokenError:
        if is_vendor_defined(error):
            return OperationFailedError(
                f"{sentence_case(self.token.description)} could not {doing} ({name(error)}, which only its "
                "maker explains). A new session and a new login did not help.",
                remedy="See the maker's documentation and the module's log.",
            )
        reason = str(error) if isinstance(error, TokenError) else name(error)
        return TokenLostError(
            f"{sentence_case(self.token.description)} is gone: it could not {doing} ({reason.rstrip('.')}).",
            remedy="Put the token back or restore the connection; it is then used again without a restart.",
        )
