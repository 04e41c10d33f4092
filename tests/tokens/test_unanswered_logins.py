"""Logins that a token does not answer in time: held back until they are settled, and never presented too often.

The proxy hangs before SoftHSM gets the PIN, or after SoftHSM has answered. It counts each C_Login.
"""

from __future__ import annotations

import dataclasses
import os

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens.pins.refusal_record import State
from tokens.pins.refusals import RefusalMemory

pytestmark = pytest.mark.usefixtures("bounded")

WRONG = "999999"

SCENE = """
import time
from pathlib import Path
import tokens.pkcs11.login.token_state
from tokens.deadlines import CallDeadlines
from tokens.events import Login, subscribe
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, Prompt
from tokens.process import ending
tokens.pkcs11.login.token_state.PAUSE = 0.0
RULES = Path(os.environ["PROXY_RULES"])
MEMORY, SERIAL = RefusalMemory(), os.environ["SERIAL"]
def rule(*lines):
    fresh = RULES.with_name("rules.new")
    fresh.write_text("".join(line + chr(10) for line in lines))
    fresh.rename(RULES)
def hurried(pin="env:WORD", seconds=1.0):
    return tokens.open_token(uris[0], pin=pin, deadlines=CallDeadlines(login=seconds))
def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)
def answer():
    rule()
    wait_for(lambda: not ending.has_late_calls())
def states():
    print(*(refusal.state for refusal in MEMORY.refusals(SERIAL)))
class Typed(Prompt):
    asked = []
    def read(self, purpose):
        Typed.asked.append(purpose)
        return Pin(os.environb[b"WORD"])
def log(event):
    if isinstance(event, Login):
        print(event.outcome, "late" if event.late else "", flush=True)
"""

LATE = """
with hurried() as connection:
    {first}
    rule("C_Login hang=1{after}")
    began = time.monotonic()
    said(connection.connect)
    print(time.monotonic() - began < 5)
    states()
    for _ in range(2):
        said(connection.connect)  # the token is not called
    answer()
    states()
    said(connection.connect)
    said(connection.connect)
"""

HELD = ["LoginTimeoutError", "True", "unanswered"]
NOT_CALLED = {"TokenTimeoutError", "ModuleFencedError"}


def right(token: TestToken) -> str:
    return os.environ[token.pin.removeprefix("env:")]


def environment(token: TestToken, proxy: Proxy, word: str) -> dict[str, str]:
    return {**proxy.environment(counted=True), "WORD": word, "SERIAL": token.serial}


def play(code: str, token: TestToken, proxy: Proxy, word: str) -> list[str]:
    uri = proxy.serving(token.uri(pin=False))
    return scenes.play(SCENE + code, uri, environment=environment(token, proxy, word))


def states(token: TestToken) -> list[State]:
    return [refusal.state for refusal in RefusalMemory().refusals(token.serial)]


def logins(proxy: Proxy) -> int:
    return proxy.calls()["C_Login"]


@pytest.mark.parametrize(
    ("first", "after"),
    [("", ""), ("connection.connect(); connection.invalidate()", " after=1")],
    ids=["new-before", "accepted-after"],
)
def test_a_late_acceptance_makes_the_pin_usable_again(token: TestToken, proxy: Proxy, first: str, after: str) -> None:
    said = play(LATE.format(after=after, first=first or "pass"), token, proxy, right(token))
    assert said[:3] == HELD
    assert set(said[3:5]) <= NOT_CALLED
    assert said[5:] == ["", "done", "done"]
    assert states(token) == []
    # The late login was ended, so the next one presents the PIN again, and is accepted.
    assert logins(proxy) == 2 + bool(first)
    assert [one.rv for one in proxy.presentations()] == [0] * (2 + bool(first))
    calls = proxy.calls()
    assert calls["C_OpenSession"] == calls["C_CloseSession"]


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_a_late_refusal_is_a_refusal(token: TestToken, proxy: Proxy, after: str) -> None:
    said = play(LATE.format(after=after, first="pass"), token, proxy, WRONG)
    assert said[:3] == HELD
    assert set(said[3:5]) <= NOT_CALLED
    assert said[5:] == ["refused", "PinNotPresentedError", "PinNotPresentedError"]
    assert logins(proxy) == 1
    assert states(token) == [State.REFUSED]


