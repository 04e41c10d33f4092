"""PINs of ceremonies that a token does not answer in time: changed, set by the officer, and of a new token."""

from __future__ import annotations

import os

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tests.tokens.test_unanswered_logins import SCENE, WRONG, environment, logins, right
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin

pytestmark = pytest.mark.usefixtures("bounded")

NEW = "13572468"

CEREMONY = """
from tokens.events import CeremonyStep
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import change_pin, initialise_token, set_user_pin
from tokens.pkcs11.search import find_token
hasty = CallDeadlines(login=1.0, generate=1.0)
from tokens.uri import Pkcs11Uri
uri = Pkcs11Uri.parse(uris[0])
module = load_module(uri.module_path)
token = find_token(module, uri)
module.use_deadlines(token.slot_id, hasty)
def states():
    print(*(f"{refusal.role} {refusal.state}" for refusal in MEMORY.refusals(SERIAL)))
def log(event):
    if isinstance(event, CeremonyStep):
        print(event.step, event.outcome, flush=True)
def works(pin):
    with hurried(pin) as connection:
        said(connection.connect)
def told(action):
    try:
        action()
        print("done")
    except TokenError as error:
        print(type(error).__name__, error.message, flush=True)
"""


def play(code: str, token: TestToken, proxy: Proxy, word: str) -> list[str]:
    uri = proxy.serving(token.uri(pin=False))
    settings = {**environment(token, proxy, word), "NEW": NEW, "SO": os.environ[token.so_pin.removeprefix("env:")]}
    return scenes.play(SCENE + CEREMONY + code, uri, environment=settings)


CHANGE = """
with subscribe(log):
    rule("C_SetPIN hang=1{after}")
    said(lambda: change_pin(module, token, FromEnvironment("WORD"), FromEnvironment("NEW")))
    states()
    {then}
"""


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_a_pin_that_is_changed_late_is_the_new_one(token: TestToken, proxy: Proxy, after: str) -> None:
    then = 'answer(); states(); works("env:NEW"); works("env:WORD")'
    said = play(CHANGE.format(after=after, then=then), token, proxy, right(token))
    assert said == [
        "change-pin unanswered", "LoginTimeoutError", "user unanswered", "change-pin succeeded", "",
        "done", "PinRefusedError",
    ]  # fmt: skip
    assert [one.pin for one in proxy.presentations() if one.call == "C_SetPIN"] == [right(token)]


def test_a_wrong_old_pin_that_is_refused_late_is_refused(token: TestToken, proxy: Proxy) -> None:
    again = 'said(lambda: change_pin(module, token, FromEnvironment("WORD"), FromEnvironment("NEW")))'
    said = play(CHANGE.format(after="", then=f"answer(); states(); {again}"), token, proxy, WRONG)
    assert said == [
        "change-pin unanswered", "LoginTimeoutError", "user unanswered", "user refused",
        "change-pin refused", "PinNotPresentedError",
    ]  # fmt: skip
    assert proxy.calls()["C_SetPIN"] == 1


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_an_old_pin_that_was_never_answered_is_not_presented_unattended(
    token: TestToken, proxy: Proxy, after: str
) -> None:
    said = play(CHANGE.format(after=after, then="os._exit(0)"), token, proxy, right(token))
    assert said == ["change-pin unanswered", "LoginTimeoutError", "user unanswered"]
    proxy.rule()
    assert play('works("env:WORD")', token, proxy, right(token)) == ["PinNotPresentedError"]
    # The new PIN is another one, and may be presented: it settles what became of the old one.
    said = play('works("env:NEW"); works("env:WORD")', token, proxy, right(token))
    assert said == ["done" if after else "PinRefusedError", "PinNotPresentedError"]


SET = """
with subscribe(log):
    rule("{function} hang=1{after}")
    told(lambda: set_user_pin(module, token, FromEnvironment("SO"), FromEnvironment("NEW")))
    states()
    {then}
"""


@pytest.mark.parametrize("after", ["", " after=1"], ids=["before", "after"])
def test_an_officer_whose_login_is_answered_late_is_logged_out_and_may_log_in_again(
    token: TestToken, proxy: Proxy, after: str
) -> None:
    again = 'set_user_pin(module, token, FromEnvironment("SO"), FromEnvironment("NEW"))'
    then = f'answer(); states(); {again}; works("env:NEW")'
    said = play(SET.format(function="C_Login", after=after, then=then), token, proxy, right(token))
    assert said[1].startswith("LoginTimeoutError ")
    assert "has not answered the SO PIN" in said[1]
    assert [said[0], *said[2:]] == ["set-pin unanswered", "so unanswered", "", "set-pin succeeded", "done"]
    calls = proxy.calls()
    assert calls["C_OpenSession"] == calls["C_CloseSession"]


def test_a_wrong_officers_pin_that_is_answered_late_or_never_is_presented_once(token: TestToken, proxy: Proxy) -> None:
    again = 'said(lambda: set_user_pin(module, token, FromEnvironment("SO"), FromEnvironment("NEW")))'
    code = 'os.environ["SO"] = "wrong officer"' + SET
    late = play(code.format(function="C_Login", after="", then=f"answer(); states(); {again}"), token, proxy, "")
    assert late[2:] == ["so unanswered", "so refused", "set-pin refused", "PinNotPresentedError"]
    assert RefusalMemory().clear(token.serial) == 1
    assert logins(proxy) == 1


def test_a_users_pin_that_is_set_late_is_the_new_one(token: TestToken, proxy: Proxy) -> None:
    RefusalMemory().record(token.serial, "user", Pin(NEW.encode()))
    then = 'answer(); states(); works("env:NEW")'
    said = play(SET.format(function="C_InitPIN", after=" after=1", then=then), token, proxy, right(token))
    assert "TokenTimeoutError" in said[1]
    assert "Whether the PIN was set is not known" in said[1]
    assert [said[0], *said[2:]] == ["set-pin unanswered", "user refused", "set-pin succeeded", "", "done"]


NEW_TOKEN = """
with subscribe(log):
    rule("{function} hang=1{after}")
    told(lambda: initialise_token(module, "{function}", FromEnvironment("SO"), FromEnvironment("NEW"), deadlines=hasty))
    states()
    answer()
    for known in RefusalMemory().folder.glob("*.json"):
        print(known.read_text())
"""


def test_a_token_that_is_initialised_late_leaves_no_pin_behind(token: TestToken, proxy: Proxy) -> None:
    said = play(NEW_TOKEN.format(function="C_InitToken", after=" after=1"), token, proxy, right(token))
    assert said[0] == "initialise unanswered"
    assert said[1].startswith("CeremonyTimeoutError ")
    assert "Whether it was initialised is not known." in said[1]
    assert not any("unanswered" in line for line in said[2:])


def test_a_token_whose_first_user_pin_is_late_is_reported_as_initialised(token: TestToken, proxy: Proxy) -> None:
    said = play(NEW_TOKEN.format(function="C_InitPIN", after=""), token, proxy, right(token))
    assert said[0] == "initialise unanswered"
    assert "was initialised, but whether its user PIN was set is not known" in said[1]
