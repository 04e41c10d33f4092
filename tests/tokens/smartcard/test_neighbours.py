"""Other programs with the same card: they hold it, reset it, die with it, and never inherit our PIN."""

from __future__ import annotations

import threading
import time

import pytest

from tests.cards.fixtures import PutIn
from tests.tokens.smartcard.rig import ANSWER, QUESTION, READER, answer, neighbour, opened, within
from tokens.errors import TokenBusyError
from tokens.manager import default_manager
from tokens.smartcard.readers.channel import Channel


def test_a_card_that_another_program_holds_exclusively_is_busy_in_time(put_in: PutIn, pin: str) -> None:
    put_in()
    with (
        neighbour("held = channel(True)"),
        within(2.0),
        pytest.raises(TokenBusyError, match="another program"),
        opened(pin),
    ):
        pass


def test_a_card_in_another_program_s_transaction_is_busy_in_time(put_in: PutIn, pin: str) -> None:
    put_in()
    with opened(pin, sharing="transactions") as secrets:
        answer(secrets)
        with neighbour("held = channel(False); held.begin(1)"), within(2.5), pytest.raises(TokenBusyError):
            answer(secrets)
        assert answer(secrets) == ANSWER


def test_a_neighbour_killed_in_its_transaction_does_not_matter(put_in: PutIn, pin: str) -> None:
    put_in()
    with opened(pin, sharing="transactions", wait=5.0) as secrets:
        answer(secrets)
        with neighbour("held = channel(False); held.begin(1)") as process:
            threading.Timer(0.3, process.kill).start()
            with secrets.authentication(1, wait=5.0) as a:
                assert a.internal_authenticate(QUESTION).hex() == ANSWER


def test_a_neighbour_s_reset_does_not_matter(put_in: PutIn, pin: str) -> None:
    put_in()
    with opened(pin, sharing="transactions") as secrets:
        assert answer(secrets) == ANSWER
        with neighbour("channel(False).close(reset=True)"):
            assert answer(secrets) == ANSWER


@pytest.mark.parametrize("sharing", ["exclusive", "transactions"])
def test_no_neighbour_inherits_our_pin(put_in: PutIn, pin: str, sharing: str) -> None:
    card = put_in()
    with opened(pin, sharing=sharing) as secrets:
        answer(secrets)
        if sharing == "exclusive":
            with pytest.raises(TokenBusyError):
                Channel(default_manager().cards.contexts, READER, exclusive=False, wait=0.1)
        else:
            assert card.do("state")["verified"] == {"01": False}
    assert card.do("state")["verified"] == {"01": False}


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_program_killed_with_a_verified_pin_leaves_none_behind(put_in: PutIn, pin: str, exclusive: bool) -> None:
    card = put_in()
    code = f"""
    held = channel({exclusive})
    if not {exclusive}: held.begin(1)
    held.transmit(bytes.fromhex("00a4040006f048534d0001"), 1)
    held.transmit(bytes.fromhex("0020000108313233343536ffff"), 1)
    """
    with neighbour(code) as process:
        assert card.do("state")["verified"] == {"01": True}
        process.kill()
        process.wait()
    deadline = time.monotonic() + 2
    while card.do("state")["verified"]["01"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
