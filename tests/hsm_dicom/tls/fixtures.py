"""A small hospital for TLS tests: a CA, the node's keys on a token, peers with keys in files."""

from __future__ import annotations

import ipaddress
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.identity import Identity
from hsm_dicom.trust import CertificateValidator, Policy, TrustStore
from hsm_dicom.trust.policy import CLIENT_AUTH, SERVER_AUTH
from hsm_dicom.trust.store import Sourced
from tests import pki
from tests.softhsm import TestToken
from tokens import open_key

BOTH_SIDES = (SERVER_AUTH, CLIENT_AUTH)

WITHOUT_CCM_8 = (3, 2)
"""From this OpenSSL on, suites with a tag of 64 bits are below the security level of our contexts."""


def names(dns: Sequence[str] = ("localhost",), addresses: Sequence[str] = ("127.0.0.1",)) -> Any:
    """A subject alternative name, as an extension for `pki.Authority.issue`."""
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    return (x509.SubjectAlternativeName(alternatives), False)


@dataclass(frozen=True)
class Hospital:
    """The CA, and the identities that it has issued certificates for."""

    ca: pki.Authority
    folder: Path
    rsa: Identity
    ec: Identity
    decrypting: Identity
    """For RSA key exchange: a key that may only decrypt, a certificate for keyEncipherment alone."""

    def peer(self, common_name: str = "CT 1", **wishes: Any) -> Identity:
        """A peer whose key is in memory; every wish of `pki.Authority.issue` is open."""
        issuer = wishes.pop("issuer", self.ca)
        wishes = {"extended": BOTH_SIDES, "usages": ("digital_signature",), "extensions": [names()]} | wishes
        issued = issuer.issue(common_name, **wishes)
        return Identity(common_name, issued.key, issued.certificate)

    def sha1_peer(self, common_name: str) -> Identity:
        """A peer whose certificate was signed with SHA-1, which only the openssl program still does."""
        peer = self.peer(common_name)
        request = x509.CertificateSigningRequestBuilder().subject_name(pki.name(common_name))
        (self.folder / "ca.key").write_bytes(self.ca.key_pem)
        signed = subprocess.run(
            ["openssl", "x509", "-req", "-sha1", "-CA", self.ca_file, "-CAkey", self.folder / "ca.key", "-days", "9"],
            input=request.sign(peer.key, hashes.SHA256()).public_bytes(Encoding.PEM),
            capture_output=True,
            check=True,
        )
        return Identity(common_name, peer.key, x509.load_pem_x509_certificate(signed.stdout))

    def validator(self, *, crl: bytes | None = None, policy: Policy | None = None) -> CertificateValidator:
        """Trusts the CA, with a CRL if there is one."""
        crls = [Sourced(crl, "the CA's CRL")] if crl else []
        return CertificateValidator(TrustStore([self.ca.certificate], crls=crls), policy)

    def files(self, identity: Identity) -> tuple[Path, Path]:
        """The certificate and the key of a peer as PEM files, for programs."""
        as_issued = pki.Identity(identity.certificate, identity.key)
        stem = self.folder / f"{as_issued.serial}"
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        certificate.write_bytes(as_issued.pem)
        key.write_bytes(as_issued.key_pem)
        return certificate, key

    @property
    def ca_file(self) -> Path:
        """The CA's certificate as a PEM file."""
        path = self.folder / "ca.pem"
        path.write_bytes(self.ca.pem)
        return path


@pytest.fixture(scope="session")
def hospital(node: TestToken, tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """The hospital, with keys of the node on SoftHSM: RSA-2048 and P-256 that sign, RSA-2048 that decrypts."""
    ca = pki.Authority("Test CA", key=pki.new_key("rsa2048"))
    made = []
    for label, usage in (("rsa", "digital_signature"), ("ec256", "digital_signature"), ("decrypt", "key_encipherment")):
        key = open_key(node.uri(label))
        extended = (SERVER_AUTH,) if label == "decrypt" else BOTH_SIDES
        issued = ca.issue(f"node {label}", key=key, extended=extended, usages=(usage,), extensions=[names()])
        made.append(Identity(f"node-{label}", key, issued.certificate))
    return Hospital(ca, tmp_path_factory.mktemp("pki"), *made)


class RemoteSoftHSM:
    """The run's SoftHSM in a process of its own, behind p11-kit's remoting, with RSA mechanisms but for PSS.

    Stopping it is the end of the connection to an HSM.
    """

    module = next(Path("/usr/lib").glob("*/pkcs11/p11-kit-client.so"), Path("/usr/lib/pkcs11/p11-kit-client.so"))

    def __init__(self, folder: Path, label: str) -> None:
        self._folder, self._label = folder, label
        self._socket, self._configuration = folder / "socket", folder / "softhsm2.conf"
        mechanisms = "CKM_RSA_PKCS,CKM_RSA_X_509,CKM_SHA256_RSA_PKCS"
        complete = Path(os.environ["SOFTHSM2_CONF"]).read_text()
        self._configuration.write_text(complete.replace("slots.mechanisms = ALL", f"slots.mechanisms = {mechanisms}"))
        os.environ["P11_KIT_SERVER_ADDRESS"] = f"unix:path={self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._socket.unlink(missing_ok=True)
        command = ["p11-kit", "server", "-f", "-n", str(self._socket), "--provider", "/usr/lib/softhsm/libsofthsm2.so"]
        changed = {"XDG_RUNTIME_DIR": str(self._folder), "SOFTHSM2_CONF": str(self._configuration)}
        self._process = subprocess.Popen(
            [*command, f"pkcs11:token={self._label}"],
            env={**os.environ, **changed},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self._socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        """Kill it, and the children that it made for connections."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None


_running: list[RemoteSoftHSM] = []


@pytest.fixture(scope="session")
def remote(node: TestToken, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteSoftHSM]:
    """The shared token, remote. One for the run: p11-kit's client reads the address once."""
    if _running:
        yield _running[0]
        return
    _running.append(RemoteSoftHSM(tmp_path_factory.mktemp("p11"), node.label))
    _running[0].start()
    yield _running[0]
    _running.pop().stop()
