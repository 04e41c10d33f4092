"""Smart cards in virtual readers: `hsm-dicom card`, and keys on them, named like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from hsm_dicom.cli import exits
from hsm_dicom.signatures import check_integrity
from tests.cards.fixtures import AUTHENTICATION_CARD, PIN, PutIn, pcscd, pin, put_in
from tests.hsm_dicom.cli.conftest import Run, image, type_in
from tests.softhsm import set_pin
from tokens import trials

__all__ = ["pcscd", "pin", "put_in"]

URI = "card:reader=Rig%20A%2000%2000;profile=piv;key=9c"


def test_a_card_signs_an_image(run: Run, put_in: PutIn, pin: str, tmp_path: Path) -> None:
    put_in(card="piv")
    result = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", URI, "--pin", pin)
    assert result.status == exits.OK, result.err
    [signature] = check_integrity(tmp_path / "s.dcm").signatures
    assert signature.intact
    assert "CN=PIV 9C" in result.said


def test_an_identity_on_a_card_is_checked_and_asks_for_its_certificate(
    run: Run, put_in: PutIn, pin: str, tmp_path: Path
) -> None:
    put_in(card="piv")
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(f'[identities.card]\nkey = "{URI}?pin-source={pin}"\n')
    config.chmod(0o600)
    checked = run("check-config", "--config", config)
    assert checked.status == exits.OK, checked.said
    assert "Identity card is CN=PIV 9C" in checked.said
    request = run("key", "csr", "card", "--config", config, "--subject", "CN=x")
    assert x509.load_pem_x509_csr(request.out.encode()).is_signature_valid
    stored = run("key", "csr", "card", "--config", config, "--out", tmp_path / "card.csr").said
    assert 'write under [identities.card]: certificate = "CERTIFICATE.pem"' in stored
    cleared = run("token", "clear-rejected-pin", "card", "--config", config)
    assert (cleared.status, "No PIN of the device" in cleared.said) == (exits.OK, True)
    assert run("card", "info", "card", "--config", config).status == exits.OK
    assert "hsm-dicom card info card shows the card" in run("token", "info", "card", "--config", config).err


def test_a_card_that_is_not_there_is_a_sentence(run: Run, pcscd: object, pin: str, tmp_path: Path) -> None:
    result = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", URI, "--pin", pin)
    assert result.status == exits.FAILED
    assert "Rig A 00 00" in result.err
    assert not (tmp_path / "s.dcm").exists()


def test_what_only_tokens_can_do_is_said_of_a_card(run: Run, put_in: PutIn, pin: str) -> None:
    put_in(card="piv")
    result = run("key", "delete", URI, "--pin", pin, "--yes", "9c")
    assert result.status == exits.FAILED
    assert "is on a smart card" in result.err
    assert 'give its identity a file instead: certificate = "node.pem"' in result.err


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates are measured for a moment only."""
    monkeypatch.setattr(trials, "_SECONDS", 0.05)


