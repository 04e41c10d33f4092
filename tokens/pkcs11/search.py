"""Finding a token: by RFC 7512 attributes, in the slots of one module."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pkcs11 import Slot, TokenFlag
from pkcs11 import Token as SlotToken
from pkcs11 import exceptions as p11

from tokens.errors import NoSuchToken, SeveralTokens
from tokens.pkcs11.faults import is_healable, translated
from tokens.pkcs11.module import Module
from tokens.uri import Pkcs11Uri

_ABSENT = (
    p11.TokenNotPresent,
    p11.TokenNotRecognised,
    p11.DeviceRemoved,
    p11.DeviceError,
    p11.SlotIDInvalid,
)


_LOOKS, _BETWEEN_LOOKS = 4, 0.1
"""How often, and how many seconds apart, SoftHSM is asked for a token that it does not show.

SoftHSM 2.6.1 shows a token as uninitialised for the moment in which another process rewrites its file, at each login.
"""


@dataclass(frozen=True, kw_only=True)
class TokenInfo:
    """CK_TOKEN_INFO and CK_SLOT_INFO of one token, as text."""

    label: str
    serial: str
    model: str
    manufacturer: str
    slot_id: int
    slot_description: str
    slot_manufacturer: str
    flags: TokenFlag
    module_path: Path
    library_manufacturer: str
    library_description: str
    library_version: str

    @property
    def initialised(self) -> bool:
        """Whether the token has been through C_InitToken: it says so, or has the user PIN that is set after it."""
        return bool(self.flags & (TokenFlag.TOKEN_INITIALIZED | TokenFlag.USER_PIN_INITIALIZED))

    @property
    def description(self) -> str:
        """For messages."""
        if not self.initialised:
            return f"the uninitialised token in slot {self.slot_id}"
        return f"token '{self.label}' (serial {self.serial})"

    @property
    def uri(self) -> Pkcs11Uri:
        """The URI that finds this token again."""
        return Pkcs11Uri(token=self.label, serial=self.serial, module_path=self.module_path)


@dataclass(frozen=True)
class FoundToken:
    """A token in its slot, now."""

    info: TokenInfo
    handle: SlotToken


def present_tokens(module: Module) -> list[FoundToken]:
    """Every token in the module's slots, uninitialised ones too. Raises `OperationFailed` or `TokenLost`.

    A module that somebody has finalised, or that lost its connection, is initialised again, once.
    """
    epoch = module.epoch
    try:
        return tokens_now(module)
    except p11.PKCS11Error as error:
        if not is_healable(error):
            raise translated(error, "tell what is in its slots") from error
        module.initialise_again(epoch)
    try:
        return tokens_now(module)
    except p11.PKCS11Error as error:
        raise translated(error, "tell what is in its slots") from error


def tokens_now(module: Module) -> list[FoundToken]:
    """The same in one attempt, with PKCS#11's own errors, for whoever heals them in his own way."""
    module.ready()
    with module.gate:
        found = [_look_into(module, slot) for slot in module.slots()]
    return [token for token in found if token is not None]


def find_token(
    module: Module, wanted: Pkcs11Uri, tokens: Callable[[Module], list[FoundToken]] = present_tokens
) -> FoundToken:
    """The one initialised token that matches. Raises `NoSuchToken` or `SeveralTokens`, which say what is there."""
    for look in range(_LOOKS if module.manufacturer == "SoftHSM" else 1):
        time.sleep(_BETWEEN_LOOKS if look else 0)
        present = [token for token in tokens(module) if token.info.initialised]
        matching = [token for token in present if matches(wanted, token.info)]
        if matching:
            break
    if len(matching) == 1:
        return matching[0]
    asked = _asked(wanted)
    if matching:
        raise SeveralTokens(
            f"{len(matching)} tokens in {module.path} match {asked}: {_listed(matching)}. "
            "Name the serial number as well."
        )
    there = f"It holds {_listed(present)}" if present else "It holds no initialised token"
    raise NoSuchToken(f"No token in {module.path} matches {asked}. {there}.{_hint(module)}")


def matches(wanted: Pkcs11Uri, info: TokenInfo) -> bool:
    """Whether a token has every attribute that the URI names (RFC 7512, 2.5)."""
    pairs = (
        (wanted.token, info.label),
        (wanted.serial, info.serial),
        (wanted.model, info.model),
        (wanted.manufacturer, info.manufacturer),
        (wanted.slot_id, info.slot_id),
        (wanted.slot_description, info.slot_description),
        (wanted.slot_manufacturer, info.slot_manufacturer),
        (wanted.library_manufacturer, info.library_manufacturer),
        (wanted.library_description, info.library_description),
        (wanted.library_version, info.library_version),
    )
    return all(asked is None or asked == found for asked, found in pairs)


def _look_into(module: Module, slot: Slot) -> FoundToken | None:
    try:
        token = slot.get_token()
    except _ABSENT:
        return None
    info = TokenInfo(
        label=token.label,
        serial=token.serial.rstrip(b"\0 ").decode("utf-8", "replace"),
        model=token.model,
        manufacturer=token.manufacturer_id,
        slot_id=slot.slot_id,
        slot_description=slot.slot_description,
        slot_manufacturer=slot.manufacturer_id,
        flags=token.flags,
        module_path=module.path,
        library_manufacturer=module.manufacturer,
        library_description=module.library_description,
        library_version=module.version,
    )
    return FoundToken(info, token)


def _hint(module: Module) -> str:
    if module.manufacturer != "SoftHSM" or "SOFTHSM2_CONF" in os.environ:
        return ""
    return " $SOFTHSM2_CONF, which tells SoftHSM where its tokens are, is not set."


def _asked(wanted: Pkcs11Uri) -> str:
    pairs = (
        ("label", wanted.token),
        ("serial", wanted.serial),
        ("model", wanted.model),
        ("manufacturer", wanted.manufacturer),
        ("slot", wanted.slot_id),
        ("slot description", wanted.slot_description),
        ("slot manufacturer", wanted.slot_manufacturer),
        ("library manufacturer", wanted.library_manufacturer),
        ("library", wanted.library_description),
        ("library version", wanted.library_version),
    )
    given = [f"{name} '{value}'" for name, value in pairs if value is not None]
    return " and ".join(given) or "(no token was named)"


def _listed(tokens: list[FoundToken]) -> str:
    return ", ".join(token.info.description for token in tokens)
