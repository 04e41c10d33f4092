"""One measured line, the way to measure two things fairly, and the table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True)
class Row:
    """One comparison. `wanted` is the bound on `ratio`, with its sense (">= 0.85"), or empty for a mere figure."""

    what: str
    ours: str
    peer: str
    ratio: float | None = None
    wanted: str = ""

    @property
    def holds(self) -> bool:
        """Whether the ratio keeps its bound."""
        if not self.wanted or self.ratio is None:
            return True
        sense, bound = self.wanted.split()
        return self.ratio >= float(bound) if sense == ">=" else self.ratio <= float(bound)


def in_turns(
    jobs: dict[str, Callable[[], object]], rounds: int = 5, prepare: Callable[[], object] = lambda: None
) -> dict[str, float]:
    """The median seconds of each job, the jobs taken in turns so that a noisy moment hits them alike.

    `prepare` is called before each job; its time does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            prepare()
            started = time.perf_counter()
            job()
            times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def processor_seconds(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median seconds of processor time that this process spends for each job, the jobs taken in turns.

    Other work on the machine disturbs it less than the time that passes. It does not count waits.
    """
    spent: dict[str, list[float]] = {name: [] for name in jobs}

    def turn(name: str) -> None:
        started = time.process_time()
        jobs[name]()
        spent[name].append(time.process_time() - started)

    in_turns({name: partial(turn, name) for name in jobs}, rounds)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def table(rows: Iterable[Row]) -> str:
    """Markdown."""
    lines = ["| what | ours | peer or limit | ratio | wanted | |", "|---|---|---|---|---|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        verdict = ("yes" if row.holds else "**no**") if row.wanted else ""
        lines.append(f"| {row.what} | {row.ours} | {row.peer} | {ratio} | {row.wanted} | {verdict} |")
    return "\n".join(lines)
