"""One line to the local syslog socket, in the form that logger(1) uses (RFC 3164, without the host name)."""

from __future__ import annotations

import os
import socket
from datetime import datetime
from logging.handlers import SysLogHandler
from pathlib import Path

from hsm_dicom.gateway.alarms.command import AlarmError
from hsm_dicom.gateway.alarms.report import AlarmReport, ReportState
from tokens.printable import printable

SOCKET = Path("/dev/log")

FACILITIES = frozenset(SysLogHandler.facility_names)
"""Names of facilities (RFC 5424, 6.2.1, and the names of syslog.conf(5))."""

_LONGEST_LINE = 1024
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def send_to_syslog(report: AlarmReport, facility: str, seconds: float, now: datetime, path: Path = SOCKET) -> None:
    """Send a report within `seconds`. Raises `AlarmError` if nobody listens on the socket, or does not read from it."""
    line = format_line(report, facility, now)
    failure: OSError | None = None
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):  # a daemon listens with one or the other
        with socket.socket(socket.AF_UNIX, kind) as sending:
            sending.settimeout(seconds)
            try:
                sending.connect(str(path))
                sending.sendall(line if kind == socket.SOCK_DGRAM else line + b"\n")
            except OSError as error:
                failure = failure or error
            else:
                return
    raise AlarmError(
        f"{path} takes no message ({failure.strerror or 'timed out' if failure else 'timed out'}).",
        remedy="See that a syslog daemon or systemd-journald runs, and that the gateway may write to its socket.",
    )


def format_line(report: AlarmReport, facility: str, now: datetime) -> bytes:
    """Return the line: priority, local time, tag with the process id, kind and text, at most 1024 bytes."""
    priority = SysLogHandler.facility_names[facility] << 3 | _find_severity(report)
    local = now.astimezone()
    day = f"{_MONTHS[local.month - 1]} {local.day:2d} {local:%H:%M:%S}"
    text = printable(f"{report.state} {report.condition.kind}: {report.text}")
    return f"<{priority}>{day} hsm-dicom[{os.getpid()}]: {text}".encode()[:_LONGEST_LINE]


def _find_severity(report: AlarmReport) -> int:
    if report.state is ReportState.RESOLVED:
        return SysLogHandler.LOG_NOTICE
    return SysLogHandler.LOG_CRIT if report.condition.is_urgent else SysLogHandler.LOG_WARNING
