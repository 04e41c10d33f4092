"""Processes that hang because they are paused."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_SECONDS = 10.0


def pause(process: int) -> None:
    """Send SIGSTOP, and return when every thread has stopped; until then, one could still answer."""
    os.kill(process, signal.SIGSTOP)
    wait_until_paused(process)


def wait_until_paused(process: int) -> None:
    """Wait until every thread of a process that was sent SIGSTOP has stopped."""
    deadline = time.monotonic() + _SECONDS
    while any(state not in "TtZX" for state in _list_states(process)):
        assert time.monotonic() < deadline, f"Process {process} has not stopped."
        time.sleep(0.001)


def _list_states(process: int) -> list[str]:
    """The states of its threads, as in proc(5)."""
    states = []
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states
