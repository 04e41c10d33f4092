"""Presenting a PIN to a token: at most once, and never when it could lock the token unseen."""

from __future__ import annotations

import time
from collections.abc import Callable, Container

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
from tokens.pin import Pin, PinPad
from tokens.pkcs11 import cryptoki
from tokens.pkcs11.cryptoki import Role
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo, find_token

WRONG_PIN = (0xA0, 0xA1, 0xA2)
"""CKR_PIN_INCORRECT, CKR_PIN_INVALID and CKR_PIN_LEN_RANGE."""

INCORRECT_PIN = (0xA0,)
"""CKR_PIN_INCORRECT, where the other two may speak of a new PIN."""

_LOCKED = 0xA4
_EXPIRED = 0xA3
_NOT_SET = 0x102

_GENERAL_ERROR = 0x05
_SESSION_EXISTS = 0xB6
_NEW_PIN = (0xA1, 0xA2, 0xA6)

_NOT_ABOUT_THE_PIN = frozenset(
    {cryptoki.OK, cryptoki.USER_ALREADY_LOGGED_IN, cryptoki.CRYPTOKI_NOT_INITIALIZED, *_NEW_PIN}
    | {_LOCKED, _EXPIRED, _NOT_SET, _SESSION_EXISTS}
    | {0x03, 0x07, 0x54, 0xB0, 0xB3, 0xB5, 0xB7, 0xB8, 0xE0, 0xE1, 0xE2, 0x103, 0x104, 0x105}
)
"""CK_RVs of a token that did not look at the PIN, or took it. After any other one, it may have counted a try.

The last line: slot, arguments, function, sessions, token absent or write-protected, user types.
"""

_LOOKS, _BETWEEN_LOOKS = 5, 0.1
"""How often, and how many seconds apart, a token is asked whether its PIN was really never set."""

_NAMES = {Role.USER: "user", Role.SO: "SO"}
_FLAGS = {
    Role.USER: (
        TokenFlag.USER_PIN_LOCKED,
        TokenFlag.USER_PIN_FINAL_TRY,
        TokenFlag.USER_PIN_COUNT_LOW,
    ),
    Role.SO: (TokenFlag.SO_PIN_LOCKED, TokenFlag.SO_PIN_FINAL_TRY, TokenFlag.SO_PIN_COUNT_LOW),
}


def log_in(module: Module, session: int, token: TokenInfo, credentials: Credentials) -> None:
    """C_Login of the user in an open session. Returns if somebody in this process has logged in already.

    Raises `PinLocked`, `PinNotPresented`, `PinRefused`, `PinSourceError` or, for anything else that the token
    says, `OperationFailed`.
    """
    present_pin(module, token, credentials, Role.USER, lambda pin: module.cryptoki.login(session, Role.USER, pin))


def present_pin(
    module: Module,
    token: TokenInfo,
    credentials: Credentials,
    role: Role,
    call: Callable[[Pin | None], int],
    wrong: Container[int] = WRONG_PIN,
) -> None:
    """Read a PIN and have `call` present it; `call` returns the CK_RV of C_Login, C_SetPIN or C_InitToken.

    `wrong` are the CK_RVs that speak of this PIN: those of a wrong length may speak of a new one.

    The one place through which every PIN goes: under the lock of the state folder, with the token's flags as they are
    then, and entered as refused until the token says otherwise. Raises as `log_in` does.
    """
    started = time.perf_counter()
    name = _NAMES[role]
    presented = False

    def report(outcome: Outcome, reason: str = "") -> None:
        emit(
            Login(
                token_serial=token.serial,
                token_label=token.label,
                outcome=outcome,
                duration=time.perf_counter() - started,
                reason=reason,
                role=name.lower(),
                presented=presented,
            )
        )

    try:
        check_flags(_as_it_is_now(module, token, role), credentials, role)
        pin = credentials.read(purpose(token, role))
        with credentials.memory.presenting(token.serial, name.lower(), pin) as presentation:
            # Another process may have presented a wrong one while we waited.
            check_flags(_as_it_is_now(module, token, role), credentials, role)
            presented = True
            rv = _answer(module, token, role, lambda: call(pin))
            if rv in wrong:
                presentation.was_refused()
                sentence = f"The {name} PIN {credentials.origin} was refused by {token.description}."
                credentials.refused(pin, sentence)
                raise PinRefused(
                    f"{sentence} It will not be presented again, so that the token does not lock. "
                    f"{_remedy(token, credentials, role)}"
                )
            if rv not in _NOT_ABOUT_THE_PIN:
                presentation.was_refused()
                sentence = (
                    f"{sentence_case(token.description)} answered the {name} PIN with CK_RV 0x{rv:x}. Whether it was "
                    f"right is not known, so it counts as refused until: hsm-dicom token forgive '{token.serial}'"
                )
                credentials.refused(pin, sentence)
                raise PinRefused(sentence)
            _check_result(rv, role, token)
            # Already logged in: nobody has looked at this PIN.
            presented = rv != cryptoki.USER_ALREADY_LOGGED_IN
        credentials.accepted(pin, looked_at=presented)
    except PinError as error:
        report(Outcome.REFUSED, str(error))
        raise
    except OperationFailed as error:
        report(Outcome.FAILED, str(error))
        raise
    report(Outcome.DONE)


