"""One call thread and its current job, as its two sides see them: the thread, and the caller that waits.

A lane that a caller has left is not used again.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tokens.pkcs11.calls.fence import LateCall

CALLER, THREAD = "caller", "thread"
"""The sides that may settle a job."""


class Lane:
    """One call thread and the job that it carries out."""

    __slots__ = (
        "began",
        "done",
        "entrance",
        "expires",
        "function",
        "go",
        "has_ended",
        "interrupted",
        "job",
        "kind",
        "late",
        "outcome",
        "settling",
        "slot",
    )

    def __init__(self) -> None:
        self.go = threading.Lock()
        self.go.acquire()
        self.done = threading.Lock()
        self.done.acquire()
        self.outcome: tuple[Any, BaseException | None] = (None, None)
        self.late: tuple[LateCall, Callable[[Any], None] | None] | None = None
        """Set by a caller that leaves, before it settles."""
        self.has_ended = False
        """Set by the thread when a job has ended that its caller had left."""
        self.kind = ""
        self.expires = math.inf
        self.prepare(None, contextlib.nullcontext())

    def prepare(self, job: Callable[[], Any] | None, entrance: AbstractContextManager[object]) -> None:
        """Take the next job, which is carried out inside the entrance. What each job leaves as it was is not set."""
        self.job = job
        self.entrance = entrance
        self.settling: dict[str, str] = {}
        """Which side settled the job: its thread when the job has ended, or its caller when it leaves."""
        self.interrupted = False
        self.function = ""
        self.slot: int | None = None
        self.began = time.monotonic()

    def settle(self, side: str) -> bool:
        """Return True to the first of the two sides that asks, however often that one asks."""
        return self.settling.setdefault("by", side) is side
