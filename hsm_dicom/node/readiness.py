"""Whether a listener can use its keys: not while a token or its PKCS#11 module does not return from a call.

The watch makes no call of its own. It notices a device that hangs when the first handshake has left it at its deadline,
and that the device works again when the late call has returned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from hsm_dicom.events import emit
from hsm_dicom.transport.events import ReadinessChanged
from hsm_dicom.transport.periodic import look_until
from tokens.errors import TokenError
from tokens.keys import MayHang

INTERVAL_SECONDS = 0.5

Devices = Callable[[], Iterable[object]]


class Readiness:
    """Check the devices that `devices` returns, and emit `ReadinessChanged` for each change."""

    def __init__(self, name: str, address: str, devices: Devices, interval: float = INTERVAL_SECONDS) -> None:
        self._name, self._address, self._devices, self._interval = name, address, devices, interval
        self._reported = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"readiness-{name}", daemon=True)

    @property
    def problem(self) -> str:
        """Why the listener cannot use a key, as a sentence; empty if it can use all of them."""
        for device in self._devices():
            if isinstance(device, MayHang):
                try:
                    device.check_answers()
                except TokenError as error:
                    return error.message
        return ""

    def start(self) -> None:
        """Check after every interval (in seconds)."""
        self._thread.start()

    def stop(self) -> None:
        """Stop checking, and join the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self) -> None:
        """Emit an event if the state has changed."""
        problem = self.problem
        if bool(problem) == bool(self._reported):
            return
        self._reported = problem
        text = f"not ready: {problem}" if problem else "ready again: its devices answer."
        emit(ReadinessChanged(name=self._name, address=self._address, text=f"{self._name}: {text}", ready=not problem))

    def _run(self) -> None:
        look_until(self._stopping, self.check, self._interval)
