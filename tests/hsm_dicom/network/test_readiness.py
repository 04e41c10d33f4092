"""Descriptors that one thread waits for, and those that several threads wait for."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from hsm_dicom.network.unidentified.readiness import Readiness, Turnstile
from hsm_dicom.transport.port import Wants
from tests.hsm_dicom.network.nodes import eventually


@pytest.fixture
def readiness() -> Iterator[Readiness[str]]:
    waiting: Readiness[str] = Readiness()
    yield waiting
    waiting.close()


@pytest.fixture
def turnstile() -> Iterator[Turnstile[str]]:
    waiting: Turnstile[str] = Turnstile()
    yield waiting
    waiting.end()
    waiting.close()


def ignore(_: str) -> None:
    """Do nothing when something is taken."""


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_what_is_watched_is_reported_as_long_as_it_can_be_read(
    readiness: Readiness[str], pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    readiness.watch(here.fileno(), "here")
    assert readiness.wait(0) == []
    there.send(b"1")
    assert readiness.wait(5) == readiness.wait(5) == ["here"]
    here.recv(1)
    assert readiness.wait(0) == []


def test_what_is_armed_is_taken_once_and_again_after_it_was_armed(
    turnstile: Turnstile[str], pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    order: list[str] = []
    turnstile.arm(here.fileno(), "here", Wants.TO_READ)
    there.send(b"1")
    assert turnstile.take(order.append) == "here"
    taken = threading.Thread(target=lambda: order.append(f"taken {turnstile.take(order.append)}"))
    taken.start()
    turnstile.arm(here.fileno(), "again", Wants.TO_READ, lambda: order.append("begun"))
    taken.join(10)
    assert order == ["here", "begun", "again", "taken again"]


def test_a_descriptor_that_can_be_written_is_taken(
    turnstile: Turnstile[str], pair: tuple[socket.socket, socket.socket]
) -> None:
    turnstile.arm(pair[0].fileno(), "here", Wants.TO_WRITE)
    assert turnstile.take(ignore) == "here"


def test_only_what_no_thread_has_taken_can_be_claimed(
    turnstile: Turnstile[str], pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    number = here.fileno()
    assert not turnstile.claim(number)
    turnstile.arm(number, "first", Wants.TO_READ)
    assert turnstile.claim(number)
    assert not turnstile.claim(number)
    turnstile.arm(number, "second", Wants.TO_READ)
    there.send(b"1")
    assert turnstile.take(ignore) == "second"
    assert not turnstile.claim(number)
    turnstile.arm(number, "third", Wants.TO_READ)
    assert turnstile.claim(number)


def test_one_that_is_ready_goes_to_one_thread_of_many(turnstile: Turnstile[str]) -> None:
    taken: list[str | None] = []
    threads = [threading.Thread(target=lambda: taken.append(turnstile.take(ignore))) for _ in range(4)]
    pairs = [socket.socketpair() for _ in range(3)]
    for thread in threads:
        thread.start()
    for number, (here, there) in enumerate(pairs):
        turnstile.arm(here.fileno(), str(number), Wants.TO_READ)
        there.send(b"1")
    assert eventually(lambda: len(taken) == 3)
    turnstile.end()
    for thread in threads:
        thread.join(10)
    assert sorted(taken, key=str) == ["0", "1", "2", None]
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_number_that_means_another_connection_now_is_taken_as_that(turnstile: Turnstile[str]) -> None:
    here, there = socket.socketpair()
    number = here.fileno()
    turnstile.arm(number, "first", Wants.TO_READ)
    turnstile.forget(number)
    turnstile.forget(number)
    here.close()
    there.close()
    here, there = socket.socketpair()
    with here, there:
        assert here.fileno() == number
        turnstile.arm(number, "second", Wants.TO_READ)
        there.send(b"1")
        assert turnstile.take(ignore) == "second"


def test_nothing_is_armed_or_taken_after_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    turnstile: Turnstile[str] = Turnstile()
    turnstile.end()
    begun: list[bool] = []
    turnstile.arm(pair[0].fileno(), "here", Wants.TO_READ, lambda: begun.append(True))
    turnstile.forget(pair[0].fileno())
    assert turnstile.take(ignore) is None
    assert begun == []
    turnstile.close()
