"""Presentation of a PIN to a card: at most once, and never again after a refusal.

A card reports its retry counter in answer to an empty VERIFY (OpenPGP: in a data object). The driver reads the counter
before each presentation and shows it to the person who types the PIN. After a card was lost, or did not answer VERIFY
by its deadline, the PIN is recorded as unanswered, with the counter from before. The next login, in this process or
another, reads the counter again: if it is lower, the card refused the PIN although the answer was lost; otherwise it
did not.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from tokens.card_uri import CardUri
from tokens.errors import (
    CardTimeoutError,
    Facts,
    OperationFailedError,
    PinError,
    PinLockedError,
    PinNotPresentedError,
    PinRefusedError,
    PinSourceError,
    Reason,
    TokenError,
    TokenLostError,
    sentence_case,
)
from tokens.events import Login as LoginEvent
from tokens.events import OperationOutcome
from tokens.events.reporting import Report, report
from tokens.pins.credentials import Credentials
from tokens.pins.device_name import DeviceName
from tokens.pins.presentation import Answer
from tokens.pins.refusal_record import Refusal, State
from tokens.pins.refusals import describe_unanswered
from tokens.pins.sources import Pin
from tokens.smartcard.apdu.commands import verify
from tokens.smartcard.apdu.status import BLOCKED, NOT_AUTHORISED, StatusError
from tokens.smartcard.families.table import CardFamily
from tokens.smartcard.profiles import PinProfile
from tokens.smartcard.readers import pinpad
from tokens.smartcard.session import CardSession

_ROLE = "user"


class LoginCard(Protocol):
    """The card as a login needs it: its identity, and its family's way to read the retry counter."""

    @property
    def serial(self) -> str:
        """The identity under which refused PINs are recorded."""

    @property
    def label(self) -> str:
        """The card, for events."""

    @property
    def description(self) -> str:
        """The card, for messages."""

    @property
    def uri(self) -> CardUri:
        """The URI that opens the card again."""

    @property
    def family(self) -> CardFamily:
        """The commands of this kind of card."""


