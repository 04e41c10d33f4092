"""Documents on cryptography: which rules a configuration meets, which it misses, and what it does not show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.node import read_plan
from hsm_dicom.node.presets import PRESETS, Finding, report_preset
from hsm_dicom.tls import PROFILES
from hsm_dicom.tls.offered import list_offered
from tests import pki
from tests.hsm_dicom.cli.conftest import Run

CONFIGURATION = """
[trust]
anchors = ["ca.pem"]

[identities.rsa]
key = "file:rsa.key"
allow = ["file-key"]
certificate = "rsa.pem"

[identities.ec]
key = "file:ec.key"
allow = ["file-key"]
certificate = "ec.pem"

[peers.pacs]
ae_titles = ["PACS"]
host = "pacs.example"
identity = "ec"

[peers.strict]
ae_titles = ["STRICT"]
host = "strict.example"
identity = "rsa"
profile = "modified-bcp195-rfc9325"

[listeners.main]
ae_title = "NODE"
identities = ["rsa"]
peers = ["pacs"]

[plain.ct1]
ae_titles = ["CT1"]
addresses = ["192.168.10.21"]
reason = "cannot be changed"
"""


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    authority = pki.Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    for name, kind in (("rsa", "rsa2048"), ("ec", "secp256r1")):
        issued = authority.issue(name, key=pki.new_key(kind))
        (tmp_path / f"{name}.pem").write_bytes(issued.pem)
        file = tmp_path / f"{name}.key"
        file.write_bytes(issued.key_pem)
        file.chmod(0o600)
    file = tmp_path / "hsm-dicom.toml"
    file.write_text(CONFIGURATION)
    return file


def find(configuration: Path, preset: str, table: str) -> dict[str, Finding]:
    report = report_preset(read_plan(configuration), PRESETS[preset])
    return {finding.topic: finding for finding in report.findings if finding.table == table}


def test_the_default_profile_meets_bcp_195(configuration: Path) -> None:
    found = find(configuration, "bcp195", "peers.pacs")
    assert [topic for topic, finding in found.items() if finding.meets] == ["version", "suites", "groups", "signatures"]
    assert len(found) == 4
    assert found["suites"].source == "RFC 9325, 4.2 (recommended suites of TLS 1.2) and 4.3 (TLS 1.3)"


@pytest.mark.parametrize(("preset", "meets"), [("bcp195", True), ("tr02102", False), ("fips140", True)])
def test_an_rsa_key_of_2048_bits_is_too_short_for_one_document(configuration: Path, preset: str, meets: bool) -> None:
    finding = find(configuration, preset, "identities.rsa")["keys"]
    assert finding.meets is meets
    assert finding.text == "Its key is RSA with 2048 bits."
    assert ("RSA from 3000 bits" in finding.remedy) is not meets
    assert find(configuration, preset, "identities.ec")["keys"].meets


def test_what_a_document_does_not_list_is_named(configuration: Path) -> None:
    found = find(configuration, "fips140", "peers.pacs")
    assert not found["suites"].meets
    assert "TLS_CHACHA20_POLY1305_SHA256" in found["suites"].text
    assert not found["groups"].meets
    assert found["groups"].text.endswith(": x25519, x448.")
    strict = find(configuration, "fips140", "peers.strict")
    assert "x25519" not in strict["groups"].text
    assert "CAMELLIA" in strict["suites"].text or "CHACHA20" in strict["suites"].text
    assert strict["dh"].meets
    assert not find(configuration, "tr02102", "peers.strict")["dh"].meets


def test_signature_algorithms_and_versions_are_compared(configuration: Path) -> None:
    assert find(configuration, "bcp195", "peers.pacs")["signatures"].meets
    assert find(configuration, "fips140", "peers.pacs")["signatures"].meets
    assert find(configuration, "tr02102", "peers.pacs")["signatures"].text.endswith(": ed25519, ed448.")
    configuration.write_text(CONFIGURATION.replace("modified-bcp195-rfc9325", "bcp195-extended"))
    assert find(configuration, "tr02102", "peers.strict")["version"].meets
    finding = find(configuration, "fips140", "peers.strict")["version"]
    assert (finding.meets, finding.text) == (False, "bcp195-extended offers TLS 1.2.")


def test_each_finding_names_the_line_that_decides(configuration: Path) -> None:
    text = configuration.read_text().splitlines()
    report = report_preset(read_plan(configuration), PRESETS["tr02102"])
    written = {finding.table: text[finding.line - 1] for finding in report.findings if finding.line}
    assert written == {
        "identities.rsa": 'certificate = "rsa.pem"',
        "identities.ec": 'certificate = "ec.pem"',
        "listeners.main": "[listeners.main]",
        "peers.pacs": "[peers.pacs]",
        "peers.strict": 'profile = "modified-bcp195-rfc9325"',
        "plain.ct1": "[plain.ct1]",
    }
    assert {finding.table for finding in report.findings if finding.line is None} == {"policies"}


def test_a_policy_is_compared_by_the_hashes_that_it_accepts(configuration: Path) -> None:
    weak = '[policies.old]\nmac_algorithms = ["SHA256"]\n\n[policies.new]\nweak_mac_algorithms = []\n'
    rule = '[[policies.new.rules]]\nwhen = {modalities = ["CT"]}\nweak_certificate_hashes = ["sha1"]\n'
    configuration.write_text(f"{CONFIGURATION}\n{weak}{rule}")
    plan = read_plan(configuration)
    texts = {
        (name, finding.table): finding.text
        for name in PRESETS
        for finding in report_preset(plan, PRESETS[name]).findings
        if finding.topic == "hashes" and finding.meets is False
    }
    lists = "that the document does not list"
    assert texts == {
        ("tr02102", "policies.old"): f"It accepts hashes in certificates of signers {lists}: sha1, sha224.",
        ("tr02102", "policies.new"): f"It accepts hashes in certificates of signers {lists}: sha1.",
        ("fips140", "policies.old"): f"It accepts MAC algorithms of signatures {lists}: MD5, RIPEMD160.",
    }


def test_an_rsa_key_that_signs_objects_has_the_padding_of_annex_c(configuration: Path) -> None:
    assert "padding" not in find(configuration, "tr02102", "identities.rsa"), "TLS uses it"
    configuration.write_text(
        CONFIGURATION.replace('identities = ["rsa"]', 'identities = ["ec"]').replace(
            'identity = "rsa"', 'identity = "ec"'
        )
    )
    assert find(configuration, "tr02102", "identities.rsa")["padding"].meets is False
    assert "padding" not in find(configuration, "fips140", "identities.rsa")


def test_a_plain_device_meets_none(configuration: Path) -> None:
    for name in PRESETS:
        assert find(configuration, name, "plain.ct1")["version"].meets is False


def test_a_key_whose_certificate_is_on_a_device_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "hsm-dicom.toml"
    module = '[tokens.hsm]\nlabel = "hsm"\nmodule = "/usr/lib/softhsm/libsofthsm2.so"\n'
    file.write_text(f'{module}[identities.node]\ntoken = "hsm"\nobject = "node"\n')
    found = find(file, "fips140", "identities.node")
    assert found["keys"].meets is None
    assert "hsm-dicom key list" in found["keys"].remedy


def test_every_rule_has_its_place_and_every_document_says_what_it_cannot_see() -> None:
    for preset in PRESETS.values():
        topics = {"version", "suites", "groups", "signatures", "keys", "dh", "hashes", "padding", "iscl"}
        assert set(preset.sources) == topics
        assert all(preset.sources.values())
        assert preset.unseen
    assert any("validated module" in sentence for sentence in PRESETS["fips140"].unseen)
    # A document that allowed nothing of a profile would be wrong, or the profile would.
    for profile in PROFILES.values():
        for preset in PRESETS.values():
            assert any(suite.code in preset.suites for suite in list_offered(profile)), (profile.name, preset.name)


def test_the_command_reports_and_fails_if_a_rule_is_missed(run: Run, configuration: Path) -> None:
    result = run("check-config", "--config", configuration, "--report", "bcp195", "--report", "tr02102")
    assert result.status == 1
    assert "BCP 195 (RFC 8996, RFC 9325)" in result.said
    assert "✗ line 8: Its key is RSA with 2048 bits. (TR-02102-2, 3.6.1)" in result.said
    machine = run("check-config", "--config", configuration, "--report", "bcp195", "--json")
    report: dict[str, Any] = json.loads(machine.out)
    assert report["schema"] == "hsm-dicom/preset-report/1"
    assert [one["table"] for one in report["findings"] if one["meets"] is False] == ["peers.strict", "plain.ct1"]
    assert machine.status == 1


def test_a_configuration_that_meets_a_document_is_exit_0(run: Run, configuration: Path) -> None:
    tables = [
        table for table in CONFIGURATION.split("\n\n") if "[plain.ct1]" not in table and "[peers.strict]" not in table
    ]
    configuration.write_text("\n\n".join(tables))
    assert run("check-config", "--config", configuration, "--report", "bcp195").status == 0


def test_a_document_that_is_not_known_is_answered_with_those_there_are(run: Run, configuration: Path) -> None:
    result = run("check-config", "--config", configuration, "--report", "fips")
    assert result.status == 2
    assert "There are: bcp195, tr02102, fips140." in result.said
