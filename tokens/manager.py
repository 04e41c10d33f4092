"""The owner of everything that this process has open on devices: connections, PC/SC contexts and threads.

    with DeviceManager() as manager:
        with tokens.open_key(uri, manager=manager) as key:
            ...
    # every connection is closed, every thread has ended

Without a manager, keys are opened through `default_manager()`, which is never closed automatically: its connections end
with their last key. All managers share the table of PKCS#11 modules (a module is initialised for its first owner and
finalised with its last), the fork hooks, and the record of refused PINs.
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self

from tokens.pkcs11.connections import TokenConnections
from tokens.smartcard.cards import Cards


class DeviceManager:
    """Owner of connections to tokens and cards. May be shared between threads."""

    def __init__(self) -> None:
        self.tokens = TokenConnections()
        self.cards = Cards()

    def close(self) -> None:
        """Close every connection, join every thread, and finalise the modules that no other manager uses.

        Keys that are still open raise `TokenLostError` when they are used. The manager may be used again.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self.tokens.close)
            stack.callback(self.cards.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_default = DeviceManager()


def default_manager() -> DeviceManager:
    """Return the manager through which keys are opened unless another one is given."""
    return _default
