"""Private keys that live on a device and behave like `cryptography`'s own.

They are accepted wherever `cryptography` accepts an `RSAPrivateKey` or an `EllipticCurvePrivateKey`, for example by
certificate request builders and PKCS7SignatureBuilder. The caller chooses padding and hash; `tokens.mechanisms` returns
the candidate mechanisms, and a driver carries one out. This module is independent of the kind of device.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Hashable, Set
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self, runtime_checkable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed
from pkcs11 import Mechanism

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
from tokens.mechanisms import (
    Candidate,
    ecdsa_signature,
    identify_hash,
    identify_rsa_scheme,
    rsa_decryption,
    rsa_signature,
)
from tokens.policy import Finding, KeyAttributes

CURVES: dict[str, type[ec.EllipticCurve]] = {"secp256r1": ec.SECP256R1, "secp384r1": ec.SECP384R1}
"""The supported curves, by their names in SEC 2."""

REFUSAL_PAUSE = 60.0
"""Seconds for which an operation is not tried again whose every mechanism was refused by an unclear answer.

A device that fails answers in the same way as one that refuses, so the refusal must end with the failure. Each trial
costs a new login.
"""


_Refusals = list[tuple[Candidate, MechanismNotOfferedError]]


def compute_spki_sha256(public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """Return the fingerprint of a key: the SHA-256 of its SubjectPublicKeyInfo (RFC 7469, 2.4), in hexadecimal."""
    public = public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


class CiphertextRejectedError(Error):
    """A device refused a ciphertext. Never reaches the caller of a key, who could use it as an oracle."""


@runtime_checkable
class MayHang(Protocol):
    """A driver whose device may never return from a call."""

    def check_answers(self) -> None:
        """Raise `TokenLostError` while a call has not returned from the device. Makes no call."""


class DeviceKey(Protocol):
    """The interface of a driver: one private key, which any thread may use."""

    certificate_serial: str
    """The serial number of the certificate that the key is used with, in hexadecimal, for events; or empty."""

    @property
    def description(self) -> str:
        """The key and its token, for messages."""

    @property
    def public_key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """The public half."""

    @property
    def offered(self) -> Set[Mechanism]:
        """The mechanisms that the device lists and this key's usage allows."""

    @property
    def attributes(self) -> KeyAttributes:
        """The attributes that the device reports."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The policy's findings when the key was opened."""

    def sign(self, candidate: Candidate, data: bytes) -> bytes:
        """Return the device's output for the candidate's input.

        Raises `MechanismNotOfferedError` if the device refuses the mechanism.
        """

    def decrypt(self, candidate: Candidate, ciphertext: bytes) -> bytes:
        """Return the plaintext. Raises `CiphertextRejectedError` for every answer about the ciphertext."""

    def invalidate(self) -> None:
        """Discard the sessions and handles that lead to the key; the next use finds it again."""

    def close(self) -> None:
        """Release the device."""


