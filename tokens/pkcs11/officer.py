"""Initialise a token, set the user's PIN as the security officer, and change a PIN.

C_InitToken destroys every key on a token. It is called only for a token without any sign of use, or for the token that
the caller gave to be erased.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from pkcs11 import TokenFlag
from pkcs11 import exceptions as p11

from tokens.deadlines import CallDeadlines
from tokens.errors import (
    CeremonyError,
    Facts,
    OperationFailedError,
    PinError,
    Reason,
    TokenTimeoutError,
    sentence_case,
)
from tokens.events import CeremonyStep
from tokens.events.bus import emit
from tokens.pins.credentials import Credentials
from tokens.pins.leavable import LeavableCall, Progress
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, PinSource
from tokens.pkcs11.calls import cryptoki
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.calls.return_values import name_of
from tokens.pkcs11.ceremony import report_step
from tokens.pkcs11.login.answers import INCORRECT_PIN, NEW_PIN_REFUSED
from tokens.pkcs11.login.flags import check_flags, device_name, purpose
from tokens.pkcs11.login.presentation import present_pin
from tokens.pkcs11.module import Module
from tokens.pkcs11.search import TokenInfo, find_token, matches, present_tokens
from tokens.pkcs11.unfinished import Attempt, Step, UnfinishedStep, UnfinishedSteps
from tokens.uri import Pkcs11Uri

_USER_PIN_FLAGS = (
    TokenFlag.USER_PIN_INITIALIZED
    | TokenFlag.USER_PIN_COUNT_LOW
    | TokenFlag.USER_PIN_FINAL_TRY
    | TokenFlag.USER_PIN_LOCKED
)
"""Flags that only a token with a user PIN has. (SoftHSM 2.6.1 sets those of a locked SO PIN on a new token.)"""


def initialise_token(
    module: Module,
    label: str,
    so_pin: PinSource,
    user_pin: PinSource,
    *,
    memory: RefusalMemory | None = None,
    erase: Pkcs11Uri | None = None,
    deadlines: CallDeadlines | None = None,
) -> TokenInfo:
    """Initialise a token with its label, the officer's PIN and the user's PIN (C_InitToken, C_InitPIN).

    Uses the first token without a sign of use; with `erase`, erases the one that matches, with all its keys. The label
    is at most 32 bytes of UTF-8. `deadlines` replace those of the slot. Raises `CeremonyError` if no token is free or
    the label is in use, and `CeremonyTimeoutError` if the token does not answer and may still appear under the label.
    """
    if not label.strip() or len(label.encode("utf-8")) > 32:
        raise CeremonyError("A token's label has 1 to 32 bytes (UTF-8).", remedy="Choose another label.")
    memory = memory or RefusalMemory()
    # One officer at a time: two could be given the same empty slot.
    with memory.lock("initialise"):
        unfinished = UnfinishedSteps(memory)
        found = _slot_for(module, label, erase, unfinished)
        if deadlines is not None:
            module.use_deadlines(found.slot_id, deadlines)
        credentials = Credentials(so_pin, memory)
        begun = UnfinishedStep(
            step=Step.INITIALISE,
            serial=found.serial,
            module=str(module.path),
            label=label,
            when=datetime.now(UTC),
        )
        with report_step("initialise", label, found), Attempt(unfinished, begun, found) as attempt:
            check_flags(found, credentials, UserType.SO)  # before a person types a PIN
            new_user_pin: Pin | None = None
            try:
                credentials.read_ahead(purpose(found, UserType.SO, memory))
                new_user_pin = user_pin.read("new user PIN")
                present_pin(
                    module,
                    found,
                    credentials,
                    UserType.SO,
                    lambda pin: attempt.run(
                        lambda: module.cryptoki.init_token(found.slot_id, pin, label),
                        lambda rv: "" if rv == cryptoki.OK else name_of(rv),
                    ),
                    wrong=INCORRECT_PIN,
                )
                made = _find_made_token(module, label, found)
                _set_first_user_pin(module, made, credentials, new_user_pin)
            finally:
                credentials.forget()
                if new_user_pin is not None:
                    new_user_pin.wipe()
        return _find_made_token(module, label, made)


def set_user_pin(
    module: Module, token: TokenInfo, so_pin: PinSource, new: PinSource, memory: RefusalMemory | None = None
) -> None:
    """Set the user's PIN as the security officer, for example if it is locked (C_Login, C_InitPIN).

    Keys are not changed. Presents the officer's PIN once, under the rules of a login, and raises as a login does;
    `OperationFailedError` if the token does not accept the new PIN.
    """
    credentials = Credentials(so_pin, memory or RefusalMemory())
    with report_step("set-pin", "user PIN", token):
        check_flags(token, credentials, UserType.SO)  # before a person types a PIN
        new_pin: Pin | None = None
        try:
            credentials.read_ahead(purpose(token, UserType.SO, credentials.memory))
            new_pin = new.read(f"new user PIN of {token.description}")
            with _session(module, find_token(module, token.uri)) as handle:
                login = module.cryptoki.login
                present_pin(module, token, credentials, UserType.SO, lambda pin: login(handle, UserType.SO, pin))
                rv = _set_user_pin(module, token, credentials.memory, handle, new_pin)
                module.cryptoki.logout(handle)
            if rv in NEW_PIN_REFUSED:
                raise OperationFailedError(
                    f"{sentence_case(token.description)} does not accept the new user PIN ({name_of(rv)}). The user "
                    "PIN was not changed.",
                    remedy="See the token's rules on length and characters.",
                )
            if rv != cryptoki.OK:
                raise OperationFailedError(
                    f"{sentence_case(token.description)} failed while the user PIN was set ({name_of(rv)}), so it is "
                    "not known whether the user PIN was changed.",
                    remedy="Test the token, then set the user PIN again.",
                )
        finally:
            credentials.forget()
            if new_pin is not None:
                new_pin.wipe()


def change_pin(
    module: Module, token: TokenInfo, old: PinSource, new: PinSource, memory: RefusalMemory | None = None
) -> None:
    """Change the user's PIN (C_SetPIN). Presents the old PIN once, under the rules of a login."""
    credentials = Credentials(old, memory or RefusalMemory())
    with report_step("change-pin", "user PIN", token):
        found = find_token(module, token.uri)
        new_pin = new.read(f"new user PIN of {token.description}")
        try:
            with _session(module, found) as handle:
                set_pin = module.cryptoki.set_pin
                present_pin(
                    module,
                    found,
                    credentials,
                    UserType.USER,
                    lambda pin: set_pin(handle, pin, new_pin),
                    INCORRECT_PIN,
                    new_pin=new_pin,
                    step=_step("change-pin", token),
                )
        finally:
            credentials.forget()
            if new_pin is not None:
                new_pin.wipe()


