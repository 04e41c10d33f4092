"""The proxy module of these tests does what its rules say: else what is shown with it would show nothing."""

import dataclasses
import os
import textwrap

import pytest

from tests.softhsm import MODULE, TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Presentation, Proxy

pytestmark = pytest.mark.usefixtures("bounded")

SIGN_TWICE = """
key = tokens.open_key(uris[0])
said(lambda: sign(key))
said(lambda: sign(key))
"""


def test_calls_are_counted_by_name(node: TestToken, proxy: Proxy) -> None:
    environment = proxy.environment(counted=True)
    assert scenes.play(SIGN_TWICE, proxy.serving(node.uri("rsa")), environment=environment) == ["done"] * 2
    calls = proxy.calls()
    assert calls["C_SignInit"] == 2
    assert calls["C_Initialize"] == calls["C_Finalize"] == calls["C_Login"] == 1


def test_a_rule_holds_for_the_calls_that_it_names(node: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_SignInit rv=0x31 skip=1 times=1")
    environment = proxy.environment()
    assert scenes.play(SIGN_TWICE, proxy.serving(node.uri("rsa")), environment=environment)[0] == "done"
    proxy.rule("C_OpenSession token=node rv=0xb1")
    assert scenes.play(
        "said(lambda: tokens.open_key(uris[0]))", proxy.serving(node.uri("rsa")), environment=environment
    ) == ["OperationFailedError"]


def test_what_a_token_says_of_itself_is_rewritten(node: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_GetTokenInfo token=node set=0x40000 serial=0000")
    code = """
    from tokens.uri import Pkcs11Uri
    from tokens.pkcs11.module import load_module
    from tokens.pkcs11.search import present_tokens
    for found in present_tokens(load_module(Pkcs11Uri.parse(uris[0]).module_path)):
        if found.label == "node":
            print(found.serial, int(found.flags) & 0x40000)
    """
    environment = proxy.environment()
    assert scenes.play(code, proxy.serving(node.uri()), environment=environment) == [f"0000 {0x40000}"]


def test_a_rule_that_cannot_be_read_ends_the_process(node: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_Sing rv=0x30")
    scene = scenes.begin(SIGN_TWICE, proxy.serving(node.uri("rsa")), environment=proxy.environment())
    scene.communicate(timeout=scenes.TIMEOUT)
    assert scene.returncode < 0


WAIT_FOR_A_CALL = """
import subprocess, time
from pathlib import Path
rules, notes = Path(os.environ["PROXY_RULES"]), Path(os.environ["PROXY_CALLS"])
def calls(name):
    return notes.read_text().splitlines().count(name)
def begin(action):
    thread = threading.Thread(target=said, args=[action], daemon=True)
    thread.start()
    return thread
"""


def test_a_call_hangs_until_its_rule_goes_while_others_are_answered(node: TestToken, proxy: Proxy) -> None:
    code = """
    key = tokens.open_key(uris[0])
    before = calls("C_Sign")
    rules.write_text("C_Sign hang=1 times=1\\n")
    late = begin(lambda: sign(key))
    while late.is_alive() and calls("C_Sign") == before:
        time.sleep(0.005)
    sign(tokens.open_key(uris[1]))
    print("late" if late.is_alive() else "early", flush=True)
    rules.write_text("")
    late.join()
    """
    uris = [proxy.serving(node.uri(name)) for name in ("rsa", "ec256")]
    said = scenes.play(WAIT_FOR_A_CALL + textwrap.dedent(code), *uris, environment=proxy.environment(counted=True))
    assert said == ["late", "done"]
    assert proxy.calls()["C_Sign"] >= 2


LOOK = """
import sys
from pkcs11 import lib
(token,) = [slot.get_token() for slot in lib(sys.argv[1]).get_slots(True) if slot.get_token().label == sys.argv[2]]
print(len(list(token.open().get_objects())))
"""


def test_a_call_may_hang_once_the_token_has_answered(token: TestToken, proxy: Proxy) -> None:
    code = """
    from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
    def public_objects():
        return subprocess.run([sys.executable, "-c", *uris[1:]], capture_output=True).stdout
    with tokens.open_token(uris[0]) as connection:
        rules.write_text("C_GenerateKeyPair hang=1 after=1\\n")
        late = begin(lambda: generate_key(connection, "late", KeyKind("p256"), Usage("sign")))
        while late.is_alive() and public_objects() != b"1\\n":
            time.sleep(0.005)
        print("late" if late.is_alive() else "early", flush=True)
        rules.write_text("")
        late.join()
    """
    uris = (proxy.serving(token.uri()), LOOK, MODULE, token.label)
    said = scenes.play(WAIT_FOR_A_CALL + textwrap.dedent(code), *uris, environment=proxy.environment(counted=True))
    assert said == ["late", "done"]


def test_a_token_is_gone_until_its_rule_goes(node: TestToken, proxy: Proxy) -> None:
    code = """
    key = tokens.open_key(uris[0])
    rules.write_text("C_Sign lose=token\\n")
    said(lambda: sign(key))
    said(lambda: sign(key))
    rules.write_text("")
    said(lambda: sign(key))
    """
    uri = proxy.serving(node.uri("rsa"))
    said = scenes.play(WAIT_FOR_A_CALL + textwrap.dedent(code), uri, environment=proxy.environment(counted=True))
    assert said == ["TokenLostError", "TokenLostError", "done"]


@pytest.mark.parametrize("loss", ["session", "sessions", "login", "module"])
def test_what_is_lost_once_is_lost_to_the_token_too(node: TestToken, proxy: Proxy, loss: str) -> None:
    proxy.rule(f"C_SignInit lose={loss} times=1")
    environment = proxy.environment(counted=True)
    assert scenes.play(SIGN_TWICE, proxy.serving(node.uri("rsa")), environment=environment) == ["done", "done"]
    calls = proxy.calls()
    assert calls["C_SignInit"] == 3
    assert calls["C_Login"] == 2


LIST = """
from tokens.uri import Pkcs11Uri
from tokens.pkcs11.module import load_module
from tokens.pkcs11.search import present_tokens
def listed():
    return {found.label: found for found in present_tokens(load_module(Pkcs11Uri.parse(uris[0]).module_path))}
"""


def test_slots_are_invented(node: TestToken, proxy: Proxy) -> None:
    proxy.rule(
        "C_GetSlotList invent=77 copy=node",
        "C_GetTokenInfo slot=77 label=twin serial=0077",
        "C_GetSlotList invent=78 fails=0xe0",
        "C_Sign slot=77 rv=0x21",
    )
    code = """
    said(lambda: sign(tokens.open_key(uris[1])))
    said(lambda: sign(tokens.open_key(uris[0])))
    print(sorted(set(listed()) & {"node", "twin"}))
    """
    real, twin = (
        proxy.serving(node.uri("rsa")),
        dataclasses.replace(proxy.serving(node.uri("rsa")), token="twin", serial="0077"),
    )
    printed = scenes.play(LIST + textwrap.dedent(code), real, twin, environment=proxy.environment())
    assert printed == ["OperationFailedError", "done", "['node', 'twin']"]


def test_lengths_are_wrong_and_bits_are_flipped(node: TestToken, proxy: Proxy) -> None:
    code = """
    key = tokens.open_key(uris[0])
    for rule in ("length=3", "more=-1", "more=100000", "flip=1", "flip=0"):
        rules.write_text(f"C_Sign {rule}\\n")
        said(lambda: sign(key))
    """
    code = WAIT_FOR_A_CALL + textwrap.dedent(code)
    printed = scenes.play(code, proxy.serving(node.uri("rsa")), environment=proxy.environment(counted=True))
    assert printed == ["OperationFailedError", "OperationFailedError", "TokenLostError", "OperationFailedError", "done"]


def test_templates_with_an_attribute_are_refused(token: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_GenerateKeyPair attribute=0x102 rv=0x12", "C_CreateObject attribute=0x0 rv=0x13")
    code = """
    from tokens.pkcs11.ceremony import KeyKind, Usage, generate_key
    with tokens.open_token(uris[0]) as connection:
        said(lambda: generate_key(connection, "new", KeyKind("p256"), Usage("sign")))
    """
    assert scenes.play(code, proxy.serving(token.uri()), environment=proxy.environment()) == ["OperationFailedError"]


def test_a_process_has_two_vendors(node: TestToken, proxy: Proxy) -> None:
    other = proxy.another("other")
    proxy.rule("C_GetInfo manufacturer=First")
    other.rule("C_GetInfo manufacturer=Other", "C_Sign rv=0x21")
    code = """
    first, second = map(tokens.open_key, uris)
    said(lambda: sign(first))
    said(lambda: sign(second))
    said(lambda: sign(first))
    """
    environment = proxy.environment(counted=True, beside=(other,))
    uris = proxy.serving(node.uri("rsa")), other.serving(node.uri("rsa"))
    assert scenes.play(code, *uris, environment=environment) == ["done", "OperationFailedError", "done"]
    assert proxy.calls()["C_Initialize"] == other.calls()["C_Initialize"] == 1
    assert len(proxy.presented()) == len(other.presented()) == 1


def test_each_pin_is_noted_with_its_answer(node: TestToken, proxy: Proxy) -> None:
    pin = os.environ[node.pin.removeprefix("env:")]
    code = "said(lambda: tokens.open_key(uris[0]))"
    proxy.rule("C_Login rv=0xa3")
    scenes.play(code, proxy.serving(node.uri("rsa")), environment=proxy.environment())
    assert proxy.presentations() == [Presentation("C_Login", pin, 0xA3, forwarded=False)]
    assert proxy.presented() == []


def test_threads_that_lose_their_sessions_while_they_sign_crash_nothing(token: TestToken, proxy: Proxy) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
key = tokens.open_key(uris[0])
def work(_):
    for _ in range(5):
        try:
            sign(key)
        except TokenError:
            pass
with ThreadPoolExecutor(6) as pool:
    list(pool.map(work, range(6)))
os.remove(os.environ["PROXY_RULES"])
sign(key)
"""
    uri = proxy.serving(token.generate("key"))
    proxy.rule("C_SignInit lose=sessions skip=3 times=15")
    assert scenes.play(code, uri, environment=proxy.environment()) == []
