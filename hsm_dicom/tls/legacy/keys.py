"""Token keys with the interface of tlslite-ng's RSA keys: one only decrypts, the other only signs.

With RSA key exchange, a server's key decrypts the premaster secret of any client. If it also signed, a client that
can distinguish good padding from bad could forge signatures (ROBOT, 2017). Such a key is refused because of its
attributes on the token or the key usage of its certificate.
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

from hsm_dicom.identity import Identity
from hsm_dicom.tls.errors import LegacyRefusedError
from hsm_dicom.tls.legacy._tlslite import PublicRSAKey
from hsm_dicom.trust.certificates import key_usage
from tokens.keys import TokenRSAPrivateKey

PREMASTER_BYTES = 48
"""Bytes of a premaster secret with RSA key exchange (RFC 5246, 7.4.7.1)."""


class Decrypter(PublicRSAKey):
    """RSAES-PKCS1-v1_5 on the token (RFC 5246, 7.4.7.1)."""

    def __init__(self, key: TokenRSAPrivateKey) -> None:
        super().__init__(key.public_key())
        self._key = key

    def decrypt(self, encBytes: bytes) -> bytearray | None:
        """Return the premaster secret, or a random one for any fault in it; None for a wrong length.

        In both cases the handshake fails at Finished and does not reveal the step that failed. If the token offers the
        raw RSA operation, the timing does not reveal it either (see `algorithms.unpadding`). A token that checks the
        padding itself adds the time of its check.
        """
        try:
            return bytearray(self._key.decrypt_secret(bytes(encBytes), PREMASTER_BYTES))
        except ValueError:
            return None


class Signer(PublicRSAKey):
    """RSASSA-PKCS1-v1_5 on the token: over a DigestInfo, or before TLS 1.2 over MD5 and SHA-1 side by side."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        super().__init__(key.public_key())
        self._key = key

    def sign(self, bytes: Any, padding: str = "pkcs1", hashAlg: str | None = None, saltLen: int | None = None) -> Any:
        """Sign CertificateVerify or ServerKeyExchange (RFC 4346 and RFC 5246, 7.4.8 and 7.4.3).

        `bytes` is the hash, or the encoded block if `hashAlg` is None.
        """
        if padding != "pkcs1":
            raise LegacyRefusedError("A retired profile signs with RSASSA-PKCS1-v1_5 only.")
        encoded = bytes if hashAlg is None else self.addPKCS1Prefix(bytes, hashAlg)
        return bytearray(self._key.sign(_octets(encoded), _PKCS1, NoDigestInfo()))


_PKCS1 = padding.PKCS1v15()


def make_decrypter(identity: Identity) -> Decrypter:
    """Make a server's decryption key. Raises `LegacyRefusedError` for a key that is not for decryption alone."""
    _require_one_key(identity)
    key = identity.key
    what = f"The key of identity '{identity.name}'"
    if not isinstance(key, TokenRSAPrivateKey):
        raise LegacyRefusedError(
            f"{what} is no RSA key on a token; a retired profile needs one of its own "
            "(hsm-dicom key generate --type rsa-2048 --usage decrypt)."
        )
    attributes = key.device.attributes
    if attributes.sign is not False or not attributes.decrypt:
        raise LegacyRefusedError(
            f"{what} may sign as well, or may not decrypt: a retired profile needs a key that may decrypt and nothing "
            "else (hsm-dicom key generate --usage decrypt)."
        )
    usage = key_usage(identity.certificate)
    if usage is None or not usage.key_encipherment or usage.digital_signature or usage.content_commitment:
        raise LegacyRefusedError(
            f"The certificate of identity '{identity.name}' is not for keyEncipherment alone; request one that is "
            "(hsm-dicom key csr asks for it where the key was made with --usage decrypt)."
        )
    return Decrypter(key)


def make_server_signer(identity: Identity) -> Signer:
    """Make a server's key for Diffie-Hellman. Raises `LegacyRefusedError` unless it is for signing alone."""
    if not isinstance(identity.key, TokenRSAPrivateKey):
        raise LegacyRefusedError(
            f"The key of identity '{identity.name}' is no RSA key on a token; a retired profile needs one of its own "
            "(hsm-dicom key generate --type rsa-2048 --usage tls)."
        )
    usage = key_usage(identity.certificate)
    if usage is None or not usage.digital_signature or usage.key_encipherment:
        raise LegacyRefusedError(
            f"The certificate of identity '{identity.name}' is not for digitalSignature alone, which a profile with "
            "Diffie-Hellman needs; request one that is (hsm-dicom key csr asks for it where the key was made with "
            "--usage tls)."
        )
    return make_signer(identity)


def make_signer(identity: Identity) -> Signer:
    """Make the signing key of an identity.

    Raises `LegacyRefusedError` for a key that cannot sign with RSA, or that also decrypts.
    """
    _require_one_key(identity)
    key = identity.key
    if not isinstance(key, rsa.RSAPrivateKey):
        raise LegacyRefusedError(f"Identity '{identity.name}' has no RSA key, and a retired profile supports no other.")
    if isinstance(key, TokenRSAPrivateKey) and (key.device.attributes.decrypt or key.device.attributes.sign is False):
        raise LegacyRefusedError(
            f"The key of identity '{identity.name}' must be one that signs and does not decrypt (--usage tls)."
        )
    return Signer(key)


def _require_one_key(identity: Identity) -> None:
    if identity.siblings is not None:
        raise LegacyRefusedError(
            f"Identity '{identity.name}' has a key of its own on each token, and a retired profile uses one key. Put "
            "copies of one key on the tokens, or use an identity on one token."
        )


def _octets(value: Any) -> bytes:
    return bytes(value)
