"""Losing a session, a login or a whole module, and finding the token again."""

import _ssl
import contextlib
import ctypes
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from tests.softhsm import TestToken, new_token
from tokens import open_key
from tokens.errors import TokenLost
from tokens.events import DeviceEvent, Login, Recovery, subscribed
from tokens.gate import Gate, GateBusy
from tokens.keys import TokenRSAPrivateKey
from tokens.pkcs11.cryptoki import Role

PKCS1 = padding.PKCS1v15()


@pytest.fixture
def key(node: TestToken):
    with open_key(node.uri("rsa")) as opened:
        sign(opened)
        yield opened


def sign(key: TokenRSAPrivateKey) -> None:
    signature = key.sign(b"data", PKCS1, hashes.SHA256())
    key.public_key().verify(signature, b"data", PKCS1, hashes.SHA256())


def heard_while_signing(key: TokenRSAPrivateKey) -> list[DeviceEvent]:
    heard: list[DeviceEvent] = []
    with subscribed(heard.append):
        sign(key)
    return heard


def test_a_closed_session_is_replaced(key: TokenRSAPrivateKey) -> None:
    for worker in key.device._connection._idle:
        worker.session.close()
    events = heard_while_signing(key)
    assert any(isinstance(event, Recovery) and "CKR_SESSION_HANDLE_INVALID" in event.reason for event in events)
    assert not any(isinstance(event, Recovery) for event in heard_while_signing(key))


def test_a_lost_login_is_made_again(key: TokenRSAPrivateKey) -> None:
    connection = key.device._connection
    connection.module.cryptoki.logout(connection._anchor.handle)
    assert any(isinstance(event, Login) for event in heard_while_signing(key))


def test_a_module_initialised_again_by_somebody_costs_nothing(key: TokenRSAPrivateKey) -> None:
    module = key.device._connection.module
    module.initialise_again(module.epoch)
    sign(key)


def test_a_module_finalised_behind_our_back_is_initialised_again(key: TokenRSAPrivateKey) -> None:
    key.device._connection.module.cryptoki.finalize()
    assert any(isinstance(event, Recovery) for event in heard_while_signing(key))


def test_two_tokens_of_one_module_heal_independently(key: TokenRSAPrivateKey) -> None:
    other = new_token()
    with open_key(other.generate("other")) as second:
        sign(second)
        key.device._connection.module.cryptoki.finalize()
        sign(second)
        sign(key)


def test_a_token_that_is_gone_for_good_is_a_sentence(softhsm: object) -> None:
    import shutil
    from pathlib import Path

    doomed = new_token()
    uri = doomed.generate("key")
    with open_key(uri) as key:
        sign(key)
        folders = [path.parent for path in (Path(str(softhsm)) / "tokens").glob("*/token.object")]
        (folder,) = [path for path in folders if doomed.label.encode() in (path / "token.object").read_bytes()]
        shutil.rmtree(folder)
        module = key.device._connection.module
        module.cryptoki.finalize()
        with pytest.raises(TokenLost, match="Put the token back"):
            sign(key)
        with contextlib.suppress(TokenLost):
            sign(key)


def test_a_key_that_was_swapped_for_another_is_not_used(token: TestToken) -> None:
    from tokens import open_token
    from tokens.pkcs11.ceremony import delete_key

    uri = token.generate("key")
    with open_key(uri) as key:
        sign(key)
        with open_token(token.uri()) as connection:
            delete_key(connection, uri)
        token.generate("key", key_id=key.device.name.id)
        with pytest.raises(TokenLost, match="not the key that was opened"):
            sign(key)


def test_the_gate_lets_one_in_alone_when_the_others_are_out() -> None:
    gate = Gate()
    with gate, pytest.raises(GateBusy), gate.alone(timeout=0.05):
        pass
    with gate.alone(timeout=0.05):
        assert not gate.close(timeout=0.01)
    with gate:
        pass


@pytest.mark.parametrize("alone", [False, True])
def test_errors_of_openssl_do_not_leave_the_gate(alone: bool) -> None:
    openssl = ctypes.PyDLL(_ssl.__file__)
    openssl.ERR_peek_error.restype = ctypes.c_ulong
    openssl.d2i_X509.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_long]
    gate = Gate()
    with gate.alone(1) if alone else gate:
        openssl.d2i_X509(None, ctypes.byref(ctypes.c_char_p(b"no certificate")), 14)
        assert openssl.ERR_peek_error() != 0
    assert openssl.ERR_peek_error() == 0


def test_a_wrong_role_is_no_login(node: TestToken) -> None:
    with open_key(node.uri("rsa")) as key:
        connection = key.device._connection
        assert connection.module.cryptoki.login(connection._anchor.handle, Role.USER, None) != 0


def test_a_gate_for_modules_that_bear_no_more_lets_callers_in_by_turns() -> None:
    gate = Gate(one_at_a_time=True)
    inside, most, changing = 0, 0, threading.Lock()

    def call(_: int) -> None:
        nonlocal inside, most
        with gate, gate:  # a ceremony enters once more
            with changing:
                inside += 1
                most = max(most, inside)
            time.sleep(0.005)
            with changing:
                inside -= 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(12)))
    assert most == 1
