"""The secret keys of one ISCL transport, held until its last connection has ended.

A TLS identity is needed only for the handshake. ISCL keys protect every message, so the devices are released only when
the transport is closed and its last connection has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tokens.secrets import Secrets


class ISCLKeys:
    """Secret keys on one or two devices; see `hsm_dicom.iscl.ISCLContext`. Thread-safe."""

    def __init__(self, secrets: Secrets, authentication: Secrets | None = None) -> None:
        self.secrets = secrets
        self.authentication = authentication
        self._lines: set[object] = set()
        self._closing = False
        self._changing = threading.Condition()

    def hold(self) -> Callable[[], None]:
        """Hold the devices for one connection. Call the returned function when it has ended; it may be called twice."""
        line = object()
        with self._changing:
            self._lines.add(line)
        return lambda: self._release(line)

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for all connections to end, and return whether they have ended."""
        with self._changing:
            return self._changing.wait_for(lambda: not self._lines, seconds)

    def close(self) -> None:
        """Release the devices now, or when the last connection has ended. May be called twice."""
        with self._changing:
            self._closing = True
        self._release(None)

    def _release(self, line: object) -> None:
        with self._changing:
            self._lines.discard(line)
            self._changing.notify_all()
            is_over = self._closing and not self._lines
        if is_over:
            self.secrets.close()
            if self.authentication is not None:
                self.authentication.close()