def check_flags(token: TokenInfo, credentials: Credentials, role: Role) -> None:
    """Hold the PIN back where the token says that a wrong one could be the last."""
    if not token.initialised:
        return  # its flags speak of no PIN yet
    locked, final, low = _FLAGS[role]
    name = _NAMES[role]
    if locked in token.flags:
        raise PinLocked(f"The {name} PIN of {token.description} is locked; {_unlock(role)}.")
    if role is Role.USER and _never_set(token):
        raise PinNotPresented(f"The user PIN of {token.description} was never set; run: hsm-dicom token init")
    if isinstance(credentials.source, PinPad) and TokenFlag.PROTECTED_AUTHENTICATION_PATH not in token.flags:
        raise PinSourceError(
            f"{sentence_case(token.description)} has no protected authentication path (pin pad); "
            "name another PIN source."
        )
    if final in token.flags and not (credentials.last_try and credentials.source.attended):
        remedy = f"Log in once by hand to reset its counter: {_by_hand(token)} --last-try"
        if role is Role.SO:
            remedy = "It is not presented here; use the tools of the token's maker."
        raise PinNotPresented(f"One more wrong {name} PIN locks {token.description}. {remedy}")
    if low in token.flags and not credentials.source.attended:
        remedy = f"Log in once by hand to reset its counter: {_by_hand(token)}"
        if role is Role.SO:
            remedy = "Type it, with --so-pin prompt."
        raise PinNotPresented(
            f"A wrong {name} PIN was presented to {token.description} since its last login, so no PIN is "
            f"presented unattended. {remedy}"
        )


def purpose(token: TokenInfo, role: Role) -> str:
    """What is asked for, as a prompt says it. An uninitialised token has no PIN yet: it is given one."""
    return f"{_NAMES[role]} PIN of {token.description}" if token.initialised else f"new {_NAMES[role]} PIN"


def _remedy(token: TokenInfo, credentials: Credentials, role: Role) -> str:
    """What to do after a refusal. An unattended source stays held back until the token has reset its counter."""
    if credentials.source.attended:
        return "Run the command again with the right one."
    if role is Role.SO:
        return "Put the right PIN in its place, or type it, with --so-pin prompt."
    return f"Put the right PIN in its place, then log in once by hand to reset the token's counter: {_by_hand(token)}"


def _by_hand(token: TokenInfo) -> str:
    source = "pinpad" if TokenFlag.PROTECTED_AUTHENTICATION_PATH in token.flags else "prompt"
    return f"hsm-dicom token login '{token.uri}' --pin {source}"


def _answer(module: Module, token: TokenInfo, role: Role, call: Callable[[], int]) -> int:
    """The token's answer to a PIN."""
    with module.gate:
        rv = call()
    for _ in range(_LOOKS if module.manufacturer == "SoftHSM" else 0):
        # SoftHSM 2.6.1 fails so while another process rewrites the token's file; had it counted a wrong PIN, the flag
        # would say so.
        _, _, low = _FLAGS[role]
        if rv != _GENERAL_ERROR or low in _as_it_is_now(module, token, role).flags:
            break
        time.sleep(_BETWEEN_LOOKS)
        with module.gate:
            rv = call()
    return rv


def _as_it_is_now(module: Module, token: TokenInfo, role: Role) -> TokenInfo:
    """What the token says now. SoftHSM says for a moment that a PIN was never set while it writes its files."""
    if not token.initialised:
        return token
    for _ in range(_LOOKS):
        now = find_token(module, token.uri).info
        if role is not Role.USER or not _never_set(now):
            break
        time.sleep(_BETWEEN_LOOKS)
    return now


def _never_set(token: TokenInfo) -> bool:
    return TokenFlag.USER_PIN_INITIALIZED not in token.flags and TokenFlag.LOGIN_REQUIRED in token.flags


def _check_result(rv: int, role: Role, token: TokenInfo) -> None:
    name = _NAMES[role]
    if rv in (cryptoki.OK, cryptoki.USER_ALREADY_LOGGED_IN):
        return
    if rv == _LOCKED:
        raise PinLocked(f"The {name} PIN of {token.description} is locked; {_unlock(role)}.")
    if rv == _EXPIRED:
        raise PinNotPresented(f"The {name} PIN of {token.description} has expired; run: hsm-dicom token change-pin")
    if rv == _NOT_SET:
        raise PinNotPresented(f"The {name} PIN of {token.description} was never set; run: hsm-dicom token init")
    if rv == _SESSION_EXISTS:
        raise OperationFailed(f"{sentence_case(token.description)} is in use; end the programs that use it first.")
    if rv in _NEW_PIN:
        raise OperationFailed(
            f"{sentence_case(token.description)} does not take the new PIN (CK_RV 0x{rv:x}); see its rules on length "
            "and characters. The old one stays."
        )
    raise OperationFailed(
        f"{sentence_case(token.description)} did not do it, though the PIN may be right (CK_RV 0x{rv:x})."
    )


def _unlock(role: Role) -> str:
    if role is Role.SO:
        return "the token can only be erased and initialised again"
    return "the security officer must set a new one"
