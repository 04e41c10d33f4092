"""The facts of a TLS connection, as one frozen record for applications, events and logs.

Python does not report the signature algorithm of a connection, and it is not guessed here: the profile bounds it.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hsm_dicom.tls import openssl
from hsm_dicom.tls.algorithms import SuiteAlgorithms, get_suite_algorithms
from hsm_dicom.tls.hosts import HostNameError, ascii_host
from hsm_dicom.tls.suites import get_suite
from hsm_dicom.trust.certificates import name_text


@dataclass(frozen=True)
class PeerCertificate:
    """The certificate that a peer proved to hold the key of. `serial` is in hexadecimal."""

    subject: str
    issuer: str
    serial: str
    spki_sha256: str
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    certificate: x509.Certificate = field(repr=False, compare=False)

    def is_for(self, name: str) -> bool:
        """Whether the subject alternative name holds a host name or an address (RFC 9525, 6.3 and 6.5).

        A wildcard matches one whole label at the beginning. A name with other letters than ASCII's is compared by
        its A-labels, which certificates hold (RFC 9525, 6.3).
        """
        wanted, is_address = _normalise(name)
        if is_address:
            return wanted in self.ip_addresses
        _, _, rest = wanted.partition(".")
        held = {dns.rstrip(".").lower() for dns in self.dns_names}
        return bool(wanted) and (wanted in held or ("." in rest and f"*.{rest}" in held))


@functools.lru_cache(1024)
def _normalise(name: str) -> tuple[str, bool]:
    """Return a host name or an address as certificates hold it, and whether it is an address; empty if neither."""
    try:
        return str(ipaddress.ip_address(name)), True
    except ValueError:
        pass
    try:
        return ascii_host(name).lower(), False
    except HostNameError:
        return "", False


@dataclass(frozen=True)
class TLSFacts:
    """What was negotiated, and with whom. `peer` is None for a client that was not asked for a certificate."""

    profile: str
    version: str
    suite: str
    peer: PeerCertificate | None
    resumed: bool
    group: str | None = None
    """The group of the key exchange, as OpenSSL names it (`X25519MLKEM768`), where it is known."""
    key_exchange_bits: int | None = None
    """The size of the Diffie-Hellman group, where it is known."""

    @property
    def algorithms(self) -> SuiteAlgorithms | None:
        """Encryption, authentication, integrity and key exchange, with their lengths in bits."""
        return get_suite_algorithms(self.suite, self.peer.certificate if self.peer else None, self.key_exchange_bits)

    def __str__(self) -> str:
        who = f"with '{self.peer.subject}' (serial {self.peer.serial})" if self.peer else "with an unknown peer"
        return f"{self.version}, {self.suite}, {who}" + (", resumed" if self.resumed else "")


def get_tls_facts(connection: ssl.SSLSocket | ssl.SSLObject, profile: str) -> TLSFacts:
    """Return the facts of a connection whose handshake is finished."""
    name = (connection.cipher() or ("none", "", 0))[0]
    suite = get_suite(name)
    der = connection.getpeercert(binary_form=True)
    return TLSFacts(
        profile=profile,
        version=connection.version() or "none",
        suite=suite.name if suite else name,
        peer=_read_peer(der) if der else None,
        resumed=bool(connection.session_reused),
        group=openssl.get_group(connection),
    )


@functools.lru_cache(256)
def _read_peer(der: bytes) -> PeerCertificate:
    """Read the certificate of a peer, which is the same in each of its connections."""
    return peer_certificate(x509.load_der_x509_certificate(der))


def peer_certificate(certificate: x509.Certificate) -> PeerCertificate:
    """Return the parts of a certificate that are shown, logged and matched."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = tuple(names.get_values_for_type(x509.DNSName))
        addresses = tuple(str(address) for address in names.get_values_for_type(x509.IPAddress))
    except x509.ExtensionNotFound:
        dns, addresses = (), ()
    return PeerCertificate(
        subject=name_text(certificate.subject),
        issuer=name_text(certificate.issuer),
        serial=f"{certificate.serial_number:x}",
        spki_sha256=spki_sha256(certificate),
        dns_names=dns,
        ip_addresses=addresses,
        certificate=certificate,
    )


def spki_sha256(certificate: x509.Certificate) -> str:
    """Compute the pin of a key: SHA-256 of its SubjectPublicKeyInfo (RFC 7469, 2.4), in hexadecimal."""
    public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()
