"""The secret keys of one ISCL transport, which its connections need for as long as they last.

An identity of TLS is needed only for the handshake. The keys of ISCL protect every message, so a device is released
when no new connections are wanted and the last connection has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from tokens.secrets import Secrets


class ISCLKeys:
    """Secret keys on one device or on two; see `hsm_dicom.iscl.ISCLContext`. Safe to share between threads."""

    def __init__(self, secrets: Secrets, authentication: Secrets | None = None) -> None:
        self.secrets = secrets
        self.authentication = authentication
        self._lines: set[object] = set()
        self._closing = False
        self._changing = threading.Condition()

    def hold(self) -> Callable[[], None]:
        """Keep the devices for one connection. Call the result when it has ended; doing so twice is fine."""
        line = object()
        with self._changing:
            self._lines.add(line)
        return lambda: self._release(line)

    def wait(self, seconds: float) -> bool:
        """Return whether every connection has ended, after at most so many seconds."""
        with self._changing:
            return self._changing.wait_for(lambda: not self._lines, seconds)

    def close(self) -> None:
        """Release the devices: now, or when the last connection has ended. Doing so twice is fine."""
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
