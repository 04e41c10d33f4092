"""Threads of associations: one each, and used again."""

from __future__ import annotations

import threading

import pytest

from hsm_dicom.gateway.relay import threads as module
from hsm_dicom.gateway.relay.threads import AssociationThreads


def count(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_jobs_run_at_the_same_time_and_a_thread_is_used_again() -> None:
    threads, together = AssociationThreads("relay-used-again"), threading.Barrier(4)
    for _ in range(5):
        jobs = [threading.Event() for _ in range(3)]

        def job(done: threading.Event) -> None:
            together.wait(10)
            done.set()

        for done in jobs:
            threads.start(lambda done=done: job(done))  # type: ignore[misc]
        together.wait(10)
        assert all(done.wait(10) for done in jobs)
    # A thread that has not yet said that it is idle may have been replaced.
    assert 3 <= count("relay-used-again") <= 6


def test_a_thread_that_nobody_needs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.01)
    threads = AssociationThreads("relay-ends")
    for _ in range(50):  # a job that comes just when a thread leaves is carried out
        done = threading.Event()
        threads.start(done.set)
        assert done.wait(10)
        threading.Event().wait(0.009)
    for thread in [one for one in threading.enumerate() if one.name == "relay-ends"]:
        thread.join(10)
    assert count("relay-ends") == 0