class _OnDevice:
    """Base of RSA and EC keys: the device, candidate mechanisms in order, closing, and the refusal to export."""

    def __init__(self, device: DeviceKey) -> None:
        self.device = device
        self._working_candidates: dict[Hashable, Candidate] = {}
        self._refused_schemes: dict[Hashable, tuple[str, float]] = {}

    def close(self) -> None:
        """Release the device. The key cannot be used afterwards; closing twice is allowed."""
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
        raise TypeError(f"{self.device.description} cannot be pickled. Open the key in each process.")

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
        raise KeyNotExportableError(f"{self.device.description} cannot be exported: it stays on its device.")

    def _sign(self, scheme: Hashable, data: bytes, list_candidates: Callable[[], tuple[Candidate, ...]]) -> bytes:
        """Sign with the candidate that worked last for a scheme; if it is refused, or none did, with any other."""
        refusal, since = self._refused_schemes.get(scheme, ("", 0.0))
        if refusal and time.monotonic() < since + REFUSAL_PAUSE:
            raise MechanismNotOfferedError(refusal)
        refusals: _Refusals = []
        known = self._working_candidates.get(scheme)
        if known is not None and known.mechanism in self.device.offered:
            signature = self._try(scheme, known, data, refusals)
            if signature is not None:
                return signature
        return self._try_in_order(scheme, list_candidates(), data, refusals)

    def _try_in_order(
        self, scheme: Hashable, candidates: tuple[Candidate, ...], data: bytes, refusals: _Refusals
    ) -> bytes:
        """Sign with the first candidate that the device carries out. `refusals` are those that it has refused already.

        A mechanism list may contain mechanisms that do not work (SoftHSM 2.6.1 lists what its OpenSSL refuses).
        """
        refused = [candidate.mechanism for candidate, _ in refusals]
        for candidate in candidates:
            if candidate.mechanism not in refused:
                signature = self._try(scheme, candidate, data, refusals)
                if signature is not None:
                    return signature
        unclear = [candidate for candidate, error in refusals if isinstance(error, MechanismUnclearError)]
        if unclear:
            # Once more: if the device failed, it is reconnected now, or lost.
            signature = self._try(scheme, unclear[0], data, refusals)
            if signature is not None:
                return signature
        _, last = refusals[-1]
        refusal = str(last)
        if len(candidates) > 1:
            refusal = (
                f"{sentence_case(self.device.description)} refused every mechanism for this operation: "
                f"{', '.join(candidate.name for candidate in candidates)}. {refusal}"
            )
        if unclear:
            self._refused_schemes[scheme] = (refusal, time.monotonic())
        raise MechanismNotOfferedError(refusal) from last

    def _try(self, scheme: Hashable, candidate: Candidate, data: bytes, refusals: _Refusals) -> bytes | None:
        """Sign with a candidate and remember it for the next signature; note it in `refusals` if it is refused."""
        try:
            signature = self._use(candidate, data)
        except MechanismNotOfferedError as error:
            refusals.append((candidate, error))
            return None
        self._working_candidates[scheme] = candidate
        return signature

    def _use(self, candidate: Candidate, data: bytes) -> bytes:
        """Return the signature after the host has verified it.

        A signature that does not verify is never returned: the handle may lead to another key because another
        component re-initialised the module, or the device's arithmetic failed, which would reveal an RSA key's factors.
        """
        prepared = candidate.before(data)
        for _ in range(2):
            signature = candidate.after(self.device.sign(candidate, prepared))
            if candidate.verifies(self.public_key(), data, signature):
                return signature
            self.device.invalidate()
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

        Raises `MechanismNotOfferedError` if the token has no mechanism for it, and the other errors of
        `tokens.errors` if the token fails.
        """
        octets = _octets(data)

        def list_candidates() -> tuple[Candidate, ...]:
            return rsa_signature(padding, algorithm, self.key_size, self.device.offered, len(octets))

        return self._sign(identify_rsa_scheme(padding, algorithm, len(octets)), octets, list_candidates)

    def decrypt(self, ciphertext: bytes, padding: paddings.AsymmetricPadding) -> bytes:
        """Decrypt with PKCS1v15 or OAEP (RFC 8017).

        With PKCS1v15, wrong padding returns a random-looking plaintext, the same one each time, so that no caller
        becomes a padding oracle. With OAEP it raises `ValueError`.
        Raises `MechanismNotOfferedError` if the token has no mechanism for it.
        """
        candidates = rsa_decryption(padding, self.device.offered)
        if len(ciphertext) != (self.key_size + 7) // 8:
            raise ValueError(f"A ciphertext for {self.device.description} is {(self.key_size + 7) // 8} bytes.")
        if isinstance(padding, paddings.PKCS1v15):
            return self._decrypt_pkcs1(candidates, bytes(ciphertext), None)
        try:
            return self.device.decrypt(candidates[0], bytes(ciphertext))
        except CiphertextRejectedError:
            raise ValueError("Decryption failed.") from None

    def decrypt_secret(self, ciphertext: bytes, length: int) -> bytes:
        """Decrypt a secret of a known length, in bytes, with PKCS1v15; always return that many bytes.

        Wrong padding and wrong length both return random bytes (RFC 5246, 7.4.7.1). Raises as `decrypt` does.
        """
        candidates = rsa_decryption(paddings.PKCS1v15(), self.device.offered)
        if len(ciphertext) != (self.key_size + 7) // 8:
            raise ValueError(f"A ciphertext for {self.device.description} is {(self.key_size + 7) // 8} bytes.")
        return self._decrypt_pkcs1(candidates, bytes(ciphertext), length)

    def private_numbers(self) -> NoReturn:
        """Always raises `KeyNotExportableError`."""
        self._not_exportable()

    def _decrypt_pkcs1(self, candidates: tuple[Candidate, ...], ciphertext: bytes, length: int | None) -> bytes:
        """Decrypt with the raw operation, or else with the device's own check of the padding and its timing."""
        substitute = implicit_message(self._rejection_secret, ciphertext, len(ciphertext))
        for candidate in candidates:
            if candidate.mechanism in self._refused_to_decrypt:
                continue
            try:
                plaintext = self.device.decrypt(candidate, ciphertext)
            except MechanismNotOfferedError:
                if candidate is candidates[-1]:
                    raise
                self._refused_to_decrypt.add(candidate.mechanism)
                continue
            except CiphertextRejectedError:
                break
            if candidate.mechanism is Mechanism.RSA_X_509:
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
                f"{sentence_case(self.device.description)} makes its own random numbers for ECDSA, so it cannot make "
                "deterministic signatures (RFC 6979).",
                remedy="Remove deterministic_signing.",
            )
        algorithm = signature_algorithm.algorithm

        def list_candidates() -> tuple[Candidate, ...]:
            return ecdsa_signature(algorithm, self.key_size, self.device.offered)

        return self._sign(identify_hash(algorithm), _octets(data), list_candidates)

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Always raises `MechanismNotOfferedError`: a signing key is not used for key agreement."""
        raise MechanismNotOfferedError(
            f"{sentence_case(self.device.description)} is for signatures, not for key agreement."
        )

    def private_numbers(self) -> NoReturn:
        """Always raises `KeyNotExportableError`."""
        self._not_exportable()


PrivateKey = TokenRSAPrivateKey | TokenECPrivateKey


def private_key(device: DeviceKey) -> PrivateKey:
    """Return the key object for a driver's key."""
    match device.public_key:
        case rsa.RSAPublicKey() as public:
            return TokenRSAPrivateKey(device, public)
        case public:
            return TokenECPrivateKey(device, public)


def _octets(data: object) -> bytes:
    """Return the bytes of a buffer. Raises TypeError for a number or a list, which `bytes` would accept."""
    try:
        return bytes(memoryview(data))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"The data to sign must be bytes, not {type(data).__name__}.") from None
