"""The request, and its signature, which a key on a device makes itself.

A key that only decrypts proves its possession too: RSA decryption without padding (CKM_RSA_X_509) is the same operation
as the signature, applied to the encoded digest (RFC 8017, 5.1.2 and 5.2.1). The key's attributes do not change.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from pkcs11 import Mechanism

from tokens.algorithms.hashing import digest
from tokens.algorithms.rsa_encoding import digest_info, emsa_pkcs1_v1_5
from tokens.csr.subjects import parse_subject
from tokens.errors import CeremonyError, MechanismNotOfferedError, sentence_case
from tokens.keys import CiphertextRejectedError, TokenECPrivateKey, TokenRSAPrivateKey
from tokens.mechanisms import Candidate
from tokens.pkcs11.ceremony import Usage

_EXTENDED: dict[Usage, tuple[ObjectIdentifier, ...]] = {
    Usage.SIGN: (),
    Usage.TLS: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    Usage.DECRYPT: (ExtendedKeyUsageOID.SERVER_AUTH,),
}


def certificate_request(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey,
    subject: str | x509.Name,
    usage: Usage,
    *,
    alternative_names: Iterable[x509.GeneralName] = (),
    extended_usages: Iterable[ObjectIdentifier] | None = None,
) -> x509.CertificateSigningRequest:
    """Return a certificate request for this key, signed with SHA-256, or SHA-384 for P-384.

    `subject` is a name, or a text as `parse_subject` reads it ("C=DE, O=Hospital, CN=CT 1"). Asks for the key usage
    that belongs to `usage` (RFC 5280, 4.2.1.3), and for `extended_usages` or, for None, those that belong to `usage`
    (4.2.1.12). Raises `CeremonyError` for a subject that cannot be read and for a usage that the key cannot have, and
    `MechanismNotOfferedError` for a key that only decrypts on a device that does not decrypt without padding.
    """
    _check_usage(key, usage)
    name = parse_subject(subject) if isinstance(subject, str) else subject
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    builder = builder.add_extension(_key_usage(usage), critical=True)
    extended = extended_usages_of(usage) if extended_usages is None else tuple(dict.fromkeys(extended_usages))
    if extended:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    names = tuple(dict.fromkeys(alternative_names))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    long_curve = isinstance(key, ec.EllipticCurvePrivateKey) and key.key_size > 256
    if isinstance(key, TokenRSAPrivateKey) and key.device.attributes.sign is False:
        key = _SignsByDecryption(key.device, key.public_key())
    return builder.sign(key, hashes.SHA384() if long_curve else hashes.SHA256())


def extended_usages_of(usage: Usage) -> tuple[ObjectIdentifier, ...]:
    """Return the extended key usages that belong to the use of a key."""
    return _EXTENDED[usage]


def choose_usage(extended_usages: Iterable[ObjectIdentifier]) -> Usage:
    """Return the use of a key that belongs to the extended key usages of its certificate: TLS, or signing."""
    return Usage.TLS if {*extended_usages} & {*_EXTENDED[Usage.TLS]} else Usage.SIGN


class _SignsByDecryption(TokenRSAPrivateKey):
    """A key that only decrypts, adapted to sign its certificate request."""

    def sign(
        self,
        data: bytes,
        padding: AsymmetricPadding,
        algorithm: hashes.HashAlgorithm | Prehashed | NoDigestInfo,
    ) -> bytes:
        """Sign with PKCS1v15. Raises `MechanismNotOfferedError`."""
        if not isinstance(padding, PKCS1v15) or not isinstance(algorithm, hashes.HashAlgorithm):
            raise TypeError("A key that only decrypts signs its request with PKCS1v15 and a hash.")
        if Mechanism.RSA_X_509 not in self.device.offered:
            raise MechanismNotOfferedError(
                f"{self.device.description} only decrypts, and its token does not decrypt without padding "
                "(CKM_RSA_X_509), so that it cannot sign a request."
            )
        block = emsa_pkcs1_v1_5(digest_info(algorithm.name, digest(algorithm, data)), self.key_size)
        try:
            signature = self.device.decrypt(Candidate(Mechanism.RSA_X_509), block).rjust(len(block), b"\0")
            self.public_key().verify(signature, data, padding, algorithm)
        except (CiphertextRejectedError, InvalidSignature) as error:
            raise MechanismNotOfferedError(
                f"{self.device.description} only decrypts, and what its token decrypts without padding is no "
                "signature, so that it cannot sign a request."
            ) from error
        return signature


def _check_usage(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, usage: Usage) -> None:
    """Raise `CeremonyError` if a certificate with this usage would be for nothing: the key cannot do it."""
    decrypts = usage is Usage.DECRYPT
    if decrypts and isinstance(key, ec.EllipticCurvePrivateKey):
        raise CeremonyError(
            "An EC key cannot be used to decrypt, so its certificate cannot be for that.",
            remedy="Choose another usage, or a key of rsa-2048, rsa-3072 or rsa-4096.",
        )
    if not isinstance(key, TokenRSAPrivateKey | TokenECPrivateKey):
        return
    attributes = key.device.attributes
    allowed, attribute = (attributes.decrypt, "CKA_DECRYPT") if decrypts else (attributes.sign, "CKA_SIGN")
    if allowed is False:
        raise CeremonyError(
            f"{sentence_case(key.device.description)} may not {'decrypt' if decrypts else 'sign'} ({attribute} is "
            "false), so its certificate cannot be for that.",
            remedy=f"Choose the usage {'sign or tls' if decrypts else 'decrypt'}, or another key.",
        )


def _key_usage(usage: Usage) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=usage is not Usage.DECRYPT,
        content_commitment=usage is Usage.SIGN,
        key_encipherment=usage is Usage.DECRYPT,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
