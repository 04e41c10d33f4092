"""`hsm-dicom token` on a real SoftHSM."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm_dicom.cli import exits
from tests.hsm_dicom.ceremony import configuration_text
from tests.hsm_dicom.cli.conftest import Node, Result, Run, run_program, type_in
from tests.interop.modules.test_p11_kit import CLIENT, Server
from tests.remote import PASSES_PARAMETERS
from tests.softhsm import MODULE, TestToken, new_token, set_pin
from tokens import trials
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import Pin


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are measured for a moment only."""
    monkeypatch.setattr(trials, "_SECONDS", 0.05)


@pytest.fixture
def server(softhsm: Path, tmp_path: Path, state_folder: Path) -> Iterator[Server]:
    """A token with a key behind p11-kit's remoting, which passes no CBC."""
    token = new_token()
    token.generate("rsa")
    made = Server(tmp_path, token)
    made.start()
    yield made
    made.kill()


def test_list_shows_each_token_with_a_uri_that_finds_it(run: Run, token: TestToken) -> None:
    result = run("token", "list", "--module", MODULE)
    assert result.status == exits.OK
    assert f"{token.label}  serial {token.serial}" in result.out
    uri = next(line.strip() for line in result.out.splitlines() if token.serial in line and "pkcs11:" in line)
    assert run("token", "info", uri).status == exits.OK


def test_list_in_json(run: Run, token: TestToken) -> None:
    document = run("token", "list", "--module", MODULE, "--json").json
    assert document["schema"] == "hsm-dicom/token-list/1"
    [entry] = [entry for entry in document["tokens"] if entry["serial"] == token.serial]
    assert (entry["label"], entry["initialised"]) == (token.label, True)
    assert "USER_PIN_INITIALIZED" in entry["flags"]


def test_list_without_module_is_a_usage_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("token", "list").status == exits.USAGE


def test_list_takes_the_modules_of_the_configuration(run: Run, signing_node: Node) -> None:
    assert signing_node.token.serial in run("token", "list", "--config", signing_node.config).out


def test_info_names_a_token_by_its_configured_name(run: Run, signing_node: Node) -> None:
    result = run("token", "info", "ct-room", "--config", signing_node.config)
    assert signing_node.token.serial in result.out
    assert "user PIN is set" in result.said


def test_info_of_an_absent_token_says_what_is_there(run: Run, node: TestToken) -> None:
    result = run("token", "info", "pkcs11:token=absent", "--module", MODULE)
    assert result.status == exits.FAILED
    assert "No token in" in result.err
    assert "token 'node'" in result.err


