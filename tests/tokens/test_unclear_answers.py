"""A device that fails during a login: the right PIN serves again, once for each time that it was accepted."""

import json
import textwrap
from pathlib import Path

import pytest

from tests.softhsm import TestToken
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens.pins.device_name import DeviceName
from tokens.pins.refusal_record import Record
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin

pytestmark = pytest.mark.usefixtures("bounded")

UNCLEAR = {"CKR_HOST_MEMORY": 0x02, "CKR_GENERAL_ERROR": 0x05, "CKR_FUNCTION_FAILED": 0x06}
UNCLEAR |= {"CKR_DEVICE_ERROR": 0x30, "CKR_DEVICE_REMOVED": 0x32}

COUNT_LOW, FINAL_TRY, LOCKED = 0x10000, 0x20000, 0x40000

OUTAGES = """
import tokens.pkcs11.login.token_state
tokens.pkcs11.login.token_state.PAUSE = 0.0
def rule(*rules):
    with open(uris[1] + ".new", "w") as file:
        file.write("".join(each + "\\n" for each in rules))
    os.replace(uris[1] + ".new", uris[1])
def outage(rv=0x30):
    rule("C_Sign rv=0x30", f"C_Login rv={rv}")
def logins():
    with open(uris[1].replace("rules", "calls")) as file:
        return file.read().split().count("C_Login")
"""


def play(code: str, token: TestToken, proxy: Proxy, *, key: str | None = None) -> list[str]:
    uri = proxy.serving(token.uri(key) if key else token.generate("key", "p256"))
    return scenes.play(
        OUTAGES + textwrap.dedent(code), uri, proxy.folder / "rules", environment=proxy.environment(counted=True)
    )


def test_after_twenty_outages_and_a_restart_each_acceptance_was_worth_one_presentation(
    token: TestToken, proxy: Proxy
) -> None:
    code = """
    with tokens.open_key(uris[0]) as key:
        for _ in range({outages}):
            sign(key)
            outage()
            said(lambda: sign(key))
            rule()
        {end}
    """
    ten_times = play(code.format(outages=10, end="said(lambda: sign(key))"), token, proxy)
    assert ten_times == ["LoginUnclearError"] * 10 + ["done"]
    # One at the start; then for each outage one that the outage answered, and one further.
    assert proxy.calls()["C_Login"] == 1 + 10 * 2
    # Now the process ends in the middle of an outage.
    assert play(code.format(outages=10, end="os._exit(0)"), token, proxy, key="key") == ["LoginUnclearError"] * 10
    assert proxy.calls()["C_Login"] == 1 + 10 * 2 + 1 + 9 * 2 + 1
    proxy.rule()
    assert play("with tokens.open_key(uris[0]) as key: sign(key)", token, proxy, key="key") == []
    accepted = 1 + 10 + 1 + 9 + 1
    assert proxy.calls()["C_Login"] == accepted + 20


@pytest.mark.parametrize("rv", UNCLEAR.values(), ids=UNCLEAR)
def test_a_failure_that_goes_on_costs_one_further_presentation_and_no_more(
    token: TestToken, proxy: Proxy, rv: int
) -> None:
    code = f"""
    with tokens.open_key(uris[0]) as key:
        sign(key)
        before = logins()
        outage({rv})
        for _ in range(5):
            said(lambda: sign(key))
        rule()
        said(lambda: sign(key))
        print(logins() - before)
    """
    said = ["LoginUnclearError", "PinRefusedError"] + ["PinNotPresentedError"] * 4
    assert play(code, token, proxy) == [*said, "2"]


def test_nor_does_the_next_process_present_it(token: TestToken, proxy: Proxy) -> None:
    code = """
    with tokens.open_key(uris[0]) as key:
        sign(key)
        outage()
        for _ in range(2):
            said(lambda: sign(key))
    """
    assert play(code, token, proxy) == ["LoginUnclearError", "PinRefusedError"]
    proxy.rule()
    before = proxy.calls()["C_Login"]
    assert play("said(lambda: tokens.open_key(uris[0]))", token, proxy, key="key") == ["PinNotPresentedError"]
    assert proxy.calls()["C_Login"] == before


