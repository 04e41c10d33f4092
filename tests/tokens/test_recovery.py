"""Losing a session, a login or a whole module, and finding the token again."""

import _ssl
import contextlib
import ctypes
import dataclasses
import os
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens import open_key, open_secrets, open_token
from tokens.errors import NoSuchKeyError, TokenLostError
from tokens.events import DeviceEvent, Login, Reconnection, subscribe
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey
from tokens.pkcs11.calls.cryptoki import UserType
from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key, read_keys
from tokens.pkcs11.secret_keys.ceremony import import_secret, list_secrets
from tokens.process.gate import Gate, GateBusyError
from tokens.secrets import Use
from tokens.uri import Pkcs11Uri

PKCS1 = padding.PKCS1v15()


@pytest.fixture
def key(node: TestToken):
    with open_key(node.uri("rsa")) as opened:
        sign(opened)
        yield opened


def sign(key: TokenRSAPrivateKey) -> None:
    signature = key.sign(b"data", PKCS1, hashes.SHA256())
    key.public_key().verify(signature, b"data", PKCS1, hashes.SHA256())


def sign_ec(key: TokenECPrivateKey) -> None:
    key.public_key().verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))


def heard_while_signing(key: TokenRSAPrivateKey) -> list[DeviceEvent]:
    heard: list[DeviceEvent] = []
    with subscribe(heard.append):
        sign(key)
    return heard


def test_a_closed_session_is_replaced(key: TokenRSAPrivateKey) -> None:
    for worker in key.device._connection._idle:
        key.device._connection.module.queries.close_session(worker.session)
    events = heard_while_signing(key)
    assert any(isinstance(event, Reconnection) and "CKR_SESSION_HANDLE_INVALID" in event.reason for event in events)
    assert not any(isinstance(event, Reconnection) for event in heard_while_signing(key))


def test_a_lost_login_is_made_again(key: TokenRSAPrivateKey) -> None:
    connection = key.device._connection
    connection.module.cryptoki.logout(connection._anchor)
    assert any(isinstance(event, Login) for event in heard_while_signing(key))


def test_a_module_initialised_again_by_somebody_costs_nothing(key: TokenRSAPrivateKey) -> None:
    module = key.device._connection.module
    module.reinitialise(module.epoch)
    sign(key)


def test_a_module_finalised_behind_our_back_is_initialised_again(key: TokenRSAPrivateKey) -> None:
    key.device._connection.module.cryptoki.finalize()
    assert any(isinstance(event, Reconnection) for event in heard_while_signing(key))


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
        with pytest.raises(TokenLostError, match="Put the token back"):
            sign(key)
        with contextlib.suppress(TokenLostError):
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
        with pytest.raises(TokenLostError, match="not the key that was opened"):
            sign(key)


def test_a_module_is_initialised_again_for_a_missing_token_only_while_it_is_not_used(node: TestToken) -> None:
    # Clients of remote tokens learn only then which tokens there are.
    code = """
    from tokens.pkcs11.module import load_module
    from tokens.uri import Pkcs11Uri
    module = load_module(Pkcs11Uri.parse(uris[0]).module_path)
    def look():
        before = module.epoch
        said(lambda: tokens.open_key(uris[1]))
        print(module.epoch - before)
    look()
    with tokens.open_key(uris[0]) as key:
        look()
        sign(key)
    look()
    """
    missing = dataclasses.replace(node.uri("rsa"), token="not there", serial=None)
    assert scenes.play(code, node.uri("rsa"), missing) == [
        *("NoSuchTokenError", "1"),
        *("NoSuchTokenError", "0"),
        *("NoSuchTokenError", "1"),
    ]


def test_the_gate_lets_one_in_alone_when_the_others_are_out() -> None:
    gate = Gate()
    with gate, pytest.raises(GateBusyError), gate.alone(timeout=0.05):
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
        assert connection.module.cryptoki.login(connection._anchor, UserType.USER, None) != 0


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


def test_a_login_lost_behind_our_back_is_made_again_for_what_needs_a_look_at_the_token(token: TestToken) -> None:
    with open_key(token.generate("one", "p256")) as one, open_token(token.uri()) as connection:
        other = token.generate("two", "p256")

        def lose_the_login() -> None:
            assert connection.module.cryptoki.logout(connection._anchor) == 0

        lose_the_login()
        with open_key(other) as two:  # was: "label 'two' is a public key"
            assert two.device.name.label == "two"
        lose_the_login()
        assert {entry.name.label for entry in read_keys(connection)} == {"one", "two"}
        lose_the_login()
        generate_key(connection, "three", KeyKind.P_256, Usage.SIGN)
        lose_the_login()
        with pytest.raises(NoSuchKeyError, match="'one', 'three', 'two'"):
            open_key(token.uri("four"))
        lose_the_login()
        import_secret(connection, Use.ENCRYPTION, 1, bytearray(secrets.token_bytes(8)))
        lose_the_login()
        assert len(list_secrets(connection)) == 1
        lose_the_login()
        with open_secrets(token.uri()) as opened:
            lose_the_login()
            opened.check_value(Use.ENCRYPTION, 1)
        sign_ec(one)


SIGN_AND_TELL = """
from tokens.events import Reconnection, subscribe
key = tokens.open_key(uris[0])
sign(key)
print("ready", flush=True)
sys.stdin.readline()
with subscribe(lambda event: isinstance(event, Reconnection) and print(event.step, flush=True)):
    said(lambda: sign(key))
    try:
        sign(key)
    except TokenError as error:
        print(error, flush=True)
"""


