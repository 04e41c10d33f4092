"""Logging in: a PIN is presented at most once, and a refusal is remembered."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hsm_dicom import product
from tests.softhsm import TestToken, set_pin
from tokens import open_key, open_token
from tokens.errors import (
    PinError,
    PinNotPresentedError,
    PinRefusedError,
    PinSourceError,
)
from tokens.events import DeviceEvent, Login, OperationOutcome, subscribe
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin, Prompt
from tokens.process.state_folder import StateFolderName


class TypedBy(Prompt):
    """Somebody at a terminal, whose typing the test does."""

    def __init__(self, *answers: str) -> None:
        object.__setattr__(self, "answers", list(answers))

    def read(self, purpose: str) -> Pin | None:
        return Pin(self.answers.pop(0).encode())


def log_in(token: TestToken, pin: object = None) -> list[Login]:
    heard: list[DeviceEvent] = []
    try:
        with subscribe(heard.append), open_token(token.uri(pin=pin is None), pin=pin) as connection:
            connection.connect()
    finally:
        logins = [event for event in heard if isinstance(event, Login)]
    return logins


def test_a_login_is_an_event_without_the_pin(token: TestToken, state_folder: Path) -> None:
    (event,) = log_in(token)
    assert (event.outcome, event.role, event.presented) == (OperationOutcome.SUCCEEDED, "user", True)
    assert event.token_serial == token.serial
    assert os.environ[token.pin.removeprefix("env:")] not in repr(event)


def test_a_refused_pin_is_not_presented_again(token: TestToken, state_folder: Path) -> None:
    wrong = set_pin("999999")
    with pytest.raises(PinRefusedError, match="is not presented again") as first:
        log_in(token, wrong)
    log_in(token, TypedBy(os.environ[token.pin.removeprefix("env:")]))  # the counter is reset by hand
    heard: list[DeviceEvent] = []
    with (
        subscribe(heard.append),
        pytest.raises(PinNotPresentedError, match="hsm-dicom token clear-rejected-pin") as second,
    ):
        log_in(token, wrong)
    assert [event.presented for event in heard if isinstance(event, Login)] == [False]
    assert "999999" not in f"{first.value} {second.value}"


def test_the_next_process_does_not_present_it_either(token: TestToken, state_folder: Path) -> None:
    wrong = set_pin("999999")
    code = f"""
import sys
import tokens
from tokens.errors import PinError
try:
    with tokens.open_token({str(token.uri(pin=False))!r}, pin={wrong!r}) as connection:
        connection.connect()
except PinError as error:
    print(type(error).__name__)
    sys.exit(7)
"""
    run = [sys.executable, "-c", code]
    first = subprocess.run(run, capture_output=True, text=True)
    assert (first.stdout.strip(), first.returncode) == ("PinRefusedError", 7)
    log_in(token, TypedBy(os.environ[token.pin.removeprefix("env:")]))
    second = subprocess.run(run, capture_output=True, text=True)
    assert (second.stdout.strip(), second.returncode) == ("PinNotPresentedError", 7)


def test_only_one_of_many_processes_presents_a_wrong_pin(token: TestToken, state_folder: Path) -> None:
    wrong = set_pin("999999")
    code = f"""
import tokens
from tokens.errors import PinError
try:
    with tokens.open_token({str(token.uri(pin=False))!r}, pin={wrong!r}) as connection:
        connection.connect()
except PinError as error:
    print(type(error).__name__)
