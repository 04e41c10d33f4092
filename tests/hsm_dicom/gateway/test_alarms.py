"""Alarms: once when a condition begins, once when it is resolved, whatever the hospital's command does."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.events import emit
from hsm_dicom.gateway.alarms import Alarms
from hsm_dicom.gateway.alarms.channel import MOST_REPORTS
from hsm_dicom.gateway.alarms.command import AlarmError, make_environment, run_command
from hsm_dicom.gateway.events import RouteChanged
from hsm_dicom.gateway.settings import AlarmKind, AlarmSettings
from hsm_dicom.gateway.status import Condition, ConditionKind
from tests.hsm_dicom.gateway.states import make_condition
from tests.hsm_dicom.network.nodes import eventually
from tests.tokens.test_fence import Hang
from tokens.errors import TokenError
from tokens.pkcs11.calls.call_threads import CallThreads
from tokens.pkcs11.calls.fence import Fence
from tokens.process.gate import Gate

DOWN = make_condition()


class Hospital:
    """The command of a hospital, which appends its standard input to a file, and the conditions of a gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conditions = folder, [DOWN]
        self.received = folder / "received"
        self.received.touch()

    def command(self, code: str = "", name: str = "pager") -> AlarmSettings:
        file = self.folder / name
        if code:
            file.write_text(
                f"#!{sys.executable} -I\nimport os, sys, time\n{code}\n"
                f"with open({str(self.received)!r}, 'a') as file:\n    file.write(sys.stdin.read())\n"
            )
        else:
            file.write_text(f"#!/bin/sh\nexec cat >> {self.received}\n")
        file.chmod(0o700)
        return AlarmSettings(name=name, kind=AlarmKind.COMMAND, command=(str(file),), seconds=10)

    def alarms(self, *settings: AlarmSettings, **changes: Any) -> Alarms:
        quick: dict[str, Any] = {"look_seconds": 0.02, "settle_seconds": 0.0}
        record = self.folder / "state" / "alarms.json"
        return Alarms(settings, lambda: list(self.conditions), record, **(quick | changes))

    @property
    def reports(self) -> list[tuple[str, str]]:
        return [(one["state"], one["key"]) for one in map(json.loads, self.received.read_text().splitlines())]

    def gets(self, *expected: tuple[str, str]) -> bool:
        return eventually(lambda: self.reports == list(expected), 20)


@pytest.fixture
def at(tmp_path: Path) -> Hospital:
    return Hospital(tmp_path)


def test_a_condition_is_reported_once_when_it_begins_and_once_when_it_is_resolved(at: Hospital) -> None:
    with at.alarms(at.command()):
        assert at.gets(("begun", DOWN.key))
        time.sleep(0.2)  # some looks
        at.conditions.clear()
        assert at.gets(("begun", DOWN.key), ("resolved", DOWN.key))
        time.sleep(0.2)
    assert at.gets(("begun", DOWN.key), ("resolved", DOWN.key))


def test_a_restart_repeats_nothing_and_reports_what_was_resolved_meanwhile(at: Hospital) -> None:
    pager = at.command()
    with at.alarms(pager):
        assert at.gets(("begun", DOWN.key))
    with at.alarms(pager):
        time.sleep(0.2)
    assert at.gets(("begun", DOWN.key))
    at.conditions.clear()
    with at.alarms(pager):
        assert at.gets(("begun", DOWN.key), ("resolved", DOWN.key))
    assert stat.S_IMODE((at.folder / "state" / "alarms.json").stat().st_mode) == 0o600


def test_a_condition_that_becomes_more_pressing_is_reported_again(at: Hospital) -> None:
    key = "identity-ending/node/CN=node"
    at.conditions[:] = [make_condition(key, kind=ConditionKind.CERTIFICATE_ENDING, stage=1)]
    with at.alarms(at.command()):
        assert at.gets(("begun", key))
        at.conditions[:] = [make_condition(key, kind=ConditionKind.CERTIFICATE_ENDING, stage=2)]
        assert at.gets(("begun", key), ("worsened", key))


