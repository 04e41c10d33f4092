"""What a certificate has, so that a request for the next one asks for the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from tokens.csr.request import choose_usage
from tokens.pkcs11.ceremony import Usage

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True)
class RequestFields:
    """The subject, alternative names and usages of a certificate. `extended_usages` None: those of `usage`."""

    subject: x509.Name
    alternative_names: tuple[x509.GeneralName, ...]
    extended_usages: tuple[ObjectIdentifier, ...] | None
    usage: Usage


def read_request_fields(certificate: x509.Certificate) -> RequestFields:
    """Return what a request for the successor of this certificate asks for."""
    names = _find(certificate, x509.SubjectAlternativeName)
    extended = tuple(_find(certificate, x509.ExtendedKeyUsage) or ())
    usage, key_usage = choose_usage(extended), _find(certificate, x509.KeyUsage)
    if key_usage is not None and not key_usage.content_commitment:
        usage = Usage.TLS
    return RequestFields(
        subject=certificate.subject,
        alternative_names=() if names is None else tuple(names),
        extended_usages=extended,
        usage=usage,
    )


def _find(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
