"""A folder with a configuration in which the node is its own peer over ISCL, with secrets on SoftHSM."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.hsm_dicom.tls.fixtures import Hospital
from tests.ports import free_port
from tests.softhsm import MODULE, TestToken
from tests.tokens.secrets.devices import KEYS
from tokens import open_token
from tokens.pkcs11.secret_keys.ceremony import import_secret


def with_secrets(token: TestToken) -> TestToken:
    """The token, with `KEYS` on it."""
    with open_token(token.uri()) as connection:
        for (use, index), value in KEYS.items():
            import_secret(connection, use, index, bytearray.fromhex(value))
    return token


@dataclass
class ISCLSite:
    """`iscl`, `peer` and `listener` are lines for the tables of these names."""

    folder: Path
    secrets: TestToken
    node: TestToken
    hospital: Hospital
    port: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        return self.folder / "hsm-dicom.toml"

    def write(self, *, iscl: str = "", peer: str = "", listener: str = "", more: str = "") -> Path:
        (self.folder / "node.pem").write_bytes(self.hospital.rsa.certificate.public_bytes(Encoding.PEM))
        (self.folder / "ca.pem").write_bytes(self.hospital.ca.pem)
        self.config.write_text(
            f"""
[tokens.iscl]
module = "{MODULE}"
serial = "{self.secrets.serial}"
pin = "{self.secrets.pin}"

[tokens.node]
module = "{MODULE}"
serial = "{self.node.serial}"
pin = "{self.node.pin}"

[identities.node]
token = "node"
object = "rsa"
certificate = "node.pem"

[trust]
anchors = ["ca.pem"]

[iscl]
reason = "The archive speaks nothing else."
token = "iscl"
{iscl}

[peers.archive]
host = "127.0.0.1"
port = {self.port}
ae_titles = ["ARCHIVE"]
calling_ae_title = "CT1"
[peers.archive.iscl]
{peer}

[peers.ct]
host = "127.0.0.1"
ae_titles = ["CT1"]
iscl = {{}}

[listeners.archive]
ae_title = "ARCHIVE"
port = {self.port}
identities = ["node"]
store = "received"
[listeners.archive.iscl]
{listener}
{more}
"""
        )
        self.config.chmod(0o600)
        return self.config
