"""Alarms for calls that know no deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tokens.smartcard.readers.deadlines import Alarm, Deadlines


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    """A watching thread of one test."""
    owner = Deadlines()
    yield owner
    owner.close()


@pytest.mark.slow
def test_an_alarm_that_is_not_disarmed_goes_off_once_and_in_time(deadlines: Deadlines) -> None:
    candidate: list[float] = []
    alarm = Alarm(deadlines, lambda: candidate.append(time.monotonic()))
    started = time.monotonic()
    alarm.arm(0.1)
    time.sleep(2)
    alarm.discard()
    assert len(candidate) == 1
    assert 0.1 <= candidate[0] - started < 2


def test_an_alarm_that_is_disarmed_stays_silent(deadlines: Deadlines) -> None:
    candidate = threading.Event()
    alarm = Alarm(deadlines, candidate.set)
    for _ in range(100):
        alarm.arm(0.05)
        alarm.disarm()
    assert not candidate.wait(0.2)
    alarm.discard()


def test_an_earlier_alarm_is_not_kept_waiting_by_a_later_one(deadlines: Deadlines) -> None:
    late, soon = Alarm(deadlines, lambda: None), Alarm(deadlines, lambda: candidate.set())
    candidate = threading.Event()
    late.arm(30)
    time.sleep(0.05)
    soon.arm(0.05)
    assert candidate.wait(0.3)
    late.discard()
    soon.discard()


def test_the_watching_thread_ends_with_the_last_alarm(deadlines: Deadlines) -> None:
    before = set(threading.enumerate())
    Alarm(deadlines, lambda: None).discard()
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_closing_joins_the_threads_and_forgets_every_alarm(deadlines: Deadlines) -> None:
    before = set(threading.enumerate())
    candidate, go = threading.Event(), threading.Event()
    alarm = Alarm(deadlines, candidate.set)
    alarm.arm(30)
    deadlines.run_in_thread(lambda: go.wait(0.2))
    deadlines.close()
    assert not set(threading.enumerate()) - before
    again = Alarm(deadlines, candidate.set)
    again.arm(0.01)
    assert candidate.wait(10), "an alarm after closing starts the thread again"
