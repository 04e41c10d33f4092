"""A CA for demonstrations, with its key only in the memory of this process."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

_LIFETIME = timedelta(days=30)


class DemonstrationAuthority:
    """CA that issues certificates for signatures and for TLS on this computer, and a CRL without entries."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hsm-dicom demonstration CA")])
        self._now = datetime.now(UTC).replace(microsecond=0)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        self.certificate = (
            self._builder(self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def pem(self) -> bytes:
        """The CA's own certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def answer(self, request: x509.CertificateSigningRequest) -> x509.Certificate:
        """Issue the requested certificate, with the requested key usage."""
        if not request.is_signature_valid:
            raise ValueError("The request is not signed by the key that it names.")
        usage = request.extensions.get_extension_for_class(x509.KeyUsage)
        public_key = request.public_key()
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise TypeError("The demonstration is about RSA keys.")
        return (
            self._builder(request.subject, public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage.value, usage.critical)
            .sign(self._key, hashes.SHA256())
        )

    def certify_for_tls(self, subject: x509.Name, public_key: rsa.RSAPublicKey) -> x509.Certificate:
        """Issue a certificate for both sides of TLS on the loopback address (PS3.15, Annex B)."""
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        both_sides = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        return (
            self._builder(subject, public_key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(both_sides, critical=False)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def revocation_list(self) -> bytes:
        """Return a CRL (PEM) without entries."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(self._now - timedelta(minutes=5)).next_update(self._now + _LIFETIME)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _builder(self, subject: x509.Name, public_key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - timedelta(minutes=5))
            .not_valid_after(self._now + _LIFETIME)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