def test_a_missing_token_of_softhsm_recalls_where_it_looks(node: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("token", "info", "pkcs11:token=absent", "--module", MODULE)
    hint = "$SOFTHSM2_CONF, which gives the location of SoftHSM's tokens, is not set."
    assert hint not in run_program(*asked).err
    monkeypatch.delenv("SOFTHSM2_CONF")
    assert hint in run_program(*asked).err


@pytest.mark.usefixtures("softhsm")
def test_init_makes_a_token_that_takes_its_pin(run: Run) -> None:
    pin = set_pin("new-user-pin")
    arguments = ("--module", MODULE, "--label", "made here", "--so-pin", set_pin("new-so-pin"), "--pin", pin)
    made = run("token", "init", *arguments, "--json").json
    assert made["label"] == "made here"
    assert run("token", "login", made["uri"], "--pin", pin).status == exits.OK
    again = run("token", "init", *arguments)
    assert again.status == exits.FAILED
    assert "exists in" in again.err


def test_a_new_pin_is_typed_twice_and_must_be_the_same(token: TestToken) -> None:
    arguments = ("token", "init", "--module", MODULE, "--label", "typed", "--so-pin", token.so_pin)
    different = type_in(arguments, [("new user PIN: ", "first-1234"), ("again: ", "other-1234")])
    assert different.status == exits.FAILED
    assert "typed differently" in different.said
    same = type_in(arguments, [("new user PIN: ", "first-1234"), ("again: ", "first-1234")])
    assert same.status == exits.OK
    assert "first-1234" not in different.out + same.out


def test_both_new_pins_are_asked_for_the_officers_first(softhsm: Path) -> None:
    questions = ["new SO PIN: ", "new SO PIN, again: ", "new user PIN: ", "new user PIN, again: "]
    done = type_in(
        ("token", "init", "--module", MODULE, "--label", "both typed"),
        [(question, "officer-1234" if "SO" in question else "user-1234") for question in questions],
    )
    assert done.status == exits.OK
    assert "''" not in done.said


def test_erasing_wants_the_label(run: Run, token: TestToken) -> None:
    token.generate("precious")
    arguments = ("token", "init", "--erase", token.uri(), "--label", "erased", "--so-pin", token.so_pin)
    refused = run(*arguments, "--pin", token.pin)
    assert refused.status == exits.FAILED
    assert f"--yes '{token.label}'" in refused.err
    wrong = run(*arguments, "--pin", token.pin, "--yes", "another")
    assert "nothing was deleted" in wrong.err
    assert run("key", "list", token.uri(), "--json").json["keys"]
    done = run(*arguments, "--pin", token.pin, "--yes", token.label)
    assert done.status == exits.OK
    assert (
        run("key", "list", "pkcs11:token=erased", "--module", MODULE, "--pin", token.pin, "--json").json["keys"] == []
    )


def test_check_tells_what_works_and_how_fast(run: Run, signing_node: Node, quick: None) -> None:
    result = run("token", "check", "ct-room", "--config", signing_node.config)
    assert result.status == exits.OK
    assert "This token can be used for DICOM." in result.said
    assert "RSASSA-PKCS1-v1_5, SHA256" in result.out
    assert "signatures/s with 1 session" in result.said
    assert "ISCL: yes, CKK_DES2 K‖K, session keys stay on the token." in result.said
    assert "CKM_DES3_CBC, last block" in result.said
    assert "MB/s of DES-CBC with 1 session" in result.said


def test_check_in_json_fails_where_no_key_does_the_dicom_jobs(run: Run, token: TestToken, quick: None) -> None:
    token.generate("ec", "p256")
    result = run("token", "check", token.uri(), "--json")
    assert result.status == exits.FAILED
    document = result.json
    assert document["schema"] == "hsm-dicom/token-check/2"
    assert document["dicom_ready"] is False
    [key] = document["keys"]
    assert [operation["works"] for operation in key["operations"]] == [True, True, True]
    assert {operation["needed_for"] for operation in key["operations"]} == {"TLS"}


def test_check_tells_in_json_what_the_token_does_for_iscl(run: Run, token: TestToken, quick: None) -> None:
    iscl = run("token", "check", token.uri(), "--json").json["iscl"]
    assert (iscl["ready"], iscl["form"], iscl["session_keys"]) == (True, "DES2", "token")
    assert iscl["des_cbc_megabytes_per_second"]["4"] > 0
    assert [form["form"] for form in iscl["forms"]] == ["DES", "DES2", "DES3"]
    [mac] = [o for o in iscl["forms"][1]["operations"] if o["operation"] == "DES-MAC"]
    assert mac == {
        "operation": "DES-MAC",
        "works": True,
        "mechanism": "CKM_DES3_CBC",
        "needed_for": "ISCL, DES-MAC",
        "problem": None,
    }
    assert run("secret", "list", token.uri(), "--json").json["secret_keys"] == []


def test_check_of_one_key_leaves_iscl_alone_unless_asked(run: Run, signing_node: Node, quick: None) -> None:
    command = ("token", "check", signing_node.token.uri("node"), "--json")
    assert run(*command).json["iscl"] is None
    assert run(*command, "--iscl").json["iscl"]["ready"]


def test_a_token_without_iscl_fails_a_check_only_if_asked_for_it(server: Server) -> None:
    where = [f"pkcs11:token={server.token.label.replace(' ', '%20')}", "--module", CLIENT, "--pin", server.token.pin]

    def check(*options: str) -> Result:
        # A process of its own, since the module asks the environment once where its server is.
        program = "from tokens import trials; trials._SECONDS = 0.05; from hsm_dicom.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, "token", "check", *where, *options],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "P11_KIT_SERVER_ADDRESS": f"unix:path={server.socket}"},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    unasked = check()
    assert unasked.status == exits.OK
    assert "This token can be used for DICOM." in unasked.said
    # An older p11-kit does not pass DES-CBC.
    assert ("ISCL: yes" if PASSES_PARAMETERS else "ISCL: authentication only") in unasked.said
    assert check("--iscl").status == (exits.OK if PASSES_PARAMETERS else exits.FAILED)


def test_a_refused_pin_ends_with_77_and_is_not_presented_again_until_cleared(run: Run, token: TestToken) -> None:
    uri, wrong = token.uri(pin=False), set_pin("not the pin")
    first = run("token", "login", uri, "--pin", wrong)
    assert first.status == exits.REFUSED
    assert "was refused by token" in first.err
    # SoftHSM raises COUNT_LOW after a wrong try: unattended, nothing more is presented.
    assert "presented unattended" in run("token", "login", uri, "--pin", wrong).err
    typed = type_in(["token", "login", uri], [("user PIN of token", "not the pin")])
    assert typed.status == exits.REFUSED
    assert "is not presented again" in typed.said
    info = run("token", "info", uri)
    assert "a user PIN on" in info.said
    assert run("token", "info", uri, "--json").json["refused_pins"][0]["role"] == "user"
    cleared = run("token", "clear-rejected-pin", token.serial)
    assert "The record of one PIN" in cleared.said
    former = run("token", "forgive", token.uri(pin=False))
    assert (former.status, "use token clear-rejected-pin" in former.err) == (exits.OK, True)
    again = run("token", "clear-rejected-pin", token.serial)
    assert again.status == exits.FAILED
    assert f"No refused PIN is recorded for a token or card with the serial number '{token.serial}'" in again.err


def test_a_login_that_failed_with_the_token_is_distinguished_from_a_refusal(run: Run, token: TestToken) -> None:
    run("token", "login", token.uri())
    memory, pin = RefusalMemory(), Pin(os.environ[token.pin.removeprefix("env:")].encode())
    memory.record_unclear(token.serial, pin)
    memory.record_unclear(token.serial, Pin(b"never accepted"))
    info = run("token", "info", token.uri(pin=False))
    assert "the token failed during the login" in info.said
    assert "it is not presented again" not in info.said
    (entry,) = run("token", "info", token.uri(pin=False), "--json").json["refused_pins"]
    assert (entry["role"], entry["unclear"]) == ("user", True)


def test_a_pin_that_was_not_answered_is_shown_and_ends_with_77(run: Run, token: TestToken) -> None:
    memory, pin = RefusalMemory(), Pin(os.environ[token.pin.removeprefix("env:")].encode())
    with memory.present(token.serial, "user", pin, retries=3) as presentation:
        presentation.begin()
    uri = token.uri(pin=False)
    said = "a user PIN on .* UTC; the token has not answered, so it is not presented unattended"
    assert re.search(f"unanswered +{said}", run("token", "info", uri).said)
    assert re.search(f"unanswered: {said}", run("token", "list", "--module", MODULE).said)
    (entry,) = run("token", "info", uri, "--json").json["refused_pins"]
    assert (entry["role"], entry["state"], entry["unclear"]) == ("user", "unanswered", False)
    listed = run("token", "list", "--module", MODULE, "--json").json["tokens"]
    assert [known["refused_pins"] for known in listed if known["serial"] == token.serial] == [[entry]]
    unattended = run("token", "login", uri, "--pin", token.pin)
    assert unattended.status == exits.REFUSED
    assert f"present it by hand: hsm-dicom token login '{uri}' --pin prompt" in unattended.err
    typed = type_in(["token", "login", uri], [("was not answered", os.environ[token.pin.removeprefix("env:")])])
    assert typed.status == exits.OK
    assert run("token", "info", uri, "--json").json["refused_pins"] == []


def test_refusals_are_cleared_by_a_name_or_its_uri(run: Run, token: TestToken, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(configuration_text(token, "ct-room") + '[tokens.absent]\nmodule = "/nowhere.so"\nserial = "77"\n')
    config.chmod(0o600)
    wrong = ("token", "login", token.uri(pin=False), "--pin")
    run(*wrong, set_pin("not the pin"))
    assert (
        "The record of one PIN of the device with serial"
        in run("token", "clear-rejected-pin", "ct-room", "--config", config).said
    )
    type_in(["token", "login", token.uri(pin=False)], [("PIN", os.environ[token.pin.removeprefix("env:")])])
    run(*wrong, set_pin("not the pin"))
    by_label = f"pkcs11:token={token.label.replace(' ', '%20')}"
    cleared = run("token", "clear-rejected-pin", by_label, "--module", MODULE)
    assert "The record of one PIN of the device" in cleared.said
    for known in ("ct-room", "absent"):  # the configuration knows the serial: the token need not be there
        nothing = run("token", "clear-rejected-pin", known, "--config", config)
        assert (nothing.status, "No PIN of the device" in nothing.said) == (exits.OK, True)
    nonsense = run("token", "clear-rejected-pin", "ct-rom", "--config", config)
    assert nonsense.status == exits.FAILED
    assert "(its tokens: ct-room, absent)" in nonsense.err


def test_an_officers_refused_pin_is_called_so(run: Run, token: TestToken) -> None:
    erase = ("token", "init", "--erase", token.uri(), "--label", "x", "--yes", token.label, "--pin", token.pin)
    refused = run(*erase, "--so-pin", set_pin("not the officer's"))
    assert refused.status == exits.REFUSED
    assert "type it, with --so-pin prompt" in refused.err
    assert "an SO PIN on" in run("token", "info", token.uri()).said
    typed = type_in([*erase, "--so-pin", "prompt"], [("SO PIN of token", "not the officer's")])
    assert "This SO PIN was refused" in typed.said


def test_the_command_that_a_refusal_names_asks_the_person_and_ends_it(
    run: Run, token: TestToken, tmp_path: Path
) -> None:
    pin = tmp_path / "node.pin"
    pin.write_text("not the pin")
    pin.chmod(0o600)
    config = tmp_path / "c.toml"
    config.write_text(f'[tokens.t]\nmodule = "{MODULE}"\nserial = "{token.serial}"\npin = "file:{pin}"\n')
    config.chmod(0o600)
    configured = ("--config", config)
    said = [run("token", "login", "t", *configured).err, run("key", "list", "t", *configured).err]
    right = os.environ[token.pin.removeprefix("env:")]
    pin.write_text(right)
    said.append(run("key", "list", "t", *configured).err)  # the right PIN alone is not enough
    named = {sentence.partition("hsm-dicom token login ")[2].strip() for sentence in said}
    [arguments] = named
    command = ["token", "login", *shlex.split(arguments), *configured]
    assert type_in(command, [("user PIN of token", right)]).status == exits.OK
    assert run("key", "list", "t", *configured).status == exits.OK


def test_the_right_pin_typed_once_resets_the_counter(run: Run, token: TestToken) -> None:
    uri = token.uri(pin=False)
    run("token", "login", uri, "--pin", set_pin("not the pin"))
    pin = os.environ[token.pin.removeprefix("env:")]
    typed = type_in(["token", "login", uri], [("user PIN of token", pin)])
    assert typed.status == exits.OK
    assert "accepted the PIN" in typed.said
    assert run("token", "login", uri, "--pin", token.pin).status == exits.OK


def test_change_pin(run: Run, token: TestToken) -> None:
    new = set_pin("another-pin")
    assert run("token", "change-pin", token.uri(), "--new-pin", new).status == exits.OK
    assert run("token", "login", token.uri(pin=False), "--pin", new).status == exits.OK


def test_set_pin(run: Run, token: TestToken) -> None:
    token.generate("key", "p256")
    new = set_pin("another-pin")
    done = run("token", "set-pin", token.uri(pin=False), "--so-pin", token.so_pin, "--new-pin", new)
    assert (done.status, "The user PIN of token" in done.said) == (exits.OK, True)
    keys = run("key", "list", token.uri(pin=False), "--pin", new, "--json").json["keys"]
    assert [key["label"] for key in keys] == ["key"]
    wrong = run("token", "set-pin", token.uri(pin=False), "--so-pin", set_pin("not this one"), "--new-pin", new)
    assert wrong.status == exits.REFUSED
    assert "SO PIN from 'env:" in wrong.err


def test_a_token_without_any_pin_source_says_where_to_name_one(run: Run, token: TestToken) -> None:
    result = run("token", "login", token.uri(pin=False))
    assert result.status == exits.FAILED
    assert "--pin prompt" in result.err


def test_what_is_done_is_recorded_where_the_configuration_says(run: Run, token: TestToken, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(configuration_text(token) + '[events]\nfile = "events.jsonl"\n')
    config.chmod(0o600)
    run("key", "generate", "test", "--config", config, "--label", "recorded", "--type", "p256")
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["configuration-read", "login", "ceremony-step"]
    assert events[2]["step"] == "generate"
