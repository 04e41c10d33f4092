"""Check one signature over a digest with a public key."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from hsm_dicom.signatures.algorithms import MacAlgorithm
from hsm_dicom.trust import der


def is_made_by(key: object, signature: bytes, digest: bytes, algorithm: MacAlgorithm) -> bool:
    """Return whether this key made the signature (RSASSA-PKCS1-v1_5 or ECDSA in DER).

    Raises TypeError for a key of another type.
    """
    prehashed = Prehashed(algorithm.hash)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(prehashed))
        else:
            raise TypeError(f"Keys of type {type(key).__name__} do not make DICOM signatures.")
    except (InvalidSignature, ValueError):
        return False
    return True


def strip_pad_byte(key: object, signature: bytes) -> bytes:
    """Return the value of Signature (0400,0120) without the zero byte that pads it to an even length."""
    if signature[-1:] != b"\0":
        return signature
    if isinstance(key, rsa.RSAPublicKey):
        is_padded = len(signature) == (key.key_size + 7) // 8 + 1
        return signature[:-1] if is_padded else signature
    return der.without_pad_byte(signature)
