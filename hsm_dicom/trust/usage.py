"""Check of key usage and extended key usage against the purpose, by one table.

RFC 5280 4.2.1.3 and 4.2.1.12; RFC 3161 2.3 for time stamping; RFC 8446 4.4.2.4 and RFC 5246 7.4.2 for TLS;
RFC 9336 for signed documents. A certificate without an extension is not limited by it, except for time
stamping. The extended key usage of an intermediate CA limits the certificates that it issues, as in common TLS and
signature software.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from hsm_dicom.trust import policy as oid
from hsm_dicom.trust.certificates import key_usage, name_text
from hsm_dicom.trust.paths import CertificatePath
from hsm_dicom.trust.policy import CertificatePurpose, Policy
from hsm_dicom.trust.result import Reason, TrustProblem

_KEY_USAGE_WORDS = {
    "digital_signature": "digitalSignature",
    "content_commitment": "nonRepudiation",
    "key_encipherment": "keyEncipherment",
}


@dataclass(frozen=True)
class _Rule:
    """Requirements of a purpose.

    One of `key_usages` must be set if the extension is present, and one of `extended` likewise. `exclusive`: the
    extended key usage must be present, critical, and the only one.
    """

    key_usages: tuple[str, ...]
    extended: frozenset[str] = frozenset()
    exclusive: bool = False


_RULES = {
    CertificatePurpose.SIGNING: _Rule(("digital_signature", "content_commitment")),
    CertificatePurpose.TLS_CLIENT: _Rule(("digital_signature",), frozenset({oid.CLIENT_AUTH})),
    CertificatePurpose.TLS_SERVER: _Rule(("digital_signature",), frozenset({oid.SERVER_AUTH})),
    CertificatePurpose.TLS_SERVER_RSA_KEY_EXCHANGE: _Rule(("key_encipherment",), frozenset({oid.SERVER_AUTH})),
    CertificatePurpose.TIME_STAMPING: _Rule(
        ("digital_signature", "content_commitment"), frozenset({oid.TIME_STAMPING}), exclusive=True
    ),
}


def find_own_usage_problem(
    certificate: x509.Certificate | x509.CertificateSigningRequest, purpose: CertificatePurpose, policy: Policy
) -> TrustProblem | None:
    """Return why the extensions of this certificate, or of one that is issued as requested, exclude the purpose."""
    rule = _RULES[purpose]
    extended = policy.signing_extended_key_usages if purpose is CertificatePurpose.SIGNING else rule.extended
    return _key_usage_problem(certificate, rule, purpose) or _find_extended_problem(
        certificate, extended, rule.exclusive, purpose
    )


def usage_problem(path: CertificatePath, purpose: CertificatePurpose, policy: Policy) -> TrustProblem | None:
    """Return why the first certificate of the path may not be used for the purpose, or None."""
    rule = _RULES[purpose]
    extended = policy.signing_extended_key_usages if purpose is CertificatePurpose.SIGNING else rule.extended
    leaf, *others = path
    return find_own_usage_problem(leaf, purpose, policy) or (
        next((p for ca in others[:-1] if (p := _issuer_problem(ca, extended, purpose))), None)
    )


def _key_usage_problem(
    certificate: x509.Certificate | x509.CertificateSigningRequest, rule: _Rule, purpose: CertificatePurpose
) -> TrustProblem | None:
    usage = key_usage(certificate)
    if usage is None or any(getattr(usage, name) for name in rule.key_usages):
        return None
    wanted = " or ".join(_KEY_USAGE_WORDS[name] for name in rule.key_usages)
    return TrustProblem(
        Reason.WRONG_KEY_USAGE,
        f"Its key usage does not contain {wanted}, which {purpose} needs; a certificate issued for {purpose} "
        "is needed.",
    )


def _find_extended_problem(
    certificate: x509.Certificate | x509.CertificateSigningRequest,
    wanted: frozenset[str],
    exclusive: bool,
    purpose: CertificatePurpose,
) -> TrustProblem | None:
    extension = _find_extended_key_usage(certificate)
    if exclusive:
        present = () if extension is None else tuple(u.dotted_string for u in extension.value)
        if extension is not None and extension.critical and len(present) == 1 and present[0] in wanted:
            return None
        return TrustProblem(
            Reason.WRONG_EXTENDED_KEY_USAGE,
            f"Its extended key usage is not {purpose} alone, marked critical, as RFC 3161 section 2.3 demands.",
        )
    if extension is None or _allows(extension, wanted):
        return None
    return TrustProblem(
        Reason.WRONG_EXTENDED_KEY_USAGE,
        f"Its extended key usage ({_list_usages(extension)}) does not allow {purpose}; "
        f"a certificate issued for {purpose} is needed.",
    )


def _issuer_problem(
    certificate: x509.Certificate, wanted: frozenset[str], purpose: CertificatePurpose
) -> TrustProblem | None:
    extension = _find_extended_key_usage(certificate)
    if extension is None or _allows(extension, wanted):
        return None
    return TrustProblem(
        Reason.WRONG_EXTENDED_KEY_USAGE,
        f"The CA {name_text(certificate.subject)} issues only for other extended key usages "
        f"({_list_usages(extension)}), not for {purpose}.",
    )


def _find_extended_key_usage(
    certificate: x509.Certificate | x509.CertificateSigningRequest,
) -> x509.Extension[x509.ExtendedKeyUsage] | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return None


def _allows(extension: x509.Extension[x509.ExtendedKeyUsage], wanted: frozenset[str]) -> bool:
    present = {usage.dotted_string for usage in extension.value}
    return bool(present & (wanted | {oid.ANY_EXTENDED_KEY_USAGE}))


def _list_usages(extension: x509.Extension[x509.ExtendedKeyUsage]) -> str:
    names = [oid.EXTENDED_KEY_USAGE_NAMES.get(u.dotted_string, u.dotted_string) for u in extension.value]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
