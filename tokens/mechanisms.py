"""Candidate mechanisms for an operation, in order of preference, from the key, padding, hash and mechanism list.

Pure functions: nothing here talks to a device. A candidate states which PKCS#11 mechanism to use, what the host does
before and after it, and how the host verifies the result. The orders are:

* RSASSA-PKCS1-v1_5: CKM_SHAxxx_RSA_PKCS over the data; CKM_RSA_PKCS over a DigestInfo; CKM_RSA_X_509 over a block
  padded by the host. Data beyond `WORTH_SENDING` is hashed on the host first where the token allows that.
* RSASSA-PSS: CKM_SHAxxx_RSA_PKCS_PSS; CKM_RSA_PKCS_PSS over the digest; CKM_RSA_X_509 over a block padded by the host.
* ECDSA: CKM_ECDSA over the digest; CKM_ECDSA_SHAxxx over the data. The token's r || s becomes DER.
* RSAES-PKCS1-v1_5: CKM_RSA_X_509, after which the host removes the padding in constant time
  (`tokens.algorithms.unpadding`); CKM_RSA_PKCS.
* RSAES-OAEP: CKM_RSA_PKCS_OAEP.

Mechanism names and parameters: PKCS#11 v3.1, 6.1 (RSA) and 6.3 (ECDSA).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import padding as paddings
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed, encode_dss_signature
from pkcs11 import MGF, Mechanism

from tokens.algorithms._cryptography import get_prehashed_algorithm, mgf_hash, oaep_label, pss_salt, pss_salt_length
from tokens.algorithms.hashing import digest_by_name, hash_name
from tokens.algorithms.rsa_encoding import DIGEST_INFO_PREFIX, digest_info, emsa_pkcs1_v1_5, emsa_pss, is_pss_signature
from tokens.errors import MechanismNotOfferedError

WORTH_SENDING = 16 * 1024
"""Data longer than this, in bytes, is hashed on the host rather than sent to the token."""

Hash = hashes.HashAlgorithm | Prehashed | NoDigestInfo

_PKCS1, _READY = paddings.PKCS1v15(), NoDigestInfo()

_COMBINED_PKCS1 = {
    "md5": Mechanism.MD5_RSA_PKCS,
    "sha1": Mechanism.SHA1_RSA_PKCS,
    "ripemd160": Mechanism(0x08),  # CKM_RIPEMD160_RSA_PKCS, for which python-pkcs11 has no public name
    "sha224": Mechanism.SHA224_RSA_PKCS,
    "sha256": Mechanism.SHA256_RSA_PKCS,
    "sha384": Mechanism.SHA384_RSA_PKCS,
    "sha512": Mechanism.SHA512_RSA_PKCS,
}
_COMBINED_PSS = {
    "sha1": Mechanism.SHA1_RSA_PKCS_PSS,
    "sha224": Mechanism.SHA224_RSA_PKCS_PSS,
    "sha256": Mechanism.SHA256_RSA_PKCS_PSS,
    "sha384": Mechanism.SHA384_RSA_PKCS_PSS,
    "sha512": Mechanism.SHA512_RSA_PKCS_PSS,
}
_COMBINED_ECDSA = {
    "sha1": Mechanism.ECDSA_SHA1,
    "sha224": Mechanism.ECDSA_SHA224,
    "sha256": Mechanism.ECDSA_SHA256,
    "sha384": Mechanism.ECDSA_SHA384,
    "sha512": Mechanism.ECDSA_SHA512,
}
_DIGEST = {
    "sha1": Mechanism.SHA_1,
    "sha224": Mechanism.SHA224,
    "sha256": Mechanism.SHA256,
    "sha384": Mechanism.SHA384,
    "sha512": Mechanism.SHA512,
}
_MGF1 = {
    "sha1": MGF.SHA1,
    "sha224": MGF.SHA224,
    "sha256": MGF.SHA256,
    "sha384": MGF.SHA384,
    "sha512": MGF.SHA512,
}

Transform = Callable[[bytes], bytes]


Verification = Callable[[Any, bytes, bytes], bool]
"""(public key, data, signature) -> whether the signature verifies."""


def _pass_through(data: bytes) -> bytes:
    return data


def _not_a_signature(public_key: Any, data: bytes, result: bytes) -> bool:
    raise TypeError("This candidate makes no signatures.")


@dataclass(frozen=True)
class Candidate:
    """One way to carry out an operation.

    `before` turns the caller's data into the token's input, `after` the token's output into the result, and
    `verifies` returns whether that result is a signature of the data by a public key.
    `parameter` is what python-pkcs11 takes as `mechanism_param`.
    """

    mechanism: Mechanism
    parameter: Any = None
    before: Transform = _pass_through
    after: Transform = _pass_through
    verifies: Verification = _not_a_signature

    @cached_property
    def name(self) -> str:
        """The PKCS#11 name, such as CKM_RSA_PKCS."""
        return "CKM_" + self.mechanism.name.lstrip("_")


