"""Output of the demonstration: numbered steps, with their results and durations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hsm_dicom.cli.render import output

_INDENT = 4


@dataclass
class Narrator:
    """Printer to standard output, readable in 80 columns and without colour."""

    timings: list[tuple[str, float]] = field(default_factory=list)
    _steps: int = 0

    def title(self, text: str, below: str) -> None:
        """Print the title of the demonstration."""
        output.say((text, "bold"))
        output.say(below)

    def step(self, title: str, why: str) -> None:
        """Print the number, the title and the purpose of the next step."""
        self._steps += 1
        print()
        output.say((f"{self._steps:2}  {title}", "bold cyan"))
        output.say(why, indent=_INDENT)

    def facts(self, *rows: tuple[str, str]) -> None:
        """Print results as names and values."""
        output.facts(((name, output.shown(value)) for name, value in rows), indent=_INDENT)

    def good(self, text: str) -> None:
        """Print a success."""
        output.outcome(True, f"{output.shown(text)}", indent=_INDENT)

    def refusal(self, text: str) -> None:
        """Print an expected refusal."""
        output.outcome(False, f"{output.shown(text)}", indent=_INDENT)

    def remark(self, text: str) -> None:
        """Print a remark."""
        output.say((output.shown(text), output.QUIET), indent=_INDENT)

    def command(self, text: str) -> None:
        """Print the command that does the same."""
        output.say_verbatim(f"$ {text}", indent=_INDENT, style="green")

    @contextmanager
    def time_step(self, what: str) -> Iterator[None]:
        """Measure the duration of the block for the table at the end."""
        started = time.perf_counter()
        with output.working(what):
            yield
        self.timings.append((what, time.perf_counter() - started))
