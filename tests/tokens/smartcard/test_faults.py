"""Every way in which a card, its reader or its service was seen to fail, and what we say of it, in time."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cards.daemon import ROOT, Daemon
from tests.cards.fixtures import (
    AUTHENTICATION_CARD,
    PutIn,
    described,
    inserted,
    wait_until_gone,
    wait_until_there,
)
from tokens.card_uri import CardUri
from tokens.errors import (
    AuthenticationExpired,
    CardCancelled,
    CardLost,
    CardServiceError,
    CardTimeout,
    NoSuchCard,
    NoSuchReader,
    TokenBusy,
    WrongCard,
)
from tokens.events import DeviceEvent, Outcome, Recovery, subscribed
from tokens.secrets import Secrets
from tokens.smartcard.channel import Channel
from tokens.smartcard.opening import open_card, open_card_secrets
from tokens.smartcard.profile_table import read_profile

READER = "Rig A 00 00"
QUESTION, ANSWER = bytes.fromhex("0123456789abcdef"), "85e813540f0ab405"
PROFILE = dataclasses.replace(read_profile("test", AUTHENTICATION_CARD), timeout=0.6)


@contextmanager
def opened(pin: str, reader: str = READER, sharing: str | None = None, wait: float = 1.0) -> Iterator[Secrets]:
    """The secrets of the card in a reader. The card has 0.6 seconds for a command."""
    uri = CardUri(reader=reader, profile="test", sharing=sharing)
    with Secrets(open_card_secrets(open_card(uri, pin=pin, profiles={"test": PROFILE}, wait=wait))) as secrets:
        yield secrets


def answer(secrets: Secrets) -> str:
    with secrets.authentication(1, wait=1.0) as a:
        return a.internal_authenticate(QUESTION).hex()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside may take this long, and no longer."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@contextmanager
def neighbour(code: str) -> Iterator[subprocess.Popen[str]]:
    """Another program that uses the card: runs `code` with `channel(exclusive)`, says "ready", waits for its input."""
    prelude = f"""
    import sys
    from tokens.smartcard.channel import Channel
    def channel(exclusive): return Channel({READER!r}, exclusive=exclusive)
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code) + "\nprint('ready', flush=True)\nsys.stdin.read()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


# -- no card, no reader, no service --------------------------------------------------------------------------


def test_an_empty_reader_is_said_so_at_once(pcscd: Daemon, pin: str) -> None:
    with within(0.5), pytest.raises(NoSuchCard, match="Rig A 00 00: no card"), opened(pin):
        pass


def test_a_reader_that_does_not_exist_is_answered_with_those_that_do(pcscd: Daemon, pin: str) -> None:
    with pytest.raises(NoSuchReader, match="there are: .*Rig A 00 00"), opened(pin, reader="Omnikey*"):
        pass


def test_a_service_that_does_not_run_is_said_so(pin: str) -> None:
    code = "from tokens.smartcard.search import list_cards; list_cards()"
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
    assert done.stdout.startswith("Smart cards need the Python package pyscard, which is not installed; run: pip")
    assert not done.stderr


# -- cards that leave ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["pulled", "pulled after", "truncated"])
def test_a_card_that_leaves_in_the_middle_is_lost_in_time(put_in: PutIn, pin: str, fault: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        card.do("fault", fault=fault)
        with within(3.0), pytest.raises(CardLost, match="could not INTERNAL AUTHENTICATE: There is no card"):
            answer(secrets)


def test_a_truncated_answer_is_never_taken_for_data(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets, secrets.data_key(1) as key:
        assert len(key.mac(bytes(8))) == 8
        card.do("fault", fault="truncated", skip=1)
        with pytest.raises(CardLost):
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
        with within(1.2), pytest.raises(CardTimeout):
            answer(secrets)
        card.do("pull")


def test_a_card_put_back_is_used_again(put_in: PutIn, pin: str) -> None:
    card = put_in()
    heard: list[DeviceEvent] = []
    with opened(pin) as secrets, subscribed(heard.append):
        assert answer(secrets) == ANSWER
        card.do("pull")
        wait_until_gone(READER)
        inserted(card)
        assert answer(secrets) == ANSWER
    recoveries = [event for event in heard if isinstance(event, Recovery)]
    assert [event.outcome for event in recoveries] == [Outcome.DONE]


def test_a_card_put_back_at_once_is_used_again(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        card.do("pull")
        card.do("insert")
        assert answer(secrets) == ANSWER


def test_a_card_that_stays_away_is_lost_and_healed_later(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        answer(secrets)
        card.do("pull")
        wait_until_gone(READER)
        with within(3.0), pytest.raises(CardLost, match="There is no card in Rig A 00 00; put it in"):
            answer(secrets)
        inserted(card)
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
        card.do("swap", card=described("authentication"))
        wait_until_there(READER)
        for _ in range(3):
            with pytest.raises(WrongCard, match="is another one"):
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
            with pytest.raises(CardLost):
                a.external_authenticate(bytes(8))
        assert answer(secrets) == ANSWER


# -- cards that hang -----------------------------------------------------------------------------------------


def test_a_card_that_hangs_is_given_up_at_its_deadline(put_in: PutIn, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets, secrets.data_key(1) as key:
        key.mac(bytes(8))
        card.do("fault", fault="hang")
        with within(1.2), pytest.raises(CardTimeout, match=r"did not answer within 0\.\d seconds"):
            key.mac(bytes(8))
        # pcscd still waits for it: whoever comes next is told in time, too.
        with within(2.5), pytest.raises(TokenBusy, match="or it hangs"):
            key.mac(bytes(8))
        card.do("pull")
        wait_until_gone(READER)
        inserted(card)
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
            except CardTimeout as error:
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
    device = open_card_secrets(open_card(uri, pin=pin, profiles={"test": patient}))
    with Secrets(device) as secrets, secrets.data_key(1) as key:
        key.mac(bytes(8))
        card.do("fault", fault="hang")
        threading.Timer(0.2, device.cancel).start()
        with within(1.0), pytest.raises(CardCancelled, match="cancelled"):
            key.mac(bytes(8))
        card.do("pull")
        wait_until_gone(READER)
        inserted(card)
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
            with pytest.raises(AuthenticationExpired):
                slow.external_authenticate(bytes(8))


# -- neighbours ----------------------------------------------------------------------------------------------


def test_a_card_that_another_program_holds_exclusively_is_busy_in_time(put_in: PutIn, pin: str) -> None:
    put_in()
    with neighbour("held = channel(True)"), within(2.0), pytest.raises(TokenBusy, match="another program"), opened(pin):
        pass


def test_a_card_in_another_program_s_transaction_is_busy_in_time(put_in: PutIn, pin: str) -> None:
    put_in()
    with opened(pin, sharing="transactions") as secrets:
        answer(secrets)
        with neighbour("held = channel(False); held.begin(1)"), within(2.5), pytest.raises(TokenBusy):
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
            with pytest.raises(TokenBusy):
                Channel(READER, exclusive=False, wait=0.1)
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


# -- the service ---------------------------------------------------------------------------------------------


def test_a_service_that_ends_and_starts_again_is_used_again(put_in: PutIn, pcscd: Daemon, pin: str) -> None:
    card = put_in()
    with opened(pin) as secrets:
        assert answer(secrets) == ANSWER
        pcscd.kill()
        with within(3.0), pytest.raises((CardLost, CardServiceError), match=r"smart card service \(pcscd\)"):
            answer(secrets)
        card.stop()
        pcscd.start()
        again = pcscd.card(READER, **card.description)
        try:
            inserted(again)
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
