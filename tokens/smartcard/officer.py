"""Set a new user PIN on a card whose PIN is locked or forgotten (RESET RETRY COUNTER, ISO/IEC 7816-4:2005, 7.5.10).

| card    | code            | commands                                                               |
|---------|-----------------|------------------------------------------------------------------------|
| PIV     | PUK             | RESET RETRY COUNTER with PUK and new PIN (SP 800-73-4, part 2, 3.2.3)  |
| OpenPGP | admin PIN (PW3) | VERIFY 83, RESET RETRY COUNTER with the new PIN (3.4, 7.2.2 and 7.2.4) |

The code is presented once, under the rules of a login: it is recorded before it is sent, and never sent again after a
refusal. A card whose code is locked too has to be erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokens.errors import (
    CeremonyError,
    OperationFailedError,
    PinLockedError,
    PinNotPresentedError,
    PinRefusedError,
    PinSourceError,
    sentence_case,
)
from tokens.events.reporting import report_ceremony_step
from tokens.pins.credentials import Credentials
from tokens.pins.device_name import DeviceName
from tokens.pins.presentation import Answer
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, PinSource
from tokens.smartcard.apdu.commands import reset_retry_counter, verify
from tokens.smartcard.apdu.encoding import Command
from tokens.smartcard.apdu.status import BLOCKED, NOT_AUTHORISED, StatusError
from tokens.smartcard.card import CardApplication
from tokens.smartcard.profiles import Family, PinProfile
from tokens.smartcard.session import CardSession

_ROLE = "so"
"""The officer's role in the record of refused PINs."""
_ERASES = "Have the card's vendor tool reset the card, which destroys its keys, and certify new ones."


@dataclass(frozen=True)
class _Code:
    """The code that permits a new PIN: its format is that of a PIN. With `is_verified`, VERIFY checks it first."""

    name: str
    format: PinProfile
    is_verified: bool
    target: PinProfile
    """The PIN that is set; its reference is P2 of RESET RETRY COUNTER."""


_CODES: Mapping[Family, _Code] = {
    Family.PIV: _Code(
        name="PUK",
        format=PinProfile(reference=0x81, minimum=6),
        is_verified=False,
        target=PinProfile(reference=0x80, minimum=6),
    ),
    Family.OPENPGP: _Code(
        name="admin PIN",
        format=PinProfile(reference=0x83, minimum=8, maximum=127, padding=None),
        is_verified=True,
        target=PinProfile(reference=0x81, minimum=6, maximum=127, padding=None),
    ),
}


def reset_pin(application: CardApplication, code: PinSource, new: PinSource, memory: RefusalMemory) -> None:
    """Set the user's PIN with the card's PUK or admin PIN. Keys are not changed.

    Raises `CeremonyError` for a card of another kind and for a new PIN of a wrong length, `PinRefusedError`,
    `PinLockedError`, `PinNotPresentedError` or `PinSourceError` as a login does, and `OperationFailedError` if the card
    does not accept the new PIN. A lost card is not reconnected: nothing is presented twice.
    """
    known = _CODES.get(application.profile.family)
    if known is None:
        raise CeremonyError(
            f"It is not known how the PIN of {application.description} is reset.",
            remedy="Use the tool of the card's vendor.",
        )
    with report_ceremony_step(application.serial, application.label, "set-pin", "user PIN"):
        credentials = Credentials(code, memory)
        new_pin: Pin | None = None
        try:
            left = application.run(lambda session: application.family.read_code_retries(session), "be read")
            _check_retries(application, known, left)
            retries = "" if left is None else f" ({left} {'retry' if left == 1 else 'retries'} left)"
            octets = _require(credentials.read(f"{known.name} of {application.description}{retries}"), known.name)
            _check_length(octets, known.format, known.name)
            new_pin = _require(new.read(f"new user PIN of {application.description}"), "new user PIN")
            _check_length(new_pin, known.target, "new user PIN")
            with application.session() as session:
                _present(application, session, known, credentials, octets, new_pin, left)
            memory.remove_refusal(_name(application), "user", new_pin)
        finally:
            credentials.forget()
            if new_pin is not None:
                new_pin.wipe()


def _present(
    application: CardApplication,
    session: CardSession,
    known: _Code,
    credentials: Credentials,
    octets: Pin,
    new_pin: Pin,
    left: int | None,
) -> None:
    code, pin = known.format.pad(octets.octets()), known.target.pad(new_pin.octets())
    both = code + pin
    target = known.target.reference
    first = verify(known.format.reference, code) if known.is_verified else reset_retry_counter(target, both)
    try:
        attended = credentials.attended
        with credentials.memory.present(
            _name(application), _ROLE, octets, None, attended=attended, retries=left
        ) as presentation:
            presentation.stays = False
            presentation.begin()
            session.connection.note_pin()
            try:
                session.exchange(first)
            except StatusError as error:
                if error.retries_left is None and error.status != NOT_AUTHORISED:
                    presentation.answer = Answer.NOT_CHECKED
                    raise _explain_pin(application, error) from error
                presentation.refuse()
                raise _make_refusal(application, known, credentials, error) from error
            presentation.answer = Answer.ACCEPTED
        if known.is_verified:
            _send_new_pin(application, session, reset_retry_counter(target, pin, verified=True))
    finally:
        for secret in (code, pin, both):
            secret[:] = bytes(len(secret))
        octets.wipe()


def _send_new_pin(application: CardApplication, session: CardSession, command: Command) -> None:
    try:
        session.exchange(command)
    except StatusError as error:
        raise _explain_pin(application, error) from error


def _make_refusal(
    application: CardApplication, known: _Code, credentials: Credentials, error: StatusError
) -> PinRefusedError | PinLockedError:
    sentence = f"The {known.name} {credentials.origin} was refused by {application.description}."
    if error.status == BLOCKED:
        return PinLockedError(f"{sentence} It is now locked.", remedy=_ERASES)
    left = error.retries_left
    retries = "" if left is None else f" {left} {'retry' if left == 1 else 'retries'} left."
    return PinRefusedError(f"{sentence}{retries} It is not presented again.", remedy=f"Find the right {known.name}.")


def _explain_pin(application: CardApplication, error: StatusError) -> OperationFailedError:
    return OperationFailedError(
        f"{sentence_case(application.description)} did not accept the new user PIN. {error.message}",
        remedy="See the card's rules on length and characters.",
    )


def _check_retries(application: CardApplication, known: _Code, left: int | None) -> None:
    if left == 0:
        raise PinLockedError(f"The {known.name} of {application.description} is locked.", remedy=_ERASES)
    if left == 1:
        raise PinNotPresentedError(
            f"One more wrong {known.name} locks {application.description} for good, so none is presented.",
            remedy=f"Present the right {known.name} with the card's vendor tool.",
        )


def _require(octets: Pin | None, name: str) -> Pin:
    """Return what a source gave; a PIN pad gives nothing."""
    if octets is None:
        raise PinSourceError(f"The {name} cannot be typed on the reader.", remedy="Use another source, such as prompt.")
    return octets


def _check_length(octets: Pin, expected: PinProfile, name: str) -> None:
    if not expected.minimum <= len(octets.octets()) <= expected.maximum:
        octets.wipe()
        raise CeremonyError(
            f"The {name} must have {expected.minimum} to {expected.maximum} bytes. Nothing was presented."
        )


def _name(application: CardApplication) -> DeviceName:
    return DeviceName(application.serial, reference=application.serial, uri=str(application.uri))
