"""What each purpose asks of key usage and extended key usage."""

from __future__ import annotations

import pytest
from cryptography import x509

from hsm_dicom.trust import Policy, Purpose, Reason, TrustStore, TrustVerdict, Verifier
from tests.pki import Authority, Identity

CA = Authority("Test CA")
SERVER = "1.3.6.1.5.5.7.3.1"
CLIENT = "1.3.6.1.5.5.7.3.2"
EMAIL = "1.3.6.1.5.5.7.3.4"
STAMPING = "1.3.6.1.5.5.7.3.8"
DOCUMENTS = "1.3.6.1.5.5.7.3.36"
ANY = "2.5.29.37.0"


def judge(identity: Identity, purpose: Purpose, *sent: x509.Certificate, policy: Policy | None = None) -> TrustVerdict:
    verifier = Verifier(TrustStore([CA.certificate]), policy)
    return verifier.judge(identity.certificate, purpose, intermediates=sent)


@pytest.mark.parametrize(
    ("purpose", "usage"),
    [
        (Purpose.SIGNING, "digital_signature"),
        (Purpose.SIGNING, "content_commitment"),
        (Purpose.TLS_CLIENT, "digital_signature"),
        (Purpose.TLS_SERVER, "digital_signature"),
        (Purpose.TLS_SERVER_RSA_KEY_EXCHANGE, "key_encipherment"),
    ],
)
def test_the_right_key_usage_is_enough(purpose: Purpose, usage: str) -> None:
    assert judge(CA.issue("Node", usages=(usage,)), purpose).trusted


@pytest.mark.parametrize(
    ("purpose", "usage"),
    [
        (Purpose.SIGNING, "key_encipherment"),
        (Purpose.SIGNING, "key_cert_sign"),
        (Purpose.TLS_CLIENT, "key_encipherment"),
        (Purpose.TLS_SERVER, "key_encipherment"),
        (Purpose.TLS_SERVER_RSA_KEY_EXCHANGE, "digital_signature"),
        (Purpose.TIME_STAMPING, "key_encipherment"),
    ],
)
def test_the_wrong_key_usage_is_refused(purpose: Purpose, usage: str) -> None:
    stamping = {"extended": [STAMPING], "extended_critical": True} if purpose is Purpose.TIME_STAMPING else {}
    assert judge(CA.issue("Node", usages=(usage,), **stamping), purpose).reason is Reason.WRONG_KEY_USAGE


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not Purpose.TIME_STAMPING])
def test_a_certificate_without_the_extensions_is_not_limited_by_them(purpose: Purpose) -> None:
    assert judge(CA.issue("Node", usages=None), purpose).trusted


@pytest.mark.parametrize(
    ("purpose", "extended"),
    [
        (Purpose.SIGNING, [EMAIL]),
        (Purpose.SIGNING, [DOCUMENTS]),
        (Purpose.SIGNING, [CLIENT, EMAIL]),
        (Purpose.TLS_CLIENT, [CLIENT]),
        (Purpose.TLS_CLIENT, [SERVER, CLIENT]),
        (Purpose.TLS_SERVER, [SERVER]),
        (Purpose.TLS_SERVER, [ANY]),
    ],
)
def test_the_right_extended_key_usage_is_accepted(purpose: Purpose, extended: list[str]) -> None:
    assert judge(CA.issue("Node", extended=extended), purpose).trusted


@pytest.mark.parametrize(
    ("purpose", "extended"),
    [
        (Purpose.SIGNING, [SERVER]),
        (Purpose.SIGNING, [STAMPING]),
        (Purpose.TLS_CLIENT, [SERVER]),
        (Purpose.TLS_SERVER, [CLIENT]),
        (Purpose.TLS_SERVER, [EMAIL]),
    ],
)
def test_the_wrong_extended_key_usage_is_refused(purpose: Purpose, extended: list[str]) -> None:
    verdict = judge(CA.issue("Node", extended=extended), purpose)
    assert verdict.reason is Reason.WRONG_EXTENDED_KEY_USAGE
    assert purpose in verdict.text


def test_an_officer_may_accept_more_for_signing() -> None:
    node = CA.issue("Node", extended=[CLIENT])
    assert not judge(node, Purpose.SIGNING).trusted
    policy = Policy(signing_extended_key_usages=frozenset({CLIENT}))
    assert judge(node, Purpose.SIGNING, policy=policy).trusted


def test_a_ca_limited_to_servers_vouches_for_no_signer() -> None:
    middle = CA.authority("Server CA", extended=[SERVER])
    verdict = judge(middle.issue("Signer"), Purpose.SIGNING, middle.certificate)
    assert verdict.reason is Reason.WRONG_EXTENDED_KEY_USAGE
    assert "CN=Server CA" in verdict.text
    assert judge(middle.issue("Server"), Purpose.TLS_SERVER, middle.certificate).trusted
