"""Private keys that live on a device and behave like `cryptography`'s own.

Whatever takes an `RSAPrivateKey` or an `EllipticCurvePrivateKey` of `cryptography` (certificate request builders,
PKCS7SignatureBuilder, our own code) takes these. The caller names padding and hash; `tokens.mechanisms` ranks the ways
to ask the device for it, and a driver carries one out. Nothing here knows which kind of device it is.
"""

from __future__ import annotations

import os
from collections.abc import Set
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from pkcs11 import Mechanism

from tokens.algorithms.hashing import hash_name
from tokens.algorithms.unpadding import implicit_message, unpad
from tokens.errors import (
    Error,
    Facts,
    KeyNotExportableError,
    MechanismNotOfferedError,
    MechanismUnclearError,
    OperationFailedError,
    Reason,
    sentence_case,
)
from tokens.mechanisms import Rung, ecdsa_signature, rsa_decryption, rsa_signature
from tokens.policy import Finding, KeyAttributes

CURVES: dict[str, type[ec.EllipticCurve]] = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1}
"""The curves that are served, by the names of SEC 2."""


class CiphertextRejectedError(Error):
    """A device would not decrypt. Only for drivers to tell keys; it never reaches a caller, who could use it

    as an oracle.
    """


class DeviceKey(Protocol):
    """What a driver provides: one private key, reachable from any thread."""

    @property
    def description(self) -> str:
        """For messages: which key on which token."""

    @property
    def public_key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """The public half."""

    @property
    def offered(self) -> Set[Mechanism]:
        """The mechanisms that the device lists and this key's usage allows."""

    @property
    def attributes(self) -> KeyAttributes:
        """What the device says of the key."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the policy remarked upon when the key was opened."""

    def sign(self, rung: Rung, data: bytes) -> bytes:
        """The device's output for the rung's input. Raises `MechanismNotOfferedError` if it refuses the mechanism."""

    def decrypt(self, rung: Rung, ciphertext: bytes) -> bytes:
        """The plaintext. Raises `CiphertextRejectedError` for whatever the device says of the ciphertext."""

    def distrust(self) -> None:
        """Forget whatever leads to the key, and find it anew on its next use."""

    def close(self) -> None:
        """Let go of the device."""


class _OnDevice:
    """What the two kinds of key share: the device, closing, and never leaving it."""

    def __init__(self, device: DeviceKey) -> None:
        self.device = device
        self._working_rungs: dict[object, Mechanism] = {}
        self._refused_ways: dict[object, str] = {}

    def close(self) -> None:
        """Let go of the device. The key is not usable afterwards; closing twice is fine."""
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self.device.description} cannot be pickled: each process opens its own.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.device.description}>"

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        """Always raises `KeyNotExportableError`."""
        self._not_exportable()

    def _not_exportable(self) -> NoReturn:
        raise KeyNotExportableError(f"{self.device.description} stays on its device: it cannot be exported.")

    def _climb(self, way: object, rungs: tuple[Rung, ...], data: bytes) -> bytes:
        """Use the first rung that the device really carries out, and remember it for the next time.

        A mechanism list can promise too much (SoftHSM 2.6.1 lists what its OpenSSL refuses).
        """
        if way in self._refused_ways:
            raise MechanismNotOfferedError(self._refused_ways[way])
        known = self._working_rungs.get(way)
        ordered = sorted(rungs, key=lambda rung: rung.mechanism is not known) if known is not None else list(rungs)
        refusals: list[MechanismNotOfferedError] = []
        unclear: list[Rung] = []
        while ordered:
            rung = ordered.pop(0)
            try:
                signature = self._use(rung, data)
            except MechanismNotOfferedError as error:
                if isinstance(error, MechanismUnclearError) and rung not in unclear:
                    unclear.append(rung)
                refusals.append(error)
                if not ordered and unclear and len(refusals) == len(rungs):
                    ordered = unclear[:1]  # once more: if it was the device, it is healed now, or lost
                continue
            self._working_rungs[way] = rung.mechanism
            return signature
        refused = str(refusals[-1])
        if len(rungs) > 1:
            refused = (
                f"{sentence_case(self.device.description)} refused every mechanism that could do it: "
                f"{', '.join(rung.name for rung in rungs)}. {refused}"
            )
        if unclear:
            self._refused_ways[way] = refused
        raise MechanismNotOfferedError(refused) from refusals[-1]

    def _use(self, rung: Rung, data: bytes) -> bytes:
        """The signature, once the host has verified it.

        What is not by this key never leaves here: a handle that leads to another key since the module was initialised
        behind our back, or a fault in a device's arithmetic, which would give an RSA key's factors away.
        """
        prepared = rung.before(data)
        for _ in range(2):
            signature = rung.after(self.device.sign(rung, prepared))
            if rung.verified(self.public_key(), data, signature):
                return signature
            self.device.distrust()
        raise OperationFailedError(
            f"Two signatures by {self.device.description} did not verify with its public key. They are not used.",
            remedy="Test the device.",
            facts=Facts(reason=Reason.DEVICE_UNTRUSTWORTHY),
        )

    def public_key(self) -> Any:
        """The public half."""
        return self.device.public_key


