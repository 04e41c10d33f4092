"""What a job made of a function that hangs."""

from __future__ import annotations

from dataclasses import dataclass

SHOWS_LATE_EFFECT = ("CeremonyError", "NoSuchKeyError", "PinRefusedError")
"""What the job ends with if the call has done late what it was called for: the PIN is another one, the key is gone."""


@dataclass(frozen=True)
class Hung:
    """What a job made of a function that hangs."""

    job: str
    function: str
    when: str
    """Whether it hangs before it does what it was called for, or after."""
    called: bool
    outcome: str
    text: str
    seconds: float
    then: str
    """The outcome of the same job once the call has returned."""
    pins: list[str]
    """Each PIN that was presented until then."""
    later: list[str]