def identify_rsa_scheme(padding: object, algorithm: object, data_length: int) -> Hashable:
    """Return a value that RSA signatures have in common if their candidates, and the order of these, are the same.

    It is needed for each signature, so it checks nothing: arguments of wrong types have a value too.
    """
    scheme = identify_hash(algorithm), type(padding), data_length <= WORTH_SENDING
    # Not `isinstance` first: it is slow for a padding of another class, since those of `cryptography` are abstract.
    if type(padding) is paddings.PKCS1v15 or not isinstance(padding, paddings.PSS):
        return scheme
    return (*scheme, identify_hash(mgf_hash(padding)), pss_salt(padding))


def identify_hash(algorithm: object) -> Hashable:
    """Return a value that is the same for two hashes if they are the same, and hash the data or take it as hashed."""
    hashed = get_prehashed_algorithm(algorithm) if isinstance(algorithm, Prehashed) else algorithm
    return type(algorithm), type(hashed), getattr(hashed, "name", None), getattr(hashed, "digest_size", None)


def rsa_signature(
    padding: object, algorithm: Hash, key_bits: int, offered: Set[Mechanism], data_length: int = 0
) -> tuple[Candidate, ...]:
    """Return the candidates for an RSA signature, in order of preference; never empty.

    `data_length` is in bytes and affects only the order. Raises `TypeError` or `ValueError` for arguments that
    `cryptography` refuses too, and `MechanismNotOfferedError` if the token offers no candidate.
    """
    if isinstance(padding, paddings.PKCS1v15):
        candidates, scheme = _pkcs1_v1_5(algorithm, key_bits, data_length), "RSASSA-PKCS1-v1_5"
    elif isinstance(padding, paddings.PSS):
        candidates, scheme = _pss(padding, algorithm, key_bits, data_length), "RSASSA-PSS"
    else:
        raise TypeError("Padding must be PKCS1v15 or PSS.")
    return _select_offered(candidates, offered, f"{scheme} with {describe_hash(algorithm)}")


def ecdsa_signature(
    algorithm: hashes.HashAlgorithm | Prehashed, order_bits: int, offered: Set[Mechanism]
) -> tuple[Candidate, ...]:
    """Return the candidates for an ECDSA signature in DER (RFC 3279, 2.2.3), in order of preference; never empty.

    `order_bits` is the size of the curve's order; a longer digest is cut to it (SEC 1, 4.1.3).
    """
    size = (order_bits + 7) // 8
    name, hash_data = hash_name(algorithm), _make_hashing(algorithm)
    # `cryptography` does not have RIPEMD-160; SHA-1 has the same length.
    scheme = ec.ECDSA(Prehashed(hashes.SHA1()) if name == "ripemd160" else algorithm)  # noqa: S303

    def der(raw: bytes) -> bytes:
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))

    def verifies(public_key: Any, data: bytes, signature: bytes) -> bool:
        return _verifies(public_key, signature, hash_data(data) if name == "ripemd160" else data, scheme)

    candidates = [Candidate(Mechanism.ECDSA, None, lambda data: hash_data(data)[:size], der, verifies)]
    if not isinstance(algorithm, Prehashed) and name in _COMBINED_ECDSA:
        candidates.append(Candidate(_COMBINED_ECDSA[name], after=der, verifies=verifies))
    return _select_offered(candidates, offered, f"ECDSA with {describe_hash(algorithm)}")


def rsa_decryption(padding: object, offered: Set[Mechanism]) -> tuple[Candidate, ...]:
    """Return the candidates to decrypt with this padding, in order of preference. Raises `MechanismNotOfferedError`.

    With PKCS1v15 the raw operation comes first; the host then removes the padding (`algorithms.unpadding`).
    """
    if isinstance(padding, paddings.PKCS1v15):
        candidates = [Candidate(Mechanism.RSA_X_509), Candidate(Mechanism.RSA_PKCS)]
        return _select_offered(candidates, offered, "RSAES-PKCS1-v1_5 decryption")
    if isinstance(padding, paddings.OAEP):
        digest_name, mgf_name = hash_name(padding.algorithm), hash_name(mgf_hash(padding))
        if digest_name not in _DIGEST or mgf_name not in _MGF1:
            raise ValueError(f"OAEP with {digest_name} and MGF1 with {mgf_name} has no PKCS#11 mechanism.")
        parameter = (_DIGEST[digest_name], _MGF1[mgf_name], oaep_label(padding))
        return _select_offered([Candidate(Mechanism.RSA_PKCS_OAEP, parameter)], offered, f"OAEP with {digest_name}")
    raise TypeError("Padding must be PKCS1v15 or OAEP.")