def test_clearing_the_record_reaches_a_running_process(token: TestToken, proxy: Proxy) -> None:
    code = f"""
    from tokens.pins.refusals import RefusalMemory
    with tokens.open_key(uris[0]) as key:
        sign(key)
        outage()
        for _ in range(3):
            said(lambda: sign(key))
        rule()
        print(RefusalMemory().clear("{token.serial}"))
        said(lambda: sign(key))
    """
    assert play(code, token, proxy) == ["LoginUnclearError", "PinRefusedError", "PinNotPresentedError", "1", "done"]


def test_opening_the_key_again_reads_a_pin_that_was_put_right(token: TestToken, proxy: Proxy) -> None:
    code = f"""
    right, name = os.environ["{token.pin.removeprefix("env:")}"], "{token.pin.removeprefix("env:")}"
    with tokens.open_key(uris[0]) as key:
        sign(key)
        os.environ[name] = "999999"
        rule("C_Sign rv=0x30 times=1")
        for _ in range(2):
            said(lambda: sign(key))
        os.environ[name] = right
        rule("C_GetTokenInfo clear={COUNT_LOW}")  # as after a login by hand
        said(lambda: sign(key))
        with tokens.open_key(uris[0]) as again:
            sign(again)
        said(lambda: sign(key))
    """
    assert play(code, token, proxy) == ["PinRefusedError", "PinNotPresentedError", "PinNotPresentedError", "done"]


def test_without_an_earlier_acceptance_an_unclear_answer_is_a_refusal(token: TestToken, proxy: Proxy) -> None:
    code = f"""
    from tokens.pins.refusals import RefusalMemory
    RefusalMemory().clear("{token.serial}")  # and with it that the PIN was accepted
    outage()
    said(lambda: tokens.open_key(uris[0]))
    rule()
    said(lambda: tokens.open_key(uris[0]))
    print(logins())
    """
    assert play(code, token, proxy) == ["PinRefusedError", "PinNotPresentedError", "1"]


@pytest.mark.parametrize("flag", [COUNT_LOW, FINAL_TRY, LOCKED])
def test_no_flag_may_speak_of_a_wrong_pin(token: TestToken, proxy: Proxy, flag: int) -> None:
    code = f"""
    with tokens.open_key(uris[0]) as key:
        sign(key)
        outage()
        said(lambda: sign(key))
        before = logins()
        rule("C_GetTokenInfo set={flag}")
        said(lambda: sign(key))
        print(logins() - before)
    """
    refused = "PinLockedError" if flag == LOCKED else "PinNotPresentedError"
    assert play(code, token, proxy) == ["LoginUnclearError", refused, "0"]


def test_a_person_does_not_present_it_either_while_the_counter_is_low(token: TestToken, proxy: Proxy) -> None:
    code = f"""
    from tokens.pins.sources import Pin, Prompt
    class Typed(Prompt):
        def read(self, purpose):
            return Pin(os.environb[b"{token.pin.removeprefix("env:")}"])
    with tokens.open_token(uris[0], pin=Typed()) as connection:
        key = tokens.open_key(uris[0])
        sign(key)
        outage()
        said(lambda: sign(key))
        before = logins()
        rule("C_GetTokenInfo set={COUNT_LOW}")
        said(lambda: sign(key))
        print(logins() - before)
        rule()
        said(lambda: sign(key))
    """
    uri = proxy.serving(token.generate("key", "p256"))
    uri = type(uri).parse(str(uri).replace(f"pin-source={uri.pin_source}&", ""))
    said = scenes.play(
        OUTAGES + textwrap.dedent(code), uri, proxy.folder / "rules", environment=proxy.environment(counted=True)
    )
    assert said == ["LoginUnclearError", "PinNotPresentedError", "0", "done"]


