"""The event bus: every subscriber gets every event, and what one loses is counted and stops nothing."""

from __future__ import annotations

import contextlib
import doctest
import logging
import os
import threading
from dataclasses import replace

import pytest

from tokens import events
from tokens.errors import AuthenticationFailedError, TokenLostError
from tokens.events import (
    DeviceEvent,
    Event,
    EventLostError,
    KeyUse,
    Login,
    OperationOutcome,
    emit,
    subscribe,
    subscriptions,
)
from tokens.events.bus import QuietLock, absorb_events, is_awaited
from tokens.events.reporting import KeyUseReport, report

LOGIN = Login(token_serial="1", token_label="CT room")
USE = KeyUse(token_serial="1", token_label="CT room", key_label="k", operation="sign", mechanism="CKM_ECDSA")


def test_the_example_of_the_package_holds() -> None:
    assert doctest.testmod(events).failed == 0


def test_a_subscriber_may_ask_for_one_kind_of_event() -> None:
    uses: list[KeyUse] = []
    everything: list[Event] = []
    with subscribe(uses.append, KeyUse), subscribe(everything.append):
        emit(LOGIN)
        emit(USE)
    emit(USE)
    assert (uses, everything) == ([USE], [LOGIN, USE])


def test_logging_is_a_subscriber_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    assert len(subscriptions()) == 1
    with caplog.at_level(logging.INFO, "tokens"):
        emit(LOGIN)
    assert caplog.messages == ["token 'CT room' (serial 1): user login: succeeded in 0.0 ms"]


def test_what_a_subscriber_loses_is_counted_and_reaches_the_others(caplog: pytest.LogCaptureFixture) -> None:
    received: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError("no place")

    def cannot_write(event: Event) -> None:
        raise EventLostError("no place")

    with subscribe(fail) as failing, subscribe(cannot_write) as full, subscribe(received.append) as working:
        for _ in range(3):
            emit(USE)
        assert [one.lost for one in subscriptions()] == [0, 3, 3, 0]
    assert (failing.lost, full.lost, working.lost) == (3, 3, 0)
    assert received == [USE] * 3
    assert caplog.text.count("An event could not be delivered to") == 3, (
        "a subscriber that has reported is not repeated"
    )


def test_losses_of_many_threads_are_all_counted() -> None:
    def fail(event: Event) -> None:
        raise EventLostError("no place")

    def work() -> None:
        for _ in range(500):
            emit(USE)

    with subscribe(fail) as subscription:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert subscription.lost == 2000


def test_a_forked_child_delivers_and_counts() -> None:
    def fail(event: Event) -> None:
        raise EventLostError("no place")

    with subscribe(fail) as subscription:
        child = os.fork()
        if child == 0:
            emit(USE)
            os._exit(subscription.lost)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert subscription.lost == 0


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (None, OperationOutcome.SUCCEEDED, ""),
        (AuthenticationFailedError("wrong"), OperationOutcome.REFUSED, "wrong"),
        (TokenLostError("gone"), OperationOutcome.FAILED, "gone"),
        (KeyboardInterrupt(), OperationOutcome.FAILED, ""),
    ],
)
def test_every_way_out_of_an_operation_is_reported(
    error: BaseException | None, outcome: OperationOutcome, reason: str
) -> None:
    received: list[DeviceEvent] = []
    with (
        subscribe(received.append, DeviceEvent),
        contextlib.suppress(AuthenticationFailedError, TokenLostError, KeyboardInterrupt),
        report(LOGIN, refusals=AuthenticationFailedError),
        KeyUseReport("1", "CT room", "k", "sign", "CKM_ECDSA"),
    ):
        if error is not None:
            raise error
    use, login = received
    for event in (use, login):
        assert (event.outcome, event.reason, event.duration > 0) == (outcome, reason, True)
    assert replace(use, outcome=OperationOutcome.SUCCEEDED, reason="", duration=0.0) == USE


def test_what_is_known_only_at_the_end_is_reported_and_a_duration_may_be_kept_back() -> None:
    received: list[DeviceEvent] = []
    with subscribe(received.append, DeviceEvent):
        with contextlib.suppress(TokenLostError), report(LOGIN) as reported:
            reported.set(presented=False)
            reported.end(OperationOutcome.REFUSED, "first")
            raise TokenLostError("second")
        with KeyUseReport("1", "CT room", "k", "decrypt", "CKM_RSA_PKCS", timed=False):
            pass
    login, use = received
    assert isinstance(login, Login)
    assert (login.presented, login.outcome, login.reason) == (False, OperationOutcome.REFUSED, "first")
    assert use.duration == 0.0


def test_a_use_of_a_key_reaches_all_that_may_receive_it(caplog: pytest.LogCaptureFixture) -> None:
    """The event of a success that nobody receives is not made."""

    def use() -> None:
        with KeyUseReport("1", "CT room", "k", "sign", "CKM_ECDSA"):
            pass

    with caplog.at_level(logging.WARNING, "tokens"):
        use()
        assert not is_awaited(KeyUse, KeyUse.level)
        with subscribe(print, Login):
            assert is_awaited(KeyUse, KeyUse.level)
    with caplog.at_level(logging.INFO, "tokens"):
        use()
    assert len(caplog.messages) == 1
    deferred: list[KeyUse] = []
    with caplog.at_level(logging.WARNING, "tokens"), contextlib.ExitStack() as later:
        lock = QuietLock(threading.RLock(), 1.0, TokenLostError)
        with lock, lock:
            use()
            later.enter_context(subscribe(deferred.append, KeyUse))
        assert len(deferred) == 1
    absorbed: list[Event] = []
    with caplog.at_level(logging.WARNING, "tokens"), absorb_events(lambda event: absorbed.append(event) is None):
        use()
    assert len(absorbed) == 1


def test_a_loss_that_cannot_be_logged_stops_nothing_either() -> None:
    """A filter of the logger runs outside what `logging` guards, and so may the repr of a handler."""

    class Unspeakable:
        def __call__(self, event: Event) -> None:
            raise ValueError("not today")

        def __repr__(self) -> str:
            raise ValueError("no name")

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError("no record")

    received: list[Event] = []
    logger = logging.getLogger("tokens")
    with subscribe(Unspeakable()) as subscription, subscribe(received.append):
        emit(LOGIN)
        logger.addFilter(refuse)
        try:
            emit(LOGIN)
        finally:
            logger.removeFilter(refuse)
    assert received == [LOGIN, LOGIN]
    assert subscription.lost == 2
