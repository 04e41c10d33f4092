"""Alarms by syslog: the line that logger(1) would send, received by rsyslog, and a socket that takes nothing."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hsm_dicom.gateway.alarms import AlarmReport, Alarms, ReportState
from hsm_dicom.gateway.alarms.syslog import format_line
from hsm_dicom.gateway.settings import AlarmKind, AlarmSettings
from tests.hsm_dicom.gateway.states import make_condition
from tests.hsm_dicom.network.nodes import eventually

SYSLOG = AlarmSettings(name="log", kind=AlarmKind.SYSLOG, facility="local3", seconds=1.0)
DOWN = make_condition(text="Route 'to-pacs' is down:\n<14>a forged line. \u202e Run hsm-dicom gateway check.")


@contextmanager
def rsyslog(folder: Path, path: Path) -> Iterator[Path]:
    """rsyslogd of Debian, listening on a local socket; yields the file of what it received."""
    received, configuration = folder / "received", folder / "rsyslog.conf"
    configuration.write_text(
        f'module(load="imuxsock" SysSock.Use="off")\n'
        f'input(type="imuxsock" Socket="{path}" UseSysTimeStamp="off")\n'
        'template(name="all" type="string" '
        'string="%syslogfacility-text%.%syslogseverity-text% %programname% %procid%%msg%\\n")\n'
        f'action(type="omfile" file="{received}" template="all")\n'
    )
    command = ["/usr/sbin/rsyslogd", "-n", "-i", str(folder / "pid"), "-f", str(configuration)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as daemon:
        try:
            assert eventually(path.exists, 10)
            yield received
        finally:
            daemon.terminate()


@pytest.mark.interop
def test_rsyslog_receives_facility_severity_and_one_line_for_each_report(tmp_path: Path) -> None:
    conditions = [DOWN]
    with (
        rsyslog(tmp_path, tmp_path / "log") as received,
        Alarms(
            [SYSLOG],
            lambda: list(conditions),
            tmp_path / "alarms.json",
            look_seconds=0.02,
            settle_seconds=0.0,
            syslog=tmp_path / "log",
        ),
    ):
        assert eventually(lambda: received.exists() and received.read_text().count("\n") == 1, 10)
        conditions.clear()
        assert eventually(lambda: received.read_text().count("\n") == 2, 10)
    begun, resolved = received.read_text().splitlines()
    assert begun == (
        f"local3.crit hsm-dicom {os.getpid()} begun route-down: Route 'to-pacs' is down:\\n<14>a forged line. "
        "\\u202e Run hsm-dicom gateway check."
    )
    assert resolved.startswith(f"local3.notice hsm-dicom {os.getpid()} resolved route-down: Resolved: Route 'to-pacs'")


def test_a_line_has_the_form_of_logger_and_is_bounded() -> None:
    at = datetime(2026, 3, 7, 9, 5, 1, tzinfo=UTC).astimezone()
    report = AlarmReport(ReportState.BEGUN, make_condition(text="x" * 5000, is_urgent=False))
    line = format_line(report, "daemon", at)
    assert re.match(rb"<28>Mar  7 \d\d:05:01 hsm-dicom\[\d+\]: begun route-down: xxx", line)
    assert len(line) == 1024


def test_a_stream_socket_is_used_where_a_daemon_has_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.listen()
        listening.settimeout(10)
        with Alarms([SYSLOG], lambda: [DOWN], tmp_path / "alarms.json", look_seconds=0.02, syslog=tmp_path / "log"):
            connection, _ = listening.accept()
            with connection:
                assert b": begun route-down: Route" in connection.recv(4096)


def test_a_socket_that_nobody_reads_does_not_hold_up_the_other_alarms(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    page = tmp_path / "page"
    page.write_text(f"#!/bin/sh\nexec cat >> {tmp_path / 'received'}\n")
    page.chmod(0o700)
    pager = AlarmSettings(name="pager", kind=AlarmKind.COMMAND, command=(str(page),))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as full:
        full.bind(str(tmp_path / "log"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filling:
            filling.setblocking(False)
            filling.connect(str(tmp_path / "log"))
            with suppress(BlockingIOError):
                while True:
                    filling.send(b"x" * 1000)
            with (
                caplog.at_level(logging.ERROR, "hsm_dicom.gateway"),
                Alarms(
                    [SYSLOG, pager],
                    lambda: [DOWN],
                    tmp_path / "alarms.json",
                    look_seconds=0.02,
                    syslog=tmp_path / "log",
                ),
            ):
                assert eventually(
                    lambda: (
                        (tmp_path / "received").exists() and "alarm-failed/log" in (tmp_path / "received").read_text()
                    ),
                    20,
                )
                time.sleep(0.1)
    assert caplog.text.count("Alarm 'log' was not delivered") == 1
    assert "timed out" in caplog.text


def test_a_missing_socket_is_a_failure_with_a_remedy(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.ERROR, "hsm_dicom.gateway"),
        Alarms([SYSLOG], lambda: [DOWN], tmp_path / "alarms.json", look_seconds=0.02, syslog=tmp_path / "log"),
    ):
        assert eventually(lambda: "See that a syslog daemon or systemd-journald runs" in caplog.text)
    assert "No such file or directory" in caplog.text
