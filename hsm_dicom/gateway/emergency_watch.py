"""The emergency settings that a running gateway applies, and their end after the last day.

watch = EmergencyWatch(EmergencyStore(state_folder), lapse)
settings = watch.load()                  # at the start, and at each reload
with watch:
    ...  # lapse(setting) is called when its last day is over
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from types import TracebackType
from typing import Self

from hsm_dicom.errors import Error
from hsm_dicom.events import emit
from hsm_dicom.gateway.emergency import EmergencySetting, EmergencyStore
from hsm_dicom.gateway.state_file import StateFileError
from hsm_dicom.transport.periodic import look_until
from hsm_dicom.trust.clock import current_date

LOOK_SECONDS = 60.0

log = logging.getLogger("hsm_dicom.gateway")


class EmergencyWatch:
    """Knows the settings in use, and ends each after its last day while the block runs."""

    def __init__(
        self,
        store: EmergencyStore,
        lapse: Callable[[EmergencySetting], None],
        *,
        today: Callable[[], date] = current_date,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        """Create the watch. `lapse` makes a route run as configured again; if it raises `Error`, it is tried again."""
        self._store, self._lapse, self._today, self._look_seconds = store, lapse, today, look_seconds
        self._active: dict[str, EmergencySetting] = {}
        self._failing: set[str] = set()
        self._changing = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="emergency", daemon=True)

    @property
    def active(self) -> Mapping[str, EmergencySetting]:
        """The settings in use, by route."""
        with self._changing:
            return dict(self._active)

    def load(self) -> Mapping[str, EmergencySetting]:
        """Read the settings that hold today, which the caller applies. Emit an event for each that is new here.

        If the file cannot be used, the log gives the reason, and the routes run as configured.
        """
        with self._changing:
            before = self._active
            self._active = self._read()
            new = [one for name, one in self._active.items() if before.get(name) != one]
            active = dict(self._active)
        for setting in new:
            emit(setting.make_event("active"))
        return active

    def keep(self, used: Iterable[EmergencySetting]) -> None:
        """Keep settings that routes still use after their last day because a reload failed, so that they end later."""
        with self._changing:
            self._active = {one.route: one for one in used} | self._active

    def look(self) -> None:
        """End the settings whose last day is over."""
        today = self._today()
        for setting in self.active.values():
            if not setting.is_active(today):
                self._end(setting)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        self.look()  # the settings were loaded before it was known whether the clock is behind
        look_until(self._stopping, self.look, self._look_seconds)

    def _read(self) -> dict[str, EmergencySetting]:
        try:
            return self._store.read_active(self._today())
        except StateFileError as error:
            self._log("No emergency setting is used, and all routes run as configured: %s", error)
            return {}

    def _end(self, setting: EmergencySetting) -> None:
        try:
            self._lapse(setting)
        except Error as error:
            if setting.route not in self._failing:
                self._log(
                    f"The emergency setting of route '{setting.route}' was not ended, which is tried again: %s", error
                )
            self._failing.add(setting.route)
            return
        self._failing.discard(setting.route)
        with self._changing:
            if self._active.get(setting.route) == setting:
                del self._active[setting.route]
        emit(setting.make_event("lapsed"))

    def _log(self, sentence: str, error: Error) -> None:
        log.error(sentence, error)
