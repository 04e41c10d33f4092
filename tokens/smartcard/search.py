"""Find a card by the name of its reader, its ATR, its serial number or its application."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from tokens.card_uri import CardUri
from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
from tokens.errors import CardTimeoutError, NoSuchCardError, NoSuchReaderError, SeveralTokensError, TokenError
from tokens.smartcard.card import CardApplication
from tokens.smartcard.cards import Cards
from tokens.smartcard.profiles import SHIPPED, CardProfile, Family, find_profile
from tokens.smartcard.readers.pcsc import (
    NO_READER,
    SERVICE_TIMEOUT,
    Context,
    Contexts,
    PcscError,
    list_readers,
    service_error,
)

_PROBING_WAIT = 2.0
"""Seconds to wait for a card in use while looking for one that matches."""

_LISTINGS = 3
"""How often the readers are listed, if one is pulled out before its state was read."""


@dataclass(frozen=True, kw_only=True)
class CardInfo:
    """A reader, and the card in it.

    `atr` is None for an empty reader. `in_use` means that a program uses the card exclusively, so that its applications
    are unknown. `applications` are the profiles whose application answered; `serials` are their serial numbers.
    """

    reader: str
    atr: bytes | None = None
    in_use: bool = False
    applications: tuple[str, ...] = ()
    serials: tuple[str, ...] = ()

    @property
    def uris(self) -> tuple[CardUri, ...]:
        """A URI for each application, which finds this card in any reader if it has a serial number."""
        return tuple(
            CardUri(serial=serial or None, reader=None if serial else self.reader, profile=name)
            for name, serial in zip(self.applications, self.serials, strict=True)
        )


def list_cards(cards: Cards, profiles: Mapping[str, CardProfile] | None = None) -> tuple[CardInfo, ...]:
    """Return every reader and its card, with the applications of the known profiles. Changes nothing on a card.

    Raises `CardServiceError`.
    """
    known = [profile for profile in {**SHIPPED, **(profiles or {})}.values() if profile.aid is not None]
    return tuple(_look_into(cards, slot, known) for slot in list_slots(cards.contexts))


def find_card(
    cards: Cards,
    wanted: CardUri,
    profiles: Mapping[str, CardProfile] | None = None,
    deadlines: CallDeadlines | None = None,
) -> tuple[str, CardProfile]:
    """Return the reader of the one card that matches, and its profile. `deadlines` are for each card that is asked.

    Raises `NoSuchReaderError`, `NoSuchCardError` or `SeveralTokensError`, which list the readers and cards; `UriError`.
    """
    profile = find_profile(wanted.profile or _profile_of(wanted, profiles or {}), profiles or {})
    present = list_slots(cards.contexts)
    in_readers = [slot for slot in present if wanted.reader is None or fnmatchcase(slot.reader, wanted.reader)]
    if not in_readers:
        names = ", ".join(slot.reader for slot in present) or "none"
        raise NoSuchReaderError(f"No smart card reader matches '{wanted.reader or '*'}'. There are: {names}.")
    candidates = [slot for slot in in_readers if slot.atr is not None and _atr_matches(wanted, slot.atr)]
    if not candidates:
        raise NoSuchCardError(f"No card matches {wanted.card_part()}. {_describe(in_readers)}")
    if wanted.serial is None and len(candidates) == 1:
        return candidates[0].reader, profile
    fitting = [slot for slot in candidates if _fits(cards, slot.reader, wanted, profile, deadlines)]
    if len(fitting) == 1:
        return fitting[0].reader, profile
    if not fitting:
        raise NoSuchCardError(f"No card matches {wanted.card_part()}. {_describe(in_readers)}")
    raise SeveralTokensError(
        f"{len(fitting)} cards match {wanted.card_part()}, in {', '.join(slot.reader for slot in fitting)}.",
        remedy="Add reader=… or serial=… to the URI.",
    )


def list_slots(contexts: Contexts) -> list[CardInfo]:
    """Return readers and ATRs as pcscd reports them, without using a card."""
    context = contexts.establish()
    try:
        for _ in range(_LISTINGS - 1):
            try:
                return _read_slots(context)
            except PcscError as error:
                if error.code not in NO_READER:
                    raise
        return _read_slots(context)
    except PcscError as error:
        raise service_error(error) from error
    finally:
        context.release()


def _read_slots(context: Context) -> list[CardInfo]:
    library = context.library
    asked = [(name, library.SCARD_STATE_UNAWARE) for name in list_readers(context)]
    if not asked:
        return []
    (states,) = context.with_handle(library.SCardGetStatusChange, 0, asked, timeout=SERVICE_TIMEOUT)
    return [
        CardInfo(
            reader=name,
            atr=bytes(atr) if state & library.SCARD_STATE_PRESENT and atr else None,
            in_use=bool(state & library.SCARD_STATE_EXCLUSIVE),
        )
        for name, state, atr in states
    ]


@contextlib.contextmanager
def probe(
    cards: Cards,
    reader: str,
    profile: CardProfile,
    aid: bytes | None = None,
    deadlines: CallDeadlines | None = None,
) -> Iterator[CardApplication]:
    """Open an application on a card without a PIN: with transactions, or through a connection that is open already."""
    connection = cards.acquire_probe(reader)
    application = CardApplication(
        connection, profile, aid or profile.aid, None, wait=_PROBING_WAIT, deadlines=deadlines
    )
    try:
        yield application
    finally:
        application.close()
        cards.release_connection(connection)


def _fits(cards: Cards, reader: str, wanted: CardUri, profile: CardProfile, deadlines: CallDeadlines | None) -> bool:
    try:
        with probe(cards, reader, profile, wanted.aid, deadlines) as application, application.session():
            return wanted.serial is None or application.serial == wanted.serial.lower()
    except TokenError:
        return False


def _look_into(cards: Cards, slot: CardInfo, known: list[CardProfile]) -> CardInfo:
    if slot.atr is None or (slot.in_use and not cards.has_connection(slot.reader)):
        return slot
    found: dict[str, str] = {}
    for profile in known:
        try:
            with (
                probe(cards, slot.reader, profile, deadlines=profile.deadlines or DEFAULT_DEADLINES) as application,
                application.session(),
            ):
                identity = application.identity
                found[profile.name] = identity.serial if identity else ""
        except CardTimeoutError:
            break  # it does not answer the other profiles' questions either
        except TokenError:
            continue
    return CardInfo(reader=slot.reader, atr=slot.atr, applications=tuple(found), serials=tuple(found.values()))


def _profile_of(wanted: CardUri, profiles: Mapping[str, CardProfile]) -> str:
    """Return the profile for a URI without one: by its AID, or the generic profile."""
    if wanted.aid is not None:
        for profile in {**SHIPPED, **profiles}.values():
            if profile.aid == wanted.aid:
                return profile.name
    return Family.ISO7816.value


def _atr_matches(wanted: CardUri, atr: bytes) -> bool:
    return wanted.atr is None or fnmatchcase(atr.hex(), wanted.atr.lower())


def _describe(present: list[CardInfo]) -> str:
    found = [
        f"{slot.reader}: {'no card' if slot.atr is None else 'a card with ATR ' + slot.atr.hex()}"
        + (" in exclusive use by another program" if slot.in_use else "")
        for slot in present
    ]
    return f"There is: {'; '.join(found)}."
