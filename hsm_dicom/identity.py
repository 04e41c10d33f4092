"""An identity: a private key, its certificate, and the certificates above it, proven to belong together.

    with load_identity("node", configuration) as node:
        signature = node.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        node.certificate.public_key().verify(...)

The key stays on its token. A private key in a file is used only if the configuration contains its path and
`allow = ["file-key"]`. Such a key can be copied without a trace, so allowing it is a decision that an auditor must be
able to read in the configuration; there is no option for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast, runtime_checkable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hsm_dicom.arguments import kind_of, path_text
from hsm_dicom.config.devices import KeyAccess, NotConfiguredError, TokenAccess, find_key_access, find_token_access
from hsm_dicom.config.loading import ENVIRONMENT, LOCAL, SYSTEM, find_configuration
from hsm_dicom.config.opening import open_configuration
from hsm_dicom.config.permissions import find_read_risk
from hsm_dicom.config.sections import Configuration, IdentitySection
from hsm_dicom.errors import DicomError
from hsm_dicom.trust import TrustFileError, order_chain, read_certificate_file
from tokens.card_uri import CardUri
from tokens.certificates import CertificateUnreadableError, load_certificate
from tokens.keys import TokenECPrivateKey, TokenRSAPrivateKey
from tokens.pins.sources import PinSource, parse_pin_source
from tokens.pkcs11.key import Pkcs11Key
from tokens.policy import Finding, Weakness

EXPIRY_WARNING = timedelta(days=30)
"""How long before its end a certificate gets a warning."""

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class IdentityError(DicomError):
    """Key, certificate and chain do not make an identity."""


class CertificateMismatchError(IdentityError):
    """The certificate is for another key."""


class NoRequestError(IdentityError):
    """The key cannot sign a request for its certificate."""


class CertificateExpiredError(IdentityError):
    """The certificate is not valid now, so relying parties would not trust its signatures."""

    default_remedy = "Have a new certificate issued."


class CertificateNotYetValidError(CertificateExpiredError):
    """The validity period of the certificate has not begun."""

    default_remedy = "Use a certificate that is valid now, or check the clock."


class NoCertificateError(IdentityError):
    """No certificate is stored with the key."""

    default_remedy = "Give the certificate as a file."


class NoTokenCertificateError(NoCertificateError):
    """No certificate is stored with the key on its token, where one can be stored."""

    default_remedy = "Store the certificate on the token, or give it as a file."


class CertificateFileError(IdentityError):
    """A file of certificates or of a key cannot be read, or contains something else."""


@dataclass(frozen=True)
class Identity:
    """A key that may be used as the subject of its certificate.

    `chain` runs from the issuer of `certificate` upwards, as far as it is known, whatever the order in its file; it may
    be empty. `findings` are those of the key policy. `resources` are closed with the identity. The identity is a
    context manager that closes itself.
    """

    name: str
    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()
    findings: tuple[Finding, ...] = ()
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
                "differ. Name the certificate that was issued for this key, or the key that belongs to it."
            )

    @property
    def subject(self) -> str:
        """The certificate's subject as RFC 4514 writes it."""
        return self.certificate.subject.rfc4514_string()

    def require_current(self, now: datetime | None = None) -> None:
        """Raise `CertificateExpiredError` unless the certificate is valid now (or then)."""
        require_current(self.certificate, now)

    def close(self) -> None:
        """Release the token; closing twice is allowed."""
        if isinstance(self.key, TokenRSAPrivateKey | TokenECPrivateKey):
            self.key.close()
        self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@runtime_checkable
class _CarriesCertificate(Protocol):
    """A key on a card, whose certificate was read with it."""

    @property
    def certificate(self) -> x509.Certificate | None: ...


@dataclass(frozen=True)
class ExpiryRemark:
    """A remark on the dates of a certificate; `expired` is True for one that is not yet valid, too."""

    text: str
    expired: bool


@dataclass(frozen=True)
class IdentityAccess:
    """The key, certificate and chain of an identity, as configured; nothing is opened yet.

    `key` is access to a device, or the path of a PEM file. `certificate` None means the one on the device. `weaknesses`
    are those that the configuration allows.
    """

    name: str
    key: KeyAccess | Path
    certificate: Path | None = None
    chain: Path | None = None
    weaknesses: frozenset[Weakness] = frozenset()

    def open(self, *, pin: PinSource | None = None, default_pin: PinSource | None = None) -> Identity:
        """Open the device and prove that key and certificate match.

        `pin` replaces the configured PIN source; `default_pin` is used where none is configured. Raises the errors of
        this module, and those of `tokens.errors`.
        """
        chain = read_certificates(self.chain) if self.chain else ()
        if isinstance(self.key, Path):
            key = read_key_file(self.key)
            return _assemble(self.name, key, _certificates_in(self.certificate, self.name), chain)
        access = replace(self.key, pin=pin or self.key.pin or default_pin)
        return open_identity(access, self.certificate, chain=chain, weaknesses=self.weaknesses, name=self.name)