def describe_hash(algorithm: Hash) -> str:
    """Return the hash for messages: SHA256, prehashed SHA256, a ready DigestInfo."""
    if isinstance(algorithm, NoDigestInfo):
        return "a ready DigestInfo"
    name = hash_name(algorithm).upper()
    return f"prehashed {name}" if isinstance(algorithm, Prehashed) else name


def _pkcs1_v1_5(algorithm: Hash, key_bits: int, data_length: int) -> list[Candidate]:
    if isinstance(algorithm, NoDigestInfo):
        encode: Transform = _pass_through
    else:
        name, hash_data = hash_name(algorithm), _make_hashing(algorithm)
        if name not in DIGEST_INFO_PREFIX:
            raise ValueError(f"RSASSA-PKCS1-v1_5 with {name} is not supported.")

        def encode(data: bytes) -> bytes:
            return digest_info(name, hash_data(data))

    def verifies(public_key: Any, data: bytes, signature: bytes) -> bool:
        return _verifies(public_key, signature, encode(data), _PKCS1, _READY)

    candidates = [
        Candidate(Mechanism.RSA_PKCS, before=encode, verifies=verifies),
        Candidate(Mechanism.RSA_X_509, before=lambda data: emsa_pkcs1_v1_5(encode(data), key_bits), verifies=verifies),
    ]
    if isinstance(algorithm, hashes.HashAlgorithm):
        combined = Candidate(_COMBINED_PKCS1[name], verifies=verifies)
        candidates.insert(0 if data_length <= WORTH_SENDING else len(candidates), combined)
    return candidates


def _pss(padding: paddings.PSS, algorithm: Hash, key_bits: int, data_length: int) -> list[Candidate]:
    if isinstance(algorithm, NoDigestInfo):
        raise TypeError("PSS needs a hash.")
    name, mgf_name = hash_name(algorithm), hash_name(mgf_hash(padding))
    hash_data = _make_hashing(algorithm)
    salt_length = pss_salt_length(padding, algorithm.digest_size, key_bits)
    hashed = algorithm if isinstance(algorithm, Prehashed) else Prehashed(algorithm)
    exact = paddings.PSS(padding.mgf, salt_length)

    def verifies(public_key: Any, data: bytes, signature: bytes) -> bool:
        if "ripemd160" in (name, mgf_name):  # `cryptography` does not have it
            return is_pss_signature(public_key, hash_data(data), signature, name, mgf_name, salt_length)
        return _verifies(public_key, signature, hash_data(data), exact, hashed)

    candidates: list[Candidate] = []
    if name in _DIGEST and mgf_name in _MGF1:
        parameter = (_DIGEST[name], _MGF1[mgf_name], salt_length)
        candidates.append(Candidate(Mechanism.RSA_PKCS_PSS, parameter, hash_data, verifies=verifies))
        if isinstance(algorithm, hashes.HashAlgorithm):
            combined = Candidate(_COMBINED_PSS[name], parameter, verifies=verifies)
            candidates.insert(0 if data_length <= WORTH_SENDING else len(candidates), combined)
    by_host = Candidate(
        Mechanism.RSA_X_509,
        before=lambda data: emsa_pss(hash_data(data), key_bits, name, mgf_name, salt_length),
        verifies=verifies,
    )
    return [*candidates, by_host]


def _verifies(public_key: Any, signature: bytes, data: bytes, *scheme: object) -> bool:
    try:
        public_key.verify(signature, data, *scheme)
    except InvalidSignature:
        return False
    except UnsupportedAlgorithm:
        return False  # a signature that the host cannot verify is not used
    return True


def _make_hashing(algorithm: hashes.HashAlgorithm | Prehashed) -> Transform:
    """Return the function that hashes the data to sign, or checks the length of data that the caller has hashed."""
    name = hash_name(algorithm)
    if not isinstance(algorithm, Prehashed):
        return lambda data: digest_by_name(name, data)
    size = algorithm.digest_size

    def check(data: bytes) -> bytes:
        if len(data) != size:
            raise ValueError(f"A {name} digest is {size} bytes, not {len(data)}.")
        return data

    return check


def _select_offered(candidates: list[Candidate], offered: Set[Mechanism], wanted: str) -> tuple[Candidate, ...]:
    usable = tuple(candidate for candidate in candidates if candidate.mechanism in offered)
    if not usable:
        names = ", ".join(candidate.name for candidate in candidates)
        raise MechanismNotOfferedError(f"The token cannot do {wanted}: it offers none of {names}.")
    return usable
