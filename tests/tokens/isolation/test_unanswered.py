"""Logins that an isolated module does not answer: its process ends, so that no answer comes any more."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.softhsm import TestToken
from tests.tokens.isolation.conftest import IsolatedKeys, pid_of
from tests.tokens.proxy import Proxy
from tests.tokens.scenes import sign, until
from tokens.deadlines import CallDeadlines
from tokens.errors import LoginTimeoutError, PinNotPresentedError, TokenTimeoutError
from tokens.pins.refusal_record import State
from tokens.pins.refusals import RefusalMemory

pytestmark = pytest.mark.usefixtures("bounded")


def states(token: TestToken) -> list[State]:
    return [refusal.state for refusal in RefusalMemory().refusals(token.serial)]


def logins(proxy: Proxy) -> int:
    return proxy.calls()["C_Login"]


def test_an_accepted_pin_is_presented_once_more_after_a_login_that_hung(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy
) -> None:
    token.generate("key")
    key = isolated.open(token)
    sign(key)
    before = logins(proxy)
    key.device.invalidate()
    proxy.rule("C_Login hang=1")
    with pytest.raises(LoginTimeoutError, match="has not answered the user PIN"):
        sign(key)
    assert states(token) == [State.UNANSWERED]
    proxy.rule()
    after_the_pause(lambda: sign(key))
    assert (logins(proxy), states(token)) == (before + 2, [])


def test_and_not_a_second_time(token: TestToken, isolated: IsolatedKeys, proxy: Proxy) -> None:
    token.generate("key")
    key = isolated.open(token)
    sign(key)
    before = logins(proxy)
    key.device.invalidate()
    proxy.rule("C_Login hang=1")
    for _ in range(2):
        with pytest.raises(LoginTimeoutError):
            after_the_pause(lambda: sign(key))
    proxy.rule()
    for _ in range(2):
        with pytest.raises(PinNotPresentedError, match="has not answered this user PIN since"):
            after_the_pause(lambda: sign(key))
    assert logins(proxy) == before + 2


def test_an_accepted_pin_is_presented_once_more_after_a_login_in_which_the_module_crashed(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy
) -> None:
    token.generate("key")
    key = isolated.open(token, deadlines=CallDeadlines(login=30.0))
    sign(key)
    before = logins(proxy)
    key.device.invalidate()
    proxy.rule("C_Login hang=1")
    with ThreadPoolExecutor(1) as pool:
        signing = pool.submit(sign, key)
        until(lambda: logins(proxy) == before + 1)
        # While the call still hangs: SoftHSM would write its token's file next, and half a file is no token.
        os.kill(pid_of(key), signal.SIGSEGV)
        proxy.rule()
        signing.result()
    assert (logins(proxy), states(token)) == (before + 2, [])


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_the_pin_of_one_use_of_a_key_is_unanswered_too(
    token: TestToken, isolated: IsolatedKeys, proxy: Proxy, after: str
) -> None:
    token.generate("careful", "p256", always_authenticate=True)
    key = isolated.open(token, "careful")
    use(key)
    before = logins(proxy)
    proxy.rule(f"C_Login hang=1{after}")
    with pytest.raises(LoginTimeoutError, match="for key 'careful'"):
        use(key)
    assert states(token) == [State.UNANSWERED]
    proxy.rule()
    use(key)
    # The login of the new process is the one further presentation; it is accepted, and the use has one of its own.
    assert (logins(proxy), states(token)) == (before + 3, [])


def after_the_pause(action: Callable[[], None]) -> None:
    """Do it as soon as the module is started again."""
    while True:
        try:
            return action()
        except TokenTimeoutError as error:
            if "is started again in" not in error.message:
                raise
            time.sleep(0.05)


def use(key: object) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    assert isinstance(key, ec.EllipticCurvePrivateKey)
    key.public_key().verify(key.sign(b"data", ec.ECDSA(hashes.SHA256())), b"data", ec.ECDSA(hashes.SHA256()))
