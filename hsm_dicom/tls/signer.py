"""Handshake signatures by any private key: OpenSSL's requests as calls of `cryptography`'s key interface.

RFC 8446, 4.2.3 and RFC 5246, 7.4.1.4.1: RSASSA-PSS with a salt as long as the digest, RSASSA-PKCS1-v1_5, ECDSA.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from tokens.errors import MechanismNotOfferedError
from tokens.keys import TokenRSAPrivateKey
from tokens.mechanisms import rsa_signature

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


class _LastFailure(threading.local):
    """The error of a key in this thread's handshake; OpenSSL only reports "internal error"."""

    error: BaseException | None = None


_failed = _LastFailure()


def take_failure() -> Exception | None:
    """Return and clear the error of this thread's last handshake signature; None if it succeeded.

    Raises what is no error, such as KeyboardInterrupt: OpenSSL took it from the signal handler that raised it.
    """
    error, _failed.error = _failed.error, None
    if error is not None and not isinstance(error, Exception):
        raise error
    return error


def keep_failure(error: Exception) -> None:
    """Keep an error for `take_failure`: this thread's handshake has no key to sign with."""
    _failed.error = error


class KeySigner:
    """A `sslcontext.Signer` over a private key. Safe to share between threads if the key is."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._is_ec = isinstance(key, ec.EllipticCurvePrivateKey)
        self.supports_pss = offers_pss(key)

    def sign(self, digest: bytes, *, hash: str, padding: Any = None, salt_length: int | None = None) -> bytes:
        """Sign a digest. An exception of the key ends the handshake, and is kept for `take_failure`."""
        _failed.error = None
        try:
            return self._key.sign(digest, *_make_scheme(hash, salt_length, is_ec=self._is_ec))
        except BaseException as error:
            _failed.error = error
            raise


@cache
def _make_scheme(hash: str, salt_length: int | None, *, is_ec: bool) -> tuple[Any, ...]:
    """Return the further arguments of a key's `sign`. Made once each: `cryptography` checks what they are made of."""
    algorithm = _HASHES[hash]()
    if is_ec:
        return (ec.ECDSA(Prehashed(algorithm)),)
    if salt_length is None:
        return padding.PKCS1v15(), Prehashed(algorithm)
    return padding.PSS(padding.MGF1(algorithm), salt_length), Prehashed(algorithm)


def offers_pss(key: PrivateKey) -> bool:
    """Return whether an RSA key can sign with PSS; most tokens can, by CKM_RSA_X_509 and an encoding made here."""
    if not isinstance(key, TokenRSAPrivateKey):
        return True
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    try:
        rsa_signature(pss, Prehashed(hashes.SHA256()), key.key_size, key.device.offered)
    except MechanismNotOfferedError:
        return False
    return True
