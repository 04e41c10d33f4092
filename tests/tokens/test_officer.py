"""What the officer does to tokens that do not report what they are, and how a user gets out of a locked or low PIN."""

from __future__ import annotations

import dataclasses
import os
import secrets
from pathlib import Path

import pytest

from tests.softhsm import MODULE, TestToken, new_token, set_pin
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens import open_token
from tokens.errors import OperationFailedError, PinLockedError, PinNotPresentedError, PinRefusedError
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, Prompt, parse_pin_source
from tokens.pkcs11.login.flags import check_flags
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import set_user_pin
from tokens.pkcs11.search import find_token

pytestmark = pytest.mark.usefixtures("bounded")

TOKEN_INITIALIZED, USER_PIN_INITIALIZED, COUNT_LOW = 0x400, 0x8, 0x10000

INITIALISE = """
from pathlib import Path
from tokens.pins.sources import FromEnvironment
from tokens.pkcs11.module import load_module
from tokens.pkcs11.officer import initialise_token
from tokens.pkcs11.search import present_tokens
from tokens.uri import Pkcs11Uri
module = load_module(Path(uris[0]))
def initialise(label, **options):
    try:
        print(initialise_token(module, label, FromEnvironment("SO"), FromEnvironment("USER"), **options).label)
    except TokenError as error:
        print(error)
"""


def play(code: str, proxy: Proxy, *more: object, so_pin: str = "12345678") -> list[str]:
    environment = {**proxy.environment(), "SO": so_pin, "USER": "123456"}
    return scenes.play(INITIALISE + code, proxy.module, *more, environment=environment)


def keeps_its_key(token: TestToken) -> bool:
    code = "with tokens.open_key(uris[0]) as key: sign(key)\nprint('signed')"
    return scenes.play(code, token.uri("key")) == ["signed"]


@pytest.mark.parametrize(
    "hidden",
    [
        f"clear={TOKEN_INITIALIZED:#x}",
        f"clear={TOKEN_INITIALIZED | USER_PIN_INITIALIZED:#x}",
        f"clear={TOKEN_INITIALIZED:#x} label=",
        f"clear={TOKEN_INITIALIZED | USER_PIN_INITIALIZED:#x} label=",
    ],
    ids=["PIN and label", "label", "PIN", "objects alone"],
)
def test_a_token_with_any_sign_of_use_is_not_taken_for_a_new_one(proxy: Proxy, hidden: str) -> None:
    token = new_token(f"used-{secrets.token_hex(4)}")
    token.generate("key")
    proxy.rule(f"C_GetTokenInfo token={token.label} {hidden}")
    label = f"{token.label} new"
    assert play(f"initialise('{label}')", proxy) == [label]
    assert keeps_its_key(token)


