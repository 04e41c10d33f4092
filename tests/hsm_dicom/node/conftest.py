from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.hsm_dicom.network.conftest import hospital, iscl_site, iscl_token, remote, run
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.softhsm import MODULE, TestToken

__all__ = ["hospital", "iscl_site", "iscl_token", "remote", "run"]

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, node: TestToken, hospital: Hospital) -> Write:
    """A configuration with the node's token, and whatever a test adds."""
    (tmp_path / "node.pem").write_bytes(hospital.rsa.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "ca.pem").write_bytes(hospital.ca.pem)
    head = f"""
[tokens.node]
module = "{MODULE}"
serial = "{node.serial}"
pin = "{node.pin}"

[identities.node]
token = "node"
object = "rsa"
certificate = "node.pem"

[trust]
anchors = ["ca.pem"]
"""

    def written(text: str) -> Path:
        file = tmp_path / "hsm-dicom.toml"
        file.write_text(head + text)
        file.chmod(0o600)
        return file

    return written
