"""A gateway between a plain CT and a PACS that speaks TLS only, as its administrator would configure it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from tests.hsm_dicom.network.listening import Listening, listening
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.ports import free_port
from tests.softhsm import MODULE, TestToken

SERVICES = ("echo", "storage", "commitment", "query-retrieve")


@dataclass
class Site:
    """The ports of everybody, and the folder of the gateway.

    The CT calls `plain`. The PACS listens on `pacs`, and calls the gateway back on `secure`. The CT listens on `ct`.
    """

    folder: Path
    token: TestToken
    hospital: Hospital
    plain: int = field(default_factory=free_port)
    secure: int = field(default_factory=free_port)
    pacs: int = field(default_factory=free_port)
    ct: int = field(default_factory=free_port)

    @property
    def config(self) -> Path:
        return self.folder / "hsm-dicom.toml"

    @property
    def status_socket(self) -> Path:
        return self.folder / "status.sock"

    def write(self, *, services: tuple[str, ...] = SERVICES, more: str = "", route: str = "") -> Path:
        """Write the configuration, with lines for the route to the PACS and for the end of the file."""
        (self.folder / "node.pem").write_bytes(self.hospital.rsa.certificate.public_bytes(Encoding.PEM))
        (self.folder / "ca.pem").write_bytes(self.hospital.ca.pem)
        admitted = ", ".join(f'"{one}"' for one in services)
        self.config.write_text(
            f"""
[tokens.node]
module = "{MODULE}"
serial = "{self.token.serial}"
pin = "{self.token.pin}"

[identities.node]
token = "node"
object = "rsa"
certificate = "node.pem"

[trust]
anchors = ["ca.pem"]

[state]
folder = "state"

[peers.pacs]
host = "127.0.0.1"
port = {self.pacs}
ae_titles = ["PACS"]

[listeners.main]
ae_title = "GATEWAY"
port = {self.secure}
identities = ["node"]

[plain.ct1]
ae_titles = ["CT1"]
addresses = ["127.0.0.1"]
host = "127.0.0.1"
port = {self.ct}
reason = "cannot be changed"

[routes.to-pacs]
from = ["ct1"]
listen = "127.0.0.1:{self.plain}"
to = "pacs"
services = [{admitted}]
{route}

[routes.to-ct1]
from = ["pacs"]
listener = "main"
to = "ct1"
called = ["CT1"]

[status]
socket = "status.sock"
{more}
"""
        )
        self.config.chmod(0o600)
        return self.config

    @contextlib.contextmanager
    def gateway(self) -> Iterator[Listening]:
        """Run the gateway while the block runs."""
        with listening(self.config, command=("gateway", "run"), until="to-ct1") as gateway:
            yield gateway
