"""An object that is judged or signed, in a thread of its own: the association goes on polling both sides.

A device may take until its deadline. At most `AT_ONCE` objects are treated at the same time, whatever the number of
associations; the others wait, and the time that they may take runs.
"""

from __future__ import annotations

import threading

from hsm_dicom.gateway.hold import Answer, Handover, Held
from hsm_dicom.transport.alarm import Alarm
from hsm_dicom.transport.events import log

AT_ONCE = 8
"""Objects that are treated at the same time. Most of them wait for a device or a disk."""

_PROCESSING_FAILURE = 0x0110
"""Status of PS3.7, C.5.6."""

_places = threading.BoundedSemaphore(AT_ONCE)


class Treatment:
    """One object. `alarm` is rung when `outcome` is there."""

    def __init__(self, held: Held, alarm: Alarm) -> None:
        """Start the thread. It is a daemon: the process may end while a device hangs."""
        self.outcome: Handover | Answer | None = None
        self._held, self._alarm = held, alarm
        self._is_discarded = False
        self._changing = threading.Lock()
        try:
            threading.Thread(target=self._run, name="treat-object", daemon=True).start()
        except RuntimeError:  # no more threads
            held.discard()
            self.outcome = Answer(_PROCESSING_FAILURE, "This node has no more threads; send it again.")
            alarm.ring()

    def discard(self) -> None:
        """Forget it; what comes of it later is removed."""
        with self._changing:
            self._is_discarded = True
            outcome = self.outcome
        if outcome is not None and not isinstance(outcome, Answer):
            outcome.discard()

    def _run(self) -> None:
        with _places:
            outcome: Handover | Answer = Answer(_PROCESSING_FAILURE, "An unexpected error; see the log of the gateway.")
            try:
                if not self._is_discarded:
                    outcome = self._held.treat()
            except Exception:
                log.exception("A held object could not be treated because of an unexpected error.")
        with self._changing:
            self.outcome = outcome
            is_discarded = self._is_discarded
        if is_discarded or isinstance(outcome, Answer):
            self._held.discard()
        if is_discarded:
            self.discard()
        else:
            self._alarm.ring()
