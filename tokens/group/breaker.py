"""Circuit breaker of one member of a key group, as a state machine without threads and without locks.

| state       | meaning                                                                                        |
|-------------|------------------------------------------------------------------------------------------------|
| `closed`    | the member works, and is used                                                                  |
| `open`      | the member failed; it is used only if no other member works, until a probe succeeds             |
| `half-open` | a probe is in progress: one operation with the key, whose result is verified                   |
| `excluded`  | the member is not used, and not probed, until the group is opened again                         |

| from        | event                                            | to          |
|-------------|--------------------------------------------------|-------------|
| `closed`    | an operation failed because of the member         | `open`      |
| `open`      | `probe_seconds` have passed since the last fault; | `half-open` |
|             | at once if it had worked for longer than that     |             |
| `open`      | an operation succeeded                            | `closed`    |
| `half-open` | the probe, or an operation, succeeded             | `closed`    |
| `half-open` | the probe failed, or its thread was not inherited | `open`      |
| each        | the member refused its PIN, or holds another key  | `excluded`  |

An operation counts only in the state in which it began: one that began before a fault and ends well after it does not
close the breaker, and one that began before the breaker was closed and fails after it does not open it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from tokens.errors import Error

PROBE_SECONDS = 5.0
"""Seconds between a fault and the next probe."""


class BreakerState(StrEnum):
    """The state of a breaker. The values are for programs and do not change."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    EXCLUDED = "excluded"


@dataclass(frozen=True)
class Fault:
    """The last fault of a member: when it happened, in UTC, the class of the error, its sentence and its remedy."""

    when: datetime
    kind: type[Exception]
    message: str
    remedy: str = ""

    @property
    def text(self) -> str:
        """The sentence and the remedy."""
        return f"{self.message} {self.remedy}".strip()


class Breaker:
    """The breaker of one member. The caller holds a lock during each call.

    `clock` returns seconds that never go back. `probe_seconds` is the time between a fault and the next probe.
    """

    def __init__(self, clock: Callable[[], float], probe_seconds: float = PROBE_SECONDS) -> None:
        self._clock = clock
        self._probe_seconds = probe_seconds
        self._since = clock()
        self._due = 0.0
        self.state = BreakerState.CLOSED
        self.generation = 0
        """The number of times that the member began to work, or ceased to. An operation remembers it when it begins."""
        self.fault: Fault | None = None

    @property
    def due(self) -> float | None:
        """The time of the next probe by the clock; None if no probe is to be made."""
        return self._due if self.state is BreakerState.OPEN else None

    def begin_probe(self) -> bool:
        """Change to `half-open` and return True if a probe is due."""
        if self.state is not BreakerState.OPEN or self._clock() < self._due:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def abandon_probe(self) -> None:
        """Change from `half-open` back to `open`: nobody will report the result of the probe."""
        if self.state is BreakerState.HALF_OPEN:
            self.state = BreakerState.OPEN
            self._due = self._clock() + self._probe_seconds

    def record_success(self, generation: int) -> float | None:
        """Record that an operation succeeded, which began in this generation.

        Returns how many seconds the member had not worked, or None if it worked all the time or stays excluded.
        """
        if self.state in (BreakerState.CLOSED, BreakerState.EXCLUDED) or generation != self.generation:
            return None
        away = self._clock() - self._since
        self._change(BreakerState.CLOSED)
        return away

    def record_fault(self, error: Exception, generation: int, *, excludes: bool = False) -> bool:
        """Record that an operation failed because of the member, and return whether it has ceased to work.

        With `excludes` it is not used any more, in whatever generation the operation began.
        """
        if self.state is BreakerState.EXCLUDED or (generation != self.generation and not excludes):
            return False
        message, remedy = (error.message, error.remedy) if isinstance(error, Error) else (str(error), None)
        self.fault = Fault(datetime.now(UTC), type(error), message, remedy or "")
        now, worked = self._clock(), self.state is BreakerState.CLOSED
        # At once after a time in which it worked: only its session may be lost. A member that fails often waits.
        self._due = now if worked and now - self._since > self._probe_seconds else now + self._probe_seconds
        if excludes:
            self._change(BreakerState.EXCLUDED)
            return True
        if worked:
            self._change(BreakerState.OPEN)
        else:
            self.state = BreakerState.OPEN
        return worked

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self._since = self._clock()
        self.generation += 1
