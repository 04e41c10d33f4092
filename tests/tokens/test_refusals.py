"""What a refusal is filed under: the serial number, and more only where that does not tell devices apart."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.softhsm import TestToken, new_token
from tests.tokens import scenes
from tests.tokens.proxy import Proxy
from tokens.errors import PinNotPresentedError
from tokens.pins.device_name import DeviceName
from tokens.pins.refusal_record import Record
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin
from tokens.uri import Pkcs11Uri

pytestmark = pytest.mark.usefixtures("bounded")

WRONG = Pin(b"999999")
ZEROS = "0000000000000000"

LOG_IN = """
def log_in(uri):
    with tokens.open_token(uri, pin="env:STALE") as connection:
        connection.connect()
for uri in uris:
    said(lambda: log_in(uri))
"""


def is_held_back(memory: RefusalMemory, device: DeviceName) -> bool:
    try:
        with memory.present(device, "user", Pin(b"999999")):
            return False
    except PinNotPresentedError:
        return True


def test_a_digest_costs_what_the_threat_model_says_and_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = []

    def scrypt(octets: bytes, **cost: Any) -> bytes:
        costs.append(cost)
        return octets + cost["salt"]

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    record, other = Record(), Record()
    assert record.digest(WRONG) == record.digest(WRONG) == b"999999" + record.salt
    assert other.digest(WRONG) == b"999999" + other.salt
    assert record.digest(Pin(b"999998")) == b"999998" + record.salt
    assert [(cost["n"], cost["r"], cost["p"], len(cost["salt"])) for cost in costs] == [(2**15, 8, 1, 16)] * 3


def test_a_digest_is_the_same_where_openssl_is_in_fips_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """FIPS mode has no scrypt; the expected value is that of OpenSSL outside of it."""

    def scrypt(*arguments: object, **cost: object) -> bytes:
        raise ValueError("[digital envelope routines] unsupported")

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    digest = Record(salt=b"0123456789abcdef").digest(WRONG)
    assert digest.hex() == "8694f001ed73c2228c3e270cc86228c708014e9441546d6dd9dc285f8b10fc07"


@pytest.mark.parametrize("change", [{"label": "other"}, {"manufacturer": "other"}, {"module": "other"}])
def test_one_serial_number_is_one_device_whatever_it_is_found_by(state_folder: Path, change: dict[str, str]) -> None:
    memory, device = RefusalMemory(), DeviceName("4711", "label", "maker", "module")
    memory.record(device, "user", WRONG)
    assert is_held_back(memory, dataclasses.replace(device, **change))
    assert is_held_back(memory, DeviceName("4711"))
    assert not is_held_back(memory, dataclasses.replace(device, serial="4712"))


@pytest.mark.parametrize("change", [{"label": "other"}, {"manufacturer": "other"}, {"module": "other"}])
@pytest.mark.parametrize("serial", ["", ZEROS, "0"])
def test_a_serial_number_that_tells_nothing_is_narrowed(
    state_folder: Path, serial: str, change: dict[str, str]
) -> None:
    memory, device = RefusalMemory(), DeviceName(serial, "label", "maker", "module")
    memory.record(device, "user", WRONG)
    assert is_held_back(memory, device)
    assert not is_held_back(memory, dataclasses.replace(device, **change))


def test_what_was_recorded_by_serial_number_alone_goes_on_to_hold(state_folder: Path) -> None:
    memory, device = RefusalMemory(), DeviceName(ZEROS, "label", "maker", "module")
    memory.record(ZEROS, "user", WRONG)  # as before serial numbers were narrowed
    assert is_held_back(memory, device)
    assert [refusal.role for refusal in memory.refusals(device)] == ["user"]
    assert memory.clear(device) == 1
    assert not is_held_back(memory, device)


def test_a_serial_number_seen_on_two_devices_is_narrowed_from_then_on(state_folder: Path) -> None:
    memory = RefusalMemory()
    one, other = DeviceName("4711", "one"), DeviceName("4711", "other")
    memory.record(one, "user", WRONG)
    with memory.present(dataclasses.replace(one, shared=True), "user", Pin(b"123456")):
        pass
    assert not memory.is_distinct("4711")
    assert is_held_back(memory, one)
    assert is_held_back(memory, other)  # what was refused before may have been refused by either
    memory.clear("4711")
    assert not memory.is_distinct("4711")
    memory.record(one, "user", WRONG)  # alone again, and still told apart
    assert is_held_back(memory, one)
    assert not is_held_back(memory, other)


def test_clearing_a_device_leaves_its_namesakes_alone_and_a_serial_number_means_all(state_folder: Path) -> None:
    memory = RefusalMemory()
    one, other = (DeviceName(ZEROS, label) for label in ("one", "other"))
    for device in (one, other):
        memory.record(device, "user", WRONG)
    assert memory.clear(one) == 1
    assert is_held_back(memory, other)
    memory.record(one, "user", WRONG)
    assert memory.clear(ZEROS) == 2
    assert not is_held_back(memory, other)


def test_a_check_says_whether_a_pin_would_be_presented_and_records_nothing(state_folder: Path) -> None:
    memory, device = RefusalMemory(), DeviceName("one")
    memory.check(device, "user", WRONG)
    assert not memory.refusals(device)
    memory.record(device, "user", WRONG)
    before = memory.refusals(device)
    with pytest.raises(PinNotPresentedError, match="It is not presented again"):
        memory.check(device, "user", WRONG)
    memory.check(device, "user", Pin(b"123456"))
    assert memory.refusals(device) == before


def by_label(token: TestToken, module: Path) -> Pkcs11Uri:
    return Pkcs11Uri(token=token.label, module_path=module)


def presentations(proxy: Proxy) -> int:
    return sum(line.endswith(" 999999") for line in proxy.presented())


def test_tokens_that_all_have_the_serial_zero_do_not_share_refusals(proxy: Proxy) -> None:
    proxy.rule(f"C_GetTokenInfo serial={ZEROS}")
    uris = [by_label(new_token(), proxy.module) for _ in range(2)]
    environment = {**proxy.environment(), "STALE": "999999"}
    said = scenes.play(LOG_IN, *uris, *uris, environment=environment)
    assert said == ["PinRefusedError"] * 2 + ["PinNotPresentedError"] * 2
    assert presentations(proxy) == 2


def test_the_command_in_the_message_names_such_a_token_by_its_uri(proxy: Proxy) -> None:
    proxy.rule(f"C_GetTokenInfo serial={ZEROS} clear=0x10000")
    token = new_token()
    code = LOG_IN.replace("said(", "print_error(").replace("def log_in", PRINT_ERROR + "def log_in")
    uri = by_label(token, proxy.module)
    said = scenes.play(code, uri, uri, environment={**proxy.environment(), "STALE": "999999"})
    named = f"pkcs11:token={token.label.replace(' ', '%20')};serial={ZEROS}?module-path={proxy.module}"
    assert said[1].endswith(f"hsm-dicom token clear-rejected-pin '{named}'")


PRINT_ERROR = """
def print_error(action):
    try:
        action()
    except TokenError as error:
        print(error)
