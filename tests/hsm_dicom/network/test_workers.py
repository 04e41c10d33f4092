"""The threads that compute handshakes."""

from __future__ import annotations

import threading

from hsm_dicom.network.unidentified.workers import Workers


def test_tasks_run_in_at_most_so_many_threads_and_idle_ones_are_used_again() -> None:
    workers, ran, release = Workers(2, "test"), threading.Semaphore(0), threading.Event()
    names: set[str] = set()

    def task() -> None:
        names.add(threading.current_thread().name)
        ran.release()
        release.wait(10)

    for _ in range(2):
        workers.submit(task)
        assert ran.acquire(timeout=10)
    workers.submit(task)
    assert not ran.acquire(timeout=0.1)
    release.set()
    assert ran.acquire(timeout=10)
    for _ in range(20):
        workers.submit(task)
        assert ran.acquire(timeout=10)
    assert names == {"test_0", "test_1"}
    assert workers.stop(10) == 0


def test_stopping_begins_no_waiting_task_and_leaves_one_that_does_not_end() -> None:
    workers, begun, release = Workers(1, "test"), threading.Event(), threading.Event()
    later = threading.Event()
    workers.submit(lambda: (begun.set(), release.wait(30), None)[-1])
    assert begun.wait(10)
    workers.submit(later.set)
    assert workers.stop(0.1) == 1
    release.set()
    assert workers.stop(10) == 0
    assert not later.is_set()
