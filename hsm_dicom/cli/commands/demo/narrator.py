"""How the demonstration is told: numbered steps, what each found, how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hsm_dicom.cli.render import output

_INDENT = 4


@dataclass
class Narrator:
    """Prints to standard output, readable in 80 columns and without colour."""

    timings: list[tuple[str, float]] = field(default_factory=list)
    _steps: int = 0

    def title(self, text: str, below: str) -> None:
        """What the whole is."""
        output.say((text, "bold"))
        output.say(below)

    def step(self, title: str, why: str) -> None:
        """Begin the next step: its number and name, and what it shows."""
        self._steps += 1
        print()
        output.say((f"{self._steps:2}  {title}", "bold cyan"))
        output.say(why, indent=_INDENT)

    def facts(self, *rows: tuple[str, str]) -> None:
        """What was found."""
        output.facts(((name, output.shown(value)) for name, value in rows), indent=_INDENT)

    def good(self, text: str) -> None:
        """Something is as it should be."""
        output.outcome(True, f"{output.shown(text)}", indent=_INDENT)

    def refusal(self, text: str) -> None:
        """Something was refused, as it should be."""
        output.outcome(False, f"{output.shown(text)}", indent=_INDENT)

    def remark(self, text: str) -> None:
        """Something to know."""
        output.say((output.shown(text), output.QUIET), indent=_INDENT)

    def command(self, text: str) -> None:
        """What to type for the same."""
        output.say_verbatim(f"$ {text}", indent=_INDENT, style="green")

    @contextmanager
    def time_step(self, what: str) -> Iterator[None]:
        """Measure the block for the table at the end."""
        started = time.perf_counter()
        with output.working(what):
            yield
        self.timings.append((what, time.perf_counter() - started))
