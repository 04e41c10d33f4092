"""Evidence of one OCSP response about one certificate: RFC 6960 sections 3.2 and 4.2.2.

A response is accepted from the CA itself, or from a responder whose certificate that CA issued directly for OCSP
signing (valid when the response was made). Such a responder must have ocsp-nocheck or be proven good by a CRL. If its
certificate has no address of revocation data either, the CA has chosen to provide none (RFC 6960 4.2.2.2.1),
and the responder is refused only if an available CRL lists it. Signatures are PKCS#1 v1.5, ECDSA or
EdDSA; a response with RSASSA-PSS is not usable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import keys  # type: ignore[import-untyped]
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ObjectIdentifier

from hsm_dicom.trust.algorithms import is_hash_allowed, is_key_allowed
from hsm_dicom.trust.certificates import fingerprint, key_usage, name_key, signature_hash_name
from hsm_dicom.trust.der import parse_generalized_time
from hsm_dicom.trust.policy import OCSP_SIGNING, AlgorithmPolicy, CertificatePurpose
from hsm_dicom.trust.result import Revocation
from hsm_dicom.trust.revocation.crl import SourcedCrl, crl_evidence
from hsm_dicom.trust.revocation.decision import Evidence, Revoked, Unusable, decide

_ARCHIVE_CUTOFF = ObjectIdentifier("1.3.6.1.5.5.7.48.1.6")
_MAX_CERTIFICATES = 8


@dataclass(frozen=True)
class SourcedOcspResponse:
    """An OCSP response (status successful) and its source, in words."""

    response: ocsp.OCSPResponse
    source: str


def ocsp_evidence(
    sourced: SourcedOcspResponse,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: Sequence[SourcedCrl],
    policy: AlgorithmPolicy,
) -> Iterator[Evidence | Unusable]:
    """Yield the evidence of the response, one for each answer about the certificate.

    `issuer` is the validated certificate of the CA; `crls` may list a delegated responder as revoked.
    """
    source = f"the OCSP response {sourced.source}"
    try:
        answers = [a for a in sourced.response.responses if _concerns(a, certificate, issuer)]
        if not answers:
            return
        problem = _authority_problem(sourced.response, issuer, crls, policy)
        kept_from = _archive_cutoff(sourced.response)
    except Exception as error:  # the parser can raise any exception for hostile bytes
        yield Unusable(source, f"cannot be read ({type(error).__name__})")
        return
    for found in answers:
        yield Unusable(source, problem) if problem else _read_status(found, source, kept_from)


def issuer_hashes(issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> tuple[bytes, bytes]:
    """Return the hashes of name and key by which OCSP identifies a CA (CertID, RFC 6960 4.1.1)."""
    return (
        hashlib.new(algorithm.name, issuer.subject.public_bytes()).digest(),
        hashlib.new(algorithm.name, _key_bits(issuer)).digest(),
    )


def _concerns(found: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    return found.serial_number == certificate.serial_number and (
        found.issuer_name_hash,
        found.issuer_key_hash,
    ) == issuer_hashes(issuer, found.hash_algorithm)


def _read_status(found: ocsp.OCSPSingleResponse, source: str, kept_from: datetime | None) -> Evidence | Unusable:
    if found.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        return Unusable(source, "says that the responder does not know the certificate")
    revoked = None
    if found.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        since = found.revocation_time_utc or found.this_update_utc
        reason = None if found.revocation_reason is None else found.revocation_reason.value
        revoked = Revoked(since, None, reason)
    return Evidence(source, found.this_update_utc, found.next_update_utc, revoked, kept_from=kept_from)


def _authority_problem(
    response: ocsp.OCSPResponse,
    issuer: x509.Certificate,
    crls: Sequence[SourcedCrl],
    policy: AlgorithmPolicy,
) -> str | None:
    algorithm = response.signature_hash_algorithm
    if not is_hash_allowed(algorithm.name if algorithm else None, policy):
        return f"was signed with {algorithm.name if algorithm else 'no hash'}, which the policy does not accept"
    candidates = (issuer, *response.certificates[:_MAX_CERTIFICATES])
    signer = next((c for c in candidates if _is_responder(response, c) and _is_signed_by(response, c)), None)
    if signer is None:
        return "does not verify with the key of the CA or of a responder that it names"
    if fingerprint(signer) == fingerprint(issuer):
        return None
    return _delegation_problem(signer, response, issuer, crls, policy)


def _delegation_problem(
    responder: x509.Certificate,
    response: ocsp.OCSPResponse,
    issuer: x509.Certificate,
    crls: Sequence[SourcedCrl],
    policy: AlgorithmPolicy,
) -> str | None:
    usage = key_usage(responder)
    if not _is_issued_for_ocsp(responder, issuer) or (usage is not None and not usage.digital_signature):
        return "is signed by a certificate that the CA did not issue for OCSP signing"
    if not responder.not_valid_before_utc <= response.produced_at_utc <= responder.not_valid_after_utc:
        return "is signed by a responder whose certificate was not valid when it answered"
    if not is_key_allowed(responder.public_key(), policy) or not is_hash_allowed(
        signature_hash_name(responder), policy
    ):
        return "is signed by a responder whose key or certificate is weaker than the policy accepts"
    return _responder_revocation_problem(responder, response, issuer, crls, policy)


def _responder_revocation_problem(
    responder: x509.Certificate,
    response: ocsp.OCSPResponse,
    issuer: x509.Certificate,
    crls: Sequence[SourcedCrl],
    policy: AlgorithmPolicy,
) -> str | None:
    found = [e for crl in crls if (e := crl_evidence(crl, responder, issuer, policy)) is not None]
    status = decide(
        responder,
        found,
        purpose=CertificatePurpose.SIGNING,
        validation_time=response.produced_at_utc,
        time_proven=False,
    )
    if status.state is Revocation.REVOKED:
        return "is signed by a responder whose certificate was revoked"
    if status.state is Revocation.GOOD or _has(responder, x509.OCSPNoCheck):
        return None
    if _has(responder, x509.CRLDistributionPoints) or _has(responder, x509.AuthorityInformationAccess):
        return "is signed by a responder of which no CRL at hand says whether it was revoked"
    return None


def _is_issued_for_ocsp(responder: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        responder.verify_directly_issued_by(issuer)
        usages = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except Exception:  # another issuer, or no extended key usage: both are refused
        return False
    return any(usage.dotted_string == OCSP_SIGNING for usage in usages)


def _has(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    try:
        certificate.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return False
    return True


def _is_responder(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return name_key(response.responder_name) == name_key(certificate.subject)
    return response.responder_key_hash == hashlib.sha1(_key_bits(certificate), usedforsecurity=False).digest()


def _is_signed_by(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    key, algorithm = certificate.public_key(), response.signature_hash_algorithm
    signature, data = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, data, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, data, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, data)
        else:
            return False
    except Exception:  # InvalidSignature, or an algorithm that the key cannot do
        return False
    return True


def _key_bits(certificate: x509.Certificate) -> bytes:
    """Return the value of the subjectPublicKey BIT STRING, which OCSP hashes."""
    info = keys.PublicKeyInfo.load(
        certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    )
    return bytes(info["public_key"].contents[1:])


def _archive_cutoff(response: ocsp.OCSPResponse) -> datetime | None:
    """Return the date since which the responder keeps expired certificates (RFC 6960 4.4.4), or None.

    It can be read only from a response about one certificate, which all real ones are.
    """
    if len(list(response.responses)) != 1:
        return None
    for extension in response.single_extensions:
        if extension.oid == _ARCHIVE_CUTOFF and isinstance(extension.value, x509.UnrecognizedExtension):
            return parse_generalized_time(extension.value.value)
    return None
