"""Present a PIN to a token: at most once, and never unattended if it could lock the token.

There are two exceptions for a user PIN that the token accepted before. If the token answered with a device error
(`DeviceFailure`), or did not answer and nothing waits for its answer any longer, the PIN is presented once more, if the
token's flags can be read and none of them reports a wrong PIN. `tokens.pins.refusals` keeps count: each acceptance
allows one such presentation.

A call that does not return by its deadline is left. The PIN is then unanswered, on disk, until the call returns, the
token's flags report a wrong PIN, or a person logs in.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import NoReturn

from tokens.errors import (
    Error,
    LoginTimeoutError,
    LoginUnclearError,
    ModuleError,
    ModuleFencedError,
    OperationFailedError,
    PinError,
    PinRefusedError,
    Reason,
    TokenBusyError,
    TokenError,
    TokenTimeoutError,
    sentence_case,
)
from tokens.events import CeremonyStep, Login, OperationOutcome
from tokens.events.bus import emit
from tokens.events.reporting import Report, report
from tokens.pins.credentials import Credentials
from tokens.pins.device_name import DeviceName
from tokens.pins.leavable import LeavableCall, Progress
from tokens.pins.presentation import Answer, Presentation
from tokens.pins.refusal_record import Refusal
from tokens.pins.sources import Pin
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.login.answers import (
    NEEDS_LOGIN,
    NOT_ABOUT_THE_PIN,
    WRONG_PIN,
    name_answer,
    raise_for_result,
)
from tokens.pkcs11.login.flags import (
    ROLE_NAMES,
    check_flags,
    make_facts,
    purpose,
    read_retries,
    role_word,
)
from tokens.pkcs11.login.token_state import keeps_low_counter, query_token, require_no_wrong_pin
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo


def was_made(error: object) -> bool:
    """Return whether a call that raised an error was made: otherwise the token did not get the PIN."""
    if isinstance(error, TokenError) and error.facts is not None and error.facts.reason is Reason.NOT_CALLED:
        return False
    return not isinstance(error, ModuleError | ModuleFencedError | TokenBusyError)


def log_in(module: Module, session: int, token: TokenInfo, credentials: Credentials) -> None:
    """Log in the user in an open session (C_Login); do nothing if this process is logged in already.

    Raises `PinLockedError`, `PinNotPresentedError`, `PinRefusedError`, `PinSourceError`, `LoginUnclearError` if the
    PIN will be presented once more, `LoginTimeoutError` if the token does not answer by the deadline and, for every
    other answer of the token, `OperationFailedError`.
    """
    present_pin(
        module,
        token,
        credentials,
        UserType.USER,
        lambda pin: module.cryptoki.login(session, credentials.user_type, pin),
        login_session=session,
    )


def present_pin(
    module: Module,
    token: TokenInfo,
    credentials: Credentials,
    role: UserType,
    call: Callable[[Pin | None], int],
    wrong: Container[int] = WRONG_PIN,
    login_session: int | None = None,
    new_pin: Pin | None = None,
    step: CeremonyStep | None = None,
) -> None:
    """Read a PIN and present it with `call`, which returns the CK_RV of C_Login, C_SetPIN or C_InitToken.

    `wrong` are the CK_RVs that are about this PIN: those about a wrong length may be about a new PIN. `login_session`
    is the session of a user's login: only there is an acceptance recorded, and used after an unclear answer.
    `new_pin` is the PIN of this role that the call sets. `step` is reported if the call succeeds late.

    Every PIN is presented here, under the lock of the state folder, after reading the token's current flags, and
    recorded until the token accepts it. Raises as `log_in` does.
    """

    def check_again(refusal: Refusal) -> None:
        if login_session is not None:
            require_no_wrong_pin(module, token, login_session, refusal)

    event = Login(token_serial=token.serial, token_label=token.label, role=role_word(role), presented=False)
    with report(event, refusals=PinError) as reported:
        memory = credentials.memory
        now, device = query_token(module, token, role)
        retries = read_retries(now, role)
        memory.settle_by_retries(device, role_word(role), retries)
        check_flags(now, credentials, role)
        pin = credentials.read(purpose(token, role, memory))
        again = None if login_session is None else check_again
        with memory.present(
            device, role_word(role), pin, again, attended=credentials.attended, retries=retries
        ) as presentation:
            # Another process may have presented a wrong PIN meanwhile.
            now, _ = query_token(module, token, role)
            check_flags(now, credentials, role)
            reported.set(presented=True)
            presented = _Presented(
                module, now, device, credentials, role, pin, presentation, wrong, login_session, new_pin, step
            )
            rv = presented.give(lambda: call(pin), reported)
            presented.conclude(rv)
            # Already logged in: the token did not check this PIN.
            looked_at = rv != cryptoki.USER_ALREADY_LOGGED_IN
            reported.set(presented=looked_at)
        credentials.record_acceptance(pin, looked_at=looked_at)
        presented.record_new_pin()


@dataclass
class _Presented:
    """One PIN that the token is given now, and its answer, in time or late."""

    module: Module
    token: TokenInfo
    device: DeviceName
    credentials: Credentials
    role: UserType
    pin: Pin | None
    presentation: Presentation
    wrong: Container[int]
    login_session: int | None
    new_pin: Pin | None
    step: CeremonyStep | None
    started: float = field(default_factory=time.perf_counter)

    def give(self, call: Callable[[], int], reported: Report) -> int:
        """Make the call and return its CK_RV. Raises `LoginTimeoutError` if it does not return by its deadline."""
        made = LeavableCall(call, [self.pin, self.new_pin], self.settle_late)
        self.presentation.begin()
        try:
            return self.module.run(made)
        except BaseException as error:
            progress = made.leave(self._record_unanswered)
            result = made.result
            if progress is Progress.ENDED and isinstance(result, int):
                if isinstance(error, TokenTimeoutError):
                    return result
                with contextlib.suppress(Exception):
                    self.conclude(result)
            elif progress is Progress.NOT_BEGUN or not was_made(result):
                self.presentation.answer = Answer.NOT_CHECKED
                reported.set(presented=False)
            else:
                if progress is Progress.ENDED:  # by an exception
                    self.credentials.record_unanswered(self.pin)
                unanswered = self._explain_unanswered(error)
                if not self.token.initialised:
                    # The token has no PIN yet with which it could compare this one.
                    self.presentation.answer = Answer.NOT_CHECKED
                reported.end(OperationOutcome.UNANSWERED, str(unanswered))
                if isinstance(error, TokenTimeoutError):
                    raise unanswered from error
            raise

    def _record_unanswered(self) -> None:
        self.presentation.is_awaited = True
        self.credentials.record_unanswered(self.pin)

    def conclude(self, rv: int, *, late: bool = False) -> None:
        """Set the answer of the presentation, and raise the error for a CK_RV that is not a success."""
        self.presentation.answer = answer = self._judge(rv)
        if answer is Answer.ACCEPTED:
            self.presentation.stays = self.login_session is not None
            self.presentation.readable_again = self.credentials.source.repeatable
            if self.presentation.stays and not late:
                self.presentation.low_stays = keeps_low_counter(self.module, self.token)
        elif answer is Answer.UNCLEAR:
            self._raise_unclear(rv)
        elif answer is Answer.REFUSED:
            self._raise_refused(rv)
        elif not self.token.initialised and rv not in NOT_ABOUT_THE_PIN:
            # The token has no PIN yet with which it could compare this one.
            raise OperationFailedError(
                f"{sentence_case(self.token.description)} could not be initialised ({name_answer(rv)})."
            )
        raise_for_result(rv, self.role, self.token)

    def settle_late(self, result: int | BaseException) -> None:
        """Record the answer that came after the caller had left, in the thread of the call.

        The session is closed when the call has returned, which ends a login.
        """
        event = Login(
            token_serial=self.token.serial,
            token_label=self.token.label,
            role=role_word(self.role),
            late=True,
        )
        presentation = self.presentation
        if not self.token.initialised:
            event = replace(event, presented=False)
        # Nobody is there who could be told, except by the event.
        with contextlib.suppress(Exception), report(event, refusals=PinError, started=self.started) as reported:
            try:
                if isinstance(result, int):
                    if result == cryptoki.USER_ALREADY_LOGGED_IN:
                        reported.set(presented=False)
                    self.conclude(result, late=True)
                    if self.step is not None:
                        emit(replace(self.step, duration=time.perf_counter() - self.started))
                elif not was_made(result):
                    presentation.answer = Answer.NOT_CHECKED
                    reported.set(presented=False)
                    raise result
                else:
                    reported.end(OperationOutcome.UNANSWERED, str(result))
            finally:
                presentation.settle_late(presentation.answer)
                if presentation.answer is not Answer.UNANSWERED:
                    self.credentials.record_answer()
                if presentation.answer is Answer.ACCEPTED:
                    self.record_new_pin()

    def record_new_pin(self) -> None:
        """Strike the PIN that the call has set out of the record: it is the right one now."""
        if self.new_pin is not None:
            self.credentials.memory.remove_refusal(self.device, role_word(self.role), self.new_pin)

    def _judge(self, rv: int) -> Answer:
        if rv == cryptoki.OK:
            return Answer.ACCEPTED
        if rv not in self.wrong and rv in NOT_ABOUT_THE_PIN:
            return Answer.NOT_CHECKED
        if rv == NEEDS_LOGIN and self.new_pin is not None:
            return Answer.NOT_CHECKED
        if rv in self.credentials.device_failures and (self.presentation.may_be_repeated or self.pin is None):
            # A person decides about each PIN that is typed on the device.
            return Answer.UNCLEAR
        if not self.token.initialised and rv not in self.wrong:
            return Answer.NOT_CHECKED
        return Answer.REFUSED

    def _raise_unclear(self, rv: int) -> NoReturn:
        self.credentials.keep(self.pin)
        raise LoginUnclearError(
            f"{sentence_case(self.token.description)} failed during the login ({name_answer(rv)}). Whether the "
            f"{ROLE_NAMES[self.role]} PIN is right is not known; it was accepted before, and is presented once more "
            "when the token answers again."
        )

    def _raise_refused(self, rv: int) -> NoReturn:
        name, token, credentials = ROLE_NAMES[self.role], self.token, self.credentials
        memory, device, role = credentials.memory, self.device, role_word(self.role)
        if rv in self.wrong:
            refused = PinRefusedError(
                f"The {name} PIN {credentials.origin} was refused by {token.description}. It is not presented again, "
                "so that the token does not lock.",
                facts=make_facts(Reason.PIN_WRONG, token, credentials, self.role),
            )
        else:
            refused = PinRefusedError(
                f"{sentence_case(token.description)} answered the {name} PIN with {name_answer(rv)}. It is not known "
                "whether the PIN is correct, so it counts as refused and is not presented again.",
                facts=make_facts(Reason.PIN_UNCLEAR, token, credentials, self.role),
            )
        credentials.record_refusal(self.pin, refused, lambda: memory.has_refusal(device, role))
        raise refused

    def _explain_unanswered(self, error: BaseException) -> TokenTimeoutError:
        name, why = ROLE_NAMES[self.role], f" ({error.message.rstrip('.')})" if isinstance(error, Error) else ""
        token = sentence_case(self.token.description)
        if not self.token.initialised:
            return TokenTimeoutError(
                f"{token} has not answered{why}. Whether it was initialised is not known.",
                remedy="List the tokens when the device answers again.",
            )
        changed = "" if self.new_pin is None else f" Whether the token has set the new {name} PIN is not known either."
        return LoginTimeoutError(
            f"{token} has not answered the {name} PIN {self.credentials.origin}{why}. Whether the PIN is correct is "
            f"not known, so it is not presented unattended until that is settled.{changed}",
            remedy="Check the device and its connection.",
            facts=make_facts(Reason.PIN_UNANSWERED, self.token, self.credentials, self.role),
        )
