"""The user's PIN for one use of a key that requires it each time (CKA_ALWAYS_AUTHENTICATE, PKCS#11 v3.1, 4.9).

The token gets it between C_SignInit and C_Sign, in a context-specific login (CKU_CONTEXT_SPECIFIC), under the rules of
a login. The PIN of the last login is not recorded before each use, which would cost a digest and two writes, unless a
PIN of this token is unanswered.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from pkcs11 import exceptions as p11

from tokens.errors import (
    Facts,
    LoginTimeoutError,
    LoginUnclearError,
    OperationFailedError,
    PinRefusedError,
    Reason,
    TokenError,
    TokenTimeoutError,
    sentence_case,
)
from tokens.events import Login, OperationOutcome
from tokens.events.reporting import report
from tokens.pins.credentials import Credentials, DeviceFailure
from tokens.pins.leavable import LeavableCall, Progress
from tokens.pins.presentation import Answer, Presentation
from tokens.pins.refusal_record import Refusal
from tokens.pins.sources import Pin
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.calls.faults import translate_error
from tokens.pkcs11.calls.return_values import check, name_of
from tokens.pkcs11.login.answers import WRONG_PIN
from tokens.pkcs11.login.flags import ALL_RETRIES, device_name, explain_wrong_pin, read_retries
from tokens.pkcs11.login.presentation import was_made
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo, find_again

DEVICE_FAILURES = (p11.HostMemory, p11.GeneralError, p11.FunctionFailed, p11.DeviceError, p11.DeviceRemoved)
"""`tokens.pins.credentials.DeviceFailure` as exceptions, which C_Login and C_Sign both raise."""


class _RefusedForKeyError(Exception):
    """The token refused the PIN. Not a PKCS#11 error, so that the use is not repeated."""


