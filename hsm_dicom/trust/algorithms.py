"""Whether keys and hashes are strong enough: the algorithm policy applied to a key, a hash, a path."""

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
    """True where the key is of a kind and size that the policy accepts."""
    if isinstance(key, rsa.RSAPublicKey):
        return policy.minimum_rsa_bits <= key.key_size <= policy.maximum_rsa_bits
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.name in policy.curves
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519" in policy.curves
    return isinstance(key, ed448.Ed448PublicKey) and "ed448" in policy.curves


def is_hash_allowed(name: str | None, policy: AlgorithmPolicy) -> bool:
    """True where the hash is accepted, with or without a warning. None stands for a signature that has no
    hash of its own choosing (Ed25519, Ed448): there the key decides."""
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
    """Yield what the policy accepts in the path but advises against."""
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
    """A warning where a trusted certificate vouches for itself: nobody but its owner could ever revoke it."""
    if not is_self_issued(certificate):
        return None
    return TrustWarning(
        Caution.SELF_SIGNED,
        f"{name_text(certificate.subject)} is self-signed and trusted because it is listed here; "
        "no authority can revoke it.",
    )
