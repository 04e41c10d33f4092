"""A token that was away serves every handshake from its return on: nothing of the outage is left in the threads."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.hsm_dicom.cli.conftest import run_program
from tests.hsm_dicom.network.listening import Listening, listening
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, names
from tests.interop.tls.test_pynetdicom import plain_context
from tests.ports import free_port
from tests.soak import RUNS
from tests.softhsm import MODULE, provision_environment

ROUNDS = min(20, 2 + RUNS)
HANDSHAKES = min(20, 6 * RUNS)


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SoftHSM of its own, which nobody else minds losing: the process that listens has it, this one has not."""
    for name, value in provision_environment(tmp_path / "softhsm").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TOKEN_BACK_PIN", os.urandom(4).hex())
    monkeypatch.setenv("TOKEN_BACK_SO_PIN", os.urandom(8).hex())
    return tmp_path


def done(*command: object) -> None:
    result = run_program(*command)
    assert result.status == 0, result.said


def site(folder: Path, hospital: Hospital) -> tuple[Path, int]:
    config, port = folder / "hsm-dicom.toml", free_port()
    config.write_text(
        f"""
[state]
folder = "state"

[tokens.node]
module = "{MODULE}"
label = "node"
pin = "env:TOKEN_BACK_PIN"

[identities.node]
token = "node"
object = "tls"
certificate = "node.pem"

[trust]
anchors = ["{hospital.ca_file}"]

[peers.ct1]
host = "127.0.0.1"
ae_titles = ["CT1"]

[listeners.main]
ae_title = "NODE"
port = {port}
identities = ["node"]
"""
    )
    config.chmod(0o600)
    pins = ("--so-pin", "env:TOKEN_BACK_SO_PIN", "--pin", "env:TOKEN_BACK_PIN")
    done("token", "init", "--module", MODULE, "--label", "node", *pins)
    done("key", "generate", "node", "--label", "tls", "--type", "rsa-2048", "--usage", "tls", "--config", config)
    request = folder / "node.csr"
    done("key", "csr", "node", "--subject", "CN=node", "--usage", "tls", "--out", request, "--config", config)
    asked = x509.load_pem_x509_csr(request.read_bytes())
    issued = hospital.ca.issue("node", key=asked, extended=BOTH_SIDES, extensions=[names()])
    (folder / "node.pem").write_bytes(issued.certificate.public_bytes(Encoding.PEM))
    return config, port


def test_every_handshake_after_an_outage_succeeds(hospital: Hospital, away: Path) -> None:
    config, port = site(away, hospital)
    (token,) = (away / "softhsm" / "tokens").iterdir()
    context = plain_context(hospital, ssl.PROTOCOL_TLS_CLIENT, hospital.peer("CT 1"))

    def shake_hands() -> None:
        """One handshake; the client sees nothing of a failure after its own last message."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname="localhost"),
        ):
            pass

    def outcomes(running: Listening) -> list[str]:
        lines = [line for line in running.printed if "  main: " in line and "association" not in line]
        return ["secured" if "is 'CN=CT 1'" in line else line for line in lines]

    expected: list[str] = []
    with listening(config) as running:
        for _ in range(ROUNDS):
            shutil.move(token, away / "away")
            shake_hands()
            shutil.move(away / "away", token)
            for _ in range(HANDSHAKES):
                shake_hands()
            expected += ["our key did not sign", *["secured"] * HANDSHAKES]
            count = len(expected)
            assert eventually(lambda count=count: len(outcomes(running)) >= count, 20)  # type: ignore[misc]
            for told, wanted in zip(outcomes(running), expected, strict=True):
                assert wanted in told
