"""A node with a gateway as an officer configures it, and DCMTK's tools on both sides of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.identity import Identity
from tests.hsm_dicom.network.listening import Listening, listening
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run, serving
from tests.ports import free_port
from tests.softhsm import MODULE, TestToken

LOOPBACK = "127.0.0.1"
RUNS = "The gateway runs"


@dataclass
class Site:
    """A folder with the configuration of a gateway: a CT that speaks plain DICOM, and a PACS with TLS.

    `to-pacs` leads from the CT to the PACS, `to-ct1` from the PACS to the CT.
    """

    folder: Path
    hospital: Hospital
    token: TestToken
    module: Path = MODULE
    plain: int = field(default_factory=free_port)
    secured: int = field(default_factory=free_port)
    pacs: int = field(default_factory=free_port)
    ct: int = field(default_factory=free_port)
    page: int = field(default_factory=free_port)
    entrance: str = ""
    """Where the CT calls, as the route has it."""
    drain_seconds: float = 1.0
    limits: str = ""
    """More lines of `[tokens.node]`."""
    more: str = ""

    def __post_init__(self) -> None:
        self.entrance = self.entrance or f'listen = "{LOOPBACK}:{self.plain}"'
        (self.folder / "node.pem").write_bytes(self.hospital.rsa.certificate.public_bytes(Encoding.PEM))
        self.write()

    @property
    def config(self) -> Path:
        return self.folder / "hsm-dicom.toml"

    def write(self) -> None:
        self.config.write_text(
            f"""
[tokens.node]
module = "{self.module}"
serial = "{self.token.serial}"
pin = "{self.token.pin}"
{self.limits}

[identities.node]
token = "node"
object = "rsa"
certificate = "node.pem"

[trust]
anchors = ["{self.hospital.ca_file}"]

[plain.ct1]
ae_titles = ["CT1"]
addresses = ["127.0.0.0/8", "192.0.2.0/24"]
host = "{LOOPBACK}"
port = {self.ct}
reason = "cannot be changed, ticket 4711"

[peers.pacs]
ae_titles = ["PACS"]
host = "{LOOPBACK}"
port = {self.pacs}

[listeners.main]
ae_title = "NODE"
port = {self.secured}
identities = ["node"]
stop_seconds = 1

[routes.to-pacs]
from = ["ct1"]
{self.entrance}
to = "pacs"
connect_seconds = 5

[routes.to-ct1]
from = ["pacs"]
listener = "main"
to = "ct1"
connect_seconds = 5

[gateway]
drain_seconds = {self.drain_seconds}

[status]
listen = "{LOOPBACK}:{self.page}"
{self.more}
"""
        )
        self.config.chmod(0o600)

    @contextmanager
    def running(self, *options: str, until: str = RUNS, before: Sequence[str] = ()) -> Iterator[Listening]:
        """The gateway as a process of its own; `before` is a program that starts it."""
        with listening(self.config, *options, until=until, before=before, command=("gateway", "run")) as found:
            yield found

    @contextmanager
    def storescp_of_pacs(self, identity: Identity | None = None) -> Iterator[Path]:
        """DCMTK's storescp over TLS as the PACS, with a new certificate by default; the folder of what it received."""
        certificate, key = self.hospital.files(identity or self.hospital.peer("PACS"))
        folder = self._make_folder("pacs")
        tls = ["+tls", key, certificate, "+cf", self.hospital.ca_file]
        with serving(self.pacs, ["storescp", "--fork", *tls, "-aet", "PACS", "-od", folder, self.pacs], folder):
            yield folder

    @contextmanager
    def storescp_of_ct(self) -> Iterator[Path]:
        """DCMTK's storescp without TLS as the CT; the folder of what it received."""
        folder = self._make_folder("ct1")
        with serving(self.ct, ["storescp", "-aet", "CT1", "-od", folder, self.ct], folder):
            yield folder

    def call_as_ct(self, program: str, *more: object, called: str = "PACS") -> tuple[int, str]:
        """Run a program of DCMTK as the CT, without TLS."""
        return run(program, "-aet", "CT1", "-aec", called, LOOPBACK, self.plain, *more)

    def call_as_pacs(
        self, program: str, *more: object, called: str = "CT1", identity: Identity | None = None
    ) -> tuple[int, str]:
        """Run a program of DCMTK as the PACS, over TLS, with a new certificate by default."""
        certificate, key = self.hospital.files(identity or self.hospital.peer("PACS"))
        tls = ["+tls", key, certificate, "+cf", self.hospital.ca_file]
        return run(program, *tls, "-aet", "PACS", "-aec", called, LOOPBACK, self.secured, *more)

    def _make_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder
