"""Find a token by its RFC 7512 attributes in the slots of one module."""

from __future__ import annotations

import functools
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pkcs11 import TokenFlag
from pkcs11 import exceptions as p11

from tokens.errors import (
    ModuleError,
    ModuleFencedError,
    NoSuchTokenError,
    Reason,
    SeveralTokensError,
    TokenLostError,
    TokenTimeoutError,
)
from tokens.pkcs11.calls.faults import is_recoverable, name, translate_error
from tokens.pkcs11.lookalikes import explain_absence, explain_several
from tokens.pkcs11.module import Module
from tokens.pkcs11.start_failures import explain_no_token
from tokens.process.at_once import call_at_once
from tokens.uri import Pkcs11Uri

_ABSENT = (
    p11.TokenNotPresent,
    p11.TokenNotRecognised,
    p11.DeviceRemoved,
    p11.DeviceError,
    p11.SlotIDInvalid,
)


_QUERIES, _BETWEEN_QUERIES = 4, 0.1
"""How often, and how many seconds apart, SoftHSM is queried for a token that it does not list.

SoftHSM 2.6.1 reports a token as uninitialised while another process rewrites its file, which happens at each login.
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
    hardware: str
    firmware: str
    module_path: Path
    module_description: str
    library_manufacturer: str
    library_description: str
    library_version: str
    shares_serial: bool = False
    """Whether another token has the same serial number."""

    @property
    def initialised(self) -> bool:
        """Whether the token was initialised (C_InitToken): it reports so, or it has a user PIN."""
        return bool(self.flags & (TokenFlag.TOKEN_INITIALIZED | TokenFlag.USER_PIN_INITIALIZED))

    @property
    def description(self) -> str:
        """The token or slot, for messages."""
        if not self.initialised:
            return f"the uninitialised token in slot {self.slot_id}"
        return f"token '{self.label}' (serial {self.serial})"

    @property
    def uri(self) -> Pkcs11Uri:
        """The URI that finds this token again."""
        return Pkcs11Uri(token=self.label, serial=self.serial, module_path=self.module_path)


@dataclass(frozen=True)
class SlotFailure:
    """A slot that fails to report its token."""

    slot_id: int
    error: p11.PKCS11Error | TokenTimeoutError | ModuleFencedError

    @property
    def reason(self) -> str:
        """The name of the CK_RV, or that there was no answer."""
        return name(self.error) if isinstance(self.error, p11.PKCS11Error) else "no answer"

    @property
    def description(self) -> str:
        """The token or slot, for messages."""
        return f"slot {self.slot_id} ({self.reason})"


@dataclass(frozen=True)
class Listing:
    """The tokens in the slots of a module, and the slots that fail."""

    tokens: list[TokenInfo]
    failures: list[SlotFailure]
    absent: list[SlotFailure]
    """The slots that the module lists and then reports to have no token."""


def present_tokens(module: Module) -> list[TokenInfo]:
    """Return the tokens in the module's slots, uninitialised ones too.

    A module that other code finalised, or that lost its connection, is initialised again once. Raises
    `OperationFailedError` or `TokenLostError`.
    """
    return look(module).tokens


def look(module: Module) -> Listing:
    """Return the tokens, and the slots that fail. Reinitialises and raises as `present_tokens` does."""
    epoch = module.epoch
    try:
        return look_once(module)
    except p11.PKCS11Error as error:
        if not is_recoverable(error):
            raise translate_error(error, "report what is in its slots") from error
        module.reinitialise(epoch)
    try:
        return look_once(module)
    except p11.PKCS11Error as error:
        raise translate_error(error, "report what is in its slots") from error


def look_once(module: Module) -> Listing:
    """Return the tokens after one attempt, with PKCS#11's own errors, for callers that reconnect themselves.

    Each slot is asked in a job of its own, so that one which does not answer is left at its deadline, and hides no
    other. The others are then asked at the same time: the search lasts two deadlines at the most.
    """
    epoch = None
    while epoch != module.epoch:  # the slots may be others after a new initialisation
        epoch = module.ready()
        answers = _ask_slots(module)
        if module.is_isolated:
            break  # a slot that does not answer ends its process, and the epoch
    found = [one for one in answers if isinstance(one, TokenInfo)]
    failed = [one for one in answers if isinstance(one, SlotFailure)]
    absent = [one for one in failed if isinstance(one.error, _ABSENT)]
    failures = [one for one in failed if one not in absent]
    if failures and not found:
        raise failures[0].error
    serials = Counter(token.serial for token in found)
    tokens = [replace(token, shares_serial=serials[token.serial] > 1) for token in found]
    return Listing(tokens, failures, absent)


def _ask_slots(module: Module) -> list[TokenInfo | SlotFailure]:
    slots = module.queries.slots()
    answers: list[TokenInfo | SlotFailure] = []
    for place, slot in enumerate(slots, start=1):
        answers.append(_ask(module, slot))
        if not module.is_isolated and _was_left(answers[-1]):
            answers += call_at_once(functools.partial(_ask, module), slots[place:])
            break
    return sorted(answers, key=lambda answer: slots.index(answer.slot_id))


def _ask(module: Module, slot: int) -> TokenInfo | SlotFailure:
    silence = module.recall_silence(slot)
    if silence is not None:
        return SlotFailure(slot, silence)
    try:
        return module.run(lambda: _look_into(module, slot))
    except (p11.PKCS11Error, ModuleFencedError) as error:
        return SlotFailure(slot, error)
    except TokenTimeoutError as error:
        if module.is_isolated:
            # The process has ended with the call. Another one answers for the other slots.
            module.record_silence(slot, error)
            module.ready()
        return SlotFailure(slot, error)


def _was_left(answer: TokenInfo | SlotFailure) -> bool:
    """Return whether a slot did not answer within its deadline; False if it was not asked for that reason."""
    if not isinstance(answer, SlotFailure) or not isinstance(answer.error, TokenTimeoutError):
        return False
    return answer.error.facts is not None and answer.error.facts.reason is Reason.NO_ANSWER


def find_again(module: Module, token: TokenInfo) -> TokenInfo:
    """Find a token again, in one call if it is still in its slot; raises PKCS#11's own errors."""
    there = _still_there(module, token)
    if there is not None:
        return there
    return find_token(module, token.uri, look_once)


