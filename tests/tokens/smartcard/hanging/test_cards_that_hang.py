"""Cards that do not answer in time: given up at their deadline, and no other reader waits for them."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from tests.cards.fixtures import PutIn, insert_card, wait_until_gone
from tests.tokens.smartcard.rig import ANSWER, PROFILE, QUESTION, READER, answer, opened, within
from tokens.card_uri import CardUri
from tokens.errors import AuthenticationExpiredError, CardCancelledError, CardTimeoutError, TokenBusyError
from tokens.manager import default_manager
from tokens.secrets import Secrets
from tokens.smartcard.opening import open_card, open_card_secrets


def test_a_card_that_hangs_is_given_up_at_its_deadline(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets, secrets.data_key(1) as key:
        key.mac(bytes(8))
        card.do("fault", fault="hang")
        with within(1.2), pytest.raises(CardTimeoutError, match=r"did not answer within 0\.\d seconds"):
            key.mac(bytes(8))
        # pcscd still waits for it: whoever comes next is told in time, too.
        with within(2.5), pytest.raises(TokenBusyError, match="or it does not respond"):
            key.mac(bytes(8))
        card.do("pull")
        wait_until_gone(READER)
        insert_card(card)
        assert len(key.mac(bytes(8))) == 8


def test_a_card_that_hangs_leaves_the_other_reader_alone(put_in: PutIn, pin: str) -> None:
    card, other = put_in(), put_in("Rig B 00 00")
    with opened(pin) as secrets, opened(pin, other.reader) as others:
        answer(secrets)
        answer(others)
        card.do("fault", fault="hang")
        raised: list[BaseException] = []

        def hang() -> None:
            try:
                answer(secrets)
            except CardTimeoutError as error:
                raised.append(error)

        hanging = threading.Thread(target=hang)
        hanging.start()
        with within(0.3):
            assert answer(others) == ANSWER
        hanging.join(5)
        assert raised
        card.do("pull")


def test_a_slow_card_is_given_the_time_that_its_profile_says(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        answer(secrets)
        card.do("fault", fault="slow", seconds=0.4)
        assert answer(secrets) == ANSWER


def test_a_command_under_way_can_be_cancelled(put_in: PutIn, pin: str) -> None:
    card = put_in()
    patient = dataclasses.replace(PROFILE, timeout=30.0)
    uri = CardUri(reader=READER, profile="test")
    device = open_card_secrets(open_card(default_manager().cards, uri, pin=pin, profiles={"test": patient}))
    with Secrets(device) as secrets, secrets.data_key(1) as key:
        key.mac(bytes(8))
        card.do("fault", fault="hang")
        threading.Timer(0.2, device.cancel).start()
        with within(1.0), pytest.raises(CardCancelledError, match="cancelled"):
            key.mac(bytes(8))
        card.do("pull")
        wait_until_gone(READER)
        insert_card(card)
        assert len(key.mac(bytes(8))) == 8


def test_an_authentication_that_is_not_finished_gives_the_card_back_at_its_deadline(put_in: PutIn, pin: str) -> None:
    put_in()
    with opened(pin) as secrets:
        answer(secrets)
        started = time.monotonic()
        with secrets.authentication(1, timeout=2.0) as slow:
            _ = slow.challenge
            # Meanwhile another one waits, while this thread does not even look.
            with secrets.authentication(1, wait=20.0) as quick:
                assert quick.internal_authenticate(QUESTION).hex() == ANSWER
            assert 1.9 < time.monotonic() - started < 15
            with pytest.raises(AuthenticationExpiredError):
                slow.external_authenticate(bytes(8))
