"""Reading of untrusted certificates: strict, except for the padding of DICOM; and their names for display.

`cryptography` parses every certificate (strict DER, RFC 5280) before any other code uses it. A certificate that this
parser refuses is malformed, so that no two parsers can disagree about its content.
"""

from __future__ import annotations

import functools

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.errors import DicomError
from hsm_dicom.trust.der import remove_padding
from tokens.certificates import CertificateUnreadableError, check_readable, load_certificate

_LONGEST_NAME = 256


class MalformedCertificateError(DicomError, ValueError):
    """The bytes are not a certificate that can be validated; the message completes "the certificate ..."."""


def read_certificate(source: x509.Certificate | bytes, max_bytes: int) -> x509.Certificate:
    """Return a certificate after checking that every part which a validation needs can be read.

    `source` is DER, one 00 pad byte allowed, or a certificate already parsed. Raises MalformedCertificateError.
    """
    try:
        certificate = source if isinstance(source, x509.Certificate) else _parse(source, max_bytes)
        _read_through(certificate, max_bytes)
    except MalformedCertificateError:
        raise
    except CertificateUnreadableError as error:
        raise MalformedCertificateError(f"is malformed: it {error}") from error
    except Exception as error:
        # The parser of a library can raise any exception for hostile bytes; the certificate is then unusable.
        raise MalformedCertificateError(f"is malformed: {_one_line(str(error) or type(error).__name__)}") from error
    return certificate


def _parse(data: bytes, max_bytes: int) -> x509.Certificate:
    if len(data) > max_bytes:
        raise MalformedCertificateError(f"is too big: {len(data)} bytes, the policy allows {max_bytes}")
    try:
        der = remove_padding(bytes(data))
    except ValueError as error:
        raise MalformedCertificateError(f"is malformed: {error}") from error
    return load_certificate(der)


def _read_through(certificate: x509.Certificate, max_bytes: int) -> None:
    der = der_of(certificate)
    if len(der) > max_bytes:
        raise MalformedCertificateError(f"is too big: {len(der)} bytes, the policy allows {max_bytes}")
    if der[-len(certificate.signature) - 1] != 0:
        # Parsers ignore the count of unused bits: two different certificates would have the same signature.
        raise MalformedCertificateError("is malformed: its signature is not a whole number of bytes")
    certificate.public_key()
    check_readable(certificate)


@functools.lru_cache(maxsize=1024)
def der_of(certificate: x509.Certificate) -> bytes:
    """Return the DER of a certificate."""
    return certificate.public_bytes(Encoding.DER)


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of the DER, 32 bytes, which identifies a certificate in this package."""
    return certificate.fingerprint(hashes.SHA256())


def subject_text(der: bytes) -> str:
    """Return the subject of a DER certificate for messages, or a phrase if it cannot be read."""
    try:
        return name_text(load_certificate(der).subject)
    except CertificateUnreadableError:
        return "a certificate that cannot be read"


def name_text(name: x509.Name) -> str:
    """Format a name by RFC 4514, without control characters."""
    return _one_line(name.rfc4514_string()) or "(no name)"


def _one_line(text: str) -> str:
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def key_text(certificate: x509.Certificate) -> str:
    """Return the type and size of the certificate's key: "RSA 2048", "EC secp256r1"."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA {key.key_size}"
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "EC ed25519"
    if isinstance(key, ed448.Ed448PublicKey):
        return "EC ed448"
    return type(key).__name__


def signature_hash_name(certificate: x509.Certificate) -> str | None:
    """Return the name by `cryptography` of the hash in the issuer's signature; None for Ed25519 or an unknown one."""
    try:
        algorithm = certificate.signature_hash_algorithm
    except Exception:  # an algorithm that `cryptography` does not know
        return None
    return None if algorithm is None else algorithm.name


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Return whether subject and issuer are the same name (RFC 5280 3.2)."""
    return name_key(certificate.subject) == name_key(certificate.issuer)


def name_key(name: x509.Name) -> tuple[frozenset[tuple[str, str]], ...]:
    """Return a key for comparing names, which ignores case and runs of spaces (RFC 5280 7.1)."""
    return tuple(
        frozenset((a.oid.dotted_string, " ".join(_text(a.value).casefold().split())) for a in rdn) for rdn in name.rdns
    )


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def key_identifier(certificate: x509.Certificate) -> bytes | None:
    """Return the subject key identifier, or None."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return None


def authority_key_identifier(certificate: x509.Certificate) -> bytes | None:
    """Return the key identifier of the issuer, or None if the certificate does not state it."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    return extension.value.key_identifier


def is_ca(certificate: x509.Certificate) -> bool:
    """Return whether the certificate may issue others.

    This is the CA flag of basic constraints; a self-issued version 1 certificate, which has no extensions, is a CA.
    """
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1 and is_self_issued(certificate)


def extended_key_usages(certificate: x509.Certificate) -> frozenset[str] | None:
    """Return the extended key usages as dotted identifiers, or None if the certificate is not limited to any."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return None
    return frozenset(usage.dotted_string for usage in extension.value)


def key_usage(certificate: x509.Certificate | x509.CertificateSigningRequest) -> x509.KeyUsage | None:
    """Return the key usage extension, or None."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
