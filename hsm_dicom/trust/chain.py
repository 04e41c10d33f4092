"""Validation of a path by RFC 5280 section 6.1: pyhanko-certvalidator decides, this module finds the reason.

The library, behind `_certvalidator.py`, runs the path validation algorithm (signatures, validity, basic constraints,
path length, name constraints, policies, critical extensions); the package `revocation` checks revocation. If the
library refuses a path, `_explain` finds the `Reason`; only the answer of the library decides.

Stricter than RFC 5280: a trust anchor must itself be valid at the validation time, its own path length and name
constraints hold, and it must be a CA to issue anything. Name constraints on IP addresses are not supported by
the library: a certificate with an IP address under such a CA is refused.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from hsm_dicom.trust._certvalidator import InvalidPathError, validate_path
from hsm_dicom.trust.certificates import der_of, is_ca, is_self_issued, key_usage, name_text
from hsm_dicom.trust.paths import CertificatePath
from hsm_dicom.trust.result import Reason, TrustProblem

_MAX_NAME_COMPARISONS = 100_000


def chain_problem(path: CertificatePath, validation_time: datetime) -> TrustProblem | None:
    """Return why the path does not hold at the validation time, or None if RFC 5280 6.1 accepts it.

    `path` runs from the certificate to the anchor. The module `algorithms` checks the strength of keys and hashes.
    """
    if _name_comparisons(path) > _MAX_NAME_COMPARISONS:
        return TrustProblem(Reason.TOO_COMPLEX, "Its chain has more names and name constraints than can be compared.")
    problem = _anchor_problem(path, validation_time)
    if problem is not None:
        return problem
    try:
        validate_path([der_of(certificate) for certificate in path], validation_time)
    except InvalidPathError as error:
        return _explain(path, validation_time) or TrustProblem(Reason.PATH_INVALID, f"{error}.")
    except Exception as error:
        # Hostile extensions can raise any exception; a chain that cannot be examined is refused.
        return _explain(path, validation_time) or TrustProblem(
            Reason.PATH_INVALID, f"Its chain cannot be examined ({type(error).__name__}: {error})."
        )
    return None


def _anchor_problem(path: CertificatePath, validation_time: datetime) -> TrustProblem | None:
    anchor = path[-1]
    return _validity_problem(anchor, validation_time) or (
        _issuer_problem(anchor) if len(path) > 1 else _extension_problem(anchor)
    )


def _explain(path: CertificatePath, validation_time: datetime) -> TrustProblem | None:
    """Return the first reason of a refusal in the order of the algorithm: from the anchor down."""
    for index in range(len(path) - 2, -1, -1):
        certificate, issuer = path[index], path[index + 1]
        problem = (
            _signature_problem(certificate, issuer)
            or _validity_problem(certificate, validation_time)
            or _extension_problem(certificate)
            or (_issuer_problem(certificate) if index else None)
        )
        if problem is not None:
            return problem
    return _path_length_problem(path)


def _validity_problem(certificate: x509.Certificate, validation_time: datetime) -> TrustProblem | None:
    if validation_time < certificate.not_valid_before_utc:
        return TrustProblem(
            Reason.NOT_YET_VALID,
            f"The certificate of {name_text(certificate.subject)} was valid only from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC on.",
        )
    if validation_time > certificate.not_valid_after_utc:
        return TrustProblem(
            Reason.EXPIRED,
            f"The certificate of {name_text(certificate.subject)} expired on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC.",
        )
    return None


def _signature_problem(certificate: x509.Certificate, issuer: x509.Certificate) -> TrustProblem | None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # any failure to verify, an unknown algorithm included, is the explanation looked for
        return TrustProblem(
            Reason.BAD_SIGNATURE,
            f"The certificate of {name_text(certificate.subject)} does not verify with the key of "
            f"{name_text(issuer.subject)}: another CA of that name issued it, or it was altered.",
        )
    return None


def _issuer_problem(certificate: x509.Certificate) -> TrustProblem | None:
    if not is_ca(certificate):
        return TrustProblem(
            Reason.NOT_A_CA,
            f"{name_text(certificate.subject)} issued a certificate of the chain but is not a CA.",
        )
    usage = key_usage(certificate)
    if usage is not None and not usage.key_cert_sign:
        return TrustProblem(
            Reason.NOT_A_CA,
            f"{name_text(certificate.subject)} issued a certificate of the chain but its key usage does not "
            "contain keyCertSign.",
        )
    return None


def _extension_problem(certificate: x509.Certificate) -> TrustProblem | None:
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            return TrustProblem(
                Reason.UNKNOWN_CRITICAL_EXTENSION,
                f"The certificate of {name_text(certificate.subject)} has a critical extension "
                f"({extension.oid.dotted_string}) that is unknown here.",
            )
    return None


def _path_length_problem(path: CertificatePath) -> TrustProblem | None:
    below = 0
    for certificate in path[1:]:
        limit = _path_length(certificate)
        if limit is not None and below > limit:
            return TrustProblem(
                Reason.PATH_TOO_LONG,
                f"{name_text(certificate.subject)} allows {limit} CA certificates below it; this chain has {below}.",
            )
        if not is_self_issued(certificate):
            below += 1
    return None


def _path_length(certificate: x509.Certificate) -> int | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
    except x509.ExtensionNotFound:
        return None


def _name_comparisons(path: CertificatePath) -> int:
    names = sum(1 + _count(c, x509.SubjectAlternativeName) for c in path)
    return names * sum(_count(c, x509.NameConstraints) for c in path)


def _count(certificate: x509.Certificate, kind: type[x509.SubjectAlternativeName] | type[x509.NameConstraints]) -> int:
    try:
        value = certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return 0
    if isinstance(value, x509.NameConstraints):
        return len(value.permitted_subtrees or ()) + len(value.excluded_subtrees or ())
    return len(list(value))
