"""Which roles a certificate or a request cannot fill: TLS client, TLS server, signature.

Public CAs end certificates for both sides of TLS: the root programs of browsers ask for hierarchies that serve TLS
servers alone (Chrome Root Program Policy 1.8: no newly issued certificate may allow anything but serverAuth from
2027-03-15; most CAs stopped earlier). A node that connects with a certificate of such a CA needs another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from hsm_dicom.trust.policy import CertificatePurpose, Policy
from hsm_dicom.trust.usage import find_own_usage_problem

END_OF_PUBLIC_CLIENT_AUTH = date(2027, 3, 15)
"""The day from which no CA that Chrome trusts issues a certificate with clientAuth (policy 1.8)."""

ROLES = (CertificatePurpose.TLS_CLIENT, CertificatePurpose.TLS_SERVER, CertificatePurpose.SIGNING)

_PUBLIC_POLICIES = frozenset(
    {
        "2.23.140.1.1",  # CA/Browser Forum, extended validation
        "2.23.140.1.2.1",  # domain validated
        "2.23.140.1.2.2",  # organisation validated
        "2.23.140.1.2.3",  # individual validated
    }
)


@dataclass(frozen=True)
class UnfitRole:
    """A role that a certificate cannot fill, and why, as a sentence."""

    role: CertificatePurpose
    text: str


def find_unfit_roles(
    certificate: x509.Certificate | x509.CertificateSigningRequest,
    roles: Iterable[CertificatePurpose] = ROLES,
    policy: Policy | None = None,
) -> tuple[UnfitRole, ...]:
    """Return the roles that key usage and extended key usage of the certificate itself exclude; its CAs may more."""
    found = []
    for role in roles:
        problem = find_own_usage_problem(certificate, role, policy or Policy())
        if problem is not None:
            found.append(UnfitRole(role, problem.text))
    return tuple(found)


def is_from_public_ca(certificate: x509.Certificate) -> bool:
    """Return whether a certificate was issued for the public Web: by its policy, or since it was logged (RFC 6962)."""
    for extension in certificate.extensions:
        if extension.oid == ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS:
            return True
        if isinstance(extension.value, x509.CertificatePolicies) and any(
            one.policy_identifier.dotted_string in _PUBLIC_POLICIES for one in extension.value
        ):
            return True
    return False


def loses_client_auth(certificate: x509.Certificate) -> bool:
    """Return whether this certificate serves as a TLS client, and its public CA's next one will not."""
    try:
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in extended and is_from_public_ca(certificate)
