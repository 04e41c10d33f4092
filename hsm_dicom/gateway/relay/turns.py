"""Threads of associations move octets one after the other, since only one of them can hold the interpreter's lock.

Each call of the system or of OpenSSL releases that lock and takes it again. Several threads that do this at once wake
each other for each call, and a relay then needs up to a third more processor time. During its turn, no thread waits for
a peer.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

MOVES = 32
"""Maximum number of times that an association moves octets in one turn: a few milliseconds."""

_PAUSE_SECONDS = 0.00005


class Turns:
    """A lock for short turns. A thread that could go on at once calls `let_others` between two turns.

    Without that pause, the same thread would take turn after turn: a waiting thread needs longer to wake than the
    running one to come back. Handing over every turn would be fair too, but each turn would begin with a thread's
    waking.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting: set[int] = set()

    def let_others(self) -> None:
        """Pause briefly if others wait, so that one of them takes the next turn."""
        if self._waiting:
            time.sleep(_PAUSE_SECONDS)

    def __enter__(self) -> None:
        if self._turn.acquire(blocking=False):
            return
        thread = threading.get_ident()
        self._waiting.add(thread)
        self._turn.acquire()
        self._waiting.discard(thread)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._turn.release()


turns = Turns()
"""Those of this process, which has one lock of the interpreter."""
