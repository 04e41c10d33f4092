"""End the process although a call has not returned from a device.

Nothing can end such a call from outside, so it stays in its thread. What must not happen then is to wait for it: not in
a caller, not at the end of the process, where the destructors of its library may wait for it for ever.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import weakref
from typing import NoReturn, Protocol


class DeviceCalls(Protocol):
    """The calls that are made to one device or library."""

    def interrupt(self, waited: float) -> None:
        """Make every caller that has waited for a call for so many seconds leave now, with an error."""

    @property
    def has_late_calls(self) -> bool:
        """Whether a caller has left a call that has not returned."""


class _Registry:
    def __init__(self) -> None:
        self.owners: weakref.WeakSet[DeviceCalls] = weakref.WeakSet()
        self.changing = threading.Lock()

    def present(self) -> list[DeviceCalls]:
        with self.changing:
            return list(self.owners)


_registry = _Registry()


def register(owner: DeviceCalls) -> None:
    """Include the calls of `owner` in `interrupt_device_calls` and `has_late_calls` for as long as it lives."""
    with _registry.changing:
        _registry.owners.add(owner)


def interrupt_device_calls(waited: float = 0.0) -> None:
    """Make every caller that waits for a device leave now, with `TokenLostError`: the process is ending.

    A caller that has waited for less than `waited` seconds may go on, since its device may be about to answer.
    """
    for owner in _registry.present():
        owner.interrupt(waited)


def has_late_calls() -> bool:
    """Return whether a call that its caller has left has not returned from a device."""
    return any(owner.has_late_calls for owner in _registry.present())


def end_process(status: int) -> NoReturn:
    """End the process with a status for its parent. Does not wait for calls that have not returned from a device.

    Raises SystemExit, as `sys.exit` does, if there is none.
    """
    if not has_late_calls():
        sys.exit(status)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # a closed pipe must not keep the process
            stream.flush()
    os._exit(status)