def toml(value: Any) -> str:
    """A profile as TOML's inline tables."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def authentication_profile(folder: Path) -> Path:
    """A configuration that describes the authentication card as `test`."""
    config = folder / "hsm-dicom.toml"
    config.write_text(f"[cards]\ntest = {toml(AUTHENTICATION_CARD)}\n")
    config.chmod(0o600)
    return config


def test_list_shows_each_card_with_a_uri_that_finds_it(run: Run, put_in: PutIn) -> None:
    put_in(card="piv")
    document = run("card", "list", "--json").json
    assert document["schema"] == "hsm-dicom/card-list/1"
    readers = {reader["reader"]: reader for reader in document["readers"]}
    assert readers["Rig B 00 00"]["atr"] is None
    [piv] = readers["Rig A 00 00"]["applications"]
    assert piv["profile"] == "piv"
    listed = run("card", "list")
    assert piv["uri"] in listed.out.split()
    assert "Rig B 00 00 empty" in listed.said
    assert run("card", "info", piv["uri"], "--json").json["serial"] == piv["serial"]


def test_info_tells_pins_and_keys_without_a_pin(run: Run, put_in: PutIn) -> None:
    put_in(card="piv")
    said = run("card", "info", "card:profile=piv").said
    assert "80: 3 retries left" in said
    assert "9c: RSA 2048, CN=PIV 9C, requires its PIN for each use" in said
    document = run("card", "info", "card:profile=piv", "--json").json
    assert document["pins"] == [{"reference": "80", "retries_left": 3}]
    assert [key["name"] for key in document["keys"]] == ["9a", "9c", "9d", "9e"]


def test_check_tries_the_key_that_is_named(run: Run, put_in: PutIn, pin: str, quick: None) -> None:
    put_in(card="piv")
    checked = run("card", "check", "card:profile=piv;key=9c", "--pin", pin)
    assert checked.status == exits.OK, checked.said
    assert "This card can be used for DICOM signatures" in checked.said
    document = run("card", "check", f"card:profile=piv;key=9a?pin-source={pin}", "--json").json
    assert document["serves"] == ["TLS"]
    assert [(key["name"], key["signs_dicom"]) for key in document["keys"]] == [("9a", False)]


def test_check_tries_secrets_by_a_profile_of_the_configuration(
    run: Run, put_in: PutIn, pin: str, quick: None, tmp_path: Path
) -> None:
    put_in()
    config = authentication_profile(tmp_path)
    document = run(
        "card", "check", "card:reader=Rig%20A%2000%2000;profile=test", "--config", config, "--pin", pin, "--json"
    ).json
    assert "ISCL authentication" in document["serves"]
    values = {(s["use"], s["index"]): s["check_value"] for s in document["secret_keys"] if s["problem"] is None}
    assert values["encryption", 1] == "d5d44f"
    assert document["handshakes_per_second"] > 0


def test_a_wrong_pin_is_reported_once_and_then_not_presented(
    run: Run, put_in: PutIn, quick: None, tmp_path: Path
) -> None:
    card = put_in(card="piv")
    wrong = set_pin("654321")
    refused = run("card", "check", "card:profile=piv", "--pin", wrong)
    assert refused.status == exits.REFUSED
    assert "2 retries left" in refused.err
    assert run("card", "check", "card:profile=piv", "--pin", wrong).status == exits.REFUSED
    signed = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", URI, "--pin", wrong)
    assert (signed.status, signed.said.startswith("✗ no files signed")) == (exits.REFUSED, True)
    assert card.do("state")["tries"] == {"80": 2}


def test_the_last_retry_is_kept_until_it_is_asked_for(run: Run, put_in: PutIn, pin: str, quick: None) -> None:
    card = put_in(card="piv")
    command = ["card", "check", "card:profile=piv;key=9a"]
    run(*command, "--pin", set_pin("111111"))
    by_hand = run(*command, "--pin", pin)
    assert by_hand.status == exits.REFUSED
    assert "Present the correct one by hand" in by_hand.err
    assert type_in(command, [("PIN", "222222")]).status == exits.REFUSED
    held_back = type_in(command, [])
    assert held_back.status == exits.REFUSED
    assert "--last-try" in held_back.said
    assert card.do("state")["tries"] == {"80": 1}
    assert type_in([*command, "--last-try"], [("PIN", PIN)]).status == exits.OK
    assert card.do("state")["tries"] == {"80": 3}


def test_what_is_no_card_uri_is_refused(run: Run, pcscd: object) -> None:
    result = run("card", "info", "pkcs11:token=x")
    assert result.status == exits.FAILED
    assert "begins with 'card:'" in result.err


def test_a_pin_is_reset_with_the_puk_and_recorded(run: Run, put_in: PutIn, tmp_path: Path) -> None:
    card = put_in(card="piv", slots="9c")
    record = tmp_path / "reset.json"
    given = ("--so-pin", set_pin("12345678"), "--new-pin", set_pin("654321"))
    done = run("token", "reset-pin", URI, *given, "--record", record)
    assert done.status == exits.OK, done.err
    assert "is set. Write the new PIN" in done.out
    written = json.loads(record.read_text())
    assert card.description["serial"] in written["device"]
    assert [one["step"] for one in written["steps"]] == ["set-pin"]
    assert not {"654321", "12345678"} & set(record.read_text().split('"'))
    assert run("card", "check", URI, "--pin", set_pin("654321")).status == exits.OK
