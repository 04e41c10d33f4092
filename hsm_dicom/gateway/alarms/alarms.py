"""One thread that compares the conditions with what was reported, and delivers what is due.

It looks at once after an event that may begin or end a condition, and every minute. Nothing of it runs on the thread of
an association: the subscriber of events only wakes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from hsm_dicom.events import Event, subscribe
from hsm_dicom.gateway.alarms.channel import Channel
from hsm_dicom.gateway.alarms.record import AlarmRecord
from hsm_dicom.gateway.alarms.report import ReportState, find_due_reports
from hsm_dicom.gateway.alarms.syslog import SOCKET
from hsm_dicom.gateway.settings import AlarmKind, AlarmSettings
from hsm_dicom.gateway.status import Condition
from tokens.events import Login, Reconnection, Restored

log = logging.getLogger("hsm_dicom.gateway")

LOOK_SECONDS = 60.0
_LEAST_SECONDS = 1.0
"""Least time between two looks, so that a flood of events costs little."""

SETTLE_SECONDS = 60.0
"""How long a condition must be absent before it is resolved, so that one that comes and goes is reported once."""

_GOOD_NEWS = (Login, Reconnection, Restored)
"""Events below the level of a warning after which a condition may have ended."""


class Alarms:
    """Reports conditions while the block runs. `conditions` is called in the thread of the alarms."""

    def __init__(
        self,
        settings: Sequence[AlarmSettings],
        conditions: Callable[[], Iterable[Condition]],
        record: Path,
        *,
        look_seconds: float = LOOK_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
        syslog: Path = SOCKET,
    ) -> None:
        """Create the alarms. `record` is the file of what was reported, such as alarms.json in the state folder."""
        self._conditions = conditions
        self._look_seconds, self._settle_seconds, self._syslog = look_seconds, settle_seconds, syslog
        self._stopping, self._waking = threading.Event(), threading.Event()
        self._record = AlarmRecord(record)
        self._absent_since: dict[str, float] = {}
        self._is_failing = False
        self._channels: tuple[Channel, ...] = ()
        self.replace(settings)
        self._subscribing = ExitStack()
        self._thread = threading.Thread(target=self._run, name="alarms", daemon=True)

    def replace(self, settings: Sequence[AlarmSettings]) -> None:
        """Use other settings from the next look on, as after a reload."""
        kept = {channel.settings: channel for channel in self._channels}
        # A local syslog takes a message at once, so it does not wait behind a command.
        ordered = sorted(settings, key=lambda one: one.kind is not AlarmKind.SYSLOG)
        self._channels = tuple(kept.get(one) or Channel(one, self._stopping, self._syslog) for one in ordered)
        self._waking.set()

    def __enter__(self) -> Self:
        self._subscribing.enter_context(subscribe(self._hear))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subscribing.close()
        self._stopping.set()
        self._waking.set()
        self._thread.join()

    def _hear(self, event: Event) -> None:
        if event.log_level() >= logging.WARNING or isinstance(event, _GOOD_NEWS):
            self._waking.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._waking.clear()
            try:
                self._look()
            except Exception:
                if not self._is_failing:
                    log.exception("The conditions of the gateway could not be examined; alarms are late.")
                self._is_failing = True
            else:
                self._is_failing = False
            self._stopping.wait(min(_LEAST_SECONDS, self._look_seconds))
            self._waking.wait(self._look_seconds)

    def _look(self) -> None:
        found = {one.key: one for one in self._conditions()}
        channels = self._channels
        self._record.keep(frozenset(one.name for one in channels))
        for channel in channels:
            failed = {one.key: one for one in (other.condition for other in channels) if one is not None}
            current = {key: one for key, one in (found | failed).items() if channel.wants(one)}
            self._report(channel, current)
        reported = {key for channel in channels for key in self._record.of(channel.name)}
        self._absent_since = {key: since for key, since in self._absent_since.items() if key in reported}

    def _report(self, channel: Channel, current: dict[str, Condition]) -> None:
        reported = self._record.of(channel.name)
        for key in current:
            self._absent_since.pop(key, None)
        for report in list(find_due_reports(reported, current, self._is_settled)):
            if self._stopping.is_set() or not channel.is_usable:
                return
            if not channel.deliver(report):
                return
            if report.state is ReportState.RESOLVED:
                del reported[report.condition.key]
            else:
                reported[report.condition.key] = report.condition
            self._record.save()

    def _is_settled(self, key: str) -> bool:
        now = time.monotonic()
        return now - self._absent_since.setdefault(key, now) >= self._settle_seconds
