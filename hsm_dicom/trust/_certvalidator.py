"""Adapter for pyhanko-certvalidator, which only this module imports: RFC 5280 path validation, single signatures.

The library is asynchronous because it may fetch revocation data. Here the package `revocation` checks revocation,
nothing is fetched, and so the library's coroutine runs to its end without waiting for anything. It runs in the
calling thread, with or without an event loop there. `tests/hsm_dicom/trust/test_certvalidator_seam.py` fails when a
newer version of the library behaves differently.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from asn1crypto import algos  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1
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
from pyhanko_certvalidator.sig_validate import DEFAULT_SIGNATURE_VALIDATOR, SignatureValidationContext
from pyhanko_certvalidator.validate import async_validate_path

_MAX_POLICY_NODES = 200


class InvalidPathError(Exception):
    """RFC 5280 section 6.1 does not accept the path; the text is the library's, without a full stop."""


def validate_path(path: Sequence[bytes], validation_time: datetime) -> None:
    """Validate a path of DER certificates, from the certificate to the anchor, by RFC 5280 section 6.1.

    Revocation and the strength of algorithms are not checked. Raises `InvalidPathError` if the algorithm refuses the
    path, and any other exception if a certificate cannot be parsed.
    """
    try:
        run_to_end(_validation(path, validation_time))
    except ValidationError as error:
        raise InvalidPathError(error.failure_msg.rstrip(".")) from error


def verify_signature(
    signature: bytes, signed: bytes, certificate: bytes, algorithm: algos.SignedDigestAlgorithm, digest_name: str
) -> None:
    """Verify a signature of a CMS SignerInfo with the key of a DER certificate.

    `digest_name` is the digest algorithm of the SignerInfo, for signature algorithms that name none. Raises
    `cryptography.exceptions.InvalidSignature`.
    """
    DEFAULT_SIGNATURE_VALIDATOR.validate_signature(
        signature,
        signed,
        asn1.Certificate.load(certificate).public_key,
        algorithm,
        SignatureValidationContext(contextual_md_algorithm=digest_name),
    )


def run_to_end(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that never waits. Raises `RuntimeError` if it waits for something, which would be a fetch."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise RuntimeError("the path validation waited for something although nothing may be fetched")


def _validation(path: Sequence[bytes], validation_time: datetime) -> Coroutine[Any, Any, object]:
    *below, anchor = (asn1.Certificate.load(der, strict=True) for der in path)
    leaf, intermediates = (below[0], below[:0:-1]) if below else (None, [])
    trust_anchor = CertTrustAnchor(anchor, _qualifiers(anchor))
    context = ValidationContext(
        trust_roots=[trust_anchor],
        moment=validation_time,
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
        algorithm_usage_policy=AcceptAllAlgorithms(),
        time_tolerance=timedelta(0),
    )
    # With parameters of the caller present the library adds the anchor's own constraints to its defaults; without, it
    # would take them for the whole, and refuse every kind of name that the anchor does not mention.
    parameters = PKIXValidationParams(max_policy_graph_nodes=_MAX_POLICY_NODES)
    return async_validate_path(context, ValidationPath(trust_anchor, intermediates, leaf), parameters)


def _qualifiers(anchor: asn1.Certificate) -> TrustQualifiers:
    """Return the limits that an anchor states about itself, which RFC 5280 leaves to the relying party."""
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
