"""A PIN source in use: what became of its PIN in this process."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field

from tokens.errors import PinNotPresented
from tokens.pin import Pin, PinSource
from tokens.refusals import RefusalMemory


@dataclass
class Credentials:
    """A PIN source for one token, and what became of its PIN in this process.

    A PIN that can be read again (file, environment) is read anew for each login. One that cannot (typed, descriptor)
    is kept in memory after the token accepted it, so that a lost session can be healed, and wiped on closing.
    """

    source: PinSource
    memory: RefusalMemory
    last_try: bool = False
    _kept: Pin | None = field(default=None, repr=False)
    _accepted: bytes = field(default=b"", repr=False)
    _refused: str | None = field(default=None, repr=False)

    @property
    def origin(self) -> str:
        """Where the PIN comes from, as a message says it behind "the PIN"."""
        return "that was typed" if self.source.attended else f"from '{self.source}'"

    def read_ahead(self, purpose: str) -> None:
        """Read the PIN now, to be presented later: so that a person is asked in the order that makes sense."""
        self._kept = self.read(purpose)

    def read(self, purpose: str) -> Pin | None:
        """The PIN, or None for a pin pad. Raises `PinNotPresented` after a refusal."""
        if self._refused is not None:
            raise PinNotPresented(self._refused)
        return self._kept if self._kept is not None else self.source.read(purpose)

    def accepted(self, pin: Pin | None, *, looked_at: bool = True) -> None:
        """The token took the PIN, or did not need to look at it: keep it or wipe it, as its source asks for."""
        if pin is None:
            return
        if looked_at:
            self._accepted = _digest(pin)
        if pin is self._kept:
            return
        if self.source.repeatable:
            pin.wipe()
        else:
            self._kept = pin

    def was_accepted(self, pin: Pin) -> bool:
        """Whether this very PIN is the last one that the token took from this process."""
        return bool(self._accepted) and hmac.compare_digest(self._accepted, _digest(pin))

    def refused(self, pin: Pin | None, sentence: str) -> None:
        """The token refused the PIN: it is wiped, and nothing of this source is presented again here."""
        self._refused = f"{sentence} It is not presented again."
        self._accepted = b""
        if pin is not None:
            pin.wipe()
        self._kept = None

    def forget(self) -> None:
        """Wipe what is kept."""
        if self._kept is not None:
            self._kept.wipe()
            self._kept = None


_OF_THIS_PROCESS = os.urandom(32)


def _digest(pin: Pin) -> bytes:
    # Only for recognising a PIN again in this process, under a key that goes with it.
    return hmac.digest(_OF_THIS_PROCESS, pin.octets(), "sha256")