def test_a_condition_that_comes_and_goes_is_reported_once(at: Hospital) -> None:
    with at.alarms(at.command(), settle_seconds=60.0):
        for _ in range(5):
            at.conditions[:] = [] if at.conditions else [DOWN]
            time.sleep(0.05)
        at.conditions[:] = [DOWN]
        assert at.gets(("begun", DOWN.key))


def test_an_event_makes_the_alarms_look_at_once(at: Hospital) -> None:
    at.conditions.clear()
    with at.alarms(at.command(), look_seconds=3600.0):
        time.sleep(0.1)
        at.conditions.append(DOWN)
        emit(RouteChanged(name="to-pacs", address="", text="to-pacs: is down.", is_up=False))
        assert at.gets(("begun", DOWN.key))


def test_the_command_gets_the_documented_object(at: Hospital) -> None:
    with at.alarms(at.command()):
        assert at.gets(("begun", DOWN.key))
    [report] = map(json.loads, at.received.read_text().splitlines())
    assert report.pop("time")
    assert report == {
        "schema": "hsm-dicom/alarm/1",
        "host": os.uname().nodename,
        "state": "begun",
        "key": "route-down/to-pacs",
        "kind": "route-down",
        "urgent": True,
        "text": "Route 'to-pacs' is down.",
        "since": "2026-11-27T09:00:00Z",
    }


def test_the_command_gets_no_pin_and_no_credential(at: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSM_PIN", "12345678")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gateway")
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    with at.received.open() as left_open:
        os.set_inheritable(left_open.fileno(), True)
        code = (
            "files = [os.path.realpath(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')]\n"
            f"print(sorted(os.environ), {str(at.received)!r} in files, os.getcwd(), os.getsid(0) == os.getpid(), "
            f"file=open({str(at.folder / 'seen')!r}, 'w'))"
        )
        with at.alarms(at.command(code)):
            assert at.gets(("begun", DOWN.key))
    seen = (at.folder / "seen").read_text()
    assert "'LANG'" in seen
    assert "HSM_PIN" not in seen
    assert "CREDENTIALS_DIRECTORY" not in seen
    assert seen.rstrip().endswith("] False / True")
    assert make_environment({"HSM_PIN": "12345678", "LANG": "C"}) == {"PATH": os.defpath, "LANG": "C"}


def test_a_command_that_hangs_is_killed_with_what_it_has_started(at: Hospital) -> None:
    pids = at.folder / "pids"
    code = (
        "import subprocess; child = subprocess.Popen(['/bin/sh', '-c', 'sleep 600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); time.sleep(600)"
    )
    settings = at.command(code)
    began = time.monotonic()
    with pytest.raises(AlarmError, match="did not end within 1 seconds and was killed"):
        run_command(settings.command, b"{}\n", 1.0, threading.Event())
    assert time.monotonic() - began < 30
    for pid in map(int, pids.read_text().split()):
        assert eventually(lambda pid=pid: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_command_that_leaves_a_process_behind_has_ended(at: Hospital) -> None:
    settings = at.command("if not os.fork(): time.sleep(600)")
    run_command(settings.command, b"{}\n", 30.0, threading.Event())
    assert at.received.read_text() == "{}\n"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("print('no modem', file=sys.stderr); print('more', file=sys.stderr); sys.exit(3)", "with status 3: no modem."),
        ("os.kill(os.getpid(), 9)", "by signal 9"),
        ("sys.stderr.write('x' * 10_000_000); sys.exit(1)", "with status 1: " + "x" * 200 + "."),
    ],
)
def test_a_command_that_fails_is_reported_with_its_reason(at: Hospital, code: str, words: str) -> None:
    settings = at.command(code)
    with pytest.raises(AlarmError, match=words):
        run_command(settings.command, b"{}\n", 30.0, threading.Event())


def test_a_large_report_does_not_wait_for_a_command_that_does_not_read(at: Hospital) -> None:
    settings = at.command("os._exit(0)")
    run_command(settings.command, b"x" * 1_000_000, 30.0, threading.Event())


