"""Evidence of one CRL about one certificate: RFC 5280 section 5 and the parts of 6.3 about direct CRLs.

Only direct CRLs are supported, signed by the key that issued the certificate. Indirect CRLs and CRLs with unknown
critical extensions are unusable. A delta CRL, a CRL of some reasons, or one whose distribution point the certificate
does not list can prove a revocation, but not its absence.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from hsm_dicom.trust.algorithms import is_hash_allowed
from hsm_dicom.trust.certificates import is_ca, key_usage, name_key
from hsm_dicom.trust.der import parse_generalized_time
from hsm_dicom.trust.policy import AlgorithmPolicy
from hsm_dicom.trust.revocation.decision import Evidence, Revoked, Unusable

_EXPIRED_CERTS_ON_CRL = ObjectIdentifier("2.5.29.60")
_REMOVED = "removeFromCRL"
_UNDERSTOOD = (
    x509.IssuingDistributionPoint,
    x509.DeltaCRLIndicator,
    x509.CRLNumber,
    x509.AuthorityKeyIdentifier,
)

_T = TypeVar("_T", bound=x509.ExtensionType)


@dataclass(frozen=True)
class SourcedCrl:
    """A CRL and its source, in words: a file, an address, the message."""

    crl: x509.CertificateRevocationList
    source: str


def crl_evidence(
    sourced: SourcedCrl,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    policy: AlgorithmPolicy,
) -> Evidence | Unusable | None:
    """Return what the CRL says about the certificate; None if another CA issued it.

    `issuer` is the validated certificate of the CA that issued `certificate`.
    """
    try:
        if name_key(sourced.crl.issuer) != name_key(certificate.issuer):
            return None
        return _evidence(sourced.crl, f"the CRL {sourced.source}", certificate, issuer, policy)
    except Exception as error:  # the parser can raise any exception for hostile bytes
        return Unusable(f"the CRL {sourced.source}", f"cannot be read ({type(error).__name__})")


def crl_problem(crl: x509.CertificateRevocationList, issuer: x509.Certificate, policy: AlgorithmPolicy) -> str | None:
    """Return why a CRL proves nothing at any date (completes "The CRL ..."), or None. Never raises."""
    try:
        return _authority_problem(crl, issuer, policy) or _extension_problem(crl)
    except Exception as error:  # as above
        return f"cannot be read ({type(error).__name__})"


def crl_span(crl: x509.CertificateRevocationList) -> tuple[datetime, datetime]:
    """Return the beginning and the end of the validity of a CRL."""
    issued = crl.last_update_utc
    return issued, Evidence(source="", issued=issued, until=crl.next_update_utc, revoked=None).end


def _evidence(
    crl: x509.CertificateRevocationList,
    source: str,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    policy: AlgorithmPolicy,
) -> Evidence | Unusable | None:
    problem = crl_problem(crl, issuer, policy)
    if problem is not None:
        return Unusable(source, problem)
    complete = True
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if scope is not None:
        if not _in_scope(scope, certificate):
            return None
        complete = scope.only_some_reasons is None and _names_point(scope, certificate)
    if _extension(crl, x509.DeltaCRLIndicator) is not None:
        complete = False
    return Evidence(
        source=source,
        issued=crl.last_update_utc,
        until=crl.next_update_utc,
        revoked=_entry(crl, certificate),
        complete=complete,
        kept_from=_read_kept_from(crl),
    )


def _authority_problem(
    crl: x509.CertificateRevocationList, issuer: x509.Certificate, policy: AlgorithmPolicy
) -> str | None:
    usage = key_usage(issuer)
    if usage is not None and not usage.crl_sign:
        return "is of a CA whose key usage does not contain cRLSign"
    if not _is_signed_by(crl, issuer.public_key()):
        return "does not verify with the key of the CA that it names"
    hash_name = crl.signature_hash_algorithm.name if crl.signature_hash_algorithm else None
    if not is_hash_allowed(hash_name, policy):
        return f"was signed with {hash_name}, which the policy does not accept"
    return None


def _is_signed_by(crl: x509.CertificateRevocationList, key: object) -> bool:
    try:
        return crl.is_signature_valid(key)  # type: ignore[arg-type]
    except Exception:  # a key of a kind that signs no CRL
        return False


def _extension_problem(crl: x509.CertificateRevocationList) -> str | None:
    for extension in crl.extensions:
        if extension.critical and not isinstance(extension.value, _UNDERSTOOD):
            return f"has a critical extension ({extension.oid.dotted_string}) that is unknown here"
    scope = _extension(crl, x509.IssuingDistributionPoint)
    if scope is not None and scope.indirect_crl:
        return "is an indirect CRL, which is not supported"
    return None


def _extension(crl: x509.CertificateRevocationList, kind: type[_T]) -> _T | None:
    try:
        return crl.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _in_scope(scope: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    if scope.only_contains_attribute_certs:
        return False
    return not (scope.only_contains_user_certs if is_ca(certificate) else scope.only_contains_ca_certs)


def _names_point(scope: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    """Return whether the CRL is not partitioned, or is the certificate's part (RFC 5280 6.3.3 b 2 i)."""
    if scope.full_name is None and scope.relative_name is None:
        return True
    if scope.full_name is None:
        return False
    return any(set(scope.full_name) & names for names in distribution_points(certificate))


def distribution_points(certificate: x509.Certificate) -> list[set[x509.GeneralName]]:
    """Return the names of each CRL distribution point that covers all reasons and has no other issuer."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    return [set(p.full_name) for p in points if p.full_name and p.reasons is None and p.crl_issuer is None]


def _entry(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> Revoked | None:
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    if entry is None:
        return None
    reason, invalid_since = _entry_extensions(entry)
    return None if reason == _REMOVED else Revoked(entry.revocation_date_utc, invalid_since, reason)


def _entry_extensions(entry: x509.RevokedCertificate) -> tuple[str | None, datetime | None]:
    reason = invalid_since = None
    try:
        for extension in entry.extensions:
            if isinstance(extension.value, x509.CRLReason):
                reason = extension.value.reason.value
            elif isinstance(extension.value, x509.InvalidityDate):
                invalid_since = extension.value.invalidity_date_utc
    except ValueError:
        # An entry whose details cannot be read is still a revocation.
        return None, None
    return reason, invalid_since


def _read_kept_from(crl: x509.CertificateRevocationList) -> datetime | None:
    """Return the date of expiredCertsOnCRL (X.509 9.5.2.8): certificates that expired since then stay listed."""
    for extension in crl.extensions:
        if extension.oid == _EXPIRED_CERTS_ON_CRL and isinstance(extension.value, x509.UnrecognizedExtension):
            return parse_generalized_time(extension.value.value)
    return None