def test_without_a_free_token_it_says_what_there_is_and_how_to_erase_it(token: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_GetTokenInfo token= label=Factory")
    (said,) = play("initialise('x')", proxy)
    assert "has no uninitialised token. The token in slot " in said
    assert "it has the label 'Factory', so it is not treated as new." in said
    slot = said.partition("in slot ")[2].partition(" ")[0]
    assert said.endswith(f"--erase 'pkcs11:slot-id={slot}'")
    assert play(f"initialise('{token.label} new', erase=Pkcs11Uri(slot_id={slot}))", proxy) == [f"{token.label} new"]


def test_a_token_that_reports_no_more_than_its_user_pin_serves(token: TestToken, proxy: Proxy) -> None:
    uri = proxy.serving(token.generate("key"))
    proxy.rule(f"C_GetTokenInfo clear={TOKEN_INITIALIZED:#x}")
    code = "with tokens.open_key(uris[0]) as key: sign(key)\nprint('signed')"
    assert scenes.play(code, uri, environment=proxy.environment()) == ["signed"]


@pytest.mark.parametrize("rv", ["0x31", "0x02", "0x05"])
def test_a_token_that_cannot_be_initialised_does_not_make_its_first_pin_a_refused_one(
    token: TestToken, proxy: Proxy, state_folder: Path, rv: str
) -> None:
    label = f"{token.label} new"
    proxy.rule(f"C_InitToken rv={rv} times=1")
    code = f"""
for _ in range(2):
    initialise('{label}')
"""
    failed, made = play(code, proxy)
    assert "could not be initialised (CK" in failed
    assert made == label
    assert RefusalMemory().refusals("") == []


@pytest.fixture
def info(token: TestToken):
    return find_token(load_module(MODULE), token.uri())


def log_in(token: TestToken, pin: str) -> None:
    with open_token(token.uri(pin=False), pin=pin) as connection:
        connection.connect()


def test_the_officer_sets_a_user_pin_and_keys_stay(token: TestToken, state_folder: Path, info) -> None:
    token.generate("key")
    wrong = set_pin("24681357")
    with pytest.raises(PinRefusedError):
        log_in(token, wrong)
    set_user_pin(load_module(MODULE), info, parse_pin_source(token.so_pin), parse_pin_source(wrong))
    log_in(token, wrong)  # it is the right one now, and no longer remembered as refused
    assert RefusalMemory().refusals(token.serial) == []
    os.environ[token.pin.removeprefix("env:")] = "24681357"
    assert keeps_its_key(token)


def test_a_user_pin_that_the_token_does_not_accept_changes_nothing(token: TestToken, state_folder: Path, info) -> None:
    with pytest.raises(OperationFailedError, match="does not accept the new user PIN .* The user PIN was not changed"):
        set_user_pin(load_module(MODULE), info, parse_pin_source(token.so_pin), parse_pin_source(set_pin("1")))
    log_in(token, token.pin)


def test_a_wrong_officers_pin_is_presented_once(token: TestToken, state_folder: Path, info) -> None:
    wrong, new = parse_pin_source(set_pin("99999999")), parse_pin_source(set_pin("24681357"))
    for expected in (PinRefusedError, PinNotPresentedError):
        with pytest.raises(expected):
            set_user_pin(load_module(MODULE), info, wrong, new)
    log_in(token, token.pin)


def test_an_unclear_answer_to_the_officers_pin_is_a_refusal(token: TestToken, proxy: Proxy) -> None:
    proxy.rule("C_Login rv=0x30")
    code = """
from tokens.pkcs11.officer import set_user_pin
from tokens.pkcs11.search import find_token
token = find_token(module, Pkcs11Uri.parse(uris[1]))
for _ in range(3):
    said(lambda: set_user_pin(module, token, FromEnvironment("SO"), FromEnvironment("USER")))
"""
    uri = proxy.serving(token.uri(pin=False))
    so_pin = os.environ[token.so_pin.removeprefix("env:")]
    assert play(code, proxy, uri, so_pin=so_pin) == ["PinRefusedError", "PinNotPresentedError", "PinNotPresentedError"]


def test_a_user_who_is_locked_out_gets_the_command_that_keeps_the_keys(token: TestToken, info) -> None:
    from pkcs11 import TokenFlag

    from tokens.pins.credentials import Credentials
    from tokens.pkcs11.calls.cryptoki import UserType

    credentials = Credentials(parse_pin_source(token.pin), RefusalMemory())
    locked = dataclasses.replace(info, flags=info.flags | TokenFlag.USER_PIN_LOCKED)
    with pytest.raises(PinLockedError, match="officer must set a new one: hsm-dicom token reset-pin 'pkcs11:"):
        check_flags(locked, credentials, UserType.USER)
    unset = dataclasses.replace(info, flags=info.flags & ~TokenFlag.USER_PIN_INITIALIZED)
    with pytest.raises(
        PinNotPresentedError, match="never set. The security officer .*: hsm-dicom token set-pin 'pkcs11:"
    ):
        check_flags(unset, credentials, UserType.USER)


class Typed(Prompt):
    """Somebody who types."""

    def __init__(self, pin: str) -> None:
        object.__setattr__(self, "pin", pin)

    def read(self, purpose: str) -> Pin | None:
        return Pin(self.pin.encode())


STICKY = """
from tokens.pins.sources import Pin, Prompt
class Typed(Prompt):
    def read(self, purpose):
        return Pin(os.environb[b"RIGHT"])
def log_in(pin):
    with tokens.open_token(uris[0], pin=pin) as connection:
        connection.connect()
"""


def test_a_counter_that_is_always_low_holds_nothing_back_after_a_login_by_hand(token: TestToken, proxy: Proxy) -> None:
    proxy.rule(f"C_GetTokenInfo set={COUNT_LOW:#x}")
    code = """
said(lambda: log_in("env:RIGHT"))
said(lambda: log_in(Typed()))
said(lambda: log_in("env:RIGHT"))
said(lambda: log_in("env:RIGHT"))
said(lambda: log_in("env:STALE"))
said(lambda: log_in("env:OTHER"))
said(lambda: log_in("env:RIGHT"))
said(lambda: log_in(Typed()))
said(lambda: log_in("env:RIGHT"))
"""
    right = os.environ[token.pin.removeprefix("env:")]
    environment = {**proxy.environment(), "RIGHT": right, "STALE": "999999", "OTHER": "888888"}
    said = scenes.play(STICKY + code, proxy.serving(token.uri(pin=False)), environment=environment)
    # One wrong PIN unattended, and it takes a person again.
    assert (
        said
        == ["PinNotPresentedError", "done", "done", "done", "PinRefusedError"]
        + ["PinNotPresentedError"] * 2
        + ["done"] * 2
    )
    assert sum(line.endswith((" 999999", " 888888")) for line in proxy.presented()) == 1


def test_a_counter_that_a_login_resets_is_believed(token: TestToken, proxy: Proxy) -> None:
    code = """
said(lambda: log_in("env:STALE"))
said(lambda: log_in(Typed()))
said(lambda: log_in("env:RIGHT"))
said(lambda: log_in("env:OTHER"))
said(lambda: log_in("env:RIGHT"))
"""
    right = os.environ[token.pin.removeprefix("env:")]
    environment = {**proxy.environment(), "RIGHT": right, "STALE": "999999", "OTHER": "888888"}
    said = scenes.play(STICKY + code, proxy.serving(token.uri(pin=False)), environment=environment)
    assert said == ["PinRefusedError", "done", "done", "PinRefusedError", "PinNotPresentedError"]
