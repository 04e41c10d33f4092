"""What the answers to a presented PIN mean: the CK_RVs of C_Login, C_SetPIN and C_InitToken (PKCS#11 v3.1, 5.6.8)."""

from __future__ import annotations

import contextlib

from tokens.errors import OperationFailedError, PinNotPresentedError, Reason, TokenLostError, sentence_case
from tokens.pins.credentials import DeviceFailure
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.calls.return_values import name_of
from tokens.pkcs11.login.flags import ROLE_NAMES, explain_locked, explain_not_set, make_facts
from tokens.pkcs11.search import TokenInfo

WRONG_PIN = (0xA0, 0xA1, 0xA2)
"""CKR_PIN_INCORRECT, CKR_PIN_INVALID and CKR_PIN_LEN_RANGE."""

INCORRECT_PIN = (0xA0,)
"""CKR_PIN_INCORRECT, for calls in which the other two may be about the new PIN."""

_LOCKED = 0xA4
_EXPIRED = 0xA3
_NOT_SET = 0x102

_SESSION_EXISTS = 0xB6
_USER_TYPE_INVALID = 0x103
NEW_PIN_REFUSED = (0xA1, 0xA2, 0x1B8)
"""CKR_PIN_INVALID, CKR_PIN_LEN_RANGE and CKR_PIN_TOO_WEAK, for calls in which they are about a new PIN."""

NEEDS_LOGIN = 0x101
"""CKR_USER_NOT_LOGGED_IN: C_SetPIN wants a login before it looks at the PIN, which PKCS#11 does not ask for."""

_LOST = (0x03, 0xB0, 0xB3, 0xE0, 0xE1, cryptoki.CRYPTOKI_NOT_INITIALIZED)
"""CK_RVs after which the slot, the session, the token or the module is gone, and the PIN was not checked."""

NOT_ABOUT_THE_PIN = frozenset(
    {cryptoki.OK, cryptoki.USER_ALREADY_LOGGED_IN, cryptoki.CRYPTOKI_NOT_INITIALIZED, *NEW_PIN_REFUSED}
    | {_LOCKED, _EXPIRED, _NOT_SET, _SESSION_EXISTS}
    | {0x03, 0x07, 0x54, 0xB0, 0xB3, 0xB5, 0xB7, 0xB8, 0xE0, 0xE1, 0xE2, 0x103, 0x104, 0x105}
)
"""CK_RVs of a token that did not check the PIN, or accepted it. After any other, it may have counted a wrong PIN.

The last line: slot, arguments, function, sessions, token absent or write-protected, user types.
"""


def name_answer(rv: int) -> str:
    """Return the name of a CK_RV."""
    with contextlib.suppress(ValueError):
        return DeviceFailure(rv).name
    return name_of(rv)


def raise_for_result(rv: int, role: UserType, token: TokenInfo) -> None:
    """Raise the error for a CK_RV that is not about the PIN; return for CKR_OK and CKR_USER_ALREADY_LOGGED_IN."""
    name = ROLE_NAMES[role]
    if rv in (cryptoki.OK, cryptoki.USER_ALREADY_LOGGED_IN):
        return
    if rv == _LOCKED:
        raise explain_locked(token, role)
    if rv == _EXPIRED:
        raise PinNotPresentedError(
            f"The {name} PIN of {token.description} has expired.",
            remedy="Change it.",
            facts=make_facts(Reason.PIN_EXPIRED, token, None, role),
        )
    if rv == _NOT_SET:
        raise explain_not_set(token, role)
    if rv == _SESSION_EXISTS:
        raise OperationFailedError(
            f"{sentence_case(token.description)} is in use.", remedy="End the programs that use it first."
        )
    if rv in NEW_PIN_REFUSED:
        raise OperationFailedError(
            f"{sentence_case(token.description)} does not accept the new PIN ({name_of(rv)}). The old PIN stays.",
            remedy="See the token's rules on length and characters.",
        )
    if rv == NEEDS_LOGIN:
        raise OperationFailedError(
            f"{sentence_case(token.description)} changes no PIN without a login ({name_of(rv)}), so the PIN was not "
            "checked.",
            remedy="Change it with a program of the token's maker, such as certutil for NSS.",
        )
    if rv in _LOST:
        raise TokenLostError(
            f"{sentence_case(token.description)} is gone: it did not check the {name} PIN ({name_of(rv)}).",
            remedy="Put the token back or restore the connection; it is then used again without a restart.",
        )
    if rv == _USER_TYPE_INVALID and role is UserType.SO:
        raise OperationFailedError(
            f"{sentence_case(token.description)} has no security officer ({name_of(rv)}), so no PIN was set.",
            remedy="Set its PIN with a program of its maker, such as certutil for NSS. Where that needs a PIN that is "
            "forgotten, make a new token with new keys.",
        )
    if rv == _USER_TYPE_INVALID:
        raise OperationFailedError(
            f"{sentence_case(token.description)} has no user of the given type ({name_of(rv)}), so the PIN was not "
            "checked.",
            remedy="Correct the user type: the token's manual has its number.",
        )
    raise OperationFailedError(
        f"{sentence_case(token.description)} failed, though the PIN may be correct ({name_of(rv)})."
    )
