"""The secrets port, the same on every device."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.tokens.secrets.devices import Device
from tokens.errors import (
    AuthenticationExpiredError,
    AuthenticationFailedError,
    MechanismNotOfferedError,
    NoSuchKeyError,
    OutOfSequenceError,
    ReflectedChallengeError,
    TokenBusyError,
    TokenLostError,
)
from tokens.events import DeviceEvent, KeyUse, subscribe
from tokens.secrets import ZERO_IV, DataKey, Secrets, Use

FIPS_81_PLAIN = b"Now is the time for all "
FIPS_81_IV = bytes.fromhex("1234567890abcdef")
FIPS_81_CBC = bytes.fromhex("e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6")
FIPS_113_TEXT = b"7654321 Now is the time for \0\0\0\0"
FIPS_113_CODE = bytes.fromhex("f1d30f6849312ca4")


def test_two_holders_of_a_key_prove_it_to_each_other(secrets: Secrets, peer: Secrets) -> None:
    with secrets.authentication(1) as server, peer.authentication(1) as client:
        first = server.challenge
        answer = client.internal_authenticate(first)
        second = client.challenge
        server.external_authenticate(answer)
        client.external_authenticate(server.internal_authenticate(second))
    assert len(first) == len(second) == 8
    assert first != second


def test_the_answer_to_a_challenge_is_the_published_one(secrets: Secrets) -> None:
    with secrets.authentication(1) as a:
        assert a.internal_authenticate(bytes.fromhex("0123456789abcdef")).hex() == "85e813540f0ab405"


def test_challenges_do_not_repeat(secrets: Secrets) -> None:
    drawn = set()
    for _ in range(50):
        with secrets.authentication(1) as a:
            drawn.add(a.challenge)
    assert len(drawn) == 50


def test_an_answer_made_with_another_key_is_refused(secrets: Secrets) -> None:
    with secrets.authentication(1) as a:
        _ = a.challenge
        with pytest.raises(AuthenticationFailedError):
            a.external_authenticate(bytes(8))


def test_a_challenge_is_good_for_one_response(secrets: Secrets) -> None:
    with secrets.authentication(1) as a:
        _ = a.challenge
        with pytest.raises(AuthenticationFailedError):
            a.external_authenticate(bytes(8))
        with pytest.raises(OutOfSequenceError):
            a.external_authenticate(bytes(8))


def test_keys_may_be_directional(secrets: Secrets) -> None:
    with secrets.authentication(2) as other:
        theirs = other.internal_authenticate(bytes.fromhex("0011223344556677"))
    with secrets.authentication(1, peer_index=2) as a:
        assert a.internal_authenticate(bytes.fromhex("0011223344556677")) != theirs
        challenge = a.challenge
        assert len(challenge) == 8
        with pytest.raises(AuthenticationFailedError):
            a.external_authenticate(theirs)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda a: (a.challenge, a.internal_authenticate(bytes(range(8)))),
        lambda a: (a.internal_authenticate(bytes(8)), a.internal_authenticate(bytes(range(8)))),
        lambda a: a.external_authenticate(bytes(8)),
    ],
    ids=["answering between challenge and judgement", "answering twice", "judging without a challenge"],
)
def test_an_order_that_a_card_does_not_allow_is_refused_everywhere(
    secrets: Secrets, misuse: Callable[[object], object]
) -> None:
    with secrets.authentication(1) as a, pytest.raises(OutOfSequenceError):
        misuse(a)


def test_a_challenge_sent_back_to_us_is_not_answered(secrets: Secrets) -> None:
    with secrets.authentication(1) as a:
        challenge = a.challenge
        with pytest.raises(AuthenticationFailedError):
            a.external_authenticate(bytes(8))
        with pytest.raises(ReflectedChallengeError):
            a.internal_authenticate(challenge)


def test_a_challenge_sent_back_in_a_parallel_conversation_is_not_answered(device: Device, secrets: Secrets) -> None:
    with secrets.authentication(1) as waiting:
        challenge = waiting.challenge
        if device.serves_many_at_once:
            with secrets.authentication(1) as other, pytest.raises(ReflectedChallengeError):
                other.internal_authenticate(challenge)
        else:
            # There is no parallel one: who asks for it is told so, after the time that he would wait.
            with pytest.raises(TokenBusyError), secrets.authentication(1, wait=0.1):
                pass
    with secrets.authentication(1) as later:
        assert len(later.internal_authenticate(challenge)) == 8


def test_an_authentication_ends_at_its_deadline(secrets: Secrets) -> None:
    secrets.check_value(Use.AUTHENTICATION, 1)  # a first PIN takes its time
    with secrets.authentication(1, timeout=0.3) as a:
        _ = a.challenge
        time.sleep(0.35)
        with pytest.raises(AuthenticationExpiredError):
            a.external_authenticate(bytes(8))


def test_an_authentication_is_over_after_its_block(secrets: Secrets) -> None:
    with secrets.authentication(1) as a:
        pass
    with pytest.raises(AuthenticationExpiredError):
        a.internal_authenticate(bytes(8))


def test_lengths_are_checked_before_anything_is_sent(secrets: Secrets) -> None:
    with secrets.authentication(1) as a, pytest.raises(ValueError, match="8 bytes, not 7"):
        a.internal_authenticate(bytes(7))
    with secrets.data_key(1) as key:
        with pytest.raises(ValueError, match="whole blocks of 8 bytes"):
            key.mac(b"1234567")
        with pytest.raises(ValueError, match="8 bytes, not 16"):
            key.encrypt(bytes(8), bytes(16))


def test_an_index_without_a_key_is_reported(secrets: Secrets) -> None:
    # A card tells only when the key is used.
    with pytest.raises(NoSuchKeyError, match="7"), secrets.authentication(7) as a:
        a.internal_authenticate(bytes(8))
    with pytest.raises(NoSuchKeyError, match="7"), secrets.data_key(7) as key:
        key.mac(bytes(8))
    with pytest.raises(NoSuchKeyError, match="99"), secrets.authentication(99):
        pass


def test_the_code_of_a_message_is_the_one_of_fips_113(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        assert key.mac(FIPS_113_TEXT) == FIPS_113_CODE


def test_a_code_may_be_computed_in_parts(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        assert key.mac(FIPS_113_TEXT[8:], key.mac(FIPS_113_TEXT[:8])) == FIPS_113_CODE


def test_encryption_gives_the_published_result(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        assert key.encrypt(FIPS_81_PLAIN, FIPS_81_IV) == FIPS_81_CBC
        assert key.decrypt(FIPS_81_CBC, FIPS_81_IV) == FIPS_81_PLAIN


def test_the_initialisation_vector_chains_messages(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        first = key.encrypt(FIPS_81_PLAIN[:8], FIPS_81_IV)
        assert first + key.encrypt(FIPS_81_PLAIN[8:], first[-8:]) == FIPS_81_CBC


def test_operations_that_are_carried_out_together_give_the_same_results(secrets: Secrets) -> None:
    def seal(key: DataKey) -> bytes:
        return key.encrypt(FIPS_113_TEXT + key.mac(FIPS_113_TEXT), FIPS_81_IV)

    def unseal(key: DataKey) -> tuple[bytes, bytes]:
        plain = key.carry_out(lambda same: same.decrypt(sealed, FIPS_81_IV))
        return plain, key.mac(plain[:-8])

    heard: list[DeviceEvent] = []
    with secrets.data_key(1) as key:
        with subscribe(heard.append):
            sealed = key.carry_out(seal)
            opened, code = key.carry_out(unseal)
        assert sealed == key.encrypt(FIPS_113_TEXT + FIPS_113_CODE, FIPS_81_IV)
    assert (opened, code) == (FIPS_113_TEXT + FIPS_113_CODE, FIPS_113_CODE)
    uses = [(event.operation, event.outcome) for event in heard if isinstance(event, KeyUse)]
    assert uses == [(operation, "succeeded") for operation in ("mac", "encrypt", "decrypt", "mac")]


def test_lengths_are_checked_in_operations_that_are_carried_out_together(secrets: Secrets) -> None:
    with secrets.data_key(1) as key, pytest.raises(ValueError, match="whole blocks"):
        key.carry_out(lambda held: held.mac(b"1234567"))


def test_a_check_value_distinguishes_keys(secrets: Secrets) -> None:
    values = {secrets.check_value(use, index) for use in Use for index in (1, 2)}
    assert len(values) == 4
    assert secrets.check_value(Use.ENCRYPTION, 1).hex() == "d5d44f"


def test_a_session_key_on_the_host_needs_leave(device: Device, secrets: Secrets) -> None:
    if device.keeps_session_keys:
        with secrets.session_key(1, bytes.fromhex("1122334455667788")) as key:
            assert key.on_device
            assert key.value is None
        return
    with pytest.raises(MechanismNotOfferedError, match="host_session_keys"):
        secrets.session_key(1, bytes.fromhex("1122334455667788"))


def test_a_session_key_is_the_random_number_encrypted(device: Device) -> None:
    with (
        device.open(host_session_keys=True) as secrets,
        secrets.session_key(1, bytes.fromhex("1122334455667788")) as key,
    ):
        assert key.on_device is device.keeps_session_keys
        assert key.encrypt(b"Now is t", ZERO_IV).hex() == "c2d79a840ee7e735"
        assert key.decrypt(bytes.fromhex("c2d79a840ee7e735"), ZERO_IV) == b"Now is t"
        assert key.mac(b"Now is t").hex() == "c2d79a840ee7e735"


def test_a_closed_session_key_is_of_no_use(device: Device) -> None:
    with device.open(host_session_keys=True) as secrets:
        key = secrets.session_key(1, bytes(8))
        key.close()
        key.close()
        with pytest.raises(TokenLostError, match="closed"):
            key.mac(bytes(8))


def test_closed_secrets_say_so(device: Device) -> None:
    secrets = device.open()
    secrets.close()
    secrets.close()
    with pytest.raises(TokenLostError, match="closed"):
        secrets.check_value(Use.ENCRYPTION, 1)


def test_threads_share_the_secrets(secrets: Secrets) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                with secrets.authentication(1, wait=30, timeout=60) as a:
                    assert a.internal_authenticate(bytes.fromhex("0123456789abcdef")).hex() == "85e813540f0ab405"
                    _ = a.challenge
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_every_use_is_an_event_that_tells_no_input(secrets: Secrets) -> None:
    heard: list[DeviceEvent] = []
    with subscribe(heard.append):
        with secrets.authentication(1) as a:
            answer = a.internal_authenticate(bytes.fromhex("0123456789abcdef"))
            challenge = a.challenge
            with pytest.raises(AuthenticationFailedError):
                a.external_authenticate(bytes(8))
        with secrets.data_key(1) as key:
            key.mac(FIPS_113_TEXT)
    uses = [event for event in heard if isinstance(event, KeyUse)]
    assert [use.operation for use in uses] == ["internal authenticate", "external authenticate", "mac"]
    assert [use.outcome for use in uses] == ["succeeded", "refused", "succeeded"]
    for secret in (answer, challenge, FIPS_113_CODE):
        assert secret.hex() not in repr(heard)
        assert repr(secret) not in repr(heard)


def test_it_shows_nothing_of_itself(secrets: Secrets) -> None:
    with secrets.data_key(1) as key:
        assert "0123456789abcdef" not in repr(key).lower()
        assert "secret" in repr(secrets).lower()
