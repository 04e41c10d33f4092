"""The line to the card in one reader, which everything in this process that uses this card shares.

One use at a time; others queue for a bounded time. The line keeps what is true of the card as long as the channel
lives: which application is selected, and which PINs are verified. It never heals by itself: after an error it drops the
channel, and the next use opens a new one, with nothing selected and nothing verified.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tokens.errors import CardServiceError, NoSuchTokenError, TokenBusyError, TokenLostError
from tokens.process import forking
from tokens.smartcard.readers.channel import CardResetError, Channel

CLOSING_WAIT = 2.0
"""Seconds that a use under way gets to end when the line is closed."""

_SHORTEST = 0.05
"""Seconds that an attempt gets even where the time is nearly up."""


class CardLine:
    """The card in one reader. Every method may be called from any thread; the fields belong to whoever holds it."""

    def __init__(self, reader: str, *, exclusive: bool) -> None:
        self.reader = reader
        self.exclusive = exclusive
        self.selected: object = None
        """Whose application is selected, or None."""
        self.verified: set[int] = set()
        """References of the PINs that the selected application holds for verified."""
        self._pin_presented = False
        self._channel: Channel | None = None
        self._using = threading.Lock()
        forking.register(self)

    @contextlib.contextmanager
    def used(self, wait: float) -> Iterator[Channel]:
        """Have the card to oneself. Raises `TokenBusyError` after `wait` seconds, and whatever `Channel` raises."""
        channel = self.take(wait)
        try:
            yield channel
        except (TokenLostError, NoSuchTokenError, CardServiceError):
            self.drop()
            raise
        finally:
            self.give_back()

    def take(self, wait: float) -> Channel:
        """Begin a use that `give_back` ends, perhaps on another thread."""
        deadline = time.monotonic() + wait
        if not self._using.acquire(timeout=wait):
            raise TokenBusyError(
                f"The card in {self.reader} has been serving another part of this program for more than {wait:.0f} "
                "seconds; a card serves one after the other."
            )
        try:
            return self._ready(deadline)
        except BaseException:
            self.drop()
            self._using.release()
            raise

    def renew(self, wait: float) -> Channel:
        """In the middle of a use whose channel was dropped: another one, within `wait` seconds."""
        return self._ready(time.monotonic() + wait)

    def give_back(self) -> None:
        """End a use. In transactions the card is reset if a PIN was presented, so that no neighbour inherits it."""
        try:
            if self._channel is not None and not self.exclusive:
                self._channel.end(reset=self._pin_presented)
                self.forget()
        finally:
            self._using.release()

    def pin_presented(self) -> None:
        """A PIN went to the card: it must be reset before others get it."""
        self._pin_presented = True

    def forget_pins(self) -> None:
        """An application is about to be selected: no PIN of the one before counts. The reset stays due."""
        self.selected = None
        self.verified.clear()

    def forget(self) -> None:
        """Nothing is selected and nothing verified any more, and no reset is due."""
        self.forget_pins()
        self._pin_presented = False

    def drop(self) -> None:
        """The channel is of no use any more."""
        channel, self._channel = self._channel, None
        reset = self._pin_presented
        self.forget()
        if channel is not None:
            channel.close(reset=reset)

    def cancel(self) -> None:
        """Have a command that is under way end now."""
        channel = self._channel
        if channel is not None:
            channel.cancel()

    def close(self) -> None:
        """Disconnect; a use that is under way ends with an error. A verified PIN is forgotten by the card."""
        if not self._using.acquire(timeout=CLOSING_WAIT):
            self.cancel()
            return
        try:
            self.drop()
        finally:
            self._using.release()

    def _ready(self, deadline: float) -> Channel:
        while True:
            left = max(deadline - time.monotonic(), _SHORTEST)
            if self._channel is None or not self._channel.usable:
                self.drop()
                self._channel = Channel(self.reader, exclusive=self.exclusive, wait=left)
            if self.exclusive:
                return self._channel
            try:
                self._channel.begin(max(deadline - time.monotonic(), _SHORTEST))
                return self._channel
            except CardResetError:
                # A neighbour's PIN was cleared away: connect again, it is our turn.
                if time.monotonic() > deadline:
                    raise
                self.drop()

    # -- forks ----------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """PC/SC is made quiet by its own module."""

    def after_fork_in_parent(self) -> None:
        """Nothing was changed."""

    def after_fork_in_child(self) -> None:
        """The channel is the parent's; its context was abandoned."""
        self._using = threading.Lock()
        self._channel = None
        self.forget()
