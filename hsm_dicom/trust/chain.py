"""Proving a path: RFC 5280 section 6.1, decided by pyhanko-certvalidator, explained here.

The library runs the path validation algorithm (signatures, validity, basic constraints, path length, name
constraints, policies, critical extensions). Revocation is not its business here (`revocation.py`), and
without it the library's coroutine never waits for anything, so it is driven to its end in the calling thread,
whether or not an event loop runs there. Where it refuses, `_explain` looks for the reason in terms of our
codes; only the library's answer decides.

Stricter than RFC 5280: a trust anchor must itself be valid at the moment, its own path length and name
constraints hold, and it must be a CA to issue anything. Name constraints on IP addresses are not supported by
the library: a certificate with an IP address under such a CA is refused.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

from asn1crypto import x509 as asn1  # type: ignore[import-untyped]
from cryptography import x509
from pyhanko_certvalidator.authority import CertTrustAnchor, TrustQualifiers
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import ValidationError
from pyhanko_certvalidator.name_trees import process_general_subtrees
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    AcceptAllAlgorithms,
    CertRevTrustPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.validate import async_validate_path

from hsm_dicom.trust.certificates import der_of, is_ca, is_self_issued, key_usage, name_text
from hsm_dicom.trust.paths import CertificatePath
from hsm_dicom.trust.result import Finding, Reason

_MAX_NAME_COMPARISONS = 100_000
_MAX_POLICY_NODES = 200


def chain_problem(path: CertificatePath, moment: datetime) -> Finding | None:
    """Return why the path does not hold at the moment, or None where RFC 5280 6.1 accepts it.

    `path` runs from the certificate to the anchor. Strength of algorithms is judged apart (`algorithms.py`).
    """
    if _name_comparisons(path) > _MAX_NAME_COMPARISONS:
        return Finding(Reason.TOO_COMPLEX, "Its chain has more names and name constraints than can be compared.")
    problem = _anchor_problem(path, moment)
    if problem is not None:
        return problem
    try:
        _run_to_end(_validation(path, moment))
    except ValidationError as error:
        return _explain(path, moment) or Finding(Reason.PATH_INVALID, f"{error.failure_msg.rstrip('.')}.")
    except Exception as error:
        # Hostile extensions end in any exception at all; a chain that cannot be examined does not hold.
        return _explain(path, moment) or Finding(
            Reason.PATH_INVALID, f"Its chain cannot be examined ({type(error).__name__}: {error})."
        )
    return None


def _validation(path: CertificatePath, moment: datetime) -> Coroutine[Any, Any, object]:
    *below, anchor = (asn1.Certificate.load(der_of(c), strict=True) for c in path)
    leaf, intermediates = (below[0], below[:0:-1]) if below else (None, [])
    trust_anchor = CertTrustAnchor(anchor, _qualifiers(anchor))
    context = ValidationContext(
        trust_roots=[trust_anchor],
        moment=moment,
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
        algorithm_usage_policy=AcceptAllAlgorithms(),
        time_tolerance=timedelta(0),
    )
    # With parameters of the caller present the library adds the anchor's own constraints to its defaults; without, it
    # would take them for the whole, and refuse every kind of name that the anchor does not mention.
    parameters = PKIXValidationParams(max_policy_graph_nodes=_MAX_POLICY_NODES)
    return async_validate_path(context, ValidationPath(trust_anchor, intermediates, leaf), parameters)


def _qualifiers(anchor: asn1.Certificate) -> TrustQualifiers:
    """The limits that an anchor states about itself, which RFC 5280 leaves to the relying party."""
    constraints = anchor.name_constraints_value
    permitted = excluded = None
    if constraints is not None:
        if isinstance(constraints["permitted_subtrees"], asn1.GeneralSubtrees):
            permitted = process_general_subtrees(constraints["permitted_subtrees"])
        if isinstance(constraints["excluded_subtrees"], asn1.GeneralSubtrees):
            excluded = process_general_subtrees(constraints["excluded_subtrees"])
    return TrustQualifiers(
        standard_parameters=PKIXValidationParams(
            initial_permitted_subtrees=permitted,
            initial_excluded_subtrees=excluded,
        ),
        max_path_length=anchor.max_path_length,
    )


def _run_to_end(coroutine: Coroutine[Any, Any, object]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the path validation waited for something although nothing may be fetched")


def _anchor_problem(path: CertificatePath, moment: datetime) -> Finding | None:
    anchor = path[-1]
    return _validity_problem(anchor, moment) or (
        _issuer_problem(anchor) if len(path) > 1 else _extension_problem(anchor)
    )


def _explain(path: CertificatePath, moment: datetime) -> Finding | None:
    """The reason of a refusal in the order in which the algorithm meets it: from the anchor down."""
    for index in range(len(path) - 2, -1, -1):
        certificate, issuer = path[index], path[index + 1]
        problem = (
            _signature_problem(certificate, issuer)
            or _validity_problem(certificate, moment)
            or _extension_problem(certificate)
            or (_issuer_problem(certificate) if index else None)
        )
        if problem is not None:
            return problem
    return _path_length_problem(path)


def _validity_problem(certificate: x509.Certificate, moment: datetime) -> Finding | None:
    if moment < certificate.not_valid_before_utc:
        return Finding(
            Reason.NOT_YET_VALID,
            f"The certificate of {name_text(certificate.subject)} was valid only from "
            f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S} UTC on.",
        )
    if moment > certificate.not_valid_after_utc:
        return Finding(
            Reason.EXPIRED,
            f"The certificate of {name_text(certificate.subject)} expired on "
            f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC.",
        )
    return None


def _signature_problem(certificate: x509.Certificate, issuer: x509.Certificate) -> Finding | None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # any failure to verify, an unknown algorithm included, is the explanation looked for
        return Finding(
            Reason.BAD_SIGNATURE,
            f"The certificate of {name_text(certificate.subject)} does not verify with the key of "
            f"{name_text(issuer.subject)}: another CA of that name issued it, or it was altered.",
        )
    return None


def _issuer_problem(certificate: x509.Certificate) -> Finding | None:
    if not is_ca(certificate):
        return Finding(
            Reason.NOT_A_CA,
            f"{name_text(certificate.subject)} issued a certificate of the chain but is not a CA.",
        )
    usage = key_usage(certificate)
    if usage is not None and not usage.key_cert_sign:
        return Finding(
            Reason.NOT_A_CA,
            f"{name_text(certificate.subject)} issued a certificate of the chain but its key usage does not "
            "contain keyCertSign.",
        )
    return None


def _extension_problem(certificate: x509.Certificate) -> Finding | None:
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            return Finding(
                Reason.UNKNOWN_CRITICAL_EXTENSION,
                f"The certificate of {name_text(certificate.subject)} has a critical extension "
                f"({extension.oid.dotted_string}) that is unknown here.",
            )
    return None


def _path_length_problem(path: CertificatePath) -> Finding | None:
    below = 0
    for certificate in path[1:]:
        limit = _path_length(certificate)
        if limit is not None and below > limit:
            return Finding(
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
