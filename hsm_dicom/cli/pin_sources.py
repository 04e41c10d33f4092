"""PIN sources that an option names; and a PIN that is being set: where it is typed, it is typed twice."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

import typer

from tokens.errors import PinSourceError
from tokens.pins.sources import Pin, PinSource, Prompt, parse_pin_source


@dataclass(frozen=True)
class TypedTwice:
    """A PIN typed on the terminal, twice (a `PinSource`); `option` is for the message where there is no terminal."""

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


def pin_source_of(named: str, option: str) -> PinSource:
    """The source that an option names. Raises `typer.BadParameter`, which never repeats what stood there."""
    try:
        source = parse_pin_source(named)
    except PinSourceError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
    return Prompt(option) if isinstance(source, Prompt) else source


def new_pin_source(named: str, option: str) -> PinSource:
    """The same for a PIN that is to be set."""
    source = pin_source_of(named, option)
    return TypedTwice(option) if isinstance(source, Prompt) else source
