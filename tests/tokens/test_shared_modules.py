"""A PKCS#11 module that is not ours alone: initialised by other code, known by two names, full of callers."""

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.softhsm import MODULE, TestToken, set_pin
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign
from tokens import open_key
from tokens.errors import NoSuchTokenError
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.pkcs11.search import present_tokens

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.mark.parametrize(("plain_first", "together"), [("yes", "one"), ("no", "several")])
def test_a_module_that_other_code_initialised_gets_one_call_at_a_time(
    node: TestToken, proxy: Proxy, plain_first: str, together: str
) -> None:
    code = """
    import ctypes, pkcs11
    if uris[1] == "yes":
        plain = pkcs11.lib(uris[2])
    key = tokens.open_key(uris[0])
    def sign_often():
        for _ in range(20):
            sign(key)
    threads = [threading.Thread(target=sign_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    most = ctypes.CDLL(uris[2]).most_signing_at_once()
    print("one" if most == 1 else "several")
    """
    uri = proxy.serving(node.uri("rsa"))
    environment = proxy.environment(sign_takes=0.002)
    assert scenes.play(code, uri, plain_first, proxy.module, environment=environment) == [together]


def test_one_module_under_two_names_has_one_owner(node: TestToken, proxy: Proxy) -> None:
    other_name = proxy.module.with_name("linked.so")
    if not other_name.exists():
        other_name.hardlink_to(proxy.module)
    code = """
    one, other = tokens.open_key(uris[0]), tokens.open_key(uris[1])
    module = one.device._connection.module
    module.reinitialise(module.epoch)
    sign(one)
    sign(other)
    print(module is other.device._connection.module)
    """
    linked = dataclasses.replace(node.uri("ec256"), module_path=other_name)
    assert scenes.play(code, proxy.serving(node.uri("rsa")), linked) == ["True"]


def test_no_signature_of_another_key_is_given_after_the_module_was_initialised_behind_our_back(
    token: TestToken, proxy: Proxy
) -> None:
    # A copy is a module of its own to us, and the same SoftHSM below: its handles take the numbers of ours.
    copy = proxy.module.with_name("copy.so")
    shutil.copy(proxy.module, copy)
    code = """
    ours = tokens.open_key(uris[0], sessions=1)
    signed = ours.sign(b"before", padding.PKCS1v15(), hashes.SHA256())
    cryptoki = ours.device._connection.module.cryptoki
    cryptoki.finalize()
    cryptoki.initialize(None)
    theirs = tokens.open_key(uris[1], sessions=1)
    sign(theirs)
    handles = [key.device._connection._idle[0].session for key in (ours, theirs)]
    print(handles[0] == handles[1])
    for _ in range(3):
        said(lambda: sign(ours))
        said(lambda: sign(theirs))
    """
    theirs = dataclasses.replace(token.generate("theirs"), module_path=copy)
    ours = proxy.serving(token.generate("ours"))
    assert scenes.play(code, ours, theirs) == ["True"] + ["done"] * 6


def test_a_token_is_opened_after_other_code_has_finalised_the_module(node: TestToken) -> None:
    code = """
    first = tokens.open_key(uris[0])
    first.device._connection.module.cryptoki.finalize()
    with tokens.open_key(uris[1]) as second:
        sign(second)
    sign(first)
    """
    assert scenes.play(code, node.uri("rsa"), node.uri("ec256")) == []


def test_a_uri_that_names_another_library_matches_no_token(node: TestToken) -> None:
    module = load_module(MODULE)
    there = dataclasses.replace(node.uri("rsa"), library_version=module.version)
    with open_key(there) as key:
        sign(key)
    for other in ({"library_version": "99.9"}, {"library_manufacturer": "Nobody"}):
        with pytest.raises(NoSuchTokenError):
            open_key(dataclasses.replace(node.uri("rsa"), **other))


def test_officers_who_initialise_tokens_at_once_get_one_each(softhsm: Path, state_folder: Path) -> None:
    module = load_module(MODULE)
    so_pin, user_pin = set_pin("12345678"), set_pin("123456")

    def initialise(number: int) -> str:
        made = initialise_token(
            module,
            f"at once {number}",
            FromEnvironment(so_pin.removeprefix("env:")),
            FromEnvironment(user_pin.removeprefix("env:")),
        )
        return made.serial

    with ThreadPoolExecutor(4) as pool:
        serials = list(pool.map(initialise, range(4)))
    assert len(set(serials)) == 4
    there = {found.label: found.serial for found in present_tokens(module)}
    assert [there[f"at once {number}"] for number in range(4)] == serials


@pytest.fixture
def remote(token: TestToken, tmp_path: Path) -> Iterator[Path]:
    """The socket of a `p11-kit server` for an empty token."""
    socket = tmp_path / "p11-kit.socket"
    label = token.label.replace(" ", "%20")
    server = subprocess.Popen(
        ["p11-kit", "server", "-f", "--provider", MODULE, "-n", socket, f"pkcs11:token={label}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    scenes.until(socket.exists)
    yield socket
    server.kill()
    server.wait()


def test_temporary_keys_serve_threads_through_a_module_that_bears_one_call_at_a_time(
    token: TestToken, remote: Path
) -> None:
    client = next(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"))
    code = """
    from tokens.pkcs11.ceremony import KeyKind, generate_temporary_key
    with tokens.open_token(uris[0]) as connection, generate_temporary_key(connection, KeyKind.P_256):
        key = tokens.open_key(uris[1])
        threads = [threading.Thread(target=sign, args=(key,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        print(sum(thread.is_alive() for thread in threads), "threads hang")
    """
    environment = {**os.environ, "P11_KIT_SERVER_ADDRESS": f"unix:path={remote}"}
    there = dataclasses.replace(token.uri(), module_path=client)
    key = dataclasses.replace(there, object="temporary p256")
    assert scenes.play(code, there, key, environment=environment) == ["0 threads hang"]
