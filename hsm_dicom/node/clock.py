"""Watch of the system clock: whether it is synchronised, was set, or is behind a time that it has shown before.

The latest time that was reached is kept in clock.json in the state folder. While it is set as the mark of
`hsm_dicom.trust.clock`, a clock that was set back does not make an expired certificate valid.

A wrong time that is too late must not become the mark, since then every certificate would seem to have expired. So the
mark follows the system clock only while the kernel considers it synchronised; otherwise it advances by the time that
has passed, which another clock measures. If it was a synchronised clock that was wrong, remove clock.json: the watch
begins anew within a minute, without a restart.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from hsm_dicom.events import emit
from hsm_dicom.gateway.events import ClockChanged
from hsm_dicom.gateway.state_file import StateFileError, read_state, write_state
from hsm_dicom.gateway.status import ClockStatus
from hsm_dicom.transport.periodic import look_until
from hsm_dicom.trust.clock import TOLERANCE, set_mark

SCHEMA = "hsm-dicom/clock/1"
FILE_NAME = "clock.json"

STEP_SECONDS = 5.0
"""A clock that moved by more than this against the time that has passed, between two looks, was set."""

LOOK_SECONDS = 60.0
_SAVE_SECONDS = 600.0
_STEP_SHOWN = timedelta(days=1)

_STA_UNSYNC = 0x0040
_TIME_ERROR = 5

log = logging.getLogger("hsm_dicom.node")


class _Timex(ctypes.Structure):
    """The beginning of struct timex (adjtimex(2)), and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("largest_error", ctypes.c_long),
        ("estimated_error", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def is_clock_synchronised() -> bool | None:
    """Return whether the kernel considers its clock synchronised; None if it does not say."""
    timex = _Timex()  # modes 0 only reads
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex))
    except (AttributeError, OSError):  # a C library without it
        return None
    if state < 0:
        return None
    return state != _TIME_ERROR and not timex.status & _STA_UNSYNC


def measure_boot_time() -> float:
    """Return the seconds since the machine was booted, with those in which it was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockWatch:
    """Looks at the clock every minute while the block runs, and sets the mark of `hsm_dicom.trust.clock`."""

    def __init__(
        self,
        folder: Path,
        *,
        look_seconds: float = LOOK_SECONDS,
        read_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        measure: Callable[[], float] = measure_boot_time,
        is_synchronised: Callable[[], bool | None] = is_clock_synchronised,
    ) -> None:
        """Create the watch of a node. `folder` is its state folder."""
        self._path = folder / FILE_NAME
        self._look_seconds = look_seconds
        self._read_clock, self._measure, self._is_synchronised = read_clock, measure, is_synchronised
        self._now, self._measured = read_clock(), measure()
        self._mark: datetime | None = None
        self._saved_at = float("-inf")
        self._is_failing = self._is_behind = self._is_saved = False
        self._status = ClockStatus(is_synchronised=is_synchronised())
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)

    @property
    def status(self) -> ClockStatus:
        """What the last look found."""
        return self._status

    def look(self) -> None:
        """Look at the clock now, and emit an event if it was set, is behind, or is right again."""
        with self._looking:
            before, measured_before = self._now, self._measured
            self._now, self._measured = self._read_clock(), self._measure()
            passed = timedelta(seconds=self._measured - measured_before)
            synchronised = self._is_synchronised()
            stepped = (self._now - before - passed).total_seconds()
            self._advance(passed, synchronised)
            self._report(stepped, synchronised)

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        with self._looking:
            self._save()
        set_mark(None)

    def _run(self) -> None:
        look_until(self._stopping, self.look, self._look_seconds)

    def _advance(self, passed: timedelta, synchronised: bool | None) -> None:
        was_removed = self._is_saved and not self._path.exists()
        mark = None if was_removed else self._mark or self._load()
        if mark is None:
            mark = self._now
        elif synchronised is False:
            mark += passed if self._mark is not None else timedelta(0)
        else:
            mark = max(mark, self._now)
        is_new = was_removed or self._mark is None
        self._mark = mark
        set_mark(mark)
        if is_new or self._measured - self._saved_at >= _SAVE_SECONDS:
            self._save()

    def _load(self) -> datetime | None:
        try:
            content = read_state(self._path, SCHEMA)
            return None if content is None else datetime.fromisoformat(content["latest"]).astimezone(UTC)
        except (StateFileError, KeyError, TypeError, ValueError) as error:
            self._log(error)
            return None

    def _save(self) -> None:
        if self._mark is None:
            return
        self._saved_at = self._measured
        try:
            write_state(self._path, SCHEMA, {"latest": self._mark.isoformat()})
        except StateFileError as error:
            self._log(error)
        else:
            self._is_failing, self._is_saved = False, True

    def _log(self, error: Exception) -> None:
        if not self._is_failing:
            log.error("A clock that is set back before the next start will not be noticed: %s", error)
        self._is_failing = True

    def _report(self, stepped: float, synchronised: bool | None) -> None:
        status = self._status
        stepped_seconds, stepped_at = status.stepped_seconds, status.stepped_at
        if abs(stepped) > STEP_SECONDS:
            stepped_seconds, stepped_at = stepped, self._now
            way = "forward" if stepped > 0 else "back"
            _emit("stepped", stepped, f"The system clock was set {way} by {abs(stepped):.0f} seconds.")
        elif stepped_at is not None and not timedelta(0) <= self._now - stepped_at < _STEP_SHOWN:
            stepped_seconds, stepped_at = 0.0, None
        behind = (self._mark or self._now) - self._now
        is_behind = behind > TOLERANCE
        if is_behind != self._is_behind:
            self._is_behind = is_behind
            if is_behind:
                text = (
                    f"The system clock is {behind.days} days behind a time that it has shown before; certificates are "
                    "judged by the later time."
                )
                _emit("behind", -behind.total_seconds(), text)
            else:
                _emit("right", 0.0, "The system clock is no longer behind; certificates are judged by it again.")
        self._status = ClockStatus(
            is_synchronised=synchronised,
            stepped_seconds=stepped_seconds,
            stepped_at=stepped_at,
            behind_seconds=behind.total_seconds() if is_behind else 0.0,
        )


def _emit(change: str, seconds: float, text: str) -> None:
    emit(ClockChanged(name=os.uname().nodename, address="", text=text, change=change, seconds=seconds))
