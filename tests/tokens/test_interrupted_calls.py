"""Ctrl-C at every place where Python hears it, while a job is handed over to a call thread, waited for and left."""

from __future__ import annotations

import dis
import functools
import itertools
import sys
import threading
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

import pytest

from tokens.errors import TokenTimeoutError
from tokens.pkcs11.calls import call_threads, fence, lane
from tokens.pkcs11.calls.call_threads import CallThreads
from tokens.pkcs11.calls.fence import Fence
from tokens.process.gate import Gate

pytestmark = pytest.mark.usefixtures("bounded")

FILES = {call_threads.__file__, fence.__file__, lane.__file__}


@functools.cache
def hearing(code: CodeType) -> frozenset[int]:
    """The offsets before which Python looks for signals: after each call, and at the beginning of a function."""
    instructions = list(dis.get_instructions(code))
    return frozenset(
        after.offset
        for before, after in itertools.pairwise(instructions)
        if before.opname in ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME")
    )


def interrupt_at(places: tuple[int, ...], action: Callable[[], Any]) -> tuple[Any, int]:
    """Raise KeyboardInterrupt at the n-th places of `action`; return its result, and how many places were passed."""
    passed = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal passed
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in hearing(frame.f_code):
            passed += 1
            if passed in places:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        result = action()
    except (KeyboardInterrupt, TokenTimeoutError):
        result = None
    finally:
        sys.settrace(before)
    return result, passed


@pytest.fixture
def threads() -> CallThreads:
    return CallThreads(Fence("module.so", Gate()), lambda slot: True)


def require_usable(threads: CallThreads) -> None:
    until = time.monotonic() + 5
    while not threads.fence.is_quiet:
        assert time.monotonic() < until, threads.fence.late
        time.sleep(0.0005)
    assert threads.run(lambda: "works") == "works"
    assert threads.run_alone(lambda: "works alone", 1.0) == "works alone"


@pytest.mark.parametrize("again", [(), (1,), (2,), (3, 5), (9,)])
@pytest.mark.parametrize("lasts", [False, True])
def test_an_interruption_loses_no_job_and_keeps_no_fence(
    threads: CallThreads, again: tuple[int, ...], *, lasts: bool
) -> None:
    for place in range(1, 1000):
        begun, go_on, delivered = threading.Event(), threading.Event(), []

        def job(begun: threading.Event = begun, go_on: threading.Event = go_on) -> str:
            begun.set()
            threads.begin_call("C_Sign", 1, 0.02 if lasts else 10.0)
            try:
                if lasts:
                    go_on.wait(5)
            finally:
                threads.end_call()
            return "signature"

        def use(job: Callable[[], str] = job, delivered: list[Any] = delivered) -> str:
            return threads.run(job, delivered.append)

        result, passed = interrupt_at((place, *(place + further for further in again)), use)
        go_on.set()
        require_usable(threads)
        assert len(delivered) <= 1, place
        assert result is None or not delivered, place
        if passed < place:
            break  # there is no such place
    assert place > 10
