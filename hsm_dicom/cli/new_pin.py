"""A PIN that is being set: where it is typed, it is typed twice."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from tokens.errors import PinSourceError
from tokens.pin import Pin, PinSource, Prompt, parse_pin_source


@dataclass(frozen=True)
class TypedTwice:
    """Typed on the terminal, twice. Satisfies `tokens.pin.PinSource`."""

    attended = True
    repeatable = False

    def read(self, purpose: str) -> Pin | None:
        first, second = Prompt().read(purpose), Prompt().read(f"{purpose}, again")
        if first is None or second is None or not hmac.compare_digest(first.octets(), second.octets()):
            raise PinSourceError(f"The {purpose} was typed differently the second time. Nothing was changed.")
        second.wipe()
        return first

    def __str__(self) -> str:
        return "prompt"


def new_pin_source(named: str) -> PinSource:
    """The source of a PIN that is to be set. Raises `PinSourceError`."""
    source = parse_pin_source(named)
    return TypedTwice() if isinstance(source, Prompt) else source
