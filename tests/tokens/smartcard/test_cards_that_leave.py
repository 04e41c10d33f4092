"""Cards that are pulled in the middle, put back, or swapped for another; and answers that are none."""

from __future__ import annotations

import pytest

from tests.cards.fixtures import PutIn, describe_card, insert_card, wait_until_gone, wait_until_there
from tests.tokens.smartcard.rig import ANSWER, READER, answer, opened, within
from tokens.errors import CardLostError, CardTimeoutError, WrongCardError
from tokens.events import DeviceEvent, OperationOutcome, Reconnection, subscribe


@pytest.mark.parametrize("fault", ["pulled", "pulled after", "truncated"])
def test_a_card_that_leaves_in_the_middle_is_lost_in_time(put_in: PutIn, pin: str, fault: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        card.do("fault", fault=fault)
        with within(3.0), pytest.raises(CardLostError, match="could not INTERNAL AUTHENTICATE: There is no card"):
            answer(secrets)


def test_a_truncated_answer_is_never_taken_for_data(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets, secrets.data_key(1) as key:
        assert len(key.mac(bytes(8))) == 8
        card.do("fault", fault="truncated", skip=1)
        with pytest.raises(CardLostError):
            key.mac(bytes(8))


@pytest.mark.parametrize("said", ["90", "1234567890abcdef", "9000", "00112233445566779000ff"])
def test_what_is_no_answer_is_asked_for_again(put_in: PutIn, pin: str, said: str) -> None:
    """One byte; no status word at the end; no data; too much data. The card itself is still whole."""
    card = put_in()
    with opened(pin) as secrets:
        answer(secrets)
        card.do("fault", fault="answer", answer=said)
        with within(1.0):
            assert answer(secrets) == ANSWER


def test_an_empty_answer_which_stops_the_reader_is_given_up_in_time(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        answer(secrets)
        card.do("fault", fault="answer", answer="")
        with within(1.2), pytest.raises(CardTimeoutError):
            answer(secrets)
        card.do("pull")


def test_a_card_put_back_is_used_again(put_in: PutIn, pin: str) -> None:
    card = put_in()
    heard: list[DeviceEvent] = []
    with opened(pin) as secrets, subscribe(heard.append):
        assert answer(secrets) == ANSWER
        card.do("pull")
        wait_until_gone(READER)
        insert_card(card)
        assert answer(secrets) == ANSWER
    recoveries = [event for event in heard if isinstance(event, Reconnection)]
    assert [event.outcome for event in recoveries] == [OperationOutcome.SUCCEEDED]


def test_a_card_put_back_at_once_is_used_again(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        card.do("pull")
        card.do("insert")
        assert answer(secrets) == ANSWER


def test_a_card_that_stays_away_is_lost_and_reconnected_later(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        answer(secrets)
        card.do("pull")
        wait_until_gone(READER)
        with within(3.0), pytest.raises(CardLostError, match="There is no card in Rig A 00 00. Insert it"):
            answer(secrets)
        insert_card(card)
        assert answer(secrets) == ANSWER


@pytest.mark.parametrize("quickly", [True, False])
def test_another_card_is_refused_and_not_even_given_the_pin(put_in: PutIn, pin: str, quickly: bool) -> None:
    card = put_in()
    with opened(pin) as secrets:
        answer(secrets)
        if not quickly:
            card.do("pull")
            wait_until_gone(READER)
        # Swapped in less than pcscd's 0.4 seconds, the other card looks like the old one to the old connection.
        card.do("swap", card=describe_card("authentication"))
        wait_until_there(READER)
        for _ in range(3):
            with pytest.raises(WrongCardError, match="is not the card that was opened"):
                answer(secrets)
    calls = card.do("state")["calls"]
    assert "20" not in calls
    assert "88" not in calls


def test_a_conversation_does_not_go_on_with_a_card_that_was_reset(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        with secrets.authentication(1) as a:
            _ = a.challenge
            card.do("pull")
            card.do("insert")
            with pytest.raises(CardLostError):
                a.external_authenticate(bytes(8))
        assert answer(secrets) == ANSWER
