"""Open cards, keys and secret keys by `card:` URI."""

from __future__ import annotations

from collections.abc import Mapping

from tokens.card_uri import CardUri
from tokens.deadlines import CallDeadlines
from tokens.pins.credentials import Credentials
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import PinSource, parse_pin_source
from tokens.policy import KeyPolicy
from tokens.smartcard.card import WAIT, CardApplication
from tokens.smartcard.cards import Cards
from tokens.smartcard.key import SmartCardKey, find_key
from tokens.smartcard.profiles import CardProfile
from tokens.smartcard.search import find_card
from tokens.smartcard.secrets import SmartCardSecrets


class OpenedCard:
    """One user's share in an application on a card, which is closed with its last user."""

    def __init__(self, cards: Cards, application: CardApplication) -> None:
        self._cards = cards
        self.application = application
        self._open = True

    def close(self) -> None:
        """Release the share. Closing twice is allowed."""
        if self._open:
            self._open = False
            self._cards.release_application(self.application)

    def __enter__(self) -> CardApplication:
        return self.application

    def __exit__(self, *_: object) -> None:
        self.close()


def open_card(
    cards: Cards,
    uri: CardUri,
    *,
    pin: str | PinSource | None = None,
    memory: RefusalMemory | None = None,
    last_try: bool = False,
    profiles: Mapping[str, CardProfile] | None = None,
    wait: float = WAIT,
    deadlines: CallDeadlines | None = None,
) -> OpenedCard:
    """Return a share in the one card that matches, with its application selected. Presents no PIN yet.

    All shares of an application use one login, with the PIN source of the first share that has one. `profiles` are
    added to the shipped ones, by name. `wait` is how many seconds a job waits for a card in use. `deadlines` are how
    long a command may take; None stands for those of the profile.
    """
    reader, profile = find_card(cards, uri, profiles, deadlines)
    source = parse_pin_source(uri.pin_source) if uri.pin_source is not None else pin
    source = parse_pin_source(source) if isinstance(source, str) else source
    credentials = None if source is None else Credentials(source, memory or RefusalMemory(), last_try)
    aid = uri.aid or profile.aid
    application = cards.acquire_application(reader, uri.exclusive, profile, aid, credentials, wait, deadlines)
    opened = OpenedCard(cards, application)
    try:
        opened.application.run(lambda session: None, "be opened")
        return opened
    except BaseException:
        opened.close()
        raise


def open_card_key(opened: OpenedCard, name: str | None, policy: KeyPolicy) -> SmartCardKey:
    """Return the driver of one key, which releases the share when it is closed.

    Raises `NoSuchKeyError`, `UnsupportedKeyError`, `KeyPolicyError`.
    """
    try:
        application = opened.application
        key = find_key(application.profile, name, application.description)
        return SmartCardKey(application, key, policy, opened.close)
    except BaseException:
        opened.close()
        raise


def open_card_secrets(opened: OpenedCard) -> SmartCardSecrets:
    """Return the driver of the secret keys, which releases the share when it is closed. Raises `NoSuchKeyError`."""
    try:
        return SmartCardSecrets(opened.application, opened.close)
    except BaseException:
        opened.close()
        raise
