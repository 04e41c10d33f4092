"""The connection to the card in one reader, which all users of the card in one device manager share.

It serves one use at a time; others wait for a limited time. The connection records the state of the card while the
channel is open: the selected application and the verified PINs. After an error the channel is closed, and the next use
opens a new one, with nothing selected and nothing verified.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from tokens.errors import CardCancelledError, CardServiceError, NoSuchTokenError, TokenBusyError, TokenLostError
from tokens.process import forking
from tokens.smartcard.readers.channel import CardResetError, Channel
from tokens.smartcard.readers.pcsc import Contexts

CLOSING_WAIT = 2.0
"""Seconds to wait for the current use when the connection is closed."""

_SHORTEST = 0.05
"""The shortest time for an attempt, in seconds, even close to the deadline."""


class CardConnection:
    """The card in one reader. Every method may be called from any thread; only the current user reads the fields."""

    def __init__(self, contexts: Contexts, reader: str, *, exclusive: bool) -> None:
        self.reader = reader
        self.deadlines = contexts.deadlines
        self._contexts = contexts
        self._closed = False
        self.exclusive = exclusive
        self.selected: object = None
        """The owner of the selected application, or None."""
        self.verified: set[int] = set()
        """References of the PINs that the selected application considers verified."""
        self._pin_presented = False
        self._channel: Channel | None = None
        self._using = threading.Lock()
        forking.register(self)

    @contextlib.contextmanager
    def use(self, wait: float) -> Iterator[Channel]:
        """Use the card alone until the block ends.

        Raises `TokenBusyError` after `wait` seconds, `TokenLostError` after `close`, and as `Channel` does.
        """
        channel = self.acquire(wait)
        try:
            yield channel
        except (TokenLostError, NoSuchTokenError, CardServiceError):
            self.invalidate()
            raise
        finally:
            self.release()

    def acquire(self, wait: float) -> Channel:
        """Begin a use that `release` ends, perhaps on another thread. Raises as `use` does."""
        began = time.monotonic()
        deadline = began + wait
        if not self._using.acquire(timeout=wait):
            raise TokenBusyError(
                f"The card in {self.reader} has been serving another part of this program for more than {wait:.0f} "
                "seconds. A card does one operation at a time."
            )
        try:
            if began <= self._contexts.given_up_before:
                raise CardCancelledError(
                    f"The wait for the card in {self.reader} was ended, because this process is ending."
                )
            return self._ready(deadline)
        except BaseException:
            self.invalidate()
            self._using.release()
            raise

    def reconnect(self, wait: float) -> Channel:
        """Open another channel within `wait` seconds, during a use whose channel was invalidated."""
        return self._ready(time.monotonic() + wait)

    def release(self) -> None:
        """End a use. With transactions the card is reset if a PIN was presented: no other program may inherit it."""
        try:
            if self._channel is not None and not self.exclusive:
                self._channel.end(reset=self._pin_presented)
                self.forget()
        finally:
            self._using.release()

    def note_pin(self) -> None:
        """Record that a PIN was sent to the card, which must be reset before other programs use it."""
        self._pin_presented = True

    def forget_pins(self) -> None:
        """Forget the selected application and its verified PINs. Keeps the record that a reset is due."""
        self.selected = None
        self.verified.clear()

    def forget(self) -> None:
        """Forget the selected application, its verified PINs, and that a reset is due."""
        self.forget_pins()
        self._pin_presented = False

    def invalidate(self) -> None:
        """Close the channel after an error; the next use opens a new one."""
        channel, self._channel = self._channel, None
        reset = self._pin_presented
        self.forget()
        if channel is not None:
            channel.close(reset=reset)

    def cancel(self) -> None:
        """Cancel the current command."""
        channel = self._channel
        if channel is not None:
            channel.cancel()

    def close(self) -> None:
        """Disconnect. The current use ends with an error. The card forgets a verified PIN."""
        self._closed = True
        if not self._using.acquire(timeout=CLOSING_WAIT):
            self.cancel()
            return
        try:
            self.invalidate()
        finally:
            self._using.release()

    def _ready(self, deadline: float) -> Channel:
        if self._closed:
            raise TokenLostError(f"The connection to the card in {self.reader} was closed.")
        while True:
            left = max(deadline - time.monotonic(), _SHORTEST)
            if self._channel is None or not self._channel.usable:
                self.invalidate()
                self._channel = Channel(self._contexts, self.reader, exclusive=self.exclusive, wait=left)
            if self.exclusive:
                return self._channel
            try:
                self._channel.begin(max(deadline - time.monotonic(), _SHORTEST))
                return self._channel
            except CardResetError:
                # Another program ended its use, which reset the card: connect again.
                if time.monotonic() > deadline:
                    raise
                self.invalidate()

    # -- forks ----------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Do nothing: `pcsc` waits for its calls."""

    def after_fork_in_parent(self) -> None:
        """Do nothing."""

    def after_fork_in_child(self) -> None:
        """Forget the channel, which belongs to the parent."""
        self._using = threading.Lock()
        self._channel = None
        self.forget()
