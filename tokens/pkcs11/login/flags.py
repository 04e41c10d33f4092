"""What a token's flags say about its PINs (CK_TOKEN_INFO, PKCS#11 v2.40, 3.2), and what they forbid."""

from __future__ import annotations

from dataclasses import replace

from pkcs11 import TokenFlag

from tokens.errors import (
    Facts,
    PinLockedError,
    PinNotPresentedError,
    PinSourceError,
    Reason,
    sentence_case,
)
from tokens.pins.credentials import Credentials
from tokens.pins.device_name import DeviceName
from tokens.pins.refusals import RefusalMemory, describe_unanswered
from tokens.pins.sources import PinPad
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.search import TokenInfo

ROLE_NAMES = {UserType.USER: "user", UserType.SO: "SO"}
WRONG_PIN_FLAGS = {
    UserType.USER: (
        TokenFlag.USER_PIN_LOCKED,
        TokenFlag.USER_PIN_FINAL_TRY,
        TokenFlag.USER_PIN_COUNT_LOW,
    ),
    UserType.SO: (TokenFlag.SO_PIN_LOCKED, TokenFlag.SO_PIN_FINAL_TRY, TokenFlag.SO_PIN_COUNT_LOW),
}
"""The flags that report wrong PINs, the worst first."""


def device_name(token: TokenInfo) -> DeviceName:
    """Return the name under which the refusals of a token are recorded.

    A module is identified by its file name up to ".so", so that its refusals survive an upgrade.
    """
    module = token.module_path.name.partition(".so")[0]
    name = DeviceName(
        token.serial, token.label, token.manufacturer, module, token.shares_serial, token.serial, str(token.uri)
    )
    return name if name.is_distinct else replace(name, reference=str(token.uri))


def check_flags(token: TokenInfo, credentials: Credentials, role: UserType) -> None:
    """Raise if the token's flags forbid to present the PIN: it is locked, unset, or close to being locked."""
    if not token.initialised:
        return  # its flags do not describe a PIN yet
    locked, final, low = WRONG_PIN_FLAGS[role]
    name = ROLE_NAMES[role]
    if locked in token.flags:
        raise explain_locked(token, role)
    if role is UserType.USER and is_pin_unset(token):
        raise explain_not_set(token, role)
    if isinstance(credentials.source, PinPad) and TokenFlag.PROTECTED_AUTHENTICATION_PATH not in token.flags:
        raise PinSourceError(
            f"{sentence_case(token.description)} has no protected authentication path (PIN pad).",
            remedy="Use another PIN source.",
        )
    if final in token.flags and not (credentials.last_try and credentials.source.attended):
        raise PinNotPresentedError(
            f"One more wrong {name} PIN locks {token.description}.",
            remedy="Use the tools of the token's maker to present it."
            if role is UserType.SO
            else "Log in once with a typed PIN and last_try=True to reset the retry counter.",
            facts=make_facts(Reason.PIN_LAST_RETRY, token, credentials, role),
        )
    if low in token.flags and not credentials.source.attended and not _is_flag_meaningless(token, credentials, role):
        raise PinNotPresentedError(
            f"A wrong {name} PIN was presented to {token.description} since its last login, so no PIN is "
            "presented unattended.",
            remedy="Log in once with a typed PIN to reset the retry counter.",
            facts=make_facts(Reason.PIN_COUNTER_LOW, token, credentials, role),
        )


def role_word(role: UserType) -> str:
    """Return the role as it is recorded: user, so."""
    return ROLE_NAMES[role].lower()


def purpose(token: TokenInfo, role: UserType, memory: RefusalMemory) -> str:
    """Return what a prompt asks for, and whether a PIN was not answered.

    An uninitialised token has no PIN yet: it gets a new one.
    """
    if not token.initialised:
        return f"new {ROLE_NAMES[role]} PIN"
    recorded = [entry for entry in memory.refusals(device_name(token)) if entry.role == role_word(role)]
    return f"{ROLE_NAMES[role]} PIN of {token.description}{describe_unanswered(recorded)}"


def make_facts(reason: Reason, token: TokenInfo, credentials: Credentials | None, role: UserType) -> Facts:
    """Return what a program needs to know to word the remedy."""
    return Facts(
        reason=reason,
        uri=str(token.uri),
        reference=device_name(token).reference,
        role=role_word(role),
        attended=credentials is not None and credentials.source.attended,
        pin_source="pinpad" if TokenFlag.PROTECTED_AUTHENTICATION_PATH in token.flags else "prompt",
    )


ALL_RETRIES = 3
"""What `read_retries` returns if no flag reports a wrong PIN, as after a login."""


def requires_login(token: TokenInfo, credentials: Credentials | None) -> bool:
    """Return whether a session must log in: the token reports so, or the credentials are for a token that does not."""
    return TokenFlag.LOGIN_REQUIRED in token.flags or (credentials is not None and credentials.always_log_in)


def read_retries(token: TokenInfo, role: UserType) -> int | None:
    """Return what the flags report of the retry counter, as a number that only wrong PINs make lower."""
    if not token.initialised:
        return None
    return next(
        (number for number, flag in enumerate(WRONG_PIN_FLAGS[role]) if flag in token.flags), len(WRONG_PIN_FLAGS[role])
    )


def _is_flag_meaningless(token: TokenInfo, credentials: Credentials, role: UserType) -> bool:
    """Return whether the flag is meaningless: it outlasted a login by a person, and no PIN was refused since."""
    return role is UserType.USER and credentials.memory.low_stays(device_name(token))


def is_pin_unset(token: TokenInfo) -> bool:
    return TokenFlag.USER_PIN_INITIALIZED not in token.flags and TokenFlag.LOGIN_REQUIRED in token.flags


def explain_locked(token: TokenInfo, role: UserType) -> PinLockedError:
    return PinLockedError(
        f"The {ROLE_NAMES[role]} PIN of {token.description} is locked.",
        remedy="The token can only be erased and initialised again."
        if role is UserType.SO
        else "The security officer must set a new one.",
        facts=make_facts(Reason.PIN_LOCKED, token, None, role),
    )


def explain_not_set(token: TokenInfo, role: UserType) -> PinNotPresentedError:
    return PinNotPresentedError(
        f"The {ROLE_NAMES[role]} PIN of {token.description} was never set.",
        remedy="The security officer must set it.",
        facts=make_facts(Reason.PIN_NOT_SET, token, None, role),
    )


def explain_wrong_pin(token: TokenInfo) -> PinNotPresentedError:
    """Return the error for a PIN whose answer is not known, if the token reports a wrong PIN."""
    return PinNotPresentedError(
        f"{sentence_case(token.description)} did not answer a login, or failed during it, and reports that a wrong PIN "
        "was presented to it, so the PIN counts as refused.",
        facts=Facts(reason=Reason.PIN_UNCLEAR, uri=str(token.uri), reference=device_name(token).reference),
    )
