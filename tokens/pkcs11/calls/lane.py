"""One call thread and its current job, as its two sides see them: the thread, and the caller that waits."""

from __future__ import annotations

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
        self.prepare(None)

    def prepare(self, job: Callable[[], Any] | None, entrance: AbstractContextManager[object] | None = None) -> None:
        """Take the next job, which is carried out inside the entrance."""
        self.job = job
        self.entrance = entrance
        self.outcome: tuple[Any, BaseException | None] = (None, None)
        self.settling: dict[str, str] = {}
        """Which side settled the job: its thread when the job has ended, or its caller when it leaves."""
        self.late: tuple[LateCall, Callable[[Any], None] | None] | None = None
        """Set by a caller that leaves, before it settles."""
        self.interrupted = self.has_ended = False
        self.function = self.kind = ""
        self.slot: int | None = None
        self.began = time.monotonic()
        self.expires = math.inf

    def settle(self, side: str) -> bool:
        """Return True to the first of the two sides that asks, however often that one asks."""
        return self.settling.setdefault("by", side) is side