class Login:
    """The PINs of one application in this process."""

    def __init__(self, application: LoginCard, credentials: Credentials | None) -> None:
        self._application = application
        self.credentials = credentials
        self._changing = threading.Lock()
        self._in_use: Credentials | None = None
        """The credentials whose PIN is being presented, which is not wiped meanwhile."""
        self._salt = os.urandom(16)
        self._accepted: bytes | None = None
        self._lost_answer = False

    def verify(self, session: CardSession, pin: PinProfile) -> None:
        """Present the PIN (VERIFY).

        Raises `PinLockedError`, `PinNotPresentedError`, `PinRefusedError` or `PinSourceError`.
        """
        event = LoginEvent(
            token_serial=self._application.serial,
            token_label=self._application.label,
            role=_ROLE,
            presented=False,
        )
        with report(event, refusals=PinError) as reported, self._use_credentials() as credentials:
            left = self._application.family.read_retries_left(session, pin)
            unanswered = self._settle(credentials, left)
            self._check_retries(credentials, pin, left)
            octets = credentials.read(self._purpose(left, unanswered))
            self._check_length(octets, pin)
            try:
                self._present(session, pin, credentials, octets, left, reported, is_recorded=bool(unanswered))
            except TokenLostError as error:
                if octets is not None and self._lost_answer:
                    reported.end(OperationOutcome.UNANSWERED, str(error))
                raise

    def check(self, session: CardSession, pin: PinProfile) -> None:
        """Raise the error with which `verify` would not present a PIN now. Presents none, and asks no person for one.

        Raises `PinLockedError`, `PinNotPresentedError`, `PinRefusedError` or `PinSourceError`.
        """
        with self._use_credentials() as credentials:
            left = self._application.family.read_retries_left(session, pin)
            self._settle(credentials, left)
            self._check_retries(credentials, pin, left)
            if credentials.attended:
                return
            octets = credentials.read(self._purpose(left, []))
            self._check_length(octets, pin)
            if octets is not None:
                credentials.memory.check(self._device, _ROLE, octets)

    def use_credentials(self, newer: Credentials) -> None:
        """Present the PIN of these credentials from now on, if they differ or the current PIN was refused."""
        with self._changing:
            older = self.credentials
            if older is not None and not older.is_replaced_by(newer):
                return
            self.credentials = newer
            if older is not None and older is not self._in_use:
                older.forget()

    @contextlib.contextmanager
    def _use_credentials(self) -> Iterator[Credentials]:
        """Yield the current credentials, and wipe their PIN afterwards if others have replaced them meanwhile.

        Raises `PinSourceError` if there are none.
        """
        with self._changing:
            used = self._in_use = self._require_credentials()
        try:
            yield used
        finally:
            with self._changing:
                self._in_use = None
                if used is not self.credentials:
                    used.forget()

    def forget(self) -> None:
        """Wipe the stored PIN."""
        if self.credentials is not None:
            self.credentials.forget()

    def _present(
        self,
        session: CardSession,
        pin: PinProfile,
        credentials: Credentials,
        octets: Pin | None,
        left: int | None,
        reported: Report,
        *,
        is_recorded: bool,
    ) -> None:
        device, memory = self._device, credentials.memory
        if octets is not None and not is_recorded and self._was_accepted(octets):
            # The card accepted this PIN before in this process, so it need not be recorded before it is presented,
            # unless a PIN of the card is unanswered.
            reported.set(presented=True)
            try:
                self._send(session, pin, octets)
            except StatusError as error:
                memory.record(device, _ROLE, octets)
                raise self._note_refusal(session, pin, credentials, octets, error) from error
            except TokenLostError as error:
                memory.record_unanswered(device, octets, left)
                self._note_lost_answer(credentials, octets, error)
                raise
            credentials.record_acceptance(octets)
            return
        # Without a retry counter, nothing tells whether an unanswered PIN was wrong: an earlier acceptance decides.
        again = (lambda _: None) if left is None else None
        with memory.present(device, _ROLE, octets, again, attended=credentials.attended, retries=left) as presentation:
            reported.set(presented=True)
            presentation.begin()
            try:
                self._send(session, pin, octets)
            except StatusError as error:
                presentation.refuse()
                raise self._note_refusal(session, pin, credentials, octets, error) from error
            except PinError:
                presentation.answer = Answer.NOT_CHECKED
                raise
            except TokenLostError as error:
                if octets is not None:
                    self._note_lost_answer(credentials, octets, error)
                raise
            presentation.answer = Answer.ACCEPTED
            presentation.readable_again = credentials.source.repeatable
        if octets is not None:
            self._accepted = self._digest(octets)
        credentials.record_acceptance(octets)

    def _note_lost_answer(self, credentials: Credentials, octets: Pin, error: TokenLostError) -> None:
        """Remember that an answer was lost. Raises `CardTimeoutError` if it was late, and says what that means."""
        self._lost_answer = True
        credentials.record_unanswered(octets)
        if isinstance(error, CardTimeoutError):
            raise CardTimeoutError(
                f"{error.message} Whether the PIN {credentials.origin} is correct is not known, so it is not presented "
                "unattended until the card reports its retry counter, or a person presents it.",
                remedy=error.remedy,
            ) from error

    def _send(self, session: CardSession, pin: PinProfile, octets: Pin | None) -> None:
        session.connection.note_pin()
        if octets is None:
            pinpad.verify(session.channel, pin, session.deadlines.person)
            return
        padded = pin.pad(octets.octets())
        try:
            session.exchange(verify(pin.reference, padded))
        finally:
            padded[:] = bytes(len(padded))

    def _note_refusal(
        self, session: CardSession, pin: PinProfile, credentials: Credentials, octets: Pin | None, error: StatusError
    ) -> TokenError:
        description = self._application.description
        # 63CX holds the retry counter. OpenPGP cards answer a wrong PIN with 6982.
        if error.status >> 8 != 0x63 and error.status not in (BLOCKED, NOT_AUTHORISED):
            return OperationFailedError(f"{sentence_case(description)} did not accept the PIN. {error}")
        left = error.retries_left
        if left is None:
            left = self._application.family.read_retries_left(session, pin)
        retries = "" if left is None else f" {sentence_case(_retries(left))}."
        sentence = f"The PIN {credentials.origin} was refused by {description}.{retries}"
        refused: PinError
        if left == 0:
            refused = self._make_locked_error(f"{sentence} The PIN is now locked.")
        else:
            refused = PinRefusedError(
                f"{sentence} It is not presented again, so that the card does not lock.",
                facts=self._facts(Reason.PIN_WRONG, credentials),
            )
        credentials.record_refusal(octets, refused, self._is_recorded(credentials))
        return refused

    def _settle(self, credentials: Credentials, left: int | None) -> list[Refusal]:
        """Decide by the retry counter whether PINs whose answer was lost were refused; return those still open.

        Raises `PinRefusedError` if that of this process was refused.
        """
        lost, self._lost_answer = self._lost_answer, False
        entries = credentials.memory.settle_by_retries(self._device, _ROLE, left, exact=True)
        if lost and any(entry.state is State.REFUSED for entry in entries):
            refused = PinRefusedError(
                f"The PIN {credentials.origin} was refused by {self._application.description}. It is not presented "
                "again.",
                facts=self._facts(Reason.PIN_WRONG, credentials),
            )
            credentials.forget()
            raise refused
        return [entry for entry in entries if entry.state is State.UNANSWERED]

    @property
    def _device(self) -> DeviceName:
        return DeviceName(self._application.serial, reference=self._application.serial, uri=str(self._application.uri))

    def _is_recorded(self, credentials: Credentials) -> Callable[[], bool]:
        return lambda: credentials.memory.has_refusal(self._application.serial, _ROLE)

    def _check_retries(self, credentials: Credentials, pin: PinProfile, left: int | None) -> None:
        if left is None:
            return
        attended, description = credentials.source.attended, self._application.description
        if left == 0:
            raise self._make_locked_error(f"The PIN of {description} is locked.")
        if left == 1 and not (credentials.last_try and attended):
            raise PinNotPresentedError(
                f"One more wrong PIN locks {description}.",
                remedy="Present a typed PIN with last_try=True to reset the retry counter.",
                facts=self._facts(Reason.PIN_LAST_RETRY, credentials),
            )
        if left < pin.limit and not attended:
            raise PinNotPresentedError(
                f"A wrong PIN was presented to {description} ({_retries(left)}), so no PIN is presented unattended.",
                remedy="Present a typed PIN once to reset the retry counter.",
                facts=self._facts(Reason.PIN_COUNTER_LOW, credentials),
            )

    def _make_locked_error(self, message: str) -> PinLockedError:
        return PinLockedError(
            message,
            remedy="Unlock it with the card's PUK, or ask the card's issuer.",
            facts=self._facts(Reason.PIN_LOCKED, None),
        )

    def _facts(self, reason: Reason, credentials: Credentials | None) -> Facts:
        """Return the facts from which an application makes the remedy."""
        attended = credentials is not None and credentials.source.attended
        return Facts(
            reason=reason,
            uri=str(self._application.uri),
            reference=self._application.serial,
            attended=attended,
            pin_source=str(credentials.source) if credentials is not None and attended else "prompt",
        )

    def _check_length(self, octets: Pin | None, pin: PinProfile) -> None:
        if octets is None or pin.minimum <= len(octets.octets()) <= pin.maximum:
            return
        octets.wipe()
        raise PinNotPresentedError(
            f"The PIN source did not give {pin.minimum} to {pin.maximum} bytes, so what it gave cannot be the PIN of "
            f"{self._application.description} and was not presented."
        )

    def _purpose(self, left: int | None, unanswered: list[Refusal]) -> str:
        retries = "" if left is None else f" ({_retries(left)})"
        return f"PIN of {self._application.description}{retries}{describe_unanswered(unanswered)}"

    def _require_credentials(self) -> Credentials:
        if self.credentials is None:
            raise PinSourceError(
                f"{sentence_case(self._application.description)} requires a PIN, and no PIN source was given.",
                remedy="Add pin-source to the URI, or pass a PIN source.",
                facts=self._facts(Reason.PIN_SOURCE_MISSING, None),
            )
        return self.credentials

    def _was_accepted(self, octets: Pin) -> bool:
        return self._accepted is not None and hmac.compare_digest(self._accepted, self._digest(octets))

    def _digest(self, octets: Pin) -> bytes:
        return hashlib.blake2b(octets.octets(), key=self._salt, digest_size=32).digest()


def _retries(left: int) -> str:
    return f"{left} {'retry' if left == 1 else 'retries'} left"
