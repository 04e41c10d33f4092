"""The units hold: systemd accepts them, and what they start works with the configuration of the page on services.

`make test-units` runs them in a machine.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from hsm_dicom.signatures import check_integrity
from tests.hsm_dicom.ceremony import certify
from tests.hsm_dicom.cli.conftest import PROGRAM
from tests.hsm_dicom.network.listening import activated, listening
from tests.pki import Authority
from tests.ports import free_port
from tests.softhsm import MODULE, TestToken
from tests.test_docs import DOCS, ROOT, blocks

INSTALLED = "/opt/hsm-dicom/bin/hsm-dicom"
PACKAGING = ROOT / "packaging" / "systemd"
UNITS = {path.name: path.read_text() for path in (PACKAGING / "system").iterdir() if path.is_file()}
SERVICES = sorted(name for name in UNITS if name.endswith(".service"))


@pytest.mark.interop
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert {Path(name).suffix for name in UNITS} == {".service", ".timer", ".path", ".socket"}
    shutil.copytree(PACKAGING / "system", tmp_path, dirs_exist_ok=True)
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace(INSTALLED, "/bin/true"))
        if name.endswith(".socket"):
            (tmp_path / f"{name}.d").mkdir()
            (tmp_path / f"{name}.d" / "address.conf").write_text("[Socket]\nListenStream=127.0.0.1:104\n")
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name.replace("@", "@a")) for name in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})
    about_ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "hsm-dicom" in line]
    assert (done.returncode, about_ours) == (0, [])


@pytest.mark.interop
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_rates_the_exposure_of_a_service_as_low(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager"]
    done = subprocess.run([*command, str(PACKAGING / "system" / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_reference_shows_every_file_once() -> None:
    page = DOCS / "reference" / "units.md"
    included = [(page.parent / path).resolve() for path in re.findall(r"literalinclude\} (\S+)", page.read_text())]
    assert sorted(included) == sorted(path for path in PACKAGING.rglob("*") if path.is_file())


@pytest.fixture
def node(token: TestToken, tmp_path: Path) -> Path:
    """A node as the page describes it, below a folder of the test's: its configuration file."""
    ca = Authority("Hospital CA")
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    for label in ("node", "tls"):
        token.generate(label)
    certify(token, "node", ca)
    certify(token, "tls", ca, extended=["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"])
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "pin").write_text(os.environ[token.pin.removeprefix("env:")])
    (credentials / "pin").chmod(0o400)
    for folder in ("outbox", "signed", "state"):
        (tmp_path / folder).mkdir()
    text = "\n".join(blocks("howto/service.md", "toml"))
    for written, here in (
        ("/usr/lib/vendor/libpkcs11.so", str(MODULE)),
        ('label  = "CT room"', f'serial = "{token.serial}"'),
        ("/var/lib/hsm-dicom", str(tmp_path / "state")),
        ("/etc/hsm-dicom", str(tmp_path)),
        ("/var/spool/hsm-dicom", str(tmp_path)),
        ('host       = "0.0.0.0"', f'host       = "127.0.0.1"\nport       = {free_port()}'),
    ):
        assert written in text
        text = text.replace(written, here)
    file = tmp_path / "config.toml"
    file.write_text(text)
    return file


def started(unit: str, node: Path) -> tuple[list[str], dict[str, str]]:
    """What a unit starts, and the environment that systemd gives it."""
    [line] = re.findall(r"^ExecStart=(.*)$", UNITS[unit].replace("\\\n", ""), re.M)
    program, *arguments = shlex.split(line.replace("/var/spool/hsm-dicom", str(node.parent)).replace("%i", "main"))
    assert program == INSTALLED
    environment = {
        **os.environ,
        "CREDENTIALS_DIRECTORY": str(node.parent / "credentials"),
        "STATE_DIRECTORY": str(node.parent / "state"),
        "HSM_DICOM_CONFIG": str(node),
    }
    environment.pop("HSM_DICOM_STATE", None)
    return arguments, environment


def test_the_unit_signs_the_outbox_again_and_again(node: Path) -> None:
    shutil.copy(str(get_testdata_file("CT_small.dcm")), node.parent / "outbox" / "1.dcm")
    arguments, environment = started("hsm-dicom-sign.service", node)
    for arrives in (None, "2.dcm"):
        if arrives:
            shutil.copy(str(get_testdata_file("MR_small.dcm")), node.parent / "outbox" / arrives)
        done = subprocess.run([*PROGRAM, *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for name in ("1.dcm", "2.dcm"):
        [signature] = check_integrity(node.parent / "signed" / name).signatures
        assert signature.intact
    assert '"signature-made"' in (node.parent / "state" / "events.jsonl").read_text()


def use_folders(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Name the folders that systemd would, and no other state folder."""
    for name in ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.setenv(name, environment[name])
    monkeypatch.delenv("HSM_DICOM_STATE")


def test_the_unit_listens(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, environment = started("hsm-dicom-listen@.service", node)
    assert arguments == ["listen", "main"]
    use_folders(monkeypatch, environment)
    with listening(node, *arguments[1:]) as running:
        assert running.says("listens on")


def test_the_unit_of_the_gateway_runs_with_its_socket(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, environment = started("hsm-dicom-gateway.service", node)
    assert arguments == ["gateway", "run"]
    use_folders(monkeypatch, environment)
    address = ("127.0.0.1", free_port())
    activation = activated((f"{address[0]}:{address[1]}", "to-pacs"))
    with (
        listening(node, until="Listening on", before=activation, command=arguments) as running,
        socket.create_connection(address, timeout=10),
    ):
        assert running.says("The gateway runs 2 routes.")
        assert (node.parent / "state" / "gateway.lock").exists()
