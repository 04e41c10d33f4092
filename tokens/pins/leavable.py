"""A call that gives a device a PIN, whose caller may leave it at a deadline.

The call is made in a thread of its own (`tokens.pkcs11.module.Module.run`) and cannot be ended. So exactly one side
records the answer: the caller, if it still waits when the call returns; otherwise the thread of the call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
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
        self, call: Callable[[], int], pin: Pin | None, settle_late: Callable[[int | BaseException], None]
    ) -> None:
        """`settle_late` is called after `call` has returned, if the caller left meanwhile; it must not raise."""
        self.result: int | BaseException | None = None
        self._call = call
        self._pin = pin
        self._settle_late = settle_late
        self._changing = threading.Lock()
        self._progress = Progress.NOT_BEGUN
        self._left = False

    def __call__(self) -> int:
        """Make the call and return its CK_RV. Makes none after the caller has left."""
        with ExitStack() as stack:
            with self._changing:
                if self._left:
                    raise TokenLostError("The PIN was not presented, because nothing waits for the login any longer.")
                self._progress = Progress.UNDER_WAY
                if self._pin is not None:
                    stack.enter_context(self._pin.lend())
            try:
                self.result = result = self._call()
                return result
            except BaseException as error:
                self.result = error
                raise
            finally:
                with self._changing:
                    self._progress = Progress.ENDED
                    left = self._left
                if left and self.result is not None:
                    self._settle_late(self.result)

    @property
    def is_under_way(self) -> bool:
        """Whether the call has begun and not returned."""
        return self._progress is Progress.UNDER_WAY

    @property
    def is_left(self) -> bool:
        """Whether the caller has left."""
        return self._left

    def leave(self) -> Progress:
        """Return how far the call is; from now on its thread settles the result, if it has not ended."""
        with self._changing:
            self._left = True
            return self._progress