@pytest.mark.parametrize("rv", ["0x30", "0x80000005", "0x54"])
def test_a_late_device_error_counts_as_one_in_time(token: TestToken, proxy: Proxy, rv: str) -> None:
    code = """
with hurried() as connection:
    connection.connect()
    connection.invalidate()
    rule("C_Login hang=1 rv={rv}")
    said(connection.connect)
    answer()
    states()
    said(connection.connect)
    states()
"""
    said = play(code.format(rv=rv), token, proxy, right(token))
    expected = {
        "0x30": ["unclear", "done", ""],
        "0x80000005": ["refused", "PinNotPresentedError", "refused"],
        "0x54": ["", "done", ""],
    }[rv]
    assert said == ["LoginTimeoutError", *expected]
    assert logins(proxy) == 2 + (rv != "0x80000005")


NEVER = """
with hurried() as connection:
    {first}
    rule("C_Login hang=1{after}")
    said(connection.connect)
    os._exit(0)
"""

AGAIN = """
with hurried() as connection:
    said(connection.connect)
    said(connection.connect)
"""


def end_unanswered(token: TestToken, proxy: Proxy, word: str, *, after: str = "", first: str = "pass") -> None:
    """Have a process end whose login was never answered. The token works again afterwards."""
    assert play(NEVER.format(after=after, first=first), token, proxy, word) == ["LoginTimeoutError"]
    proxy.rule()


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
@pytest.mark.parametrize("word", ["right", "wrong"])
def test_the_next_process_does_not_present_a_pin_unattended_that_was_never_answered(
    token: TestToken, proxy: Proxy, word: str, after: str
) -> None:
    presented = right(token) if word == "right" else WRONG
    end_unanswered(token, proxy, presented, after=after)
    assert states(token) == [State.UNANSWERED]
    assert play(AGAIN, token, proxy, presented) == ["PinNotPresentedError"] * 2
    assert logins(proxy) == 1
    # SoftHSM reports a wrong PIN (COUNT_LOW) that it was given: that settles it.
    refused = word == "wrong" and bool(after)
    assert states(token) == [State.REFUSED if refused else State.UNANSWERED]


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_a_pin_that_was_accepted_before_is_presented_once_more(token: TestToken, proxy: Proxy, after: str) -> None:
    first = "connection.connect(); connection.invalidate()"
    end_unanswered(token, proxy, right(token), after=after, first=first)
    assert play(AGAIN, token, proxy, right(token)) == ["done"] * 2
    assert (logins(proxy), states(token)) == (3, [])


def test_and_no_more_if_it_is_not_answered_again(token: TestToken, proxy: Proxy) -> None:
    end_unanswered(token, proxy, right(token), first="connection.connect(); connection.invalidate()")
    end_unanswered(token, proxy, right(token))
    assert play(AGAIN, token, proxy, right(token)) == ["PinNotPresentedError"] * 2
    assert (logins(proxy), states(token)) == (3, [State.UNANSWERED])


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_a_pin_that_was_accepted_before_and_changed_since_costs_two_presentations_at_most(
    token: TestToken, proxy: Proxy, after: str
) -> None:
    """Changed by another program, on a token that never reports a low counter; SoftHSM's own flags would settle it."""
    hidden = "C_GetTokenInfo clear=0x70000"
    changed = f"""
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.officer import change_pin
with hurried() as connection:
    connection.connect()
    os.environ["NEW"] = "{WRONG}"
    elsewhere = RefusalMemory(RULES.with_name("elsewhere"))
    change_pin(connection.module, connection.token, FromEnvironment("WORD"), FromEnvironment("NEW"), elsewhere)
    connection.invalidate()
    rule("C_Login hang=1{after}", "{hidden}")
    said(connection.connect)
    os._exit(0)
"""
    assert play(changed, token, proxy, right(token)) == ["LoginTimeoutError"]
    before = logins(proxy)
    proxy.rule(hidden)
    assert play(AGAIN, token, proxy, right(token)) == ["PinRefusedError", "PinNotPresentedError"]
    assert play(AGAIN, token, proxy, right(token)) == ["PinNotPresentedError"] * 2
    assert logins(proxy) == before + 1
    assert states(token) == [State.REFUSED]


def test_a_process_that_is_killed_during_the_login_leaves_nothing_for_an_acceptance(
    token: TestToken, proxy: Proxy
) -> None:
    code = """
with hurried(seconds=30) as connection:
    connection.connect()
    connection.invalidate()
    rule("C_Login hang=1")
    connection.connect()
"""
    uri = proxy.serving(token.uri(pin=False))
    scene = scenes.begin(SCENE + code, uri, environment=environment(token, proxy, right(token)))
    scenes.until(lambda: logins(proxy) == 2)
    scene.kill()
    scene.communicate(timeout=scenes.TIMEOUT)
    proxy.rule()
    assert play(AGAIN, token, proxy, right(token)) == ["PinNotPresentedError"] * 2
    assert play(TYPED, token, proxy, right(token)) == ["done", "True"]
    assert (logins(proxy), states(token)) == (3, [])


