"""A call that gives a device a PIN, whose caller may leave it at a deadline.

The call is made in a thread of its own (`tokens.pkcs11.module.Module.run`) and cannot be ended. So exactly one side
records the answer: the caller, if it still waits when the call returns; otherwise the thread of the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from enum import Enum, auto

from tokens.errors import TokenLostError
from tokens.pins.sources import Pin


class Progress(Enum):
    """How far a call was when its caller left it."""

    NOT_BEGUN = auto()
    """It was not made, and will not be."""
    UNDER_WAY = auto()
    """It has not returned."""
    ENDED = auto()
    """It has returned, and `LeavableCall.result` is its result."""


class LeavableCall:
    """One call with a PIN. Run the object in the thread of the call; in the caller, call `leave` after an exception."""

    def __init__(
        self, call: Callable[[], int], pins: Iterable[Pin | None], settle_late: Callable[[int | BaseException], None]
    ) -> None:
        """`pins` are those that the call and `settle_late` read.

        `settle_late` is called after `call` has returned, if the caller left meanwhile; it must not raise.
        """
        self.result: int | BaseException | None = None
        self._call = call
        self._pins = [pin for pin in pins if pin is not None]
        self._settle_late = settle_late
        self._changing = threading.Lock()
        self._progress = Progress.NOT_BEGUN
        self._left = False
        self.is_abandoned = False
        """Whether the caller left before the call returned."""

    def __call__(self) -> int:
        """Make the call and return its CK_RV. Makes none after the caller has left."""
        with ExitStack() as stack:
            with self._changing:
                if self._left:
                    raise TokenLostError("The PIN was not presented, because the caller stopped waiting for the login.")
                self._progress = Progress.UNDER_WAY
                for pin in self._pins:
                    stack.enter_context(pin.lend())
            try:
                self.result = result = self._call()
                return result
            except BaseException as error:
                self.result = error
                raise
            finally:
                with self._changing:
                    self._progress = Progress.ENDED
                if self.is_abandoned and self.result is not None:
                    self._settle_late(self.result)

    def leave(self, record: Callable[[], None] | None = None) -> Progress:
        """Return how far the call is. If it has begun and not ended, call `record`; its thread settles the result then.

        Raises what `record` raises. A later call of `leave` does nothing.
        """
        with self._changing:
            if not self._left:
                self._left = True
                self.is_abandoned = self._progress is Progress.UNDER_WAY
                if self.is_abandoned and record is not None:
                    record()
            return self._progress
