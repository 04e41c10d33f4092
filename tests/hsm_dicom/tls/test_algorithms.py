"""What a suite consists of, by its name alone."""

from __future__ import annotations

import pytest

from hsm_dicom.tls import get_suite_algorithms
from hsm_dicom.tls.suites import SUITES
from tests.pki import Authority, new_key


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("TLS_AES_256_GCM_SHA384", ("AES", 256, "not known", None, "GCM", 128, "ECDHE or DHE")),
        ("TLS_CHACHA20_POLY1305_SHA256", ("ChaCha20", 256, "not known", None, "Poly1305", 128, "ECDHE or DHE")),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", ("AES", 128, "ECDSA", None, "CCM-8", 64, "ECDHE")),
        ("TLS_DHE_RSA_WITH_CAMELLIA_256_GCM_SHA384", ("Camellia", 256, "RSA", None, "GCM", 128, "DHE")),
        ("TLS_DHE_RSA_WITH_AES_256_CBC_SHA", ("AES", 256, "RSA", None, "HMAC-SHA-1", 160, "DHE")),
        ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", ("3DES", 168, "RSA", None, "HMAC-SHA-1", 160, "RSA")),
        ("TLS_RSA_WITH_DES_CBC_SHA", ("DES", 56, "RSA", None, "HMAC-SHA-1", 160, "RSA")),
    ],
)
def test_a_name_says_it_all(suite: str, expected: tuple[object, ...]) -> None:
    found = get_suite_algorithms(suite)
    assert found is not None
    assert (
        found.encryption,
        found.encryption_bits,
        found.authentication,
        found.authentication_bits,
        found.integrity,
        found.integrity_bits,
        found.key_exchange,
    ) == expected


def test_every_suite_of_a_profile_is_known() -> None:
    for suite in SUITES.values():
        found = get_suite_algorithms(suite.name)
        assert found is not None
        assert None not in (found.encryption_bits, found.integrity_bits), suite


@pytest.mark.parametrize(("kind", "expected"), [("rsa2048", ("RSA", 2048)), ("secp384r1", ("ECDSA", 384))])
def test_the_peers_key_says_how_it_was_authenticated(kind: str, expected: tuple[str, int]) -> None:
    certificate = Authority().issue("peer", key=new_key(kind)).certificate
    found = get_suite_algorithms("TLS_AES_128_GCM_SHA256", certificate)
    assert found is not None
    assert (found.authentication, found.authentication_bits) == expected


def test_no_tls_suite_has_no_algorithms() -> None:
    assert get_suite_algorithms("DES-CBC, MD5, fixed keys") is None
