"""The proxy module of these tests does what its rules say: else what is shown with it would show nothing."""

import pytest

from tests.softhsm import TestToken
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
