"""Handshakes of a node whose key is on two tokens, one of them behind a connection that breaks or hangs.

`far` is SoftHSM behind `p11-kit server`, used through p11-kit's client; `near` is SoftHSM in this process. Use it in a
process of its own: p11-kit's client reads the address of its server once.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.identity import Identity, load_identity
from hsm_dicom.tls import client_context, server_context
from hsm_dicom.trust import CertificateValidator, TrustStore
from hsm_dicom.trust.policy import CLIENT_AUTH, SERVER_AUTH
from tests import pki
from tests.hsm_dicom.tls.fixtures import names
from tests.hsm_dicom.tls.handshakes import handshake
from tests.remote import CLIENT, Server
from tests.softhsm import MODULE, new_token, provision

BOTH = (SERVER_AUTH, CLIENT_AUTH)


@dataclass
class Outcome:
    """What a number of handshakes came to; seconds."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def longest(self) -> float:
        return max(self.seconds)

    @property
    def typical(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Site:
    """The configuration of the node, the server of its far token, and what a peer needs."""

    config: Path
    server: Server
    validator: CertificateValidator
    peer: Identity

    def open(self, name: str = "node") -> Identity:
        """Open an identity: `node` on both tokens, `far` on the far one alone."""
        return load_identity(name, self.config)

    def handshakes(
        self, identity: Identity, count: int, *, threads: int = 4, between: Callable[[], None] = lambda: None
    ) -> Outcome:
        """Make so many mutual handshakes with the node as the server, and call `between` after a third of them."""
        server = server_context([identity], self.validator)
        client = client_context(self.peer, self.validator)
        outcome, counting = Outcome(), threading.Lock()
        left, third = iter(range(count)), threading.Event()

        def work() -> None:
            while True:
                with counting:
                    number = next(left, None)
                if number is None:
                    return
                if number >= count // 3:
                    third.set()
                began = time.perf_counter()
                try:
                    handshake(server, client)
                except Exception as error:
                    with counting:
                        outcome.failures.append(f"{type(error).__name__}: {error}")
                with counting:
                    outcome.seconds.append(time.perf_counter() - began)

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        third.wait()
        between()
        for worker in workers:
            worker.join()
        return outcome


@contextmanager
def failover_site(folder: Path) -> Iterator[Site]:
    """A site in a folder, with a SoftHSM of its own, which this process uses from now on."""
    provision(folder / "softhsm")
    key = rsa.generate_private_key(65537, 2048)
    far, near = new_token(), new_token()
    for token in (far, near):
        token.import_key("node", key)
    ca = pki.Authority("Test CA", key=pki.new_key("rsa2048"))
    wishes = {"extended": BOTH, "usages": ("digital_signature",), "extensions": [names()]}
    issued, peer = ca.issue("node", key=key, **wishes), ca.issue("CT 1", **wishes)
    (folder / "node.pem").write_bytes(issued.certificate.public_bytes(Encoding.PEM))
    server = Server(folder, far)
    os.environ["P11_KIT_SERVER_ADDRESS"] = f"unix:path={server.socket}"
    config = folder / "hsm-dicom.toml"
    config.write_text(
        f"""
[tokens.far]
module = "{CLIENT}"
serial = "{far.serial}"
pin = "{far.pin}"
[tokens.near]
module = "{MODULE}"
serial = "{near.serial}"
pin = "{near.pin}"
[identities.node]
tokens = ["far", "near"]
object = "node"
certificate = "node.pem"
probe_seconds = 0.2
[identities.far]
token = "far"
object = "node"
certificate = "node.pem"
[state]
folder = "state"
"""
    )
    config.chmod(0o600)
    validator = CertificateValidator(TrustStore([ca.certificate]))
    server.start()
    try:
        yield Site(config, server, validator, Identity("CT 1", peer.key, peer.certificate))
    finally:
        server.kill()
