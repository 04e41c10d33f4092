"""Check of keys and hashes against the algorithm policy: of one key, one hash, or a path."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from hsm_dicom.trust.certificates import is_self_issued, key_text, name_text, signature_hash_name
from hsm_dicom.trust.paths import CertificatePath
from hsm_dicom.trust.policy import AlgorithmPolicy
from hsm_dicom.trust.result import Caution, Reason, TrustProblem, TrustWarning


def is_key_allowed(key: PublicKeyTypes, policy: AlgorithmPolicy) -> bool:
    """Return whether the policy accepts the type and the size of a key."""
    if isinstance(key, rsa.RSAPublicKey):
        return policy.minimum_rsa_bits <= key.key_size <= policy.maximum_rsa_bits
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in policy.curves
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519" in policy.curves
    return isinstance(key, ed448.Ed448PublicKey) and "ed448" in policy.curves


def is_hash_allowed(name: str | None, policy: AlgorithmPolicy) -> bool:
    """Return whether the policy accepts a hash, with or without a warning.

    None stands for a signature algorithm without a choice of hash (Ed25519, Ed448); its key is checked instead.
    """
    return name is None or name in policy.hashes or name in policy.tolerated_hashes


def algorithm_problem(path: CertificatePath, policy: AlgorithmPolicy) -> TrustProblem | None:
    """Return the first key or hash of the path that the policy refuses, or None."""
    for certificate in path:
        if not is_key_allowed(certificate.public_key(), policy):
            return TrustProblem(
                Reason.WEAK_KEY,
                f"The key of {name_text(certificate.subject)} ({key_text(certificate)}) is not one that the "
                "policy "
                f"accepts (RSA from {policy.minimum_rsa_bits} to {policy.maximum_rsa_bits} bits, "
                f"or {', '.join(sorted(policy.curves))}).",
            )
    for certificate in path[:-1]:
        if not is_hash_allowed(signature_hash_name(certificate), policy):
            return TrustProblem(
                Reason.WEAK_HASH,
                f"The certificate of {name_text(certificate.subject)} was signed with "
                f"{signature_hash_name(certificate)}, which the policy does not accept; it has to be issued "
                "anew.",
            )
    return None


def algorithm_warnings(path: CertificatePath, policy: AlgorithmPolicy) -> Iterator[TrustWarning]:
    """Yield a warning for each key and hash of the path that the policy accepts but advises against."""
    for certificate in path:
        key = certificate.public_key()
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < policy.advised_rsa_bits:
            yield TrustWarning(
                Caution.SHORT_KEY,
                f"The key of {name_text(certificate.subject)} has {key.key_size} bits; "
                f"{policy.advised_rsa_bits} are advised.",
            )
    for certificate in path[:-1]:
        hash_name = signature_hash_name(certificate)
        if hash_name in policy.tolerated_hashes:
            yield TrustWarning(
                Caution.WEAK_HASH,
                f"The certificate of {name_text(certificate.subject)} rests on {hash_name}, which is weak.",
            )


def self_signed_warning(certificate: x509.Certificate) -> TrustWarning | None:
    """Return a warning if a trusted certificate is self-signed, since no authority can revoke it."""
    if not is_self_issued(certificate):
        return None
    return TrustWarning(
        Caution.SELF_SIGNED,
        f"{name_text(certificate.subject)} is self-signed and trusted because it is listed here; "
        "no authority can revoke it.",
    )