def find_identity(name: str, configuration: Configuration) -> IdentityAccess:
    """Find the identity `[identities.NAME]`, without opening its device.

    Raises `NotConfiguredError`, `UnsafeModuleError`, and `PinSourceError` for a pin-source of a URI.
    """
    section = configuration.identities.get(name)
    if section is None:
        known = ", ".join(configuration.identities) or "none"
        raise NotConfiguredError(
            f"There is no identity '{name}' in the configuration; there: {known}.",
            remedy=f"Give the name of one of these, or add the table [identities.{name}] to the file.",
        )
    key = section.key if isinstance(section.key, Path) else find_identity_access(configuration, section)
    return IdentityAccess(name, key, section.certificate, section.chain, section.weaknesses)


def load_identity(
    name: str,
    configuration: Configuration | str | os.PathLike[str] | None = None,
    *,
    pin: PinSource | str | None = None,
    default_pin: PinSource | str | None = None,
) -> Identity:
    """Open the identity `[identities.NAME]` of the configuration: key on its device, certificate, chain.

        with hsm_dicom.load_identity("node") as node: ...

    `configuration` is a configuration that was read, or the path of its file. With None it is the first of these
    files that exists: $HSM_DICOM_CONFIG, ./hsm-dicom.toml, /etc/hsm-dicom/config.toml. If this function reads the
    configuration, it also writes events to the configured event file until the identity is closed.

    `pin` replaces the configured PIN source: "prompt", "file:PATH", "env:NAME", "fd:N", or a `PinSource`; never the PIN
    itself. `default_pin`, in the same form, is used where none is configured. Raises `NotConfiguredError`,
    `ConfigurationError`, the errors of this module, those of `tokens.errors`, and TypeError or ValueError for arguments
    that are not as described.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be the name of an identity in the configuration, not {type(name).__name__}.")
    pin, default_pin = _pin_source("pin", pin), _pin_source("default_pin", default_pin)
    if isinstance(configuration, Configuration):
        return find_identity(name, configuration).open(pin=pin, default_pin=default_pin)
    if not isinstance(configuration, str | os.PathLike | None):
        raise TypeError(
            f"configuration must be a Configuration, the path of its file, or None, not {type(configuration).__name__}."
        )
    with ExitStack() as stack:
        file = find_configuration(None if configuration is None else Path(path_text("configuration", configuration)))
        if file is None:
            raise NotConfiguredError(
                f"There is no configuration for identity '{name}'. Name its file, set {ENVIRONMENT}, or write {LOCAL} "
                f"or {SYSTEM}."
            )
        found = find_identity(name, stack.enter_context(open_configuration(file)))
        identity = found.open(pin=pin, default_pin=default_pin)
        return replace(identity, resources=stack.pop_all())


def _pin_source(name: str, value: object) -> PinSource | None:
    """Return the source of a PIN. No error repeats the value: it may be the PIN."""
    if value is None:
        return None
    if isinstance(value, str):
        return parse_pin_source(value)
    if not (hasattr(value, "attended") and callable(getattr(value, "read", None))):
        raise TypeError(
            f"{name} must be a source of a PIN, such as 'prompt' or 'file:PATH', or a PinSource, not {kind_of(value)}."
        )
    return cast(PinSource, value)


def open_identity(
    access: KeyAccess,
    certificate: Path | None = None,
    *,
    chain: Sequence[x509.Certificate] = (),
    weaknesses: Set[Weakness] = frozenset(),
    name: str = "",
) -> Identity:
    """Open the key of `access`, with its certificate from a PEM file or, for None, from the token or card itself.

    The file may also contain the chain, in any order, which is used if no `chain` is given.
    """
    key = access.open_key(weaknesses)
    try:
        shown = name or str(key.device.description)
        certificates = read_certificates(certificate) if certificate else _certificates_on_device(access, key)
        return _assemble(shown, key, certificates, chain)
    except BaseException:
        key.close()
        raise


def find_identity_access(
    configuration: Configuration, section: IdentitySection, *, pin: PinSource | None = None
) -> KeyAccess:
    """Return access to the key of an identity, on a token or on a card."""
    if section.token is not None:
        return find_token_access(configuration, section.token, pin=pin).select_object(section.object, section.id)
    if section.key is None or isinstance(section.key, Path):
        raise IdentityError("The identity's key is in a file, not on a token or a card.")
    return find_key_access(configuration, section.key, pin=pin)


def locate_key(
    configuration: Configuration, wanted: str, *, pin: PinSource | None = None, module: Path | None = None
) -> tuple[KeyAccess, frozenset[Weakness]]:
    """Return access to the key of a configured identity or of a URI, and the weaknesses that are allowed."""
    section = configuration.identities.get(wanted)
    if section is None and wanted.lower().startswith("card:"):
        return find_key_access(configuration, CardUri.parse(wanted), pin=pin), frozenset()
    if section is None:
        return find_token_access(configuration, wanted, pin=pin, module=module), frozenset()
    return find_identity_access(configuration, section, pin=pin), section.weaknesses


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """Return every certificate in a PEM, DER or PKCS#7 file, in its order. Raises `CertificateFileError`."""
    try:
        return tuple(load_certificate(part.der) for part in read_certificate_file(path, _content(path)))
    except CertificateUnreadableError as error:
        raise CertificateFileError(
            f"{path} holds no certificate that can be read: it {error}. A certificate is named as a PEM file "
            "(-----BEGIN CERTIFICATE-----), in DER, or in PKCS#7."
        ) from error
    except TrustFileError as error:
        raise CertificateFileError(
            f"{path} holds no certificate that can be read; name a PEM file (-----BEGIN CERTIFICATE-----)."
        ) from error


