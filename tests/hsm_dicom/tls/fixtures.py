"""A small hospital for TLS tests: a CA, the node's keys on a token, peers with keys in files."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.identity import Identity
from hsm_dicom.trust import Policy, TrustStore, Verifier
from hsm_dicom.trust.policy import CLIENT_AUTH, SERVER_AUTH
from hsm_dicom.trust.store import Sourced
from tests import pki
from tests.softhsm import TestToken
from tokens import open_key

BOTH_SIDES = (SERVER_AUTH, CLIENT_AUTH)


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

    def verifier(self, *, crl: bytes | None = None, policy: Policy | None = None) -> Verifier:
        """Trusts the CA, with a CRL if there is one."""
        crls = [Sourced(crl, "the CA's CRL")] if crl else []
        return Verifier(TrustStore([self.ca.certificate], crls=crls), policy)

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
    """The hospital, with the node's RSA-2048 and P-256 keys on SoftHSM."""
    ca = pki.Authority("Test CA", key=pki.new_key("rsa2048"))
    made = {}
    for label in ("rsa", "ec256"):
        key = open_key(node.uri(label))
        issued = ca.issue(
            f"node {label}", key=key, extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()]
        )
        made[label] = Identity(f"node-{label}", key, issued.certificate)
    return Hospital(ca, tmp_path_factory.mktemp("pki"), made["rsa"], made["ec256"])
