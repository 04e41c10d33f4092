"""Make an identity of a key and its certificate, wherever both are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from cryptography import x509

from hsm_dicom.identity.errors import NoCertificateError, NoTokenCertificateError
from hsm_dicom.identity.files import PrivateKey
from hsm_dicom.identity.record import Identity
from hsm_dicom.identity.validity import choose_certificate
from hsm_dicom.trust import order_chain
from tokens.group.key_group import StoresCertificates
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey


@runtime_checkable
class _CarriesCertificate(Protocol):
    """A key on a card with the certificate that was read from the card."""

    @property
    def certificate(self) -> x509.Certificate | None: ...


def assemble_identity(
    name: str,
    key: PrivateKey,
    certificates: Sequence[x509.Certificate],
    chain: Iterable[x509.Certificate],
) -> Identity:
    """Make an identity of a key, with its certificate among those given, and the chain above it.

    Without a `chain`, that is among the certificates too. Raises `CertificateMismatchError`.
    """
    findings = key.device.findings if isinstance(key, TokenRSAPrivateKey | TokenECPrivateKey) else ()
    public_key = key.public_key()
    # If none matches the key, Identity raises an error about the first.
    own = choose_certificate([one for one in certificates if one.public_key() == public_key] or certificates[:1])
    above, _ = order_chain(own, tuple(chain) or certificates)
    return Identity(name, key, own, above, findings)


def read_stored_certificates(key: TokenRSAPrivateKey | TokenECPrivateKey) -> tuple[x509.Certificate, ...]:
    """Return the certificate stored with the key; of several (after a renewal), the one to use now.

    Raises `NoCertificateError`.
    """
    device = key.device
    if isinstance(device, _CarriesCertificate):
        stored = [] if device.certificate is None else [device.certificate]
        error: type[NoCertificateError] = NoCertificateError
    else:
        stored = list(device.certificates()) if isinstance(device, StoresCertificates) else []
        error = NoTokenCertificateError
    if not stored:
        raise error(f"There is no certificate with {device.description}.")
    return (choose_certificate(stored),)
