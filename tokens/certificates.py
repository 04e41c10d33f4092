"""Load X.509 certificates and prove that every part of them can be read (RFC 5280).

`cryptography` reads the parts of a certificate when they are first used, so that a name with a wrong text raises in the
middle of something else. What is loaded here raises nowhere later.
"""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509

from tokens.errors import Error

_TEXT = (
    "a text in it has characters that its type does not allow (a T61String or a PrintableString with an umlaut, for "
    "example); have the certificate issued anew with UTF8String"
)
_DATE = "it is not written as RFC 5280 demands (YYMMDDHHMMSSZ, in UTC); have the certificate issued anew"
_PARTS: dict[str, Callable[[x509.Certificate], object]] = {
    "subject": lambda certificate: certificate.subject.public_bytes(),
    "issuer": lambda certificate: certificate.issuer.public_bytes(),
    "period of validity": lambda c: (c.not_valid_before_utc, c.not_valid_after_utc),
    "extensions": lambda certificate: certificate.extensions,
}


class CertificateUnreadableError(Error, ValueError):
    """The bytes are not a usable certificate. The message completes "the certificate ..."."""


def load_certificate(der: bytes) -> x509.Certificate:
    """Load a certificate from DER and read every part of it. Raises `CertificateUnreadableError`."""
    try:
        certificate = x509.load_der_x509_certificate(der)
    except Exception as error:  # a parser facing bytes that someone else made
        raise CertificateUnreadableError(_explain_shape(str(error))) from error
    check_readable(certificate)
    return certificate


def check_readable(certificate: x509.Certificate) -> None:
    """Read every part of a certificate but its key. Raises `CertificateUnreadableError`."""
    for part, read in _PARTS.items():
        try:
            read(certificate)
        except Exception as error:  # as above
            raise CertificateUnreadableError(_explain_part(part, str(error))) from error


def _explain_shape(told: str) -> str:
    # `cryptography` names the place at which it stopped: "Time::UtcTime", "AttributeValue::PrintableString".
    if "Time::" in told:
        return f"has a date that cannot be read: {_DATE}"
    if "String" in told:
        return f"has a name that cannot be read: {_TEXT}"
    return "is not the DER of an X.509 certificate; it is damaged, cut off, or something else"


def _explain_part(part: str, told: str) -> str:
    if part == "period of validity":
        return f"has a {part} that cannot be read: {_DATE}"
    if part == "extensions":
        return f"has {part} that cannot be read ({told or 'malformed'}); have it issued anew"
    return f"has a {part} that cannot be read: {_TEXT}"