@pytest.mark.parametrize("rule", ["C_GetTokenInfo rv=0x30", "C_GenerateRandom rv=0x30"])
def test_nothing_is_presented_while_the_device_is_seen_to_be_away(token: TestToken, proxy: Proxy, rule: str) -> None:
    code = f"""
    with tokens.open_key(uris[0]) as key:
        sign(key)
        outage()
        said(lambda: sign(key))
        before = logins()
        rule("{rule}")
        for _ in range(3):
            said(lambda: sign(key))
        print(logins() - before)
        rule()
        said(lambda: sign(key))
        print(logins() - before)
    """
    away = "LoginUnclearError" if "Random" in rule else "TokenLostError"
    assert play(code, token, proxy) == ["LoginUnclearError", away, away, away, "0", "done", "1"]


def test_a_refusal_is_never_an_unclear_answer(token: TestToken, proxy: Proxy) -> None:
    code = """
    for number in (0xA0, 0xA1, 0xA2, 0x80000005, 0x31):
        with tokens.open_key(uris[0]) as key:
            sign(key)
            before = logins()
            outage(number)
            said(lambda: sign(key))
            rule()
            said(lambda: sign(key))
            print(logins() - before)
        from tokens.pins.refusals import RefusalMemory
        RefusalMemory().clear(key.device._connection.token.serial)
    """
    assert play(code, token, proxy) == ["PinRefusedError", "PinNotPresentedError", "1"] * 5


def test_fewer_answers_may_count_as_failures(token: TestToken, proxy: Proxy) -> None:
    code = """
    from tokens.pins.credentials import DeviceFailure
    with tokens.open_key(uris[0], device_failures={DeviceFailure.CKR_DEVICE_REMOVED}) as key:
        sign(key)
        outage(0x32)
        said(lambda: sign(key))
        rule()
        sign(key)
        outage(0x05)
        said(lambda: sign(key))
        rule()
        said(lambda: sign(key))
    """
    assert play(code, token, proxy) == ["LoginUnclearError", "PinRefusedError", "PinNotPresentedError"]


def test_a_key_that_wants_its_pin_each_time_keeps_to_the_same_count(token: TestToken, proxy: Proxy) -> None:
    code = """
    with tokens.open_key(uris[0]) as key:
        sign(key)
        before = logins()
        rule("C_Login rv=0x30")
        for _ in range(4):
            said(lambda: sign(key))
        print(logins() - before)
        rule()
        said(lambda: sign(key))
    """
    token.generate("careful", "p256", always_authenticate=True)
    # The one for the key, then that of the login: the acceptance is spent.
    assert play(code, token, proxy, key="careful") == ["PinRefusedError"] + ["PinNotPresentedError"] * 3 + [
        "2",
        "PinNotPresentedError",
    ]


def test_such_a_key_serves_again_after_an_outage(token: TestToken, proxy: Proxy) -> None:
    code = """
    with tokens.open_key(uris[0]) as key:
        sign(key)
        rule("C_Login rv=0x30 times=1")
        said(lambda: sign(key))
        said(lambda: sign(key))
    """
    token.generate("careful", "p256", always_authenticate=True)
    assert play(code, token, proxy, key="careful") == ["done", "done"]


def test_the_acceptance_of_a_typed_pin_is_of_use_to_this_process_only(state_folder: Path) -> None:
    memory, device = RefusalMemory(), DeviceName("1")
    for readable_again in (True, False):
        with memory.present(device, "user", Pin(b"123456")) as presentation:
            presentation.answer = presentation.answer.ACCEPTED
            presentation.readable_again = readable_again
        record = Record.parse((state_folder / device.own_file).read_text())
        assert record.accepted is not None
        assert record.has_accepted(Pin(b"123456"), record.digest(Pin(b"123456")))
        assert not record.has_accepted(Pin(b"123457"), record.digest(Pin(b"123457")))
        assert (record.accepted.digest == record.digest(Pin(b"123456"))) is readable_again


def test_a_record_of_an_earlier_release_still_holds(state_folder: Path) -> None:
    memory, device = RefusalMemory(), DeviceName("0000")
    memory.record("0000", "user", Pin(b"999999"))
    (file,) = state_folder.glob("*.json")
    assert set(json.loads(file.read_text())) == {"salt", "refused"}
    assert len(memory.refusals(device)) == 1
