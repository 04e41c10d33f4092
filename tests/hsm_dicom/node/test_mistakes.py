"""Each row of the reference of mistakes is what check-config reports, at the line of its key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hsm_dicom.config import Severity
from hsm_dicom.node.check import check_configuration
from hsm_dicom.trust.policy import CLIENT_AUTH, SERVER_AUTH
from tests.pki import Authority, new_key

TABLE = Path(__file__).parents[3] / "docs" / "_ext" / "mistakes.toml"
MISTAKES: list[dict[str, Any]] = tomllib.loads(TABLE.read_text())["mistake"]

SOUND = """
[identities.node]
key = "file:node.key"
certificate = "node.pem"
allow = ["file-key"]

[trust]
anchors = ["ca.pem"]

[peers.pacs]
ae_titles = ["PACS"]
host = "pacs.example"

[listeners.main]
ae_title = "NODE"
authentication = "one-way"
identities = ["node"]
port = 12762
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mistakes")
    ca, key = Authority(), new_key("rsa2048")
    (place / "ca.pem").write_bytes(ca.pem)
    (place / "node.pem").write_bytes(ca.issue("node", key=key).pem)
    policy = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)])
    for name, extended in (
        ("server", [SERVER_AUTH]),
        ("client", [CLIENT_AUTH]),
        ("public", [SERVER_AUTH, CLIENT_AUTH]),
    ):
        issued = ca.issue(name, key=key, extended=extended, extensions=[(policy, False)] if name == "public" else [])
        (place / f"{name}.pem").write_bytes(issued.pem)
    (place / "node.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (place / "node.key").chmod(0o600)
    return place


def check(folder: Path, text: str) -> Any:
    file = folder / "hsm-dicom.toml"
    file.write_text(text)
    file.chmod(0o600)
    return check_configuration(file, log_in=False)


def test_the_sound_file_has_no_problem(folder: Path) -> None:
    assert check(folder, SOUND).problems == ()


@pytest.mark.parametrize("mistake", MISTAKES, ids=[one["what"] for one in MISTAKES])
def test_a_mistake_is_reported_as_the_reference_says(
    folder: Path, mistake: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    text = SOUND + mistake["text"] + "\n"
    problems = check(folder, text).problems
    found = [one for one in problems if one.key == mistake["key"] and mistake["report"] in f"{one.text} {one.remedy}"]
    assert len(found) == 1, [str(one) for one in problems]
    assert found[0].severity is Severity(mistake.get("severity", "error"))
    name = mistake["key"].rpartition(".")[2]
    line = text.splitlines()[found[0].line - 1]
    is_written = name and f"\n{name} = " in text
    assert line.startswith(f"{name} = " if is_written else ("[", "file = "))
