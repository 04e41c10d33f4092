"""Candidate mechanisms, without a token."""

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed, decode_dss_signature
from pkcs11 import MGF, Mechanism

from tokens.algorithms.hashing import RIPEMD160
from tokens.errors import MechanismNotOfferedError
from tokens.mechanisms import WORTH_SENDING, ecdsa_signature, identify_rsa_scheme, rsa_decryption, rsa_signature

PKCS1, SHA256 = padding.PKCS1v15(), hashes.SHA256()
PSS = padding.PSS(padding.MGF1(SHA256), 32)
EVERYTHING = frozenset(Mechanism)


def names(candidates: object) -> list[str]:
    return [candidate.name for candidate in candidates]


def test_pkcs1_prefers_the_combined_mechanism_to_the_raw_one() -> None:
    candidates = rsa_signature(PKCS1, SHA256, 2048, EVERYTHING)
    assert names(candidates) == ["CKM_SHA256_RSA_PKCS", "CKM_RSA_PKCS", "CKM_RSA_X_509"]
    assert candidates[0].before(b"data") == b"data"
    assert candidates[1].before(b"data").hex().startswith("3031300d0609608648016503040201")
    assert len(candidates[2].before(b"data")) == 256


def test_long_data_is_hashed_on_the_host_where_the_token_allows_it() -> None:
    candidates = rsa_signature(PKCS1, SHA256, 2048, EVERYTHING, WORTH_SENDING + 1)
    assert names(candidates) == ["CKM_RSA_PKCS", "CKM_RSA_X_509", "CKM_SHA256_RSA_PKCS"]


def test_a_digest_is_never_sent_to_a_mechanism_that_would_hash_it_again() -> None:
    assert names(rsa_signature(PKCS1, Prehashed(SHA256), 2048, EVERYTHING)) == ["CKM_RSA_PKCS", "CKM_RSA_X_509"]
    assert names(rsa_signature(PSS, Prehashed(SHA256), 2048, EVERYTHING)) == ["CKM_RSA_PKCS_PSS", "CKM_RSA_X_509"]


def test_pss_names_hash_mask_and_salt() -> None:
    candidates = rsa_signature(PSS, SHA256, 2048, EVERYTHING)
    assert names(candidates) == ["CKM_SHA256_RSA_PKCS_PSS", "CKM_RSA_PKCS_PSS", "CKM_RSA_X_509"]
    assert candidates[0].parameter == (Mechanism.SHA256, MGF.SHA256, 32)
    longest = padding.PSS(padding.MGF1(SHA256), padding.PSS.MAX_LENGTH)
    assert rsa_signature(longest, SHA256, 2048, EVERYTHING)[0].parameter[2] == 222
    as_digest = padding.PSS(padding.MGF1(SHA256), padding.PSS.DIGEST_LENGTH)
    assert rsa_signature(as_digest, SHA256, 2048, EVERYTHING)[0].parameter[2] == 32


def test_pss_without_a_mechanism_is_padded_by_the_host() -> None:
    assert names(rsa_signature(PSS, SHA256, 2048, {Mechanism.RSA_X_509, Mechanism.RSA_PKCS})) == ["CKM_RSA_X_509"]


class Renamed(hashes.SHA256):
    """A hash of somebody else, which has its name from the caller."""

    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


def test_schemes_with_other_candidates_have_another_identity() -> None:
    """A key remembers by this value which candidate works."""

    def make() -> list[tuple[padding.AsymmetricPadding, Any, int]]:
        masks = (hashes.SHA256(), hashes.SHA1(), Renamed("sha256"))
        salts = (32, 20, padding.PSS.MAX_LENGTH)
        paddings = [PKCS1, *(padding.PSS(padding.MGF1(mask), salt) for mask in masks for salt in salts)]
        algorithms = (hashes.SHA256(), hashes.SHA384(), Renamed("sha384"), Prehashed(hashes.SHA256()), NoDigestInfo())
        return [
            (scheme, algorithm, length)
            for scheme in paddings
            for algorithm in algorithms
            for length in (1, WORTH_SENDING + 1)
            if scheme is PKCS1 or not isinstance(algorithm, NoDigestInfo)
        ]

    def describe(scheme: padding.AsymmetricPadding, algorithm: Any, length: int) -> str:
        candidates = rsa_signature(scheme, algorithm, 2048, EVERYTHING, length)
        data = bytes(32) if isinstance(algorithm, Prehashed) else b"data"
        inputs = [one.before(data) if one.mechanism is Mechanism.RSA_PKCS else None for one in candidates]
        return repr([(one.name, one.parameter, value) for one, value in zip(candidates, inputs, strict=True)])

    described: dict[object, str] = {}
    for one, again in zip(make(), make(), strict=True):
        assert identify_rsa_scheme(*one) == identify_rsa_scheme(*again), "other objects of the same value"
        assert described.setdefault(identify_rsa_scheme(*one), describe(*one)) == describe(*one)
    assert len(described) == len(make())


