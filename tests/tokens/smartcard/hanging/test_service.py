"""pcscd itself hangs: every call that it has to answer ends at its deadline."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.cards.daemon import Daemon
from tests.cards.fixtures import PutIn
from tests.pausing import pause
from tests.tokens.smartcard.rig import ANSWER, answer, opened, within
from tokens.errors import CardLostError, CardServiceError, CardTimeoutError
from tokens.manager import DeviceManager
from tokens.smartcard.readers import channel, pcsc
from tokens.smartcard.search import list_slots


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service has half a second."""
    monkeypatch.setattr(pcsc, "SERVICE_TIMEOUT", 0.5)
    monkeypatch.setattr(channel, "SERVICE_TIMEOUT", 0.5)


@pytest.fixture
def paused(pcscd: Daemon, hasty: None) -> Iterator[Daemon]:
    """A pcscd that accepts connections and does not answer."""
    pause(pcscd.process.pid)
    yield pcscd
    pcscd.process.send_signal(signal.SIGCONT)


def test_looking_for_readers_ends_in_time_and_works_again_afterwards(paused: Daemon) -> None:
    with DeviceManager() as manager:
        for _ in range(2):
            with within(3.0), pytest.raises(CardServiceError, match="did not answer in time. Restart it"):
                list_slots(manager.cards.contexts)
        paused.process.send_signal(signal.SIGCONT)
        assert list_slots(manager.cards.contexts)


def test_a_context_that_was_open_is_used_and_released_in_time(pcscd: Daemon, hasty: None) -> None:
    with DeviceManager() as manager:
        used, unused = manager.cards.contexts.establish(), manager.cards.contexts.establish()
        pause(pcscd.process.pid)
        try:
            with within(3.0), pytest.raises(CardServiceError, match="did not answer in time"):
                pcsc.list_readers(used)
            with within(3.0):
                used.release()
                unused.release()
        finally:
            pcscd.process.send_signal(signal.SIGCONT)


def test_a_card_behind_it_is_given_up_in_time_and_closed(put_in: PutIn, pin: str, pcscd: Daemon, hasty: None) -> None:
    put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        pause(pcscd.process.pid)
        try:
            with within(3.0), pytest.raises(CardTimeoutError):
                answer(secrets)
            with within(3.0), pytest.raises((CardServiceError, CardLostError)):
                answer(secrets)
        finally:
            pcscd.process.send_signal(signal.SIGCONT)
        assert answer(secrets) == ANSWER


def test_closing_with_an_open_card_ends_in_time(put_in: PutIn, pin: str, pcscd: Daemon, hasty: None) -> None:
    put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        pause(pcscd.process.pid)
        try:
            with within(5.0):
                secrets.close()
        finally:
            pcscd.process.send_signal(signal.SIGCONT)