def play_with_a_fault(proxy: Proxy, uri: Pkcs11Uri, *rules: str) -> list[str]:
    scene = scenes.begin(SIGN_AND_TELL, proxy.serving(uri), environment=proxy.environment(counted=True))
    assert scene.stdout.readline() == "ready\n"
    proxy.rule(*rules)
    scene.stdin.write("\n")
    return scenes.end(scene)


@pytest.mark.parametrize("rv", ["0x5", "0x6", "0x30", "0x32", "0xe0"])
def test_after_the_loss_of_a_device_a_pin_is_presented_in_a_fresh_module_only(
    node: TestToken, proxy: Proxy, rv: str
) -> None:
    printed = play_with_a_fault(proxy, node.uri("rsa"), f"C_Sign rv={rv} times=1")
    assert printed == ["initialised the module and logged in again", "done"]


@pytest.mark.parametrize("rv", ["0x1a0", "0x80000042"])
def test_a_module_that_only_a_new_start_heals_gets_one(node: TestToken, proxy: Proxy, rv: str) -> None:
    # Its logins work, and each C_Sign fails, until C_Finalize: here, the first two of them.
    printed = play_with_a_fault(proxy, node.uri("rsa"), f"C_Sign rv={rv} times=2")
    assert printed == ["logged in again", "initialised the module and logged in again", "done"]


@pytest.mark.parametrize("rv", ["0x60", "0x82"])
def test_a_handle_that_is_no_longer_good_is_looked_up_again_without_a_login(
    node: TestToken, proxy: Proxy, rv: str
) -> None:
    assert play_with_a_fault(proxy, node.uri("rsa"), f"C_SignInit rv={rv} times=1") == ["done"]
    assert proxy.calls()["C_Login"] == 1
    assert play_with_a_fault(proxy, node.uri("rsa"), f"C_SignInit rv={rv} times=2") == ["logged in again", "done"]


@pytest.mark.parametrize("rv", ["0x80000042", "0x90"])
def test_one_vendor_code_is_cured_by_a_new_login(node: TestToken, proxy: Proxy, rv: str) -> None:
    assert play_with_a_fault(proxy, node.uri("rsa"), f"C_Sign rv={rv} times=1") == ["logged in again", "done"]


def test_a_vendor_code_for_good_is_a_sentence_and_does_not_start_the_module_each_time(
    node: TestToken, proxy: Proxy
) -> None:
    printed = play_with_a_fault(proxy, node.uri("rsa"), "C_Sign rv=0x80000042")
    assert printed[:4] == [
        "logged in again",
        "initialised the module and logged in again",
        "OperationFailedError",
        "logged in again",
    ]
    assert "CKR_VENDOR_DEFINED + 0x42" in printed[4]
    assert proxy.calls()["C_Finalize"] == 2, "the second one at the end of the process"


def test_a_module_is_not_started_again_while_another_token_of_it_works(node: TestToken, proxy: Proxy) -> None:
    code = """
    keys = [tokens.open_key(uri) for uri in uris]
    for key in keys:
        sign(key)
    print("ready", flush=True)
    sys.stdin.readline()
    said(lambda: sign(keys[0]))
    sign(keys[1])
    sys.stdin.readline()
    said(lambda: sign(keys[1]))
    said(lambda: sign(keys[0]))
    """
    other = new_token(f"other{os.getpid()}")
    uris = [proxy.serving(node.uri("rsa")), proxy.serving(other.generate("key"))]
    scene = scenes.begin(code, *uris, environment=proxy.environment(counted=True))
    assert scene.stdout.readline() == "ready\n"
    proxy.rule("C_Sign rv=0x5 token=node")
    scene.stdin.write("\n")
    scene.stdin.flush()
    assert scene.stdout.readline() == "TokenLostError\n"
    # Now both fail until the module is started anew: neither is a reason any more to leave it alone.
    proxy.rule("C_Sign rv=0x5 times=1")
    scene.stdin.write("\n")
    assert scenes.end(scene) == ["done", "done"]
    assert proxy.calls()["C_Finalize"] == 2


def test_an_operation_that_always_fails_starts_the_module_again_once(node: TestToken, proxy: Proxy) -> None:
    printed = play_with_a_fault(proxy, node.uri("rsa"), "C_Sign rv=0x5")
    assert printed[:2] == ["initialised the module and logged in again", "TokenLostError"]


def test_the_module_is_not_started_again_under_temporary_keys(token: TestToken, proxy: Proxy) -> None:
    code = """
    import dataclasses
    from tokens.pkcs11.ceremony import KeyKind, generate_temporary_key
    from tokens.uri import Pkcs11Uri
    with tokens.open_token(uris[0]) as connection, generate_temporary_key(connection, KeyKind.RSA_2048) as name:
        key = tokens.open_key(dataclasses.replace(Pkcs11Uri.parse(uris[0]), object=name.label, id=name.id))
        sign(key)
        print("ready", flush=True)
        sys.stdin.readline()
        said(lambda: sign(key))
        said(lambda: sign(key))
    """
    scene = scenes.begin(code, proxy.serving(token.uri()), environment=proxy.environment(counted=True))
    assert scene.stdout.readline() == "ready\n"
    proxy.rule("C_Sign rv=0x5 times=1")
    scene.stdin.write("\n")
    assert scenes.end(scene) == ["done", "done"]
    assert proxy.calls()["C_Finalize"] == 1
