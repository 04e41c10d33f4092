"""Identity: a private key with its certificate and chain."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm_dicom.arguments import kind_of
from hsm_dicom.identity.errors import CertificateMismatchError
from hsm_dicom.identity.files import PrivateKey
from hsm_dicom.identity.validity import require_current
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey, compute_spki_sha256
from tokens.policy import Finding


class Alternatives(Protocol):
    """Identities that replace each other; see `hsm_dicom.identity.siblings`."""

    @property
    def identities(self) -> tuple[Identity, ...]:
        """Those that were opened."""

    def select(self) -> Identity:
        """Return the one to use now. Raises the errors of `tokens.errors` if none can be used."""

    def close(self) -> None:
        """Release the devices of all."""


@dataclass(frozen=True)
class Identity:
    """A private key with its certificate and chain.

    `chain` begins with the issuer of `certificate` and continues upwards as far as known, independent of the order in
    its file; it may be empty. `findings` are those of the key policy. `resources` are closed with the identity. The
    identity is a context manager that closes itself.

    With `siblings`, key and certificate are those of the first one that opened, and `select` returns the one to use.
    """

    name: str
    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    findings: tuple[Finding, ...] = ()
    siblings: Alternatives | None = field(default=None, repr=False, compare=False)
    resources: ExitStack = field(default_factory=ExitStack, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise TypeError(f"The key of an identity must be an RSA or EC private key, not {kind_of(self.key)}.")
        if not isinstance(self.certificate, x509.Certificate):
            raise TypeError(
                f"The certificate of an identity must be an x509.Certificate, not {kind_of(self.certificate)}."
            )
        if self.certificate.public_key() != self.key.public_key():
            raise CertificateMismatchError(
                f"The certificate of '{self.subject}' is not for the key of identity '{self.name}': their public keys "
                f"differ (SHA-256 {_start_of_fingerprint(self.certificate)} and {_start_of_fingerprint(self.key)}). "
                "Name the certificate that was issued for this key, or the key that belongs to it. If they matched "
                "before, the key was generated again, or it is on another token of the same name."
            )
        if isinstance(self.key, TokenRSAPrivateKey | TokenECPrivateKey):
            # Every use of the key is now one with this certificate, and the events say so.
            self.key.device.certificate_serial = f"{self.certificate.serial_number:x}"

    @property
    def subject(self) -> str:
        """The certificate's subject in the form of RFC 4514."""
        return self.certificate.subject.rfc4514_string()

    @property
    def all(self) -> tuple[Identity, ...]:
        """The identity itself, or its siblings that were opened."""
        return (self,) if self.siblings is None else self.siblings.identities

    def select(self) -> Identity:
        """Return the identity for the next handshake or signature: one of the siblings, if there are any.

        Raises the errors of `tokens.errors` if none of them can be used.
        """
        return self if self.siblings is None else self.siblings.select()

    def require_current(self, now: datetime | None = None) -> None:
        """Raise `CertificateExpiredError` unless the certificate is valid now (or at `now`)."""
        require_current(self.certificate, now)

    def close(self) -> None:
        """Release the token. May be called twice."""
        if isinstance(self.key, TokenRSAPrivateKey | TokenECPrivateKey):
            self.key.close()
        if self.siblings is not None:
            self.siblings.close()
        self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _start_of_fingerprint(holder: Any) -> str:
    return f"{compute_spki_sha256(holder.public_key())[:16]}…"
