"""Alarms for calls that know no deadline."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from tokens.smartcard.readers.deadlines import Alarm


@pytest.mark.slow
def test_an_alarm_that_is_not_disarmed_goes_off_once_and_in_time() -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(time.monotonic()))
    started = time.monotonic()
    alarm.arm(0.1)
    time.sleep(2)
    alarm.discard()
    assert len(rung) == 1
    assert 0.1 <= rung[0] - started < 2


def test_an_alarm_that_is_disarmed_stays_silent() -> None:
    rung = threading.Event()
    alarm = Alarm(rung.set)
    for _ in range(100):
        alarm.arm(0.05)
        alarm.disarm()
    assert not rung.wait(0.2)
    alarm.discard()


def test_an_earlier_alarm_is_not_kept_waiting_by_a_later_one() -> None:
    late, soon = Alarm(lambda: None), Alarm(lambda: rung.set())
    rung = threading.Event()
    late.arm(30)
    time.sleep(0.05)
    soon.arm(0.05)
    assert rung.wait(0.3)
    late.discard()
    soon.discard()


def test_the_watching_thread_ends_with_the_last_alarm() -> None:
    # In a process of its own: other tests may have alarms of theirs.
    code = """
import threading, time
from tokens.smartcard.readers.deadlines import Alarm
Alarm(lambda: None).discard()
deadline = time.monotonic() + 30
while any(thread.name == "card deadlines" for thread in threading.enumerate()):
    assert time.monotonic() < deadline
    time.sleep(0.05)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
