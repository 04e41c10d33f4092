"""Turns of associations: one at a time, and nobody is left waiting."""

from __future__ import annotations

import threading
import time

from hsm_dicom.gateway.relay.turns import Turns


def test_one_thread_at_a_time_has_the_turn() -> None:
    turns, inside, most = Turns(), [0], [0]

    def work() -> None:
        for _ in range(200):
            with turns:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert inside == [0]
    assert most == [1]


def test_a_thread_that_always_has_something_to_do_lets_the_others_in() -> None:
    turns, stopped, count = Turns(), threading.Event(), [0]

    def busy() -> None:
        while not stopped.is_set():
            with turns:
                time.sleep(0.0005)  # gives up the interpreter's lock, as a call of the system does
            turns.let_others()

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 30
    while count[0] < 50 and time.monotonic() < until:
        with turns:
            count[0] += 1
    stopped.set()
    for thread in threads:
        thread.join(30)
    assert count == [50]


def test_a_turn_ends_with_an_error_too() -> None:
    turns = Turns()
    for _ in range(2):
        try:
            with turns:
                raise OSError("lost")
        except OSError:
            pass
    turns.let_others()