"""


def test_two_tokens_with_one_serial_number_at_once_are_distinguished(proxy: Proxy) -> None:
    proxy.rule("C_GetTokenInfo serial=4711")
    uris = [by_label(new_token(), proxy.module) for _ in range(2)]
    environment = {**proxy.environment(), "STALE": "999999"}
    assert scenes.play(LOG_IN, *uris, environment=environment) == ["PinRefusedError"] * 2


def test_one_card_through_two_modules_has_one_memory(token: TestToken, proxy: Proxy) -> None:
    copy = proxy.module.with_name("another-maker.so")
    shutil.copy(proxy.module, copy)
    # The token says nothing of its low counter, so that nothing but the memory holds the PIN back.
    proxy.rule("C_GetTokenInfo clear=0x10000")
    uris = [by_label(token, module) for module in (proxy.module, copy)]
    environment = {**proxy.environment(), "STALE": "999999"}
    assert scenes.play(LOG_IN, *uris, environment=environment) == ["PinRefusedError", "PinNotPresentedError"]
    assert presentations(proxy) == 1


def test_an_upgraded_module_does_not_make_a_refusal_forgotten(token: TestToken, proxy: Proxy) -> None:
    proxy.rule(f"C_GetTokenInfo serial={ZEROS} clear=0x10000")
    environment = {**proxy.environment(), "STALE": "999999"}
    said = []
    for version in ("libhsm.so.1.0", "libhsm.so.1.1"):
        module = proxy.module.with_name(version)
        shutil.copy(proxy.module, module)
        said += scenes.play(LOG_IN, by_label(token, module), environment=environment)
    assert said == ["PinRefusedError", "PinNotPresentedError"]
