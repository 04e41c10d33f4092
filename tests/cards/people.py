"""People at a terminal, for tests of PINs that somebody types."""

from __future__ import annotations

from tokens.pins.sources import Pin


class AtHand:
    """A person who types one PIN, and can be trusted with the last try. Satisfies `tokens.pins.sources.PinSource`."""

    attended = True
    repeatable = False

    def __init__(self, pin: str) -> None:
        self._pin = pin
        self.asked: list[str] = []

    def read(self, purpose: str) -> Pin:
        """Type it."""
        self.asked.append(purpose)
        return Pin(self._pin.encode())

    def __str__(self) -> str:
        return "a person"
