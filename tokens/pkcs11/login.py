"""Presenting a PIN to a token: at most once, and never when it could lock the token unseen."""

from __future__ import annotations

import time

from pkcs11 import TokenFlag

from tokens.credentials import Credentials
from tokens.errors import (
    OperationFailed,
    PinError,
    PinLocked,
    PinNotPresented,
    PinRefused,
    PinSourceError,
    sentence_case,
)
from tokens.events import Login, Outcome, emit
from tokens.pin import PinPad
from tokens.pkcs11 import cryptoki
from tokens.pkcs11.cryptoki import Role
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo

_WRONG = {0xA0: "CKR_PIN_INCORRECT", 0xA1: "CKR_PIN_INVALID", 0xA2: "CKR_PIN_LEN_RANGE"}
_LOCKED = 0xA4
_EXPIRED = 0xA3
_NOT_SET = 0x102

_FLAGS = {
    Role.USER: (
        TokenFlag.USER_PIN_LOCKED,
        TokenFlag.USER_PIN_FINAL_TRY,
        TokenFlag.USER_PIN_COUNT_LOW,
    ),
    Role.SO: (TokenFlag.SO_PIN_LOCKED, TokenFlag.SO_PIN_FINAL_TRY, TokenFlag.SO_PIN_COUNT_LOW),
}


def log_in(module: Module, session: int, token: TokenInfo, credentials: Credentials, role: Role = Role.USER) -> None:
    """C_Login in an open session. Returns if somebody in this process has logged in already.

    Raises `PinLocked`, `PinNotPresented`, `PinRefused`, `PinSourceError` or, for anything else that the token
    says, `OperationFailed`.
    """
    started = time.perf_counter()
    name = {Role.USER: "user", Role.SO: "so"}[role]
    presented = False

    def report(outcome: Outcome, reason: str = "") -> None:
        emit(
            Login(
                token_serial=token.serial,
                token_label=token.label,
                outcome=outcome,
                duration=time.perf_counter() - started,
                reason=reason,
                role=name,
                presented=presented,
            )
        )

    try:
        check_flags(token, credentials, role)
        pin = credentials.read(f"{name} PIN of {token.description}")
        with credentials.memory.presenting(token.serial, name, pin) as presenting:
            presented = True
            with module.gate:
                rv = module.cryptoki.login(session, role, pin)
            if rv in _WRONG:
                presenting.was_refused()
                sentence = f"The {name} PIN from '{credentials.source}' was refused by {token.description}."
                credentials.refused(pin, sentence)
                raise PinRefused(
                    f"{sentence} It will not be presented again, so that the token does not lock; "
                    "put the right PIN in its place."
                )
        _check_result(rv, name, token)
        credentials.accepted(pin)
    except PinError as error:
        report(Outcome.REFUSED, str(error))
        raise
    except OperationFailed as error:
        report(Outcome.FAILED, str(error))
        raise
    report(Outcome.DONE)


def check_flags(token: TokenInfo, credentials: Credentials, role: Role) -> None:
    """Hold the PIN back where the token says that a wrong one could be the last."""
    locked, final, low = _FLAGS[role]
    name = "user" if role is Role.USER else "so"
    if locked in token.flags:
        raise PinLocked(f"The {name} PIN of {token.description} is locked; {_unlock(role)}.")
    never_set = TokenFlag.USER_PIN_INITIALIZED not in token.flags and TokenFlag.LOGIN_REQUIRED in token.flags
    if role is Role.USER and never_set:
        raise PinNotPresented(f"The user PIN of {token.description} was never set; run: hsm-dicom token init")
    if isinstance(credentials.source, PinPad) and TokenFlag.PROTECTED_AUTHENTICATION_PATH not in token.flags:
        raise PinSourceError(
            f"{sentence_case(token.description)} has no protected authentication path (pin pad); "
            "name another PIN source."
        )
    if final in token.flags and not (credentials.last_try and credentials.source.attended):
        raise PinNotPresented(
            f"One more wrong {name} PIN locks {token.description}. Log in once by hand to reset its counter: "
            "hsm-dicom token login --last-try"
        )
    if low in token.flags and not credentials.source.attended:
        raise PinNotPresented(
            f"A wrong {name} PIN was presented to {token.description} since its last login, so no PIN is "
            "presented unattended. Log in once by hand to reset its counter: hsm-dicom token login"
        )


def _check_result(rv: int, name: str, token: TokenInfo) -> None:
    if rv in (cryptoki.OK, cryptoki.USER_ALREADY_LOGGED_IN):
        return
    if rv == _LOCKED:
        role = Role.USER if name == "user" else Role.SO
        raise PinLocked(f"The {name} PIN of {token.description} is locked; {_unlock(role)}.")
    if rv == _EXPIRED:
        raise PinNotPresented(f"The {name} PIN of {token.description} has expired; run: hsm-dicom token change-pin")
    if rv == _NOT_SET:
        raise PinNotPresented(f"The {name} PIN of {token.description} was never set; run: hsm-dicom token init")
    raise OperationFailed(f"Login to {token.description} failed (CK_RV 0x{rv:x}).")


def _unlock(role: Role) -> str:
    if role is Role.SO:
        return "the token can only be erased and initialised again"
    return "the security officer must set a new one"