def test_a_failed_alarm_is_logged_once_and_reported_by_the_others_only(
    at: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    tried = at.folder / "tried"
    bad = at.command(f"open({str(tried)!r}, 'a').write('x'); sys.exit(1)", "modem")
    missing = AlarmSettings(name="missing", kind=AlarmKind.COMMAND, command=("/no/such/program",))
    with caplog.at_level(logging.ERROR, "hsm_dicom.gateway"), at.alarms(bad, missing, at.command()):
        assert eventually(lambda: len(at.reports) == 3, 20)
        time.sleep(0.3)
    assert sorted(at.reports) == [
        ("begun", "alarm-failed/missing"),
        ("begun", "alarm-failed/modem"),
        ("begun", DOWN.key),
    ]
    assert tried.read_text() == "x"
    assert [record.getMessage().split(" was ")[0] for record in caplog.records] == ["Alarm 'modem'", "Alarm 'missing'"]
    assert "/no/such/program cannot be started" in caplog.text


def test_an_alarm_reports_only_its_kinds(at: Hospital) -> None:
    pager = at.command()
    only = AlarmSettings(
        name="pager", kind=pager.kind, command=pager.command, kinds=frozenset({ConditionKind.TOKEN_LOST})
    )
    at.conditions.append(make_condition("token-lost/hsm-a", kind=ConditionKind.TOKEN_LOST))
    with at.alarms(only):
        assert at.gets(("begun", "token-lost/hsm-a"))
        time.sleep(0.1)
    assert at.gets(("begun", "token-lost/hsm-a"))


def test_a_flood_of_conditions_keeps_to_a_rate(at: Hospital) -> None:
    at.conditions[:] = [make_condition(f"route-down/{number}") for number in range(100)]
    with at.alarms(at.command()):
        assert eventually(lambda: len(at.reports) == MOST_REPORTS, 20)
        time.sleep(0.2)
    assert len(at.reports) == MOST_REPORTS


def test_conditions_that_cannot_be_examined_do_not_end_the_alarms(
    at: Hospital, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(list[Condition]):
        fails = True

        def __iter__(self) -> Any:
            if self.fails:
                raise OSError("no status")
            return super().__iter__()

    at.conditions = Broken([DOWN])
    with caplog.at_level(logging.ERROR, "hsm_dicom.gateway"), at.alarms(at.command()):
        assert eventually(lambda: "could not be examined" in caplog.text)
        time.sleep(0.2)
        at.conditions.fails = False
        assert at.gets(("begun", DOWN.key))
    assert caplog.text.count("could not be examined") == 1


@pytest.mark.parametrize("content", ["", "{", '{"schema": "hsm-dicom/alarms/1", "alarms": 3}', '{"schema": "other/1"}'])
def test_a_record_that_cannot_be_read_is_begun_anew(
    at: Hospital, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (at.folder / "state").mkdir()
    (at.folder / "state" / "alarms.json").write_text(content)
    with caplog.at_level(logging.ERROR, "hsm_dicom.gateway"), at.alarms(at.command()):
        assert at.gets(("begun", DOWN.key))
    assert "may be reported again" in caplog.text


def test_stopping_does_not_wait_for_a_command_that_hangs(at: Hospital) -> None:
    started = at.folder / "started"
    settings = at.command(f"open({str(started)!r}, 'w').close(); time.sleep(600)")
    slow = AlarmSettings(name="pager", kind=settings.kind, command=settings.command, seconds=3600.0)
    with at.alarms(slow):
        assert eventually(started.exists, 20)
        began = time.monotonic()
    assert time.monotonic() - began < 60


def test_an_alarm_is_delivered_while_a_module_hangs_and_forks_are_refused(at: Hospital) -> None:
    threads = CallThreads(Fence("module.so", Gate()), lambda _: False)
    hang = Hang(threads, 1)
    try:
        with pytest.raises(TokenError):
            os.fork()
        with at.alarms(at.command()):
            assert at.gets(("begun", DOWN.key))
    finally:
        hang.end()
        threads.close()