"""
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in running)
    assert said == ["PinNotPresentedError"] * 3 + ["PinRefusedError"]


def test_a_refusal_is_kept_as_a_salted_digest_that_only_the_owner_reads(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(PinRefusedError):
        log_in(token, set_pin("999999"))
    (file,) = state_folder.glob("*.json")
    text = file.read_text()
    assert "999999" not in text
    content = json.loads(text)
    assert len(bytes.fromhex(content["salt"])) == 16
    assert [entry["role"] for entry in content["refused"]] == ["user"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state_folder.stat().st_mode) == 0o700


def test_another_pin_is_presented_after_a_refusal(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(PinRefusedError):
        log_in(token, set_pin("999999"))
    log_in(token, TypedBy(os.environ[token.pin.removeprefix("env:")]))
    assert log_in(token)[0].outcome is OperationOutcome.SUCCEEDED


def test_the_officer_can_clear_a_rejected_pin(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(PinRefusedError):
        log_in(token, set_pin("999999"))
    memory = RefusalMemory()
    assert len(memory.refusals(token.serial)) == 1
    assert memory.clear(token.serial) == 1
    assert memory.refusals(token.serial) == []


def test_no_pin_goes_out_unattended_after_somebody_elses_wrong_one(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(PinRefusedError):
        log_in(token, TypedBy("000000"))
    with pytest.raises(PinNotPresentedError, match="Present the correct one by hand"):
        log_in(token)  # the right PIN, but SoftHSM's flag says that a wrong one was presented
    log_in(token, TypedBy(os.environ[token.pin.removeprefix("env:")]))
    assert log_in(token)[0].outcome is OperationOutcome.SUCCEEDED


def by_hand(said: pytest.ExceptionInfo[Exception]) -> str:
    """The command that a message ends with."""
    return str(said.value).partition("hsm-dicom ")[2]


def test_the_command_in_the_message_is_one_that_asks_the_person(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(
        PinRefusedError, match="PIN from 'env:.*' was refused by .* Correct the PIN in its source, then"
    ) as refused:
        log_in(token, set_pin("999999"))
    assert by_hand(refused).startswith("token login 'pkcs11:")
    assert by_hand(refused).endswith("' --pin prompt")
    with pytest.raises(PinNotPresentedError, match="presented unattended") as held_back:
        log_in(token)
    assert by_hand(held_back) == by_hand(refused)
    with pytest.raises(PinRefusedError, match="user PIN that was typed was refused .* Run the command again") as typed:
        log_in(token, TypedBy("000000"))
    assert "place" not in str(typed.value)


def test_no_pin_is_presented_where_a_refusal_could_not_be_remembered(
    token: TestToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HSM_DICOM_STATE", str(tmp_path / "file" / "state"))
    heard: list[DeviceEvent] = []
    with subscribe(heard.append), pytest.raises(PinSourceError, match="no PIN is presented"):
        log_in(token)
    assert [event.presented for event in heard if isinstance(event, Login)] == [False]


def test_a_state_file_that_cannot_be_read_stops_the_login(token: TestToken, state_folder: Path) -> None:
    log_in(token)
    (file,) = state_folder.glob("*.json")
    file.write_text("{")
    with pytest.raises(PinSourceError, match="Look at it, then remove it"):
        log_in(token)


def test_a_pin_pad_that_is_not_there_is_refused(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(PinSourceError, match="no protected authentication path"):
        log_in(token, "pinpad")


def test_a_token_that_wants_a_pin_gets_no_silent_login(token: TestToken, state_folder: Path) -> None:
    with pytest.raises(PinSourceError, match="--pin prompt"), open_token(token.uri(pin=False)) as connection:
        connection.connect()


def test_a_key_that_wants_its_pin_each_time_gets_it(token: TestToken, state_folder: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    uri = token.generate("careful", "p256", always_authenticate=True)
    with open_key(uri) as key:
        assert key.device.attributes.always_authenticate
        for _ in range(3):
            signature = key.sign(b"data", ec.ECDSA(hashes.SHA256()))
            key.public_key().verify(signature, b"data", ec.ECDSA(hashes.SHA256()))


def test_a_stale_pin_is_refused_once_for_such_a_key_and_then_not_presented(
    token: TestToken, state_folder: Path
) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    uri = token.generate("careful", "p256", always_authenticate=True)
    name, right = token.pin.removeprefix("env:"), os.environ[token.pin.removeprefix("env:")]
    with open_key(uri) as key:
        os.environ[name] = "999999"
        heard: list[DeviceEvent] = []
        with subscribe(heard.append), pytest.raises(PinRefusedError):
            key.sign(b"data", ec.ECDSA(hashes.SHA256()))
        logins = [event for event in heard if isinstance(event, Login)]
        assert [(login.role, login.outcome) for login in logins] == [("context-specific", OperationOutcome.REFUSED)]
        os.environ[name] = right
        with pytest.raises(PinNotPresentedError):
            key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    assert len(RefusalMemory().refusals(token.serial)) == 1


def test_a_typed_pin_is_asked_for_once_and_wiped_at_the_end(token: TestToken, state_folder: Path) -> None:
    from tokens.pins.credentials import Credentials

    source = TypedBy("1234")
    credentials = Credentials(source, RefusalMemory())
    pin = credentials.read("user PIN")
    assert pin is not None
    credentials.record_acceptance(pin)
    assert credentials.read("user PIN") is pin
    credentials.forget()
    assert pin.octets() == b""
    assert "1234" not in repr(credentials)


@pytest.mark.parametrize(
    ("name", "variable", "directory"),
    [(product.STATE_FOLDER, "HSM_DICOM_STATE", "hsm-dicom"), (StateFolderName("OTHER", "other"), "OTHER", "other")],
)
def test_the_state_folder_follows_the_environment(
    name: StateFolderName, variable: str, directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/a")
    assert name.find() == Path("/a")
    monkeypatch.delenv(variable)
    monkeypatch.setenv("STATE_DIRECTORY", "/b:/c")
    assert name.find() == Path("/b")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/d")
    assert name.find() == Path("/var/lib" if os.geteuid() == 0 else "/d", directory)


def test_processes_agree_on_the_state_folder(tmp_path: Path) -> None:
    code = """
import os, sys
{0}
from tokens.process.state_folder import default_state_folder
print(default_state_folder(), flush=True)
if os.fork() == 0:
    print(default_state_folder(), flush=True)
    os._exit(0)
os.wait()
"""
    environment = {**os.environ, "HSM_DICOM_STATE": "/of/the/product", "TOKENS_STATE": "/of/tokens"}
    for first, folder in (("import hsm_dicom", "/of/the/product"), ("import tokens", "/of/tokens")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(first)], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.split() == [folder, folder]


def test_every_pin_error_is_a_pin_error() -> None:
    assert all(issubclass(error, PinError) for error in (PinRefusedError, PinNotPresentedError, PinSourceError))
