"""The guides do what they say: their commands and examples are run, in order, in one empty folder."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PROVISION = "/usr/share/hsm-dicom/softhsm-config/provision"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the security officer's page was run."""
    folder = tmp_path_factory.mktemp("rehearsal")
    run_shell(folder, blocks("security-officer.md", "sh"))
    return folder


def run_shell(folder: Path, commands: list[str]) -> str:
    script = "set -eu\n" + "\n".join(commands).replace(PROVISION, str(ROOT / "softhsm-config" / "provision"))
    return _run(folder, ["bash", "-c", script])


def run_python(folder: Path, examples: list[str]) -> str:
    return _run(folder, [sys.executable, "-c", "\n".join(examples)])


def _run(folder: Path, arguments: list[str]) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HSM_DICOM")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SOFTHSM2_CONF": str(folder / "rehearsal" / "softhsm2.conf"),
        "HSM_DICOM_STATE": str(folder / "rehearsal" / "state"),
    }
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_security_officers_page(rehearsal: Path) -> None:
    assert (rehearsal / "node.pem").exists()
    assert (rehearsal / "rehearsal" / "events.jsonl").read_text().count("\n") > 5


def test_the_ceremony_of_secrets_leaves_two_tokens_with_keys_for_each_direction(rehearsal: Path) -> None:
    lists = ["hsm-dicom secret list rehearsal --json", "hsm-dicom secret list pacs --json"]
    ours, theirs = (json.loads(line)["secrets"] for line in run_shell(rehearsal, lists).splitlines())
    assert [(s["label"], s["encrypts"], s["decrypts"]) for s in ours] == [
        ("secret-authentication-1", True, False),
        ("secret-authentication-2", False, True),
    ]
    assert [(s["encrypts"], s["decrypts"]) for s in theirs] == [(False, True), (True, False)]
    assert [s["check_value"] for s in ours] == [s["check_value"] for s in theirs]
    assert not list(rehearsal.glob("*.component"))


def test_the_signing_page(rehearsal: Path) -> None:
    said = run_shell(rehearsal, blocks("signing.md", "sh"))
    assert "valid" in said
    assert (rehearsal / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert list((rehearsal / "streams").glob("*.mac"))


def test_the_developers_page(rehearsal: Path) -> None:
    said = run_python(rehearsal, blocks("developer.md", "python"))
    assert "intact ['base', 'creator'" in said
    assert "sign with key 'node' (CKM_SHA256_RSA_PKCS): done" in said


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md"), ROOT / "softhsm-config" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_a_page_names_exists() -> None:
    here = Path(__file__).parent
    written = set(
        re.findall(r"^def (test_\w+)\(", "\n".join(p.read_text() for p in here.rglob("test_*.py")), re.MULTILINE)
    )
    named = {(page.name, name) for page in DOCS.glob("*.md") for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert len(named) > 20
    assert not [(page, name) for page, name in named if name not in written]
