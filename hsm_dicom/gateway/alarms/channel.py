"""One alarm: delivers reports, pauses after a failure, and keeps to a rate."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

from hsm_dicom.gateway.alarms.command import AlarmError, run_command
from hsm_dicom.gateway.alarms.report import AlarmReport
from hsm_dicom.gateway.alarms.syslog import SOCKET, send_to_syslog
from hsm_dicom.gateway.settings import AlarmKind, AlarmSettings
from hsm_dicom.gateway.status import Condition, ConditionKind

log = logging.getLogger("hsm_dicom.gateway")

MOST_REPORTS, RATE_SECONDS = 30, 300.0
"""Most reports of one alarm in so many seconds; those that are due beyond it are sent later, if still so."""

_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0


class Channel:
    """One alarm of the settings. Used by one thread."""

    def __init__(self, settings: AlarmSettings, stopping: threading.Event, syslog: Path = SOCKET) -> None:
        self.settings = settings
        self._stopping, self._syslog = stopping, syslog
        self._sent: deque[float] = deque(maxlen=MOST_REPORTS)
        self._pause, self._until = 0.0, 0.0
        self._failed_since: datetime | None = None
        self._failure = ""

    @property
    def name(self) -> str:
        """The name of the alarm in the configuration."""
        return self.settings.name

    @property
    def is_usable(self) -> bool:
        """Whether a report can be delivered now."""
        now = time.monotonic()
        return now >= self._until and (len(self._sent) < MOST_REPORTS or now - self._sent[0] >= RATE_SECONDS)

    @property
    def condition(self) -> Condition | None:
        """The condition that this alarm cannot be delivered; None if it can. Other alarms report it."""
        if self._failed_since is None:
            return None
        return Condition(
            key=f"alarm-failed/{self.name}",
            kind=ConditionKind.ALARM_FAILED,
            text=f"Alarm '{self.name}' cannot be delivered: {self._failure}",
            since=self._failed_since,
            is_urgent=True,
        )

    def wants(self, condition: Condition) -> bool:
        """Return whether the alarm reports such a condition. None reports that it failed itself."""
        kinds = self.settings.kinds
        return (not kinds or condition.kind in kinds) and condition.key != f"alarm-failed/{self.name}"

    def deliver(self, report: AlarmReport) -> bool:
        """Deliver a report, and return whether that succeeded. The log has the first failure and the first success."""
        self._sent.append(time.monotonic())
        now = datetime.now(UTC)
        try:
            if self.settings.kind is AlarmKind.COMMAND:
                document = report.as_json(socket.gethostname(), now)
                run_command(self.settings.command, document, self.settings.seconds, self._stopping)
            else:
                send_to_syslog(report, self.settings.facility, self.settings.seconds, now, self._syslog)
        except AlarmError as error:
            self._fail(str(error), now)
            return False
        if self._failed_since is not None:
            log.warning("Alarm '%s' is delivered again.", self.name)
        self._pause, self._failed_since, self._failure = 0.0, None, ""
        return True

    def _fail(self, failure: str, now: datetime) -> None:
        if self._failed_since is None:
            log.error("Alarm '%s' was not delivered, and is tried again later: %s", self.name, failure)
            self._failed_since = now
        self._failure = failure
        self._pause = min(self._pause * 2 or _FIRST_PAUSE, _LONGEST_PAUSE)
        self._until = time.monotonic() + self._pause
