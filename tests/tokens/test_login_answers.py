"""Answers of a token to C_Login that are neither a refusal nor an outage: each is an error of its own kind.

None of them says that the PIN is wrong, so none is recorded as a refusal: when the cause is gone, the PIN serves again.
And none has the PIN presented twice in one attempt.
"""

from __future__ import annotations

import textwrap

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy

pytestmark = pytest.mark.usefixtures("bounded")

CODE = """
said(lambda: tokens.open_key(uris[0]))
with open(uris[1] + ".new", "w"):
    pass
os.replace(uris[1] + ".new", uris[1])
said(lambda: tokens.open_key(uris[0]).close())
"""


@pytest.mark.parametrize(
    ("rv", "error"),
    [
        pytest.param(0xA3, "PinNotPresentedError", id="CKR_PIN_EXPIRED"),
        pytest.param(0x102, "PinNotPresentedError", id="CKR_USER_PIN_NOT_INITIALIZED"),
        pytest.param(0xB6, "OperationFailedError", id="CKR_SESSION_EXISTS"),
        pytest.param(0xA4, "PinLockedError", id="CKR_PIN_LOCKED"),
    ],
)
def test_an_answer_that_is_no_refusal_leaves_the_pin_usable(
    token: TestToken, proxy: Proxy, rv: int, error: str
) -> None:
    uri = proxy.serving(token.generate("key", "p256"))
    proxy.rule(f"C_Login rv={rv}")
    ended = scenes.play(textwrap.dedent(CODE), uri, proxy.folder / "rules", environment=proxy.environment(counted=True))
    assert ended == [error, "done"]
    assert proxy.calls()["C_Login"] == 2


OWN_TYPE = """
said(lambda: tokens.open_key(uris[0]))
said(lambda: tokens.open_key(uris[0], user_type=0x80000001).close())
said(lambda: tokens.open_key(uris[0], user_type=0x80000001, isolation="process").close())
"""


def test_a_user_type_of_the_maker_logs_in_where_the_user_of_pkcs11_does_not(token: TestToken, proxy: Proxy) -> None:
    uri = proxy.serving(token.generate("key", "p256"))
    environment = proxy.environment(counted=True) | {"PROXY_USER_TYPE": "0x80000001"}
    assert scenes.play(OWN_TYPE, uri, environment=environment) == ["OperationFailedError", "done", "done"]


SILENT_TOKEN = """
said(lambda: tokens.open_key(uris[0]).close())
said(lambda: tokens.open_key(uris[0], always_log_in=True).close())
"""


def test_a_token_that_does_not_report_that_it_requires_a_login(token: TestToken, proxy: Proxy) -> None:
    uri = proxy.serving(token.generate("key", "p256"))
    proxy.rule("C_GetTokenInfo clear=0x4")
    ended = scenes.play(SILENT_TOKEN, uri, environment=proxy.environment(counted=True))
    assert ended == ["NotAPrivateKeyError", "done"]  # without a login, it shows the public key only
    assert proxy.calls()["C_Login"] == 1