def _still_there(module: Module, token: TokenInfo) -> TokenInfo | None:
    module.ready()
    try:
        now = module.queries.token(token.slot_id)
    except p11.PKCS11Error:
        return None
    again = replace(token, flags=TokenFlag(now.flags))
    same = (now.serial, now.label, now.manufacturer) == (token.serial, token.label, token.manufacturer)
    return again if same and again.initialised else None


def find_token(module: Module, wanted: Pkcs11Uri, see: Callable[[Module], Listing] = look) -> TokenInfo:
    """Return the one initialised token that matches.

    Some modules look for tokens only when they are initialised, as the clients of remote ones do. So if there is none,
    and nothing of the module is in use, it is initialised again once. Raises `NoSuchTokenError` or
    `SeveralTokensError`, which list the tokens.
    """
    try:
        return _find_token(module, wanted, see)
    except NoSuchTokenError:
        if see is not look or not _begin_anew(module):
            raise
    return _find_token(module, wanted, see)


class _Nobody:
    """A user of a module that has no sessions."""

    def is_alive(self) -> bool:
        return False


def _begin_anew(module: Module) -> bool:
    """Initialise the module again if nothing of it is in use, and return whether that was done."""
    if module.is_used_by_others(_Nobody()):
        return False
    try:
        module.reinitialise(module.epoch)
    except (ModuleError, TokenLostError):
        return False
    return True


def _find_token(module: Module, wanted: Pkcs11Uri, see: Callable[[Module], Listing]) -> TokenInfo:
    for attempt in range(_QUERIES if module.manufacturer == "SoftHSM" else 1):
        time.sleep(_BETWEEN_QUERIES if attempt else 0)
        listing = see(module)
        present = [token for token in listing.tokens if token.initialised]
        matching = [token for token in present if matches(wanted, token)]
        if matching:
            break
    if len(matching) == 1:
        return matching[0]
    asked = _describe_wanted(wanted)
    if matching:
        why, remedy = explain_several(matching)
        text = f"{len(matching)} tokens in {module.path} match {asked}: {_list(matching)}. {why}".rstrip()
        raise SeveralTokensError(text, remedy=remedy)
    there = f"It holds {_list(present)}" if present else "It holds no initialised token"
    silent = ", ".join(failure.description for failure in listing.failures)
    silent = f" These could not be read: {silent}." if silent else ""
    absent = ", ".join(failure.description for failure in listing.absent)
    absent = f" No token is in {absent}." if absent else ""
    changed = explain_absence(wanted, listing.tokens)
    changed = f" {changed}" if changed else ""
    text = f"No token in {module.path} matches {asked}. {there}.{changed}{silent}{absent}{_hint(module)}"
    for failure in listing.failures:
        if isinstance(failure.error, TokenTimeoutError):  # it may be in this slot
            error = failure.error
            raise TokenTimeoutError(f"{error.message} {text}", remedy=error.remedy, facts=error.facts) from error
    raise NoSuchTokenError(text)


def matches(wanted: Pkcs11Uri, info: TokenInfo) -> bool:
    """Return whether a token has every attribute of the URI (RFC 7512, 2.5)."""
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


def _look_into(module: Module, slot: int) -> TokenInfo:
    token = module.queries.token(slot)
    place = module.queries.slot(slot)
    return TokenInfo(
        label=token.label,
        serial=token.serial,
        model=token.model,
        manufacturer=token.manufacturer,
        slot_id=slot,
        slot_description=place.description,
        slot_manufacturer=place.manufacturer,
        flags=TokenFlag(token.flags),
        hardware=token.hardware,
        firmware=token.firmware,
        module_path=module.path,
        module_description=module.description,
        library_manufacturer=module.manufacturer,
        library_description=module.library_description,
        library_version=module.version,
    )


def _hint(module: Module) -> str:
    if (why := explain_no_token(module.path)) is not None:
        return f" {why}"
    if module.manufacturer != "SoftHSM" or "SOFTHSM2_CONF" in os.environ:
        return ""
    return " $SOFTHSM2_CONF, which gives the location of SoftHSM's tokens, is not set."


def _describe_wanted(wanted: Pkcs11Uri) -> str:
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
    return " and ".join(given) or "the URI, which has no attribute of a token"


def _list(tokens: list[TokenInfo]) -> str:
    return ", ".join(token.description for token in tokens)
