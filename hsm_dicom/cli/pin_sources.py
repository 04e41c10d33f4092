"""PIN sources of options; a new PIN that is typed on the terminal is typed twice."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import typer

from tokens.errors import PinSourceError
from tokens.pins.sources import Pin, PinSource, Prompt, parse_pin_source


@dataclass(frozen=True)
class TypedTwice:
    """`PinSource` that prompts twice on the terminal; `option` is for the message if there is no terminal."""

    option: str
    attended = True
    repeatable = False

    def read(self, purpose: str) -> Pin | None:
        prompt = Prompt(self.option)
        first, second = prompt.read(purpose), prompt.read(f"{purpose}, again")
        if first is None or second is None:
            return None
        same = hmac.compare_digest(first.octets(), second.octets())
        second.wipe()
        if not same:
            first.wipe()
            raise PinSourceError(f"The {purpose} was typed differently the second time. Nothing was changed.")
        return first

    def __str__(self) -> str:
        return "prompt"


def pin_source_of(text: str, option: str) -> PinSource:
    """Return the PIN source that an option selects. Raises `typer.BadParameter`, which never repeats the value."""
    try:
        source = parse_pin_source(text)
    except PinSourceError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    return Prompt(option) if isinstance(source, Prompt) else source


def new_pin_source(text: str, option: str) -> PinSource:
    """Return the PIN source that an option selects for a new PIN. Raises `typer.BadParameter`."""
    source = pin_source_of(text, option)
    return TypedTwice(option) if isinstance(source, Prompt) else source
