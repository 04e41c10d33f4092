"""Descriptors that one thread waits for, and that others have it wait for again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from hsm_dicom.network.unidentified.readiness import Readiness
from hsm_dicom.transport.port import Wants


@pytest.fixture
def readiness() -> Iterator[Readiness[str]]:
    waiting: Readiness[str] = Readiness()
    yield waiting
    waiting.close()


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


def test_what_is_armed_is_reported_once_and_again_after_it_was_armed_by_another_thread(
    readiness: Readiness[str], pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    readiness.arm(here.fileno(), "here", Wants.TO_READ)
    there.send(b"1")
    assert readiness.wait(5) == ["here"]
    assert readiness.wait(0) == []
    order: list[str] = []
    thread = threading.Thread(
        target=readiness.arm, args=(here.fileno(), "again", Wants.TO_READ, lambda: order.append("begun"))
    )
    thread.start()
    order += readiness.wait(5)
    thread.join()
    assert order == ["begun", "again"]


def test_a_descriptor_that_can_be_written_is_reported(
    readiness: Readiness[str], pair: tuple[socket.socket, socket.socket]
) -> None:
    readiness.arm(pair[0].fileno(), "here", Wants.TO_WRITE)
    assert readiness.wait(5) == ["here"]


def test_a_number_that_means_another_connection_now_is_reported_as_that(readiness: Readiness[str]) -> None:
    here, there = socket.socketpair()
    number = here.fileno()
    readiness.arm(number, "first", Wants.TO_READ)
    readiness.forget(number)
    readiness.forget(number)
    here.close()
    there.close()
    here, there = socket.socketpair()
    with here, there:
        assert here.fileno() == number
        readiness.arm(number, "second", Wants.TO_READ)
        there.send(b"1")
        assert readiness.wait(5) == ["second"]


def test_nothing_is_armed_after_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    readiness: Readiness[str] = Readiness()
    readiness.close()
    begun: list[bool] = []
    readiness.arm(pair[0].fileno(), "here", Wants.TO_READ, lambda: begun.append(True))
    readiness.forget(pair[0].fileno())
    assert begun == []