def test_arguments_of_wrong_types_have_an_identity_of_their_own() -> None:
    known = {identify_rsa_scheme(PKCS1, SHA256, 1), identify_rsa_scheme(PSS, SHA256, 1)}
    for scheme, algorithm in ((PKCS1, hashlib.sha256()), (PKCS1, None), ("PSS", SHA256), (padding.OAEP, SHA256)):
        assert identify_rsa_scheme(scheme, algorithm, 1) not in known
        with pytest.raises(TypeError):
            rsa_signature(scheme, algorithm, 2048, EVERYTHING)  # type: ignore[arg-type]


def test_old_hashes_go_as_digest_info() -> None:
    for algorithm in (hashes.MD5(), hashes.SHA1(), RIPEMD160()):
        assert names(rsa_signature(PKCS1, Prehashed(algorithm), 2048, {Mechanism.RSA_PKCS})) == ["CKM_RSA_PKCS"]


def test_a_ready_digest_info_is_passed_on_as_it_is() -> None:
    candidate = rsa_signature(PKCS1, NoDigestInfo(), 2048, {Mechanism.RSA_PKCS})[0]
    assert candidate.before(b"\x30\x00") == b"\x30\x00"


def test_what_no_mechanism_serves_is_refused_by_name() -> None:
    with pytest.raises(
        MechanismNotOfferedError, match="RSASSA-PSS with SHA256: it offers none of CKM_SHA256_RSA_PKCS_PSS"
    ):
        rsa_signature(PSS, SHA256, 2048, {Mechanism.RSA_PKCS})
    with pytest.raises(MechanismNotOfferedError, match="ECDSA"):
        ecdsa_signature(SHA256, 256, set())


def test_a_wrong_digest_length_is_refused() -> None:
    candidate = rsa_signature(PKCS1, Prehashed(SHA256), 2048, EVERYTHING)[0]
    with pytest.raises(ValueError, match="32 bytes, not 4"):
        candidate.before(b"data")


def test_ecdsa_sends_the_digest_cut_to_the_curve_and_answers_der() -> None:
    candidates = ecdsa_signature(hashes.SHA512(), 256, EVERYTHING)
    assert names(candidates) == ["CKM_ECDSA", "CKM_ECDSA_SHA512"]
    assert len(candidates[0].before(b"data")) == 32
    assert decode_dss_signature(candidates[0].after(b"\0" * 31 + b"\1" + b"\0" * 31 + b"\2")) == (1, 2)
    assert names(ecdsa_signature(Prehashed(SHA256), 256, EVERYTHING)) == ["CKM_ECDSA"]


def test_oaep_never_falls_back_to_raw_rsa_and_pkcs1_prefers_it() -> None:
    oaep = padding.OAEP(padding.MGF1(SHA256), SHA256, None)
    assert names(rsa_decryption(oaep, EVERYTHING)) == ["CKM_RSA_PKCS_OAEP"]
    with pytest.raises(MechanismNotOfferedError):
        rsa_decryption(oaep, {Mechanism.RSA_X_509})
    assert names(rsa_decryption(PKCS1, EVERYTHING)) == ["CKM_RSA_X_509", "CKM_RSA_PKCS"]
    assert names(rsa_decryption(PKCS1, {Mechanism.RSA_PKCS})) == ["CKM_RSA_PKCS"]


@pytest.mark.parametrize(
    "mask", [RIPEMD160(), hashes.SHA256()], ids=["RIPEMD-160 in the mask too", "SHA-256 in the mask"]
)
def test_a_pss_signature_that_cryptography_cannot_verify_is_verified_by_the_host(mask: hashes.HashAlgorithm) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pss = padding.PSS(padding.MGF1(mask), 20)
    (candidate,) = rsa_signature(pss, RIPEMD160(), 2048, {Mechanism.RSA_X_509})
    numbers = key.private_numbers()
    block = int.from_bytes(candidate.before(b"data"), "big")
    signature = pow(block, numbers.d, numbers.public_numbers.n).to_bytes(256, "big")
    assert candidate.verifies(key.public_key(), b"data", signature)
    assert not candidate.verifies(key.public_key(), b"other data", signature)
    assert not candidate.verifies(key.public_key(), b"data", bytes(256))


def test_an_ecdsa_signature_over_ripemd160_is_verified() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (candidate,) = ecdsa_signature(RIPEMD160(), 256, {Mechanism.ECDSA})
    signature = key.sign(candidate.before(b"data"), ec.ECDSA(Prehashed(hashes.SHA1())))
    assert candidate.verifies(key.public_key(), b"data", signature)
    assert not candidate.verifies(key.public_key(), b"other data", signature)


def test_a_signature_with_an_algorithm_that_nobody_here_verifies_does_not_count() -> None:
    class Unknown(hashes.SHA256):
        name = "unknown"

    key = ec.generate_private_key(ec.SECP256R1())
    (candidate,) = ecdsa_signature(Unknown(), 256, {Mechanism.ECDSA})
    signature = key.sign(hashlib.sha256(b"data").digest(), ec.ECDSA(Prehashed(hashes.SHA256())))
    assert not candidate.verifies(key.public_key(), b"data", signature)
