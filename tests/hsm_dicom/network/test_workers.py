"""The threads that wait for connections, compute handshakes, and carry on with an association."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from hsm_dicom.network.unidentified.readiness import Turnstile
from hsm_dicom.network.unidentified.workers import Workers, continue_with
from hsm_dicom.transport.port import Wants
from tests.hsm_dicom.network.nodes import eventually

Task = Callable[[], None]


class Pool:
    """Workers whose tasks are given to them through sockets that become readable."""

    def __init__(self, number: int) -> None:
        self.turnstile: Turnstile[Task] = Turnstile()
        self.begun: list[Task] = []
        self.workers: Workers[Task] = Workers(number, "test", self.turnstile, self.begun.append, lambda task: task())
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self.workers.start()

    def submit(self, task: Task) -> None:
        here, there = socket.socketpair()
        self._pairs.append((here, there))
        self.turnstile.arm(here.fileno(), task, Wants.TO_READ)
        there.send(b"1")

    def close(self) -> None:
        assert self.workers.stop(10) == 0
        self.turnstile.close()
        for here, there in self._pairs:
            here.close()
            there.close()


@pytest.fixture
def make_pool() -> Iterator[Callable[[int], Pool]]:
    pools: list[Pool] = []

    def make(number: int) -> Pool:
        pools.append(Pool(number))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def test_tasks_run_in_at_most_so_many_threads_and_idle_ones_are_used_again(make_pool: Callable[[int], Pool]) -> None:
    pool, ran, release = make_pool(2), threading.Semaphore(0), threading.Event()
    threads: set[int] = set()

    def task() -> None:
        threads.add(threading.get_ident())
        ran.release()
        release.wait(10)

    for _ in range(2):
        pool.submit(task)
        assert ran.acquire(timeout=10)
    pool.submit(task)
    assert not ran.acquire(timeout=0.1)
    release.set()
    assert ran.acquire(timeout=10)
    for _ in range(20):
        pool.submit(task)
        assert ran.acquire(timeout=10)
    assert len(threads) == 2
    assert len(pool.begun) == 23


def test_stopping_begins_no_waiting_task_and_leaves_one_that_does_not_end(make_pool: Callable[[int], Pool]) -> None:
    pool, begun, release = make_pool(1), threading.Event(), threading.Event()
    later = threading.Event()
    pool.submit(lambda: (begun.set(), release.wait(30), None)[-1])
    assert begun.wait(10)
    pool.workers._turnstile.end()
    pool.submit(later.set)
    assert pool.workers.stop(0.1) == 1
    release.set()
    assert pool.workers.stop(10) == 0
    assert not later.is_set()


def test_a_thread_goes_on_with_a_job_and_another_takes_its_place(make_pool: Callable[[int], Pool]) -> None:
    pool, release, ended = make_pool(1), threading.Event(), threading.Semaphore(0)
    order: list[tuple[str, int]] = []

    def job() -> None:
        order.append(("job", threading.get_ident()))
        release.wait(10)
        ended.release()

    def task() -> None:
        continue_with(job, "unused")
        order.append(("task", threading.get_ident()))

    for count in (2, 4, 6):  # each task runs, although the threads of the jobs before are busy
        pool.submit(task)
        assert eventually(lambda count=count: len(order) == count)
    assert [what for what, _ in order] == ["task", "job"] * 3
    assert all(order[i][1] == order[i + 1][1] for i in (0, 2, 4))
    assert len({thread for _, thread in order}) == 3
    release.set()
    assert all(ended.acquire(timeout=10) for _ in range(3))
    # The pool has one thread again, and the others end.
    assert eventually(lambda: sum(thread.name == "test" for thread in threading.enumerate()) == 1)


def test_a_job_goes_on_after_the_pool_has_stopped(make_pool: Callable[[int], Pool]) -> None:
    pool, begun, release, ended = make_pool(2), threading.Event(), threading.Event(), threading.Event()
    pool.submit(lambda: continue_with(lambda: (begun.set(), release.wait(10), ended.set(), None)[-1], "unused"))
    assert begun.wait(10)
    assert pool.workers.stop(10) == 0
    assert not ended.is_set()
    release.set()
    assert ended.wait(10)


def test_another_thread_starts_one_for_the_job() -> None:
    names: list[str] = []
    done = threading.Event()
    continue_with(lambda: (names.append(threading.current_thread().name), done.set(), None)[-1], "relay-x")
    assert done.wait(10)
    assert names == ["relay-x"]


def test_a_thread_stays_when_the_system_has_no_other(
    make_pool: Callable[[int], Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, errors, done = make_pool(1), [], threading.Event()

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def task() -> None:
        try:
            continue_with(lambda: None, "unused")
        except RuntimeError as error:
            errors.append(str(error))
        done.set()

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        pool.submit(task)
        assert done.wait(10)
    assert errors == ["can't start new thread"]
    again = threading.Event()
    pool.submit(again.set)
    assert again.wait(10)
