"""Threads of associations move octets one after the other, since only one of them can hold the interpreter's lock.

Each call of the system or of OpenSSL gives that lock up and takes it again. Where several threads do this at once, they
wake each other for each call, which costs a third more processor time than the octets do. Nobody waits for a peer in
its turn.
"""

from __future__ import annotations

import threading
import time
from types import TracebackType

MOVES = 32
"""How often one association may move octets in one turn; some milliseconds if it moves all that it can."""

_PAUSE_SECONDS = 0.00005


class Turns:
    """A lock for short turns. A thread that could go on at once calls `let_others` between two turns.

    A thread that is woken for its turn comes too late if the last one takes another turn at once. To hand each turn
    over would be fair, and every turn would wait for a thread to wake.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._waiting: set[int] = set()

    def let_others(self) -> None:
        """Pause until those that wait have woken."""
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
