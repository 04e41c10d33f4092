"""The state of a token around a login, which is never cached: its flags, and whether it answers."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime

from pkcs11 import TokenFlag

from tokens.errors import LoginUnclearError, ModuleError, sentence_case
from tokens.pins.credentials import DeviceFailure
from tokens.pins.device_name import DeviceName
from tokens.pins.refusal_record import Refusal
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.login.answers import name_answer
from tokens.pkcs11.login.flags import ALL_RETRIES, device_name, explain_wrong_pin, is_pin_unset, read_retries
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo, find_again

_AWAY = frozenset({*DeviceFailure, cryptoki.CRYPTOKI_NOT_INITIALIZED, 0x03, 0x31, 0xB0, 0xB3, 0xE0, 0xE1})
"""CK_RVs of C_GenerateRandom that mean that the device, the token or the session is gone."""


PAUSE = 1.0
"""Seconds between an unclear answer and the one further presentation, in which a device can restart."""

_QUERIES, _BETWEEN_QUERIES = 5, 0.1
"""How often, and how many seconds apart, a token is queried again that reports that its PIN was never set."""


def query_token(module: Module, token: TokenInfo, role: UserType) -> tuple[TokenInfo, DeviceName]:
    """Return the token's current state and its name. Raises PKCS#11's own errors if its flags cannot be read.

    While SoftHSM writes its files, it briefly reports that a PIN was never set.
    """
    now = token
    for _ in range(_QUERIES if token.initialised else 0):
        now = find_again(module, token)
        if role is not UserType.USER or not is_pin_unset(now):
            break
        time.sleep(_BETWEEN_QUERIES)
    return now, device_name(now)


def require_no_wrong_pin(module: Module, token: TokenInfo, session: int, refusal: Refusal) -> None:
    """Raise unless the device answers again and its flags report no wrong PIN."""
    since = (datetime.now(UTC) - refusal.when).total_seconds()
    time.sleep(max(0.0, PAUSE - since) if since >= 0 else 0.0)
    with contextlib.suppress(ModuleError):  # a module need not have C_GenerateRandom
        rv = module.cryptoki.generate_random(session, 8)
        if rv in _AWAY:
            raise LoginUnclearError(
                f"{sentence_case(token.description)} has not answered since a login whose answer is not known "
                f"(C_GenerateRandom: {name_answer(rv)}). Its PIN is presented once more when it answers again."
            )
    now, _ = query_token(module, token, UserType.USER)
    if read_retries(now, UserType.USER) != ALL_RETRIES:
        raise explain_wrong_pin(now)


def keeps_low_counter(module: Module, before: TokenInfo) -> bool:
    """Return whether the token reports a low retry counter after a login that should have reset it."""
    low = TokenFlag.USER_PIN_COUNT_LOW
    return low in before.flags and low in query_token(module, before, UserType.USER)[0].flags
