"""One key on two tokens of this process: what the key is to its users, and what happens when one token fails."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections import Counter
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from pkcs11 import Mechanism

import tokens
from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.group.conftest import Copies, new_copies
from tests.tokens.group.test_breaker import Clock
from tokens.errors import (
    KeyMismatchError,
    MechanismNotOfferedError,
    NoSuchKeyError,
    NoSuchTokenError,
    PinRefusedError,
    TokenLostError,
    UriError,
)
from tokens.events import DeviceEvent, FailedOver, KeyUse, Login, Restored, subscribe
from tokens.group import BreakerState, KeyGroup, open_key_group
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey
from tokens.mechanisms import Candidate
from tokens.pins.sources import Pin
from tokens.pkcs11.ceremony import delete_key
from tokens.uri import Pkcs11Uri

PKCS1 = padding.PKCS1v15()


def sign(key: TokenRSAPrivateKey) -> str:
    """Sign, verify, and return the serial number of the token that signed."""
    heard: list[KeyUse] = []
    with subscribe(heard.append, KeyUse):
        signature = key.sign(b"data", PKCS1, hashes.SHA256())
    key.public_key().verify(signature, b"data", PKCS1, hashes.SHA256())
    return heard[-1].token_serial


def states(key: TokenRSAPrivateKey) -> list[str]:
    return [member.state.value for member in key.device.members]


def remove_key(token: TestToken, uri: Pkcs11Uri) -> None:
    with tokens.open_token(token.uri()) as connection:
        delete_key(connection, uri)


def test_it_is_an_ordinary_key_that_signs_with_the_first_token(shared_copies: Copies) -> None:
    first, second = shared_copies.tokens
    with tokens.open_key_group(shared_copies.uris, name="node") as key:
        assert isinstance(key, TokenRSAPrivateKey)
        assert isinstance(key, rsa.RSAPrivateKey)
        assert isinstance(key.device, KeyGroup)
        assert key.key_size == 2048
        assert {sign(key) for _ in range(4)} == {first.serial}
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        key.public_key().verify(key.sign(b"data", pss, hashes.SHA256()), b"data", pss, hashes.SHA256())
        assert states(key) == ["closed", "closed"]
        assert repr(key) == f"<TokenRSAPrivateKey node on {first.label} and {second.label}>"


def test_a_group_of_ec_keys_signs(softhsm: object) -> None:
    copies = new_copies(None, None, key=ec.generate_private_key(ec.SECP256R1()))
    with open_key_group(copies.uris) as key:
        assert isinstance(key, TokenECPrivateKey)
        key.public_key().verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))


def test_a_group_of_keys_that_decrypt_decrypts_and_is_probed_by_a_decryption(softhsm: object) -> None:
    copies, clock = new_copies(None, usage="decrypt"), Clock()
    away = new_token()
    key_on_second = away.uri("node")
    with open_key_group([key_on_second, *copies.uris], clock=clock, background=False) as key:
        assert isinstance(key, TokenRSAPrivateKey)
        assert states(key) == ["open", "closed"]
        assert key.decrypt(key.public_key().encrypt(b"secret", PKCS1), PKCS1) == b"secret"
        with pytest.raises(ValueError, match="Decryption failed"):
            key.decrypt(b"\1" * 256, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
        away.import_key("node", copies.key, "decrypt")
        clock.advance(5)
        key.device._pool.probe_due()
        assert states(key) == ["closed", "closed"]


def test_in_balance_mode_operations_go_to_the_token_with_the_fewest_in_progress(shared_copies: Copies) -> None:
    with open_key_group(shared_copies.uris, mode="balance") as key:
        pool = key.device._pool
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pool.members[0], "outstanding", 3)
            assert sign(key) == shared_copies.tokens[1].serial
            patch.setattr(pool.members[1], "outstanding", 4)
            assert sign(key) == shared_copies.tokens[0].serial


def test_threads_share_both_tokens_in_balance_mode(shared_copies: Copies) -> None:
    used: Counter[str] = Counter()
    lock = threading.Lock()

    def count(event: KeyUse) -> None:
        with lock:
            used[event.token_serial] += 1

    with open_key_group(shared_copies.uris, mode="balance") as key, subscribe(count, KeyUse):
        threads = [threading.Thread(target=lambda: [sign(key) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(used) == {token.serial for token in shared_copies.tokens}
    assert sum(used.values()) == 80


def test_a_token_that_loses_the_key_is_left_and_used_again_after_a_probe(copies: Copies) -> None:
    first, second = copies.tokens
    clock = Clock()
    heard: list[FailedOver | Restored] = []
    with (
        open_key_group(copies.uris, name="node", clock=clock, background=False) as key,
        subscribe(heard.append, FailedOver),
        subscribe(heard.append, Restored),
    ):
        assert sign(key) == first.serial
        remove_key(first, copies.uris[0])
        assert sign(key) == second.serial
        assert states(key) == ["open", "closed"]
        (left,) = heard
        assert (left.group, left.member, left.state) == ("node", first.label, "open")
        assert left.serving == (second.label,)
        assert left.token_serial == first.serial
        assert left.reason
        assert left.describe().startswith(f"node: {first.label} is not used until a probe succeeds, and the key uses")
        assert sign(key) == second.serial
        assert heard == [left]

        clock.advance(5)
        assert key.device._pool.probe_due() == 5.0  # still away
        assert states(key) == ["open", "closed"]
        first.import_key("node", copies.key)
        clock.advance(4)
        assert key.device._pool.probe_due() == 1.0  # its time has not come
        clock.advance(1)
        assert key.device._pool.probe_due() is None
        assert states(key) == ["closed", "closed"]
        back = heard[-1]
        assert isinstance(back, Restored)
        assert (back.member, back.duration) == (first.label, 10.0)
        assert back.describe() == f"node: {first.label} is used again after 10.0 seconds"
        assert sign(key) == first.serial
        assert key.device.members[0].fault is not None


def test_a_thread_probes_by_itself_and_ends_with_its_work(copies: Copies) -> None:
    first, second = copies.tokens
    restored = threading.Event()
    clock = Clock()
    with (
        open_key_group(copies.uris, name="node", probe_seconds=0.05, clock=clock) as key,
        subscribe(lambda event: restored.set(), Restored),
    ):
        remove_key(first, copies.uris[0])
        assert sign(key) == second.serial
        probers = [thread for thread in threading.enumerate() if thread.name == "probe-node"]
        assert len(probers) == 1
        assert probers[0].daemon
        # No probe is due meanwhile: SoftHSM refuses to write an object that another thread lists.
        first.import_key("node", copies.key)
        clock.advance(1)
        assert restored.wait(20)
        probers[0].join(20)
        assert not probers[0].is_alive()
        assert sign(key) == first.serial


def test_without_a_token_that_works_the_others_are_tried_and_one_sentence_names_each(copies: Copies) -> None:
    first, second = copies.tokens
    with open_key_group(copies.uris, name="node", clock=Clock(), background=False) as key:
        for token, uri in zip(copies.tokens, copies.uris, strict=True):
            remove_key(token, uri)
        with pytest.raises(NoSuchKeyError) as failed:
            sign(key)
        assert "None of the tokens of node works" in str(failed.value)
        assert f"{first.label}: " in str(failed.value)
        assert f"{second.label}: " in str(failed.value)
        assert states(key) == ["open", "open"]
        second.import_key("node", copies.key)  # no probe is due yet
        assert sign(key) == second.serial
        assert states(key) == ["open", "closed"]


def test_the_loss_of_every_token_is_logged_once(copies: Copies, caplog: pytest.LogCaptureFixture) -> None:
    first, second = copies.tokens
    heard: list[DeviceEvent] = []
    caplog.set_level(logging.WARNING)
    with (
        open_key_group(copies.uris, name="node", clock=Clock(), background=False) as key,
        subscribe(heard.append, DeviceEvent),
    ):
        for _ in range(2):
            for token, uri in zip(copies.tokens, copies.uris, strict=True):
                remove_key(token, uri)
            caplog.clear()
            heard.clear()
            for _ in range(2):
                with pytest.raises(NoSuchKeyError):
                    sign(key)
            (line,) = caplog.records
            assert line.levelno == logging.ERROR
            assert line.getMessage().startswith(f"node: none of its tokens works: {first.label}: ")
            assert f" {second.label}: " in line.getMessage()
            lost = [(event.member, event.serving) for event in heard if isinstance(event, FailedOver)]
            assert lost == [(first.label, ()), (second.label, ())]
            assert sum(isinstance(event, KeyUse) for event in heard) >= 2  # delivered, but not logged
            for token in copies.tokens:
                token.import_key("node", copies.key)
            assert sign(key) == first.serial
            key.device._pool.probe_all()
            assert states(key) == ["closed", "closed"]


def test_a_group_that_does_not_open_is_logged_once(softhsm: object, caplog: pytest.LogCaptureFixture) -> None:
    uris = [str(dataclasses.replace(new_token().uri(), object="none")) for _ in range(2)]
    caplog.set_level(logging.WARNING)
    with pytest.raises(NoSuchKeyError, match="None of the tokens of node works"):
        open_key_group(uris, name="node", background=False)
    (line,) = caplog.records
    assert line.getMessage().startswith("node: none of its tokens works: ")


def test_a_wrong_signature_is_not_returned_and_its_token_is_left(copies: Copies) -> None:
    first, second = copies.tokens
    with open_key_group(copies.uris, clock=Clock(), background=False) as key:
        assert sign(key) == first.serial
        other = first.generate("other")
        with tokens.open_key(other) as wrong:
            # The handle that the driver keeps leads to another key: so a module looks that was initialised meanwhile.
            device = key.device._members[0].device
            handle = next(iter(wrong.device._connection._idle)).keys[wrong.device]
            for worker in device._connection._idle:
                worker.keys[device] = handle
            assert sign(key) == second.serial
        assert states(key) == ["open", "closed"]
        assert "did not verify" in key.device.members[0].fault.text


def test_a_token_with_another_key_is_not_used(copies: Copies) -> None:
    other = new_token()
    other.import_key("node", rsa.generate_private_key(65537, 2048))
    heard: list[FailedOver] = []
    with subscribe(heard.append, FailedOver), open_key_group([copies.uris[0], other.uri("node")]) as key:
        assert states(key) == ["closed", "excluded"]
        assert sign(key) == copies.tokens[0].serial
    (left,) = heard
    assert left.state == "excluded"
    assert "is another key than that on" in left.reason
    assert str(KeyMismatchError("x")) in f"x {left.reason.partition('differ. ')[2]}"


def test_the_wanted_key_decides_where_it_is_known(copies: Copies) -> None:
    other = new_token()
    other.import_key("node", rsa.generate_private_key(65537, 2048))
    wanted = copies.key.public_key()
    with open_key_group([other.uri("node"), copies.uris[0]], accepts=lambda public: public == wanted) as key:
        assert states(key) == ["excluded", "closed"]
        assert key.public_key() == wanted


def test_a_token_that_is_away_at_the_start_is_opened_later(copies: Copies) -> None:
    away = Pkcs11Uri.parse(str(copies.uris[0]).replace(copies.tokens[0].serial, "0123456789abcdef"))
    with open_key_group([away, copies.uris[1]], background=False) as key:
        assert states(key) == ["open", "closed"]
        assert key.device.members[0].fault.kind is NoSuchTokenError
        assert sign(key) == copies.tokens[1].serial


def test_a_group_of_tokens_that_are_all_away_does_not_open(copies: Copies) -> None:
    serials = [token.serial for token in copies.tokens]
    away = [str(uri).replace(serial, "0123456789abcdef") for uri, serial in zip(copies.uris, serials, strict=True)]
    heard: list[FailedOver] = []
    with (
        subscribe(heard.append, FailedOver),
        pytest.raises(NoSuchTokenError, match="None of the tokens of .* works"),
    ):
        open_key_group(away, name="node")
    assert [event.serving for event in heard] == [(), ()]
    assert not [thread for thread in threading.enumerate() if thread.name == "probe-node"]


def test_a_closed_group_says_so(copies: Copies) -> None:
    key = open_key_group(copies.uris)
    key.close()
    key.close()
    with pytest.raises(TokenLostError, match="closed"):
        sign(key)


@pytest.mark.parametrize("members", [[], ["pkcs11:token=a;object=b"]])
def test_one_token_is_no_group(members: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        open_key_group(members)


def test_a_card_is_no_member() -> None:
    with pytest.raises(UriError, match="is a smart card"):
        open_key_group(["card:reader=a", "card:reader=b"])


def test_the_certificates_are_those_of_a_token_that_has_them(shared_copies: Copies) -> None:
    with open_key_group(shared_copies.uris) as key:
        assert key.device.certificates() == ()


def test_a_member_that_refuses_its_pin_leaves_and_its_value_is_not_presented_to_the_other(
    copies: Copies, state_folder: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = copies.tokens
    monkeypatch.setenv("WRONG_FOR_BOTH", "000000")
    heard: list[Login] = []
    uris = [token.uri("node", pin=False) for token in copies.tokens]
    with subscribe(heard.append, Login), pytest.raises(PinRefusedError) as failed:
        open_key_group(uris, pin="env:WRONG_FOR_BOTH")
    assert [event.token_serial for event in heard if event.presented] == [first.serial]
    assert f"which holds the same key, so it is not presented to token '{second.label}'" in str(failed.value)
    # In a later process, too, and if the other token comes first.
    with pytest.raises(tokens.PinNotPresentedError), subscribe(heard.append, Login):
        open_key_group(uris[::-1], pin="env:WRONG_FOR_BOTH")
    assert [event.token_serial for event in heard if event.presented] == [first.serial]


def test_each_member_may_have_a_pin_of_its_own(copies: Copies, state_folder: object, monkeypatch) -> None:
    first, second = copies.tokens
    monkeypatch.setenv("WRONG", "000000")
    uris = [f"{first.uri('node', pin=False)}&pin-source=env:WRONG", second.uri("node")]
    with open_key_group(uris) as key:
        assert states(key) == ["excluded", "closed"]
        assert key.device.members[0].fault.kind is PinRefusedError
        assert sign(key) == second.serial
        assert key.device.members[0].state is BreakerState.EXCLUDED


def test_probes_that_fail_are_no_events(copies: Copies) -> None:
    clock = Clock()
    with open_key_group(copies.uris, clock=clock, background=False) as key:
        remove_key(copies.tokens[0], copies.uris[0])
        assert sign(key) == copies.tokens[1].serial
        heard: list[DeviceEvent] = []
        with subscribe(heard.append, DeviceEvent):
            for _ in range(3):
                clock.advance(5)
                key.device._pool.probe_due()
            assert heard == []
            copies.tokens[0].import_key("node", copies.key)
            clock.advance(5)
            heard.clear()
            key.device._pool.probe_due()
        assert [type(event) for event in heard] == [KeyUse, Restored]


@dataclass(frozen=True)
class Asking:
    """A person who is asked for the PIN of a token, and the occasions."""

    token: TestToken
    asked: list[str] = field(default_factory=list)
    attended = True
    repeatable = False

    def read(self, purpose: str) -> Pin | None:
        self.asked.append(purpose)
        return Pin(os.environb[self.token.pin.removeprefix("env:").encode()])


def test_nobody_is_asked_for_a_pin_by_a_probe(copies: Copies) -> None:
    first, second = copies.tokens
    person, clock = Asking(second), Clock()
    remove_key(first, copies.uris[0])
    remove_key(second, copies.uris[1])
    second.import_key("node", copies.key)
    uris = [str(copies.uris[0]), str(second.uri("node", pin=False)).replace(second.serial, "0123456789abcdef")]
    first.import_key("node", copies.key)
    with open_key_group(uris, pin=person, clock=clock, background=False) as key:
        assert states(key) == ["closed", "open"]
        clock.advance(5)
        assert key.device._pool.probe_due() is None
        assert person.asked == []


def test_an_error_about_the_request_is_that_of_the_token_that_works(copies: Copies) -> None:
    with open_key_group(copies.uris, clock=Clock(), background=False) as key:
        remove_key(copies.tokens[1], copies.uris[1])
        unknown = Candidate(Mechanism.SEED_ECB)
        with pytest.raises(MechanismNotOfferedError):
            key.device.sign(unknown, b"data")
        assert states(key) == ["closed", "open"]
        assert sign(key) == copies.tokens[0].serial


def test_a_forked_child_and_its_parent_both_sign_while_a_token_does_not_work(copies: Copies) -> None:
    code = """
    from tokens.group import open_key_group
    from tokens.pkcs11.ceremony import delete_key
    from tokens.uri import Pkcs11Uri
    with open_key_group(uris, probe_seconds=0.05) as key:
        sign(key)
        with tokens.open_token(Pkcs11Uri.parse(uris[0]).token_part()) as connection:
            delete_key(connection, Pkcs11Uri.parse(uris[0]))
        sign(key)
        print([member.state.value == "closed" for member in key.device.members], flush=True)
        child = os.fork()
        for _ in range(3):
            sign(key)
        if child == 0:
            print("child", flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
    """
    lines = scenes.play(code, *copies.uris)
    assert lines == ["[False, True]", "child", "0"]


def test_a_forked_child_does_not_wait_for_operations_and_probes_of_its_parent(shared_copies: Copies) -> None:
    code = """
    import time
    from tokens.group import open_key_group
    from tokens.errors import TokenLostError
    with open_key_group(uris, mode="balance", probe_seconds=0.05, background=False) as key:
        pool = key.device._pool
        first, second = pool.members
        pool.begin(second)
        first.breaker.record_fault(TokenLostError("gone"), first.breaker.generation)
        pool._clock = first.breaker._clock = lambda: time.monotonic() + 1
        first.breaker.begin_probe()
        child = os.fork()
        line = f"{'parent' if child else 'child'} {first.state.value} {second.outstanding}"
        os.write(1, f"{line}{os.linesep}".encode())  # in one piece, whatever the other process writes
        if child == 0:
            first.breaker._clock = lambda: time.monotonic() + 2
            pool.probe_due()
            print(first.state.value, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
    """
    lines = scenes.play(code, *shared_copies.uris)
    assert sorted(lines) == ["child open 0", "closed", "parent half-open 1"]
