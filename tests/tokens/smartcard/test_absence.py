"""No card, no reader, no service, or one that comes back: each is said, and overcome where it can be."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from tests.cards.daemon import ROOT, Daemon
from tests.cards.fixtures import PutIn, insert_card
from tests.tokens.smartcard.rig import ANSWER, READER, answer, opened, within
from tokens.errors import CardLostError, CardServiceError, NoSuchCardError, NoSuchReaderError


def test_an_empty_reader_is_reported_at_once(pcscd: Daemon, pin: str) -> None:
    with within(0.5), pytest.raises(NoSuchCardError, match="Rig A 00 00: no card"), opened(pin):
        pass


def test_a_reader_that_does_not_exist_is_answered_with_those_that_do(pcscd: Daemon, pin: str) -> None:
    with pytest.raises(NoSuchReaderError, match="There are: .*Rig A 00 00"), opened(pin, reader="Omnikey*"):
        pass


@pytest.mark.cards
def test_a_service_that_does_not_run_is_reported(pin: str) -> None:
    code = "import tokens; from tokens.smartcard.search import list_cards; list_cards(tokens.default_manager().cards)"
    environment = {**os.environ, "PCSCLITE_CSOCK_NAME": "/nonexistent/pcscd.comm"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "CardServiceError: The smart card service (pcscd) does not answer at /nonexistent" in done.stderr


def test_without_pyscard_cards_are_refused_in_one_sentence_and_tokens_go_on(pin: str) -> None:
    code = """
    import sys
    sys.modules["smartcard"] = sys.modules["smartcard.scard"] = None
    import tokens
    try:
        tokens.open_key("card:profile=piv;key=9c")
    except tokens.errors.CardServiceError as error:
        print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("Smart cards need the Python package pyscard, which is not installed. Install")
    assert not done.stderr


def test_a_service_that_ends_and_starts_again_is_used_again(put_in: PutIn, pcscd: Daemon, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        pcscd.kill()
        with within(3.0), pytest.raises((CardLostError, CardServiceError), match=r"smart card service \(pcscd\)"):
            answer(secrets)
        card.stop()
        pcscd.start()
        again = pcscd.card(READER, **card.description)
        try:
            insert_card(again)
            assert answer(secrets) == ANSWER
        finally:
            again.stop()


def test_a_forked_child_has_a_connection_of_its_own(put_in: PutIn, pin: str) -> None:
    put_in()
    with opened(pin, sharing="transactions") as secrets:
        assert answer(secrets) == ANSWER
        child = os.fork()
        if not child:
            status = 1
            try:
                status = 0 if answer(secrets) == ANSWER else 2
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert answer(secrets) == ANSWER
