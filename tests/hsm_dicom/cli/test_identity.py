"""`hsm-dicom identity status`, and `sign` on both sides of the day on which signatures switch."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from hsm_dicom.cli import exits
from hsm_dicom.signatures import check_integrity
from hsm_dicom.tls.facts import spki_sha256
from tests.hsm_dicom.cli.conftest import Node, Run, image
from tests.pki import NOW, new_key


@pytest.fixture
def pair(signing_node: Node) -> Node:
    """The signing node with the key of a successor in a file."""
    key = new_key("rsa2048")
    signing_node.write("second.pem", signing_node.ca.issue("Signer second", key=key).pem)
    secret = signing_node.write("second.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    secret.chmod(0o600)
    return signing_node


def plan(node: Node, days: int) -> tuple[str, object]:
    """Let signatures switch so many days from now."""
    day = (NOW + timedelta(days=days)).date()
    lines = f'object = "node"\nnext = "second"\nnext_signs_from = {day}\n'
    table = '[identities.second]\nkey = "file:second.key"\ncertificate = "second.pem"\nallow = ["file-key"]\n'
    node.config.write_text(node.config.read_text().replace('object = "node"\n', lines, 1) + table)
    return ("--config", node.config)


@pytest.mark.parametrize(("days", "signer"), [(2, "CN=Signer node"), (0, "CN=Signer second")])
def test_signatures_switch_on_the_day_that_the_file_gives(run: Run, pair: Node, days: int, signer: str) -> None:
    config = plan(pair, days)
    target = pair.folder / "signed.dcm"
    signed = run("sign", image(), "-o", target, "--identity", "node", *config)
    assert signed.status == exits.OK, signed.err
    assert signer in signed.said
    assert ("second signs, the successor of node" in signed.err) is (days == 0)
    assert check_integrity(target).signatures[0].intact


def test_status_shows_both_and_what_is_left_to_do(run: Run, pair: Node) -> None:
    config = plan(pair, 2)
    said = run("identity", "status", *config).said
    assert said.startswith("node planned, its successor is second")
    assert "signatures node, second from 20" in said
    [one] = run("identity", "status", "second", "--json", *config).json["identities"]
    assert (one["stage"], one["signs"], one["in_tls"]) == ("planned", "node", "node")
    assert one["identity"]["spki_sha256"] != one["successor"]["spki_sha256"]
    assert run("identity", "status", "nobody", *config).status == exits.FAILED


def test_an_identity_that_cannot_be_opened_does_not_hide_the_other(run: Run, pair: Node) -> None:
    config = plan(pair, 2)
    (pair.folder / "second.key").unlink()
    shown = run("identity", "status", "--json", *config)
    assert shown.status == exits.FAILED
    [one] = shown.json["identities"]
    assert one["identity"]["problem"] is None
    assert "second.key" in one["successor"]["problem"]


def test_without_a_successor_there_is_nothing_to_show(run: Run, signing_node: Node) -> None:
    assert "No identity has a successor." in run("identity", "status", "--config", signing_node.config).said


def test_a_rollover_is_checked_with_the_key_and_writes_one_line(run: Run, pair: Node) -> None:
    config = plan(pair, 2)
    before = pair.config.read_text()
    shown = run("identity", "rollover", "node", *config)
    assert shown.status == exits.OK, shown.said
    assert "A signature with its key was verified." in shown.said
    assert "next_in_tls = true" in shown.said
    assert pair.config.read_text() == before
    assert run("identity", "rollover", "node", "--write", *config).status == exits.OK
    assert pair.config.read_text() == before.replace("[identities.node]\n", "[identities.node]\nnext_in_tls = true\n")
    assert pair.config.stat().st_mode & 0o777 == 0o600
    assert run("identity", "rollover", "node", "--back", "--write", *config).status == exits.OK
    assert "next_in_tls = false\n" in pair.config.read_text()
    assert run("identity", "rollover", "node", "--signs-from", "2027-03-01", "--write", *config).status == exits.OK
    assert pair.config.read_text().count("next_signs_from = 2027-03-01\n") == 1
    assert pair.config.read_text().count("next_signs_from") == 1


def test_who_switches_and_who_retires_is_on_record(run: Run, pair: Node) -> None:
    config = plan(pair, 2)
    today = str(NOW.date())
    switched, refused, retired = (pair.folder / f"{name}.json" for name in ("switched", "refused", "retired"))
    assert run("identity", "retire", "node", "--write", "--record", refused, *config).status == exits.FAILED
    before = hashlib.sha256(pair.config.read_bytes()).hexdigest()
    asked = ("identity", "rollover", "node", "--signs-from", today, "--record", switched, "--operator", "J. Kim")
    assert run(*asked, *config).status == exits.USAGE
    done = run(*asked, "--write", *config)
    assert done.status == exits.OK, done.err
    after = hashlib.sha256(pair.config.read_bytes()).hexdigest()
    assert run("identity", "retire", "node", "--write", "--record", retired, *config).status == exits.OK
    certificate = load_pem_x509_certificate((pair.folder / "second.pem").read_bytes())
    names = {"spki_sha256": spki_sha256(certificate), "certificate_serial": f"{certificate.serial_number:x}"}
    for record, change in (
        (json.loads(switched.read_text()), f"[identities.node] has next_signs_from = {today}"),
        (json.loads(retired.read_text()), "[identities.node] has the lines of [identities.second], which is removed"),
    ):
        last = record["steps"][-1]
        assert (last["step"], last["object"]) == ("configure", change)
        assert {name: last[name] for name in names} == names
        assert record["certificates"][-1]["serial"] == names["certificate_serial"]
    assert f"SHA-256 {names['spki_sha256']}" in done.out
    record = json.loads(refused.read_text())
    assert (record["outcome"], record["steps"][-1]["outcome"]) == ("failed", "failed")
    events = [json.loads(line) for line in (pair.folder / "events.jsonl").read_text().splitlines()]
    first, _ = (one for one in events if one["event"] == "configuration-changed")
    assert {name: first[name] for name in names} == names
    assert (first["operator"], first["serving"]) == ("J. Kim", "second")
    assert (first["previous_sha256"], first["sha256"]) == (before, after)


def test_a_rollover_to_a_successor_that_is_not_ready_writes_nothing(run: Run, pair: Node) -> None:
    config = plan(pair, 2)
    (pair.folder / "second.pem").write_bytes(
        pair.ca.issue("Signer second", key=pair_key(pair), begins=NOW + timedelta(days=3)).pem
    )
    before = pair.config.read_text()
    refused = run("identity", "rollover", "node", "--write", *config)
    assert refused.status == exits.FAILED
    assert "is not valid before" in refused.said
    assert "second is not ready; nothing was written." in refused.said
    assert pair.config.read_text() == before
    assert run("identity", "rollover", "second", *config).status == exits.FAILED
    assert run("identity", "rollover", "node", "--signs-from", "soon", *config).status == exits.USAGE


def test_an_identity_is_retired_when_nothing_uses_it_and_keeps_its_name(run: Run, pair: Node) -> None:
    config = plan(pair, 2)
    refused = run("identity", "retire", "node", "--write", *config)
    assert refused.status == exits.FAILED
    assert "node is still in use (planned). Wait for" in refused.said
    pair.config.write_text(re.sub("next_signs_from = .*", f"next_signs_from = {NOW.date()}", pair.config.read_text()))
    before = pair.config.read_text()
    assert run("identity", "retire", "node", *config).status == exits.OK
    assert pair.config.read_text() == before
    done = run("identity", "retire", "node", "--write", *config)
    assert done.status == exits.OK, done.said
    assert "delete the old key: hsm-dicom key delete ct-room/node" in done.said
    assert "second]" not in pair.config.read_text()
    target = pair.folder / "signed.dcm"
    assert "CN=Signer second" in run("sign", image(), "-o", target, "--identity", "node", *config).said


def pair_key(node: Node) -> rsa.RSAPrivateKey:
    """The key of the successor."""
    key = load_pem_private_key((node.folder / "second.key").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key