class KeyLogin:
    """One PIN for one use of a key, which may be repeated after a reconnection."""

    def __init__(self, module: Module, token: TokenInfo, credentials: Credentials, pin: Pin, key: str) -> None:
        """`key` describes the key in messages."""
        self._module = module
        self._token = token
        self._credentials = credentials
        self._pin = pin
        self._key = key
        self._device = device_name(token)
        self._session = 0
        self._was_presented = False
        self._presentation: Presentation | None = None
        """The recorded presentation; None while the PIN is that of the last login."""
        self._call = LeavableCall(self._log_in, [pin], self._settle_late)
        self._started = time.perf_counter()

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        """Use the key in the block. Raises `PinRefusedError`, and `LoginTimeoutError` if the login is not answered."""
        memory = self._credentials.memory
        try:
            with contextlib.ExitStack() as stack:
                unanswered = memory.has_unanswered(self._device, "user")
                if unanswered:
                    now = find_again(self._module, self._token)
                    memory.settle_by_retries(self._device, "user", read_retries(now, UserType.USER))
                if unanswered or not self._credentials.was_accepted(self._pin):
                    self._presentation = stack.enter_context(
                        memory.present(
                            self._device,
                            "user",
                            self._pin,
                            self._require_no_wrong_pin if unanswered else None,
                            attended=self._credentials.attended,
                            retries=self._retries,
                        )
                    )
                try:
                    yield
                except BaseException as error:
                    self._leave(error)
                    raise
        except _RefusedForKeyError:
            try:
                if self._presentation is None:
                    memory.record(self._device, "user", self._pin)
            finally:
                with report(self._event(), refusals=PinRefusedError, started=self._started):
                    raise self._refuse() from None
        self._credentials.record_acceptance(self._pin)

    @contextlib.contextmanager
    def watch(self, doing: str) -> Iterator[None]:
        """Carry out one attempt in the block, in a call thread, and record a device error after the PIN."""
        self._was_presented = False
        try:
            yield
        except DEVICE_FAILURES as error:
            if self._was_presented and not self._call.is_abandoned:
                if self._presentation is None:
                    self._credentials.memory.record_unclear(self._device, self._pin)
                else:
                    # Nothing is presented again while this PIN is recorded.
                    self._presentation.answer = self._answer_to_failure(self._presentation)
                    raise translate_error(error, doing) from error
            raise

    def present(self, session: int) -> None:
        """Present the PIN in a session, in an attempt."""
        self._session, self._was_presented = session, True
        if self._presentation is not None:
            self._presentation.begin()
        try:
            rv = self._call()
        except BaseException as error:
            if self._call.is_abandoned:
                raise
            if was_made(error):
                self._record_lost_answer(error)
            elif self._presentation is not None:
                self._presentation.answer = Answer.NOT_CHECKED
            raise
        if self._presentation is not None and not self._call.is_abandoned:
            self._presentation.stays = False
            self._presentation.answer = self._judge(rv, self._presentation)
        if rv in WRONG_PIN:
            raise _RefusedForKeyError
        check(rv)

    def _log_in(self) -> int:
        return self._module.cryptoki.login(self._session, UserType.CONTEXT_SPECIFIC, self._pin)

    @property
    def _retries(self) -> int | None:
        """What the flags reported after the login of this process, which reset the retry counter."""
        return None if self._credentials.memory.low_stays(self._device) else ALL_RETRIES

    def _leave(self, error: BaseException) -> None:
        """Record that the PIN is unanswered, if the caller leaves during the login. Raises `LoginTimeoutError`."""
        progress = self._call.leave(self._record_unanswered)
        if progress is Progress.ENDED and self._call.result in WRONG_PIN and isinstance(error, TokenTimeoutError):
            raise _RefusedForKeyError
        if progress is not Progress.UNDER_WAY:
            return
        self._raise_unanswered(error)

    def _record_lost_answer(self, error: BaseException) -> None:
        """Record a PIN whose answer cannot come any more. Raises `LoginTimeoutError` if `error` is a `TokenError`."""
        if self._presentation is None:
            memory = self._credentials.memory
            memory.record_unanswered(self._device, self._pin, self._retries).stop_waiting()
        self._credentials.record_unanswered(self._pin)
        self._raise_unanswered(error)

    def _raise_unanswered(self, error: BaseException) -> None:
        unanswered = LoginTimeoutError(
            f"{sentence_case(self._token.description)} has not answered the PIN {self._credentials.origin} for key "
            f"{self._key}. Whether the PIN is correct is not known, so it is not presented unattended until that is "
            "settled.",
            remedy="Check the device and its connection.",
            facts=self._facts(Reason.PIN_UNANSWERED),
        )
        with report(self._event(), started=self._started) as reported:
            reported.end(OperationOutcome.UNANSWERED, str(unanswered))
        if isinstance(error, TokenError):
            raise unanswered from error

    def _require_no_wrong_pin(self, _: Refusal) -> None:
        """Raise unless the token, which is logged in to, reports no wrong PIN since another process presented it."""
        now = find_again(self._module, self._token)
        if read_retries(now, UserType.USER) != ALL_RETRIES:
            raise explain_wrong_pin(now)

    def _record_unanswered(self) -> None:
        if self._presentation is None:
            memory = self._credentials.memory
            self._presentation = memory.record_unanswered(self._device, self._pin, self._retries)
        else:
            self._presentation.is_awaited = True
        self._credentials.record_unanswered(self._pin)

    def _settle_late(self, result: int | BaseException) -> None:
        """Record an answer that came after the caller had left, in the thread of the call."""
        presentation = self._presentation
        if presentation is None:  # it could not be recorded
            return
        # Nobody is there who could be told, except by the event.
        with (
            contextlib.suppress(Exception),
            report(self._event(late=True), refusals=PinRefusedError, started=self._started) as reported,
        ):
            presentation.stays = False
            answer = Answer.UNANSWERED
            if isinstance(result, int):
                answer = self._judge(result, presentation)
            elif not was_made(result):
                answer = Answer.NOT_CHECKED
            presentation.settle_late(answer)
            if answer is not Answer.UNANSWERED:
                self._credentials.record_answer()
            if answer is Answer.REFUSED:
                raise self._refuse()
            if isinstance(result, BaseException):
                reported.end(OperationOutcome.UNANSWERED, str(result))
            elif answer is Answer.UNCLEAR:
                raise LoginUnclearError(f"The token failed during the login ({name_of(result)}).")
            elif result != cryptoki.OK:
                raise OperationFailedError(f"The token did not log in ({name_of(result)}).")

    def _judge(self, rv: int, presentation: Presentation) -> Answer:
        if rv in WRONG_PIN:
            return Answer.REFUSED
        if rv in frozenset(DeviceFailure):
            return self._answer_to_failure(presentation)
        return Answer.ACCEPTED if rv == cryptoki.OK else Answer.NOT_CHECKED

    def _answer_to_failure(self, presentation: Presentation) -> Answer:
        return Answer.UNCLEAR if presentation.may_be_repeated else Answer.REFUSED

    def _refuse(self) -> PinRefusedError:
        memory, device = self._credentials.memory, self._device
        refused = PinRefusedError(
            f"The PIN {self._credentials.origin} was refused for key {self._key}. It is not presented again.",
            facts=self._facts(Reason.PIN_WRONG),
        )
        self._credentials.record_refusal(self._pin, refused, lambda: memory.has_refusal(device, "user"))
        return refused

    def _event(self, *, late: bool = False) -> Login:
        return Login(token_serial=self._token.serial, token_label=self._token.label, role="context-specific", late=late)

    def _facts(self, reason: Reason) -> Facts:
        return Facts(
            reason=reason,
            uri=str(self._token.uri),
            reference=self._device.reference,
            attended=self._credentials.source.attended,
        )