def read_key_file(path: Path) -> PrivateKey:
    """Read an RSA or EC private key from an unencrypted PEM file that only its owner may read."""
    data = _content(path)
    unsafe = find_read_risk(path)
    if unsafe:
        raise CertificateFileError(" ".join(unsafe))
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError as error:
        raise CertificateFileError(
            f"The private key in {path} is encrypted, and a passphrase is not served: put the key on a token."
        ) from error
    except ValueError as error:
        raise CertificateFileError(f"{path} holds no private key in PEM form.") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CertificateFileError(f"The private key in {path} is neither RSA nor EC; no DICOM profile uses it.")
    return key


def find_expiry_remark(
    certificate: x509.Certificate, now: datetime | None = None, warning: timedelta = EXPIRY_WARNING
) -> ExpiryRemark | None:
    """Return a remark on the dates of a certificate; None if it is valid for longer than `warning`."""
    moment = now or datetime.now(UTC)
    subject = f"The certificate of '{certificate.subject.rfc4514_string()}'"
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if moment < begins:
        return ExpiryRemark(f"{subject} is not valid before {begins:%Y-%m-%d %H:%M} UTC.", expired=True)
    if moment > ends:
        return ExpiryRemark(f"{subject} expired on {ends:%Y-%m-%d %H:%M} UTC.", expired=True)
    if ends - moment < warning:
        return ExpiryRemark(f"{subject} expires in {_in_words(ends - moment)}, on {ends:%Y-%m-%d}.", expired=False)
    return None


def require_current(certificate: x509.Certificate, now: datetime | None = None) -> None:
    """Raise `CertificateExpiredError` unless the certificate is valid now (or then)."""
    remark = find_expiry_remark(certificate, now)
    if remark is None or not remark.expired:
        return
    is_early = certificate.not_valid_before_utc > (now or datetime.now(UTC))
    error = CertificateNotYetValidError if is_early else CertificateExpiredError
    raise error(f"{remark.text} Relying parties would not trust its signatures.")


def choose_certificate(certificates: Sequence[x509.Certificate], now: datetime | None = None) -> x509.Certificate:
    """Return, of a key's certificates, the one that is valid now, and of several the one that is valid longest.

    With none valid now, the one that becomes valid next; else the one that expired last.
    """
    moment = now or datetime.now(UTC)
    begun = [one for one in certificates if one.not_valid_before_utc <= moment]
    valid = [one for one in begun if moment <= one.not_valid_after_utc]
    coming = [one for one in certificates if one.not_valid_before_utc > moment]
    if coming and not valid:
        return min(coming, key=lambda one: one.not_valid_before_utc)
    return max(valid or begun, key=lambda one: one.not_valid_after_utc)


def _assemble(
    name: str,
    key: PrivateKey,
    certificates: Sequence[x509.Certificate],
    chain: Iterable[x509.Certificate],
) -> Identity:
    findings = key.device.findings if isinstance(key, TokenRSAPrivateKey | TokenECPrivateKey) else ()
    public_key = key.public_key()
    # With none for the key, Identity says so of the first.
    own = choose_certificate([one for one in certificates if one.public_key() == public_key] or certificates[:1])
    above, _ = order_chain(own, tuple(chain) or certificates)
    return Identity(name, key, own, above, findings)


def _certificates_on_device(
    access: KeyAccess, key: TokenRSAPrivateKey | TokenECPrivateKey
) -> tuple[x509.Certificate, ...]:
    """The certificate stored with the key; of several (a renewal), the one to use now."""
    if isinstance(access, TokenAccess):
        stored = list(key.device.certificates()) if isinstance(key.device, Pkcs11Key) else []
        error: type[NoCertificateError] = NoTokenCertificateError
    else:
        own = key.device.certificate if isinstance(key.device, _CarriesCertificate) else None
        stored = [] if own is None else [own]
        error = NoCertificateError
    if not stored:
        raise error(f"There is no certificate with {key.device.description}.")
    return (choose_certificate(stored),)


def _certificates_in(path: Path | None, name: str) -> tuple[x509.Certificate, ...]:
    if path is None:
        raise IdentityError(f"The key of identity '{name}' is a file, so its certificate must be one too.")
    return read_certificates(path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateFileError(f"{path} cannot be read ({error.strerror}).") from error


def _in_words(span: timedelta) -> str:
    return f"{span.days} days" if span.days > 1 else f"{span.total_seconds() / 3600:.0f} hours"
