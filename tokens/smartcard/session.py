"""One use of a card, in which a family, a key and a login exchange commands with it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

from tokens.deadlines import CallDeadlines
from tokens.smartcard.apdu.encoding import Command, exchange
from tokens.smartcard.profiles import CardProfile
from tokens.smartcard.readers.channel import Channel
from tokens.smartcard.readers.connection import CardConnection

_LOGIN = frozenset({0x20})
"""The instruction of VERIFY."""

_USES_OF_KEYS = frozenset({0x2A, 0x82, 0x87, 0x88})
"""PERFORM SECURITY OPERATION, EXTERNAL, GENERAL and INTERNAL AUTHENTICATE."""


class CardSession:
    """A card with its application selected, while no other thread or program can use it. For one thread."""

    def __init__(
        self, profile: CardProfile, channel: Channel, connection: CardConnection, deadlines: CallDeadlines
    ) -> None:
        self.profile = profile
        self.connection = connection
        self.channel = channel
        self.deadlines = deadlines
        """Seconds for one command, by its kind."""
        self.ends = math.inf
        """When the use of the card ends, on the monotonic clock; no command takes longer."""
        self._awaits_touch = False

    def exchange(self, command: Command, *, accept: frozenset[int] = frozenset()) -> bytes:
        """Carry out a command and return the response's data.

        Raises `StatusError` unless the status is 9000 or in `accept`, `CardLostError` or `CardTimeoutError`.
        """
        deadline = min(time.monotonic() + self._limit_of(command), self.ends)

        def transmit(apdu: bytes) -> bytes:
            return self.channel.transmit(apdu, max(deadline - time.monotonic(), 0.001))

        return exchange(transmit, command, extended=self.profile.extended, accept=accept)

    @contextlib.contextmanager
    def awaiting_touch(self, awaits: bool) -> Iterator[None]:
        """Give each use of a key the time of a person during the block, if the card waits for a touch."""
        self._awaits_touch = awaits
        try:
            yield
        finally:
            self._awaits_touch = False

    def _limit_of(self, command: Command) -> float:
        if command.ins in _LOGIN:
            return self.deadlines.login
        if command.ins in _USES_OF_KEYS:
            return self.deadlines.person if self._awaits_touch else self.deadlines.sign
        return self.deadlines.session