def find_token_to_erase(module: Module, wanted: Pkcs11Uri) -> TokenInfo:
    """Return the one token that matches and is in use, whether or not it reports that it was initialised.

    Raises as `find_token` does.
    """
    used = [
        token
        for token in present_tokens(module)
        if matches(wanted, token) and (token.initialised or find_signs_of_use(module, token))
    ]
    return used[0] if len(used) == 1 else find_token(module, wanted)


def find_signs_of_use(module: Module, token: TokenInfo) -> list[str]:
    """Return signs that a token was initialised, though it does not report CKF_TOKEN_INITIALIZED. Needs no PIN."""
    signs = [f"the label '{token.label}'"] if token.label.strip() else []
    if token.flags & _USER_PIN_FLAGS:
        signs.append("a user PIN")
    # A token that was never initialised need not open a session.
    with contextlib.suppress(p11.PKCS11Error):
        epoch = module.epoch
        session = module.queries.open_session(token.slot_id)
        try:
            if module.queries.find_objects(session, {}):
                signs.append("objects")
        finally:
            module.close_session(session, epoch)
    return signs


def _slot_for(module: Module, label: str, erase: Pkcs11Uri | None, unfinished: UnfinishedSteps) -> TokenInfo:
    present = present_tokens(module)
    erased = None if erase is None else find_token_to_erase(module, erase)
    others = [token for token in present if erased is None or token.slot_id != erased.slot_id]
    for token in others:
        if token.initialised and token.label == label:
            late = " ".join(review.text for review in unfinished.review_token(token))
            raise CeremonyError(
                f"A token '{label}' exists in {module.path} already. {late}".strip(),
                remedy="Set its user PIN as its security officer, if it has none." if late else "Choose another label.",
            )
    if erased is not None:
        return erased
    used: list[str] = []
    example = "token=…"
    for token in present:
        if token.initialised:
            continue
        signs = find_signs_of_use(module, token)
        if not signs:
            return token
        used.append(
            f"The token in slot {token.slot_id} does not report that it was initialised, but it has "
            f"{' and '.join(signs)}, so it is not treated as new."
        )
        example = f"slot-id={token.slot_id}"
    raise CeremonyError(
        f"{module.path} has no uninitialised token. " + " ".join(used),
        remedy="To erase one with all its keys, pass its URI as erase.",
        facts=Facts(reason=Reason.NO_EMPTY_TOKEN, uri=f"pkcs11:{example}"),
    )


