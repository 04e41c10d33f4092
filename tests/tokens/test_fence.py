"""Late calls of one module: which tokens are left alone, for how long, and what waits until a call has returned."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import until
from tokens.errors import ModuleFencedError, TokenBusyError, TokenLostError, TokenTimeoutError
from tokens.pins.sources import Pin
from tokens.pkcs11.calls.call_threads import CallThreads
from tokens.pkcs11.calls.cryptoki import Cryptoki, UserType
from tokens.pkcs11.calls.fence import Fence, LateCall
from tokens.pkcs11.calls.functions import Function
from tokens.process.gate import Gate

pytestmark = pytest.mark.usefixtures("bounded")


class Hang:
    """A call of the token in a slot that its caller has left, and that goes on until `end`."""

    def __init__(self, threads: CallThreads, slot: int | None, late: Callable[[Any], None] | None = None) -> None:
        self._end = threading.Event()

        def hang() -> None:
            threads.begin_call("C_Sign", slot, 0.01)
            self._end.wait()
            threads.end_call()

        with pytest.raises(TokenTimeoutError):
            threads.run(hang, late)

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def answering() -> set[int]:
    """The slots whose tokens answer a probe."""
    return {1, 2, 3}


@pytest.fixture
def threads(answering: set[int]) -> Iterator[CallThreads]:
    def answers(slot: int) -> bool:
        return bool(answering - {slot, *(call.slot for call in threads.fence.late)})

    threads = CallThreads(Fence("module.so", Gate()), answers)
    yield threads
    threads.close()


def call(threads: CallThreads, slot: int) -> str:
    def job() -> str:
        threads.begin_call("C_Sign", slot, 5)
        threads.end_call()
        return "answered"

    return threads.run(job)


def test_a_dead_token_does_not_keep_another_fenced_that_hung_once(threads: CallThreads, answering: set[int]) -> None:
    answering.remove(3)
    dead = Hang(threads, 1)
    assert call(threads, 2) == "answered"
    slow = Hang(threads, 2)
    until(lambda: threads.fence.is_fenced)
    slow.end()
    until(lambda: not threads.fence.is_fenced)
    assert call(threads, 2) == "answered"
    with pytest.raises(TokenTimeoutError):
        call(threads, 1)
    with pytest.raises(ModuleFencedError):
        threads.run_alone(lambda: None, 1.0)
    dead.end()
    until(lambda: threads.fence.is_quiet)
    threads.run_alone(lambda: None, 1.0)


def test_a_call_for_no_token_keeps_the_module_fenced(threads: CallThreads) -> None:
    listing = Hang(threads, None)
    assert threads.fence.is_fenced
    with pytest.raises(ModuleFencedError):
        call(threads, 1)
    listing.end()
    until(lambda: threads.fence.is_quiet)
    assert call(threads, 1) == "answered"


def test_what_waits_for_one_token_does_not_wait_for_another(threads: CallThreads) -> None:
    dead, slow = Hang(threads, 1), Hang(threads, 2)
    done: list[int] = []
    for slot in (1, 2, 3):
        threads.when_answering(slot, lambda slot=slot: done.append(slot))  # type: ignore[misc]
    assert done == [3]
    slow.end()
    until(lambda: done == [3, 2])
    dead.end()
    until(lambda: done == [3, 2, 1])


def test_the_module_is_not_finalised_while_a_late_result_is_delivered(threads: CallThreads) -> None:
    delivering, go_on, done = threading.Event(), threading.Event(), []

    def deliver(_: object) -> None:
        delivering.set()
        go_on.wait()
        threads.begin_call("C_CloseSession", 1, 5)  # allowed here
        threads.end_call()
        done.append("delivered")

    def finalise() -> None:
        with contextlib.suppress(ModuleFencedError):
            threads.run_alone(lambda: done.append("finalised"), 5.0)

    begun, go, outcome = threading.Event(), threading.Event(), []

    def job() -> None:
        threads.begin_call("C_OpenSession", 1, 0.2)
        begun.set()
        go.wait()
        threads.end_call()

    def use() -> None:
        try:
            threads.run(job, deliver)
        except TokenTimeoutError:
            outcome.append("left")

    caller = threading.Thread(target=use)
    caller.start()
    begun.wait()
    finaliser = threading.Thread(target=finalise)  # waits at the gate, before the caller leaves
    finaliser.start()
    caller.join()
    go.set()
    delivering.wait()
    assert not threads.fence.is_quiet
    with pytest.raises(ModuleFencedError):
        threads.run_alone(lambda: done.append("finalised"), 5.0)
    go_on.set()
    finaliser.join()
    until(lambda: threads.fence.is_quiet)
    assert outcome == ["left"]
    assert done[0] == "delivered"


def test_the_delivery_of_a_late_result_keeps_nobody_out() -> None:
    threads = CallThreads(Fence("module.so", Gate(one_at_a_time=True)), lambda slot: False)
    delivering, go_on, inside = threading.Event(), threading.Event(), []

    def close() -> None:
        inside.append(dict(threads.gate._inside))

    def deliver(_: object) -> None:
        delivering.set()
        go_on.wait()
        threads.when_answering(1, close)

    hang = Hang(threads, 1, deliver)
    hang.end()
    delivering.wait()
    assert call(threads, 1) == "answered"
    go_on.set()
    until(lambda: threads.fence.is_quiet)
    assert [len(those) for those in inside] == [1]  # its calls are made one at a time too
    threads.close()


def test_a_result_that_cannot_be_delivered_does_not_keep_the_fence(threads: CallThreads) -> None:
    def deliver(_: object) -> None:
        raise OSError("disk full")

    hang = Hang(threads, 1, deliver)
    hang.end()
    until(lambda: threads.fence.is_quiet)
    assert call(threads, 1) == "answered"


def test_a_log_that_is_stuck_keeps_no_fence(threads: CallThreads, request: pytest.FixtureRequest) -> None:
    logged, go_on = threading.Event(), threading.Event()

    class Stuck(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "has not returned" not in record.getMessage():
                logged.set()
                go_on.wait()

    logger, handler = logging.getLogger("tokens.pkcs11.calls.fence"), Stuck()
    logger.addHandler(handler)
    request.addfinalizer(lambda: logger.removeHandler(handler))
    request.addfinalizer(go_on.set)
    hang = Hang(threads, 1)
    hang.end()
    logged.wait()
    assert threads.fence.is_quiet
    threads.run_alone(lambda: None, 0.1)


class _Module(Cryptoki):
    """Calls that a test answers."""

    def __init__(self, threads: CallThreads, answer: Callable[..., int]) -> None:
        super().__init__(0, threads)
        self._answer = answer

    def _load(self, function: Function) -> Callable[..., int]:
        return lambda *arguments: self._answer(function, *arguments)


def test_a_handle_that_is_used_again_at_once_is_of_its_new_slot(threads: CallThreads) -> None:
    def answer(function: Function, *arguments: Any) -> int:
        if function is Function.OPEN_SESSION:
            arguments[-1]._obj.value = 7
        elif arguments[0].value == 7:  # closed: another thread gets the handle before the call is back
            other = threading.Thread(target=module.open_session, args=(2, 4))
            other.start()
            other.join()
        return 0

    module = _Module(threads, answer)
    module.open_session(1, 4)
    assert module.slot_of(7) == 1
    module.close_session(7)
    assert module.slot_of(7) == 2


@pytest.mark.parametrize("refusal", ["fenced", "gate", "threads"])
def test_a_pin_that_was_not_presented_is_wiped(
    threads: CallThreads, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _Module(threads, lambda *_: 0)
    copies: list[bytearray] = []

    class _Copied(bytearray):
        def __init__(self, *content: Any) -> None:
            super().__init__(*content)
            copies.append(self)

    monkeypatch.setattr("tokens.pkcs11.calls.cryptoki.bytearray", _Copied, raising=False)
    expected: type[Exception] = TokenLostError
    hang = None
    if refusal == "fenced":
        hang = Hang(threads, None)
    elif refusal == "gate":
        threads.gate.finish()
    else:
        expected = TokenBusyError
        monkeypatch.setattr(threads, "_start", _fail_to_start)
    with pytest.raises(expected):
        module.login(1, UserType.USER, Pin(b"1234"))
    assert [bytes(copy) for copy in copies] == [bytes(4)]
    if hang is not None:
        hang.end()


def _fail_to_start() -> None:
    raise TokenBusyError("No thread could be started.")


def test_a_session_is_closed_later_if_its_token_is_left_while_it_is_being_closed(
    token: TestToken, proxy: Proxy
) -> None:
    code = """
    from tokens.pkcs11.module import load_module
    from tokens.pkcs11.calls.fence import LateCall
    from pathlib import Path
    module = load_module(Path(uris[0]))
    slot = next(slot for slot in module.queries.slots() if module.queries.token(slot).serial == uris[1])
    session = module.queries.open_session(slot)
    late = LateCall("C_Sign", slot)
    when_answering = module._threads.when_answering
    def leave_first(slot, action):
        module._fence.add(late)
        action()
    module._threads.when_answering = leave_first
    module.close_session(session, module.epoch)
    print(module.cryptoki.slot_of(session) == slot)
    for action in module._fence.remove(late):
        action()
    print(module.cryptoki.slot_of(session))
    module._fence.settle(late)
    """
    lines = scenes.play(code, proxy.module, token.serial, environment=proxy.environment(counted=True))
    assert lines == ["True", "None"]
    assert proxy.calls()["C_CloseSession"] == 1


@pytest.mark.parametrize(("seconds", "spelled"), [(0.6, "1 second"), (1.6, "2 seconds")])
def test_the_time_of_a_late_call_is_spelled_in_whole_seconds(seconds: float, spelled: str) -> None:
    call = LateCall("C_Sign", 1, time.monotonic() - seconds)
    assert call.spelled_seconds == spelled


def test_a_deadline_of_one_second_is_spelled_in_the_singular(threads: CallThreads) -> None:
    released = threading.Event()

    def hang() -> None:
        threads.begin_call("C_Sign", 1, 1.0)
        released.wait()
        threads.end_call()

    with pytest.raises(TokenTimeoutError, match=r"did not answer C_Sign within 1 second\."):
        threads.run(hang)
    released.set()
