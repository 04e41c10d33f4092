"""The deadlines of one token: given where it is opened, and used for every call that concerns it."""

from __future__ import annotations

import pytest

from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens.deadlines import CallDeadlines

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.mark.parametrize("function", ["C_Initialize", "C_GetSlotList", "C_GetTokenInfo", "C_Login", "C_Sign"])
def test_a_slow_token_is_used_with_longer_deadlines_only(token: TestToken, proxy: Proxy, function: str) -> None:
    code = """
    from tokens.deadlines import DEFAULT_DEADLINES, CallDeadlines
    for kind in ("session", "sign", "login"):
        object.__setattr__(DEFAULT_DEADLINES, kind, 0.3)  # so that the test is quick
    def use(deadlines):
        with tokens.open_key(uris[0], deadlines=deadlines) as key:
            sign(key)
    said(lambda: use(CallDeadlines(session=20, sign=20, login=20) if uris[1] == "longer" else None))
    """
    uri = proxy.serving(token.generate("key"))
    proxy.rule(f"{function} takes=0.6 times=1")
    if function == "C_GetTokenInfo":  # a search repeats it, and asks for every slot
        named = new_token("slow")
        uri = proxy.serving(named.generate("key"))
        proxy.rule(f"{function} token={named.label} takes=2")
    assert scenes.play(code, uri, "longer", environment=proxy.environment()) == ["done"]
    late = "LoginTimeoutError" if function == "C_Login" else "TokenTimeoutError"
    assert scenes.play(code, uri, "default", environment=proxy.environment()) == [late]


def test_a_shorter_deadline_is_kept_and_a_later_share_replaces_it(token: TestToken, proxy: Proxy) -> None:
    code = """
    import time
    from tokens.deadlines import CallDeadlines
    def attempt(key):
        began = time.monotonic()
        said(lambda: sign(key))
        return time.monotonic() - began
    hurried = tokens.open_key(uris[0], deadlines=CallDeadlines(sign=0.3))
    print(attempt(hurried) < 0.9)
    time.sleep(1.2)
    patient = tokens.open_key(uris[0], deadlines=CallDeadlines(sign=20))
    attempt(hurried)
    """
    uri = proxy.serving(token.generate("key"))
    proxy.rule("C_Sign takes=1.0")
    said = scenes.play(code, uri, environment=proxy.environment())
    assert said == ["TokenTimeoutError", "True", "done"]


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), "2", True, None])
def test_a_deadline_is_a_positive_number_of_seconds(value: object) -> None:
    with pytest.raises(ValueError, match="The deadline 'sign' must be a positive number of seconds"):
        CallDeadlines(sign=value)  # type: ignore[arg-type]


def test_deadlines_of_two_tokens_extend_to_the_longer_of_each_kind() -> None:
    assert CallDeadlines(sign=5, login=1).extend(CallDeadlines(sign=1, session=9)) == CallDeadlines(
        sign=5, login=10, session=9
    )