def _find_made_token(module: Module, label: str, before: TokenInfo) -> TokenInfo:
    """Return the token that was initialised. SoftHSM gives it a new slot and serial number; others keep both."""
    labelled = [token for token in present_tokens(module) if token.label == label]
    same_slot = [token for token in labelled if token.slot_id == before.slot_id]
    found = same_slot or labelled
    return found[0] if len(found) == 1 else find_token(module, Pkcs11Uri(token=label))


def _set_first_user_pin(module: Module, token: TokenInfo, officer: Credentials, user_pin: Pin | None) -> None:
    # This process has just set the officer's PIN, so it cannot be wrong.
    so_pin = officer.read("SO PIN")
    try:
        with _session(module, token) as handle:
            rv = module.cryptoki.login(handle, UserType.SO, so_pin)
            if rv == cryptoki.OK:
                rv = _set_user_pin(module, token, officer.memory, handle, user_pin)
                module.cryptoki.logout(handle)
    except TokenTimeoutError as error:
        raise TokenTimeoutError(
            f"{sentence_case(token.description)} was initialised, but whether its user PIN was set is not known "
            f"({error.message.rstrip('.')}).",
            remedy="When the token answers again, set its user PIN as its security officer.",
        ) from error
    if rv in NEW_PIN_REFUSED:
        raise OperationFailedError(
            f"{sentence_case(token.description)} was initialised, but it does not accept the user PIN ({name_of(rv)}).",
            remedy="See the token's rules on length and characters, then set another one as its security officer.",
        )
    if rv != cryptoki.OK:
        raise OperationFailedError(
            f"{sentence_case(token.description)} was initialised, but its user PIN could not be set ({name_of(rv)}).",
            remedy="Test the token, then set the user PIN as its security officer.",
        )


def _set_user_pin(module: Module, token: TokenInfo, memory: RefusalMemory, session: int, pin: Pin | None) -> int:
    """Set the user's PIN in a session of the officer (C_InitPIN), and return the CK_RV.

    The PIN is struck out of the record of refused ones, also if the token sets it after the deadline. Raises
    `TokenTimeoutError`.
    """
    started = time.perf_counter()

    def strike_out() -> None:
        if pin is not None:
            memory.remove_refusal(device_name(token), "user", pin)

    def settle_late(result: int | BaseException) -> None:
        if result == cryptoki.OK:
            emit(replace(_step("set-pin", token), duration=time.perf_counter() - started))
            with contextlib.suppress(PinError):  # then the PIN stays on record as refused, and a person is told
                strike_out()

    made = LeavableCall(lambda: module.cryptoki.init_pin(session, pin), [pin], settle_late)
    try:
        rv = module.run(made)
    except TokenTimeoutError as error:
        if made.leave() is not Progress.ENDED or not isinstance(made.result, int):
            raise TokenTimeoutError(
                f"{sentence_case(token.description)} has not answered while its user PIN was set "
                f"({error.message.rstrip('.')}). Whether the PIN was set is not known.",
                remedy="When the token answers again, set the PIN again.",
            ) from error
        rv = made.result
    except BaseException:
        made.leave()
        raise
    if rv == cryptoki.OK:
        strike_out()
    return rv


def _step(step: str, token: TokenInfo) -> CeremonyStep:
    return CeremonyStep(token_serial=token.serial, token_label=token.label, step=step, object="user PIN")


@contextlib.contextmanager
def _session(module: Module, token: TokenInfo) -> Iterator[int]:
    """Provide the handle of a read-write session during the block."""
    session, epoch = module.queries.open_session(token.slot_id, writable=True), module.epoch
    try:
        yield session
    finally:
        module.close_session(session, epoch)
