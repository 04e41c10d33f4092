"""A test CA in five lines, built on `cryptography`.

    ca = Authority("Test CA")
    signer = ca.issue("Signer")
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "signer.pem").write_bytes(signer.pem + signer.key_pem)
    (folder / "ca.crl").write_bytes(ca.crl([signer]))

Every `issue` and `authority` takes what a test wants wrong: `begins`, `ends`, `usages`, `extended`, `hash`,
`key`, `path_length`, `extensions`. Keys are EC P-256 unless a test asks for `new_key("rsa2048")`; RSA keys
are made once a run.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)

_serials = itertools.count(1000)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def new_key(kind: str = "secp256r1", number: int = 0) -> Any:
    """A private key: "rsa2048" (one a run for each `number`), "ed25519", or the name of a curve."""
    if kind.startswith("rsa"):
        return _rsa_key(int(kind[3:]), number)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.get_curve_for_oid(getattr(ec.EllipticCurveOID, kind.upper()))())


@functools.cache
def _rsa_key(bits: int, number: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def name(common_name: str) -> x509.Name:
    """A name of one attribute."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def key_usage(*usages: str) -> x509.KeyUsage:
    """A key usage extension with these bits (cryptography's names) set."""
    return x509.KeyUsage(**{usage: usage in usages for usage in _USAGES})


@dataclass(frozen=True)
class Identity:
    """A certificate with its private key."""

    certificate: x509.Certificate
    key: Any = field(repr=False)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def serial(self) -> int:
        return self.certificate.serial_number


@dataclass(frozen=True)
class Revoked:
    """An entry for a CRL: whose certificate, since when, why, invalid since when."""

    identity: Identity
    at: datetime = NOW - DAY
    reason: x509.ReasonFlags | None = None
    invalid_since: datetime | None = None


class Authority(Identity):
    """A CA: self-signed, or issued by another one through `Authority.authority`."""

    def __init__(self, common_name: str = "Test CA", *, issuer: Authority | None = None, **wishes: Any) -> None:
        wishes.setdefault("usages", ("key_cert_sign", "crl_sign"))
        wishes.setdefault("ca", True)
        identity = _issue(common_name, issuer, **wishes)
        super().__init__(identity.certificate, identity.key)

    def authority(self, common_name: str, **wishes: Any) -> Authority:
        """A CA below this one."""
        return Authority(common_name, issuer=self, **wishes)

    def issue(self, common_name: str, **wishes: Any) -> Identity:
        """A certificate for someone who is no CA."""
        return _issue(common_name, self, **wishes)

    def crl(
        self,
        revoked: Iterable[Identity | Revoked] = (),
        *,
        issued: datetime = NOW - timedelta(hours=1),
        until: datetime | None = NOW + 7 * DAY,
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
        hash: Any = None,
        encoding: Encoding = Encoding.DER,
    ) -> bytes:
        """A CRL signed by this CA."""
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        builder = builder.last_update(issued).next_update(until or issued + 7 * DAY)
        for entry in revoked:
            builder = builder.add_revoked_certificate(_entry(entry))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, hash or hashes.SHA256()).public_bytes(encoding)

    def ocsp(
        self,
        identity: Identity,
        *,
        revoked_at: datetime | None = None,
        reason: x509.ReasonFlags | None = None,
        status: ocsp.OCSPCertStatus | None = None,
        issued: datetime = NOW - timedelta(hours=1),
        until: datetime | None = NOW + 7 * DAY,
        responder: Identity | None = None,
    ) -> bytes:
        """An OCSP response (DER) about `identity`, signed by this CA or by a `responder`."""
        if status is None:
            status = ocsp.OCSPCertStatus.REVOKED if revoked_at else ocsp.OCSPCertStatus.GOOD
        signer = responder or self
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=identity.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA256(),
            cert_status=status,
            this_update=issued,
            next_update=until,
            revocation_time=revoked_at,
            revocation_reason=reason,
        )
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
        if responder is not None:
            builder = builder.certificates([responder.certificate])
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _issue(
    common_name: str,
    issuer: Authority | None,
    *,
    key: Any = None,
    begins: datetime = NOW - 2 * YEAR,
    ends: datetime = NOW + 2 * YEAR,
    usages: Sequence[str] | None = ("digital_signature", "content_commitment"),
    extended: Sequence[str] = (),
    extended_critical: bool = False,
    ca: bool = False,
    path_length: int | None = None,
    hash: Any = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    serial: int | None = None,
    subject: x509.Name | None = None,
) -> Identity:
    key = key or new_key()
    issuer_key, issuer_name = (issuer.key, issuer.certificate.subject) if issuer else (key, name(common_name))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or name(common_name))
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(serial or next(_serials))
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if usages is not None:
        builder = builder.add_extension(key_usage(*usages), critical=True)
    if extended:
        oids = [x509.ObjectIdentifier(oid) for oid in extended]
        builder = builder.add_extension(x509.ExtendedKeyUsage(oids), critical=extended_critical)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    edwards = isinstance(issuer_key, ed25519.Ed25519PrivateKey)
    return Identity(builder.sign(issuer_key, None if edwards else hash or hashes.SHA256()), key)


def _entry(entry: Identity | Revoked) -> x509.RevokedCertificate:
    revoked = entry if isinstance(entry, Revoked) else Revoked(entry)
    builder = x509.RevokedCertificateBuilder().serial_number(revoked.identity.serial).revocation_date(revoked.at)
    if revoked.reason is not None:
        builder = builder.add_extension(x509.CRLReason(revoked.reason), critical=False)
    if revoked.invalid_since is not None:
        builder = builder.add_extension(x509.InvalidityDate(revoked.invalid_since.replace(tzinfo=None)), critical=False)
    return builder.build()
