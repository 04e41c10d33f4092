"""The proxy module of these tests does what its rules say: else what is shown with it would show nothing."""

import textwrap

import pytest

from tests.softhsm import MODULE, TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy

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
        if found.info.label == "node":
            print(found.info.serial, int(found.info.flags) & 0x40000)
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