class TokenRSAPrivateKey(_OnDevice, rsa.RSAPrivateKey):
    """An RSA private key on a device."""

    def __init__(self, device: DeviceKey, public_key: rsa.RSAPublicKey) -> None:
        super().__init__(device)
        self._public_key = public_key
        self._rejection_secret = os.urandom(32)
        self._refused_to_decrypt: set[Mechanism] = set()

    @property
    def key_size(self) -> int:
        """The modulus length in bits."""
        return self._public_key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """The public half, as an ordinary key."""
        return self._public_key

    def sign(
        self,
        data: bytes,
        padding: paddings.AsymmetricPadding,
        algorithm: hashes.HashAlgorithm | Prehashed | NoDigestInfo,
    ) -> bytes:
        """Sign with PKCS1v15 or PSS (RFC 8017); the signature is as long as the modulus, in bytes.

        Raises `MechanismNotOfferedError` where the token has no way to do it, and the other errors of
        `tokens.errors` where it cannot be reached.
        """
        rungs = rsa_signature(padding, algorithm, self.key_size, self.device.offered, len(data))
        return self._climb((type(padding), _name(algorithm)), rungs, bytes(data))

    def decrypt(self, ciphertext: bytes, padding: paddings.AsymmetricPadding) -> bytes:
        """Decrypt with PKCS1v15 or OAEP (RFC 8017).

        With PKCS1v15 a ciphertext with a wrong padding is answered with a random-looking plaintext, the same one each
        time, so that no caller becomes a padding oracle. With OAEP it raises `ValueError`.
        Raises `MechanismNotOfferedError` where the token cannot do it.
        """
        rungs = rsa_decryption(padding, self.device.offered)
        if len(ciphertext) != (self.key_size + 7) // 8:
            raise ValueError(f"A ciphertext for {self.device.description} is {(self.key_size + 7) // 8} bytes.")
        if isinstance(padding, paddings.PKCS1v15):
            return self._decrypt_pkcs1(rungs, bytes(ciphertext), None)
        try:
            return self.device.decrypt(rungs[0], bytes(ciphertext))
        except CiphertextRejectedError:
            raise ValueError("Decryption failed.") from None

    def decrypt_secret(self, ciphertext: bytes, length: int) -> bytes:
        """Decrypt a secret of a known length, in bytes, with PKCS1v15, and always return as many.

        A wrong padding and a wrong length are answered alike, by a secret that nobody knows (RFC 5246, 7.4.7.1). Raises
        as `decrypt` does.
        """
        rungs = rsa_decryption(paddings.PKCS1v15(), self.device.offered)
        if len(ciphertext) != (self.key_size + 7) // 8:
            raise ValueError(f"A ciphertext for {self.device.description} is {(self.key_size + 7) // 8} bytes.")
        return self._decrypt_pkcs1(rungs, bytes(ciphertext), length)

    def private_numbers(self) -> NoReturn:
        """Always raises `KeyNotExportableError`."""
        self._not_exportable()

    def _decrypt_pkcs1(self, rungs: tuple[Rung, ...], ciphertext: bytes, length: int | None) -> bytes:
        """By the bare operation of the device, else by its own look at the padding, whose time it decides."""
        substitute = implicit_message(self._rejection_secret, ciphertext, len(ciphertext))
        for rung in rungs:
            if rung.mechanism in self._refused_to_decrypt:
                continue
            try:
                plaintext = self.device.decrypt(rung, ciphertext)
            except MechanismNotOfferedError:
                if rung is rungs[-1]:
                    raise
                self._refused_to_decrypt.add(rung.mechanism)
                continue
            except CiphertextRejectedError:
                break
            if rung.mechanism is Mechanism.RSA_X_509:
                return unpad(plaintext.rjust(len(ciphertext), b"\0"), substitute, length)
            if length in (None, len(plaintext)):
                return plaintext
            break
        block, begins = substitute
        return block[begins:] if length is None else block[-length:]


class TokenECPrivateKey(_OnDevice, ec.EllipticCurvePrivateKey):
    """An EC private key (P-256 or P-384) on a device."""

    def __init__(self, device: DeviceKey, public_key: ec.EllipticCurvePublicKey) -> None:
        super().__init__(device)
        self._public_key = public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """The size of the curve's field in bits."""
        return self._public_key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half, as an ordinary key."""
        return self._public_key

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign with ECDSA; the signature is DER (RFC 3279, 2.2.3). Errors as for RSA keys."""
        if not isinstance(signature_algorithm, ec.ECDSA):
            raise TypeError("An EC key on a device signs with ECDSA only.")
        if signature_algorithm.deterministic_signing:
            raise MechanismNotOfferedError(
                f"{sentence_case(self.device.description)} draws its own random numbers for ECDSA: deterministic "
                "signatures (RFC 6979) cannot be asked of it. Leave deterministic_signing out."
            )
        rungs = ecdsa_signature(signature_algorithm.algorithm, self.key_size, self.device.offered)
        return self._climb(_name(signature_algorithm.algorithm), rungs, bytes(data))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Always raises `MechanismNotOfferedError`: a signing key does not agree on keys as well."""
        raise MechanismNotOfferedError(f"{self.device.description} signs; it is not used for key agreement.")

    def private_numbers(self) -> NoReturn:
        """Always raises `KeyNotExportableError`."""
        self._not_exportable()


PrivateKey = TokenRSAPrivateKey | TokenECPrivateKey


def private_key(device: DeviceKey) -> PrivateKey:
    """The key object for a driver's key."""
    match device.public_key:
        case rsa.RSAPublicKey() as public:
            return TokenRSAPrivateKey(device, public)
        case public:
            return TokenECPrivateKey(device, public)


def _name(algorithm: hashes.HashAlgorithm | Prehashed | NoDigestInfo) -> tuple[str, bool]:
    if isinstance(algorithm, NoDigestInfo):
        return "digest-info", True
    return hash_name(algorithm), isinstance(algorithm, Prehashed)
