"""Probe of a key: one operation of its usage, whose result is verified on the host.

C_GenerateRandom would miss a device that hangs in C_Sign only, and a handle that leads to another key.
"""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tokens.errors import Facts, MechanismNotOfferedError, OperationFailedError, Reason
from tokens.keys import PrivateKey, TokenECPrivateKey, TokenRSAPrivateKey

_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)


def probe_key(key: PrivateKey) -> None:
    """Sign random data, or decrypt it with a key that only decrypts. Raises the errors of `tokens.errors`."""
    data = os.urandom(32)
    if isinstance(key, TokenECPrivateKey):
        key.sign(data, ec.ECDSA(hashes.SHA256()))
    elif key.device.attributes.sign is False:
        _decrypt(key, data)
    else:
        _sign(key, data)


def _sign(key: TokenRSAPrivateKey, data: bytes) -> None:
    """Sign; the key object verifies each signature before it returns it."""
    try:
        key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    except MechanismNotOfferedError:
        key.sign(data, _PSS, hashes.SHA256())


def _decrypt(key: TokenRSAPrivateKey, data: bytes) -> None:
    ciphertext = key.public_key().encrypt(data, padding.PKCS1v15())
    if not hmac.compare_digest(key.decrypt_secret(ciphertext, len(data)), data):
        raise OperationFailedError(
            f"{key.device.description} decrypted a test message wrongly.",
            remedy="Test the device.",
            facts=Facts(reason=Reason.DEVICE_UNTRUSTWORTHY),
        )
