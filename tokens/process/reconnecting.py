"""Whether the work of this thread waits for a lost device, or has another one to turn to.

Finding a token again takes a login, whose digest alone takes a tenth of a second; if the device hangs meanwhile, it
takes the whole deadline. A caller with another device does not wait for that.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar

_waits = ContextVar("_waits", default=True)


class _WithoutReconnecting(AbstractContextManager[None]):
    __slots__ = ("_before",)

    def __enter__(self) -> None:
        self._before = _waits.set(False)

    def __exit__(self, *_: object) -> None:
        _waits.reset(self._before)


def without_reconnecting(apply: bool = True) -> AbstractContextManager[None]:
    """Let drivers raise `TokenLostError` in the block instead of reconnecting, if `apply` says so."""
    return _WithoutReconnecting() if apply else nullcontext()


def may_reconnect() -> bool:
    """Return whether a driver may reconnect for this thread."""
    return _waits.get()
