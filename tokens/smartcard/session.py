"""One use of a card, in which a family, a key and a login exchange commands with it."""

from __future__ import annotations

import time

from tokens.smartcard.apdu.encoding import Command, exchange
from tokens.smartcard.profiles import CardProfile
from tokens.smartcard.readers.channel import Channel
from tokens.smartcard.readers.connection import CardConnection


class CardSession:
    """A card with its application selected, while no other thread or program can use it. For one thread."""

    def __init__(self, profile: CardProfile, channel: Channel, connection: CardConnection) -> None:
        self.profile = profile
        self.connection = connection
        self.channel = channel
        self.timeout = profile.timeout
        """Seconds for one command."""

    def exchange(self, command: Command, *, accept: frozenset[int] = frozenset()) -> bytes:
        """Carry out a command and return the response's data.

        Raises `StatusError` unless the status is 9000 or in `accept`, `CardLostError` or `CardTimeoutError`.
        """
        deadline = time.monotonic() + self.timeout

        def transmit(apdu: bytes) -> bytes:
            return self.channel.transmit(apdu, max(deadline - time.monotonic(), 0.001))

        return exchange(transmit, command, extended=self.profile.extended, accept=accept)