TYPED = """
with hurried(Typed()) as connection:
    said(connection.connect)
print("was not answered" in Typed.asked[0] if Typed.asked else "not asked")
"""


@pytest.mark.parametrize("word", ["right", "wrong"])
def test_a_person_is_told_and_may_present_it_again(token: TestToken, proxy: Proxy, word: str) -> None:
    presented = right(token) if word == "right" else WRONG
    end_unanswered(token, proxy, presented)
    said = play(TYPED, token, proxy, presented)
    assert said == ["done" if word == "right" else "PinRefusedError", "True"]
    assert states(token) == ([] if word == "right" else [State.REFUSED])
    # The right PIN serves unattended again; the wrong one is refused, and reported as such by the token.
    again = play(AGAIN, token, proxy, presented)
    assert again == (["done"] * 2 if word == "right" else ["PinNotPresentedError"] * 2)
    assert logins(proxy) == (3 if word == "right" else 2)


def test_another_pin_that_a_person_types_settles_it_too(token: TestToken, proxy: Proxy) -> None:
    end_unanswered(token, proxy, WRONG)
    assert play(TYPED, token, proxy, right(token)) == ["done", "True"]
    assert states(token) == [State.REFUSED]
    assert play(AGAIN, token, proxy, WRONG) == ["PinNotPresentedError"] * 2
    assert logins(proxy) == 2


def test_a_person_whose_pin_was_not_answered_is_asked_again(token: TestToken, proxy: Proxy) -> None:
    code = """
with hurried(Typed()) as connection:
    rule("C_Login hang=1")
    said(connection.connect)
    answer()
    said(connection.connect)
print(len(Typed.asked))
"""
    assert play(code, token, proxy, right(token)) == ["LoginTimeoutError", "done", "2"]


def test_the_lock_is_released_with_the_state_on_disk_and_other_processes_hold_back(
    token: TestToken, proxy: Proxy
) -> None:
    code = """
with hurried() as connection:
    connection.connect()
    connection.invalidate()
    rule("C_Login hang=1 times=1")
    said(connection.connect)
    print("left", flush=True)
    sys.stdin.readline()
    answer()
    states()
    said(connection.connect)
"""
    uri = proxy.serving(token.uri(pin=False))
    waiting = scenes.begin(SCENE + code, uri, environment=environment(token, proxy, right(token)))
    assert waiting.stdout is not None
    assert [waiting.stdout.readline() for _ in range(2)] == ["LoginTimeoutError\n", "left\n"]
    # The first process still waits for the answer, so that what the token reports now decides nothing.
    other = """
import time
began = time.monotonic()
with hurried() as connection:
    try:
        connection.connect()
    except TokenError as error:
        print(type(error).__name__, "still waiting for the answer" in str(error))
with hurried(Typed()) as connection:
    said(connection.connect)
print(time.monotonic() - began < 10)
"""
    env = {**environment(token, proxy, right(token)), "PROXY_RULES": str(proxy.folder / "no-rules")}
    assert scenes.play(SCENE + other, uri, environment=env) == ["LoginTimeoutError True", "done", "True"]
    assert waiting.stdin is not None
    waiting.stdin.write("\n")
    waiting.stdin.flush()
    assert scenes.end(waiting) == ["", "done"]
    assert logins(proxy) == 1 + 1 + 1 + 1


def test_each_login_that_is_not_answered_has_two_events(token: TestToken, proxy: Proxy) -> None:
    code = """
with subscribe(log), hurried() as connection:
    rule("C_Login hang=1")
    said(connection.connect)
    answer()
"""
    for word, outcome in ((right(token), "succeeded"), (WRONG, "refused")):
        assert play(code, token, proxy, word) == ["unanswered ", "LoginTimeoutError", f"{outcome} late"]


def test_an_interrupted_login_is_unanswered(token: TestToken, proxy: Proxy) -> None:
    code = """
import signal
with hurried(seconds=20) as connection:
    rule("C_Login hang=1")
    threading.Timer(1.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try:
        connection.connect()
    except KeyboardInterrupt:
        states()
    answer()
    states()
    said(connection.connect)
"""
    assert play(code, token, proxy, right(token)) == ["unanswered", "", "done"]
    assert logins(proxy) == 2


