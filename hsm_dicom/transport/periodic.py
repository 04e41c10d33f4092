"""Looking at something again and again in a thread, whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hsm_dicom.transport.events import log


def look_until(stopping: threading.Event, look: Callable[[], None], seconds: float) -> None:
    """Call `look` after every interval, in seconds, until `stopping` is set.

    An unexpected error, such as a full disk or no more threads, is logged, and ends only the look in which it occurs.
    """
    while not stopping.wait(seconds):
        try:
            look()
        except Exception:
            log.exception("The thread '%s' goes on after an unexpected error.", threading.current_thread().name)
