"""Records of ceremonies: what stands in them, what never does, and what they do not replace."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from typer.main import get_command

from hsm_dicom.cli import exits
from hsm_dicom.cli.program import app
from tests.hsm_dicom.cli.conftest import Run
from tests.pki import Authority
from tests.softhsm import MODULE, TestToken, set_pin
from tests.test_docs import commands_with
from tokens import open_key
from tokens.keys import compute_spki_sha256

CEREMONIES = {
    *("key generate", "key csr", "key import-cert", "key delete-cert", "key delete"),
    *("token init", "token set-pin", "token reset-pin", "token change-pin"),
    *("secret import", "secret generate", "secret delete"),
    *("identity rollover", "identity retire"),
}


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text())
    assert content["schema"] == "hsm-dicom/record/1"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in file.with_suffix(".html").read_text()
    return content


def test_every_command_that_changes_a_token_keeps_a_record() -> None:
    assert set(commands_with(get_command(app), "--record")) - {"echo"} == CEREMONIES
    assert set(commands_with(get_command(app), "--operator")) == CEREMONIES | {"", "gateway emergency"}


def test_the_life_of_a_key_is_on_record(run: Run, token: TestToken, tmp_path: Path) -> None:
    made, request, stored, deleted = (tmp_path / f"{name}.json" for name in ("made", "request", "stored", "deleted"))
    uri, own = token.uri(), ("--operator", "J. <b>Kim</b>")
    done = run("key", "generate", uri, "--label", "k", "--type", "rsa-2048", "--record", made, *own)
    with open_key(token.uri("k")) as key:
        fingerprint = compute_spki_sha256(key.public_key())
        certificate = Authority("CA").issue("node", key=key).certificate
    assert f"fingerprint  SHA-256 {fingerprint}" in done.out
    record, page = read(made), made.with_suffix(".html").read_text()
    assert (record["command"], record["operator"], record["outcome"]) == ("key generate", "J. <b>Kim</b>", "succeeded")
    assert record["host"] == os.uname().nodename
    assert (record["token"]["serial"], record["token"]["firmware"]) == (token.serial, record["token"]["hardware"])
    assert (record["key"]["spki_sha256"], record["key"]["never_extractable"]) == (fingerprint, True)
    assert [(one["step"], one["spki_sha256"]) for one in record["steps"]] == [("generate", fingerprint)]
    assert fingerprint in page
    assert "J. &lt;b&gt;Kim&lt;/b&gt;" in page

    pem = tmp_path / "k.csr"
    asked = ("--subject", "C=DE, CN=<x>", "--usage", "tls", "--dns", "ct1.example", "--ip", "10.0.0.7")
    assert run("key", "csr", token.uri("k"), *asked, "--out", pem, "--record", request).status == exits.OK
    page = request.with_suffix(".html").read_text()
    assert all(one in page for one in ("CN=\\&lt;x\\&gt;,C=DE", "ct1.example, 10.0.0.7", "serverAuth, clientAuth"))
    record = read(request)
    assert record["request"] == pem.read_text()
    assert record["key"]["spki_sha256"] == fingerprint
    digest = hashlib.sha256(pem.read_bytes()).hexdigest()
    assert record["outputs"] == [{"kind": "certificate request", "file": str(pem), "sha256": digest}]

    file = tmp_path / "k.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    assert run("key", "import-cert", token.uri("k"), file, "--record", stored).status == exits.OK
    record = read(stored)
    assert record["inputs"][-1]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [one["serial"] for one in record["certificates"]] == [f"{certificate.serial_number:x}"]

    assert run("key", "delete", token.uri("k"), "--yes", "k", "--record", deleted).status == exits.OK
    record = read(deleted)
    assert (record["steps"][0]["step"], record["key"]["spki_sha256"]) == ("delete", fingerprint)
    assert record["certificates"][0]["serial"] == f"{certificate.serial_number:x}"


def test_a_failure_is_on_record_and_no_record_is_replaced(run: Run, token: TestToken, tmp_path: Path) -> None:
    token.generate("k", "p256")
    file = tmp_path / "again.json"
    asked = ("key", "generate", token.uri(), "--label", "k", "--record")
    assert run(*asked, file).status == exits.FAILED
    record = read(file)
    assert record["outcome"] == "failed"
    assert "exists on" in record["reason"]
    for other, said in (
        (file, "is not replaced"),
        (tmp_path / "again.html", "again.json: the page"),
        (tmp_path / "none" / "x.json", "is no folder in which you may write"),
    ):
        refused = run(*asked, other)
        assert refused.status == exits.USAGE
        assert said in refused.said


@pytest.mark.usefixtures("softhsm")
def test_a_token_that_is_initialised_without_its_user_pin_is_on_record(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "half.json"
    pins = ("--so-pin", set_pin("new-so-pin"), "--pin", set_pin("abc"))
    failed = run("token", "init", "--module", MODULE, "--label", "half made", *pins, "--record", file)
    assert failed.status == exits.FAILED
    assert "the failure is on record in" in failed.said
    record = read(file)
    assert "was initialised, but it does not accept the user PIN" in record["reason"]
    assert [one["step"] for one in record["steps"]] == ["initialise"]


def test_no_pin_and_no_component_is_in_a_record(run: Run, token: TestToken, tmp_path: Path) -> None:
    components = [tmp_path / "a", tmp_path / "b"]
    hexadecimal = ["0123456789ABCDEF", "1111222233334444"]
    for file, content in zip(components, hexadecimal, strict=True):
        file.write_text(content)
        file.chmod(0o600)
    secret, changed = tmp_path / "secret.json", tmp_path / "changed.json"
    given = [word for file in components for word in ("--component", f"file:{file}")]
    asked = ("secret", "import", token.uri(), "--use", "authentication", "--index", 1, *given)
    wrong = run(*asked, "--check-value", "000000", "--record", tmp_path / "wrong.json")
    assert "is not 000000" in wrong.err
    value = wrong.err.partition("The key has the check value ")[2][:6]
    assert run(*asked, "--check-value", value, "--record", secret).status == exits.OK
    assert read(secret)["secret_key"]["check_value"].upper() == value
    new = set_pin("another-5678")
    done = run("token", "change-pin", token.uri(), "--pin", token.pin, "--new-pin", new, "--record", changed)
    assert done.status == exits.OK
    assert [one["step"] for one in read(changed)["steps"]] == ["change-pin"]
    hidden = ["another-5678", os.environ[token.pin.removeprefix("env:")], *hexadecimal]
    hidden += [hashlib.sha256(file.read_bytes()).hexdigest() for file in components]
    hidden += [hashlib.sha256(bytes.fromhex(text)).hexdigest() for text in hexadecimal]
    for file in tmp_path.glob("*.[jh]*"):
        assert not [text for text in hidden if text.lower() in file.read_text().lower()]