EACH_USE = """
with subscribe(log), tokens.open_key(uris[0], pin="env:WORD", deadlines=CallDeadlines(login=1.0, sign=1.0)) as key:
    {first}
    os.environ["WORD"] = os.environ["THEN"]
    rule("C_Login hang=1{after}")
    said(lambda: sign(key))
    states()
    {then}
"""

SETTLED = """
    answer()
    states()
    said(lambda: sign(key))
    said(lambda: sign(key))
"""


def play_with_each_use(code: str, token: TestToken, proxy: Proxy, then: str) -> list[str]:
    uri = proxy.serving(token.generate("careful", "p256", always_authenticate=True))
    settings = {**environment(token, proxy, right(token)), "THEN": then}
    return scenes.play(SCENE + code, dataclasses.replace(uri, pin_source=None), environment=settings)


@pytest.mark.parametrize(
    ("first", "after"), [("pass", ""), ("sign(key)", " after=1")], ids=["first-use", "used-before"]
)
def test_a_late_acceptance_for_one_use_makes_the_key_usable_again(
    token: TestToken, proxy: Proxy, first: str, after: str
) -> None:
    code = EACH_USE.format(first=first, after=after, then=SETTLED.strip())
    said = play_with_each_use(code, token, proxy, right(token))
    assert said == [
        "succeeded ", "unanswered ", "LoginTimeoutError", "unanswered", "succeeded late", "", "done", "done",
    ]  # fmt: skip
    assert states(token) == []


def test_a_late_refusal_for_one_use_is_a_refusal(token: TestToken, proxy: Proxy) -> None:
    code = EACH_USE.format(first="sign(key)", after="", then=SETTLED.strip())
    said = play_with_each_use(code, token, proxy, WRONG)
    assert said == [
        "succeeded ", "unanswered ", "LoginTimeoutError", "unanswered", "refused late", "refused",
        "PinNotPresentedError", "PinNotPresentedError",
    ]  # fmt: skip
    assert states(token) == [State.REFUSED]
    assert sum(one.pin == WRONG for one in proxy.presentations()) == 1


@pytest.mark.parametrize("then", ["right", "wrong"])
def test_the_pin_of_a_key_that_was_never_answered_is_held_back(token: TestToken, proxy: Proxy, then: str) -> None:
    presented = right(token) if then == "right" else WRONG
    code = EACH_USE.format(first="sign(key)", after="", then="os._exit(0)")
    said = play_with_each_use(code, token, proxy, presented)
    assert said == ["succeeded ", "unanswered ", "LoginTimeoutError", "unanswered"]
    before = logins(proxy)
    proxy.rule()
    # The right PIN was accepted before, and is presented once more; the other one was not.
    assert play(AGAIN, token, proxy, presented) == (["done"] * 2 if then == "right" else ["PinNotPresentedError"] * 2)
    assert logins(proxy) == before + (then == "right")


@pytest.mark.parametrize("counter", ["", "C_GetTokenInfo set=0x10000"], ids=["full", "low"])
def test_a_key_in_use_heeds_a_pin_that_another_process_left_unanswered(
    token: TestToken, proxy: Proxy, counter: str
) -> None:
    code = """
with tokens.open_key(uris[0], pin="env:WORD") as key:
    sign(key)
    print("signed", flush=True)
    sys.stdin.readline()
    said(lambda: sign(key))
    states()
"""
    uri = proxy.serving(token.generate("careful", "p256", always_authenticate=True))
    uri = dataclasses.replace(uri, pin_source=None)
    settings = environment(token, proxy, right(token))
    using = scenes.begin(SCENE + code, uri, environment=settings)
    assert using.stdout is not None
    assert using.stdout.readline() == "signed\n"
    end_unanswered(token, proxy, right(token))
    if counter:
        proxy.rule(counter)
    assert using.stdin is not None
    using.stdin.write("\n")
    using.stdin.flush()
    before = logins(proxy)
    # The PIN was accepted before, so it is presented once more, unless the token reports a wrong PIN.
    said = scenes.end(using)
    assert said == (["PinNotPresentedError", "refused"] if counter else ["done", ""])
    assert logins(proxy) == before + (not counter)


def test_a_signature_that_hangs_after_its_login_leaves_the_pin_answered(token: TestToken, proxy: Proxy) -> None:
    code = EACH_USE.replace("C_Login hang=1{after}", "C_Sign hang=1").format(first="sign(key)", then=SETTLED.strip())
    said = play_with_each_use(code, token, proxy, right(token))
    assert said == ["succeeded ", "TokenTimeoutError", "", "", "done", "done"]
