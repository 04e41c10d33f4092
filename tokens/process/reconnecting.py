"""Whether the work of this thread waits for a lost device, or has another one to turn to.

Finding a token again takes a login, whose digest alone takes a tenth of a second; if the device hangs meanwhile, it
takes the whole deadline. A caller with another device does not wait for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_waits = ContextVar("_waits", default=True)


@contextmanager
def without_reconnecting(apply: bool = True) -> Iterator[None]:
    """Let drivers raise `TokenLostError` in the block instead of reconnecting, if `apply` says so."""
    before = _waits.set(_waits.get() and not apply)
    try:
        yield
    finally:
        _waits.reset(before)


def may_reconnect() -> bool:
    """Return whether a driver may reconnect for this thread."""
    return _waits.get()
