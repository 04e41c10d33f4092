"""One application on one card: selecting it, identifying the card, logging in, and reconnecting after a loss.

A job runs while no other thread or program can use the card. If the card is lost, the application reconnects, selects
itself again, compares the serial number, and repeats the job once. Another card is refused.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tokens.card_uri import CardUri
from tokens.deadlines import CallDeadlines
from tokens.errors import (
    CardCancelledError,
    CardLostError,
    CardServiceError,
    CardTimeoutError,
    Facts,
    NoSuchCardError,
    NoSuchReaderError,
    Reason,
    TokenBusyError,
    TokenError,
    TokenLostError,
    WrongCardError,
    sentence_case,
)
from tokens.events import OperationOutcome, Reconnection
from tokens.events.reporting import report
from tokens.pins.credentials import Credentials
from tokens.smartcard.apdu.commands import select_application
from tokens.smartcard.apdu.status import NOT_FOUND, StatusError
from tokens.smartcard.families.table import FAMILIES
from tokens.smartcard.login import Login
from tokens.smartcard.profiles import CardProfile, PinProfile
from tokens.smartcard.readers.channel import CardResetError, Channel
from tokens.smartcard.readers.connection import CardConnection
from tokens.smartcard.session import CardSession

WAIT = 10.0
"""Seconds that a job waits for a card that is in use."""

GRACE = 1.0
"""Seconds within which a card that was lost during a job may be inserted again; pcscd notices it after 0.4."""

_PAUSE = 0.1

LOSSES = (CardLostError, CardServiceError, NoSuchCardError, NoSuchReaderError)
"""Errors that may end when the card is inserted again or the service is started again."""

HOPELESS = (CardTimeoutError, CardCancelledError, WrongCardError)
"""The losses after which an immediate retry is useless."""

T = TypeVar("T")


@dataclass(frozen=True)
class CardIdentity:
    """The identity of a card: its serial number, or its ATR if the profile has no place for a serial number.

    The ATR of a card with a serial number may differ between power-on and reset.
    """

    atr: bytes
    serial: str

    @property
    def name(self) -> str:
        """The serial number, or the ATR of a card that reports none."""
        return self.serial or f"ATR {self.atr.hex()}"


class CardApplication:
    """One application on one card. Any number of threads may run jobs; the card carries out one at a time."""

    def __init__(
        self,
        connection: CardConnection,
        profile: CardProfile,
        aid: bytes | None,
        credentials: Credentials | None,
        *,
        wait: float = WAIT,
        deadlines: CallDeadlines | None = None,
    ) -> None:
        self.connection = connection
        self.profile = profile
        self.deadlines = deadlines or profile.list_deadlines()
        self.aid = aid
        self.wait = wait
        self.family = FAMILIES[profile.family]
        self.login = Login(self, credentials)
        self.identity: CardIdentity | None = None
        self._closed = False

    @property
    def label(self) -> str:
        """The profile and the reader, for events."""
        return f"{self.profile.name} in {self.connection.reader}"

    @property
    def serial(self) -> str:
        """The card's serial number or its ATR, for events and the record of refused PINs."""
        return self.identity.name if self.identity else ""

    @property
    def description(self) -> str:
        """The card, its reader and its serial number, for messages."""
        serial = f" (serial {self.serial})" if self.identity else ""
        return f"the {self.profile.name} card in {self.connection.reader}{serial}"

    @property
    def uri(self) -> CardUri:
        """The URI that opens this application again in any reader."""
        identity = self.identity
        return CardUri(
            serial=identity.serial if identity and identity.serial else None,
            atr=identity.atr.hex() if identity and not identity.serial else None,
            profile=self.profile.name,
            aid=self.aid if self.aid != self.profile.aid else None,
            sharing=None if self.connection.exclusive else "transactions",
        )

    def run(self, job: Callable[[CardSession], T], doing: str) -> T:
        """Run `job` while no other thread or program can use the card; repeat it once after a reconnection.

        `doing` completes the sentence "the card could not …".
        """

        def attempt() -> T:
            with self.session() as session:
                return job(session)

        return self.reconnect_and_retry(attempt, doing)

    def reconnect_and_retry(self, attempt: Callable[[], T], doing: str) -> T:
        """Return what `attempt` returns, which uses the card; call it again for a short time if the card was lost."""
        try:
            return attempt()
        except HOPELESS:
            raise
        except LOSSES as error:
            if self.identity is None and not isinstance(error, CardLostError):
                raise  # the card was never found
            lost = error
        return self._retry(attempt, doing, lost)

    @contextlib.contextmanager
    def session(self, wait: float | None = None) -> Iterator[CardSession]:
        """Use the card, with this application selected, until the block ends. Does not reconnect."""
        self.require_open()
        with self.connection.use(self.wait if wait is None else wait) as channel:
            yield self.select(channel)

    def select(self, channel: Channel) -> CardSession:
        """Return a session on an acquired channel, with the application selected and the card's identity checked."""
        session = CardSession(self.profile, channel, self.connection, self.deadlines)
        if self.connection.selected is not self:
            answer = self._send_select(session)
            self.check_identity(CardIdentity(channel.atr, self.family.serial(session, answer) or ""))
            self.connection.selected = self
        return session

    def verify(self, session: CardSession, pin: PinProfile, *, again: bool = False) -> None:
        """Present the PIN, unless the card considers it verified already and `again` is False."""
        if again or pin.reference not in self.connection.verified:
            self.login.verify(session, pin)
            self.connection.verified.add(pin.reference)

    def check_identity(self, found: CardIdentity) -> None:
        """Remember the identity of the first card. Raise `WrongCardError` for any other card later."""
        if self.identity is None:
            self.identity = found
        elif self.identity.name != found.name:
            raise WrongCardError(
                f"The card in {self.connection.reader} ({found.name}) is not the card that was opened "
                f"({self.identity.name}).",
                remedy="Insert that card again, or open the new one.",
            )

    def require_open(self) -> None:
        """Raise `TokenLostError` after `close`."""
        if self._closed:
            raise TokenLostError(f"{sentence_case(self.description)} was closed.")

    def cancel(self) -> None:
        """Cancel the current command, which raises `CardCancelledError`. May be called from any thread."""
        self.connection.cancel()

    def close(self) -> None:
        """Wipe the stored PIN. `Cards` closes the connection."""
        self._closed = True
        self.login.forget()

    def _send_select(self, session: CardSession) -> bytes:
        """Select the application, after which the card considers no PIN verified."""
        self.connection.forget_pins()
        if self.aid is None:
            return b""
        try:
            return session.exchange(select_application(self.aid))
        except StatusError as error:
            if error.status in NOT_FOUND:
                raise NoSuchCardError(
                    f"The card in {self.connection.reader} has no {self.profile.name} application ({self.aid.hex()}).",
                    facts=Facts(reason=Reason.NO_APPLICATION, uri=str(self.uri)),
                ) from error
            raise

    def _retry(self, attempt: Callable[[], T], doing: str, lost: TokenError) -> T:
        began = time.monotonic()
        event = Reconnection(token_serial=self.serial, token_label=self.label, step="looked for the card")
        with report(event) as reported:
            while True:
                try:
                    result = attempt()
                except (*HOPELESS, TokenBusyError):
                    raise
                except LOSSES as error:
                    # If another program reset the card, the card is present and the next transaction will get it;
                    # pcscd may report the reset only after that transaction has begun.
                    limit = self.wait if isinstance(error, CardResetError) else GRACE
                    if time.monotonic() > began + limit:
                        reported.end(OperationOutcome.FAILED, str(error))
                        raise CardLostError(
                            f"{sentence_case(self.description)} could not {doing}: {error} "
                            "It is then used again without a restart."
                        ) from error
                    time.sleep(_PAUSE)
                except TokenError:
                    # The card is back; what failed now is the job.
                    reported.set(step="connected to the card again")
                    reported.end(OperationOutcome.SUCCEEDED, str(lost))
                    raise
                else:
                    reported.set(token_serial=self.serial, step="connected to the card again")
                    reported.end(OperationOutcome.SUCCEEDED, str(lost))
                    return result
