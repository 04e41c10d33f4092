"""What each purpose asks of key usage and extended key usage."""

from __future__ import annotations

import pytest
from cryptography import x509

from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Policy, Reason, TrustStore, TrustVerdict
from tests.pki import Authority, Identity

CA = Authority("Test CA")
SERVER = "1.3.6.1.5.5.7.3.1"
CLIENT = "1.3.6.1.5.5.7.3.2"
EMAIL = "1.3.6.1.5.5.7.3.4"
STAMPING = "1.3.6.1.5.5.7.3.8"
DOCUMENTS = "1.3.6.1.5.5.7.3.36"
ANY = "2.5.29.37.0"


def validate(
    identity: Identity, purpose: CertificatePurpose, *sent: x509.Certificate, policy: Policy | None = None
) -> TrustVerdict:
    validator = CertificateValidator(TrustStore([CA.certificate]), policy)
    return validator.validate(identity.certificate, purpose, intermediates=sent)


@pytest.mark.parametrize(
    ("purpose", "usage"),
    [
        (CertificatePurpose.SIGNING, "digital_signature"),
        (CertificatePurpose.SIGNING, "content_commitment"),
        (CertificatePurpose.TLS_CLIENT, "digital_signature"),
        (CertificatePurpose.TLS_SERVER, "digital_signature"),
        (CertificatePurpose.TLS_SERVER_RSA_KEY_EXCHANGE, "key_encipherment"),
    ],
)
def test_the_right_key_usage_is_enough(purpose: CertificatePurpose, usage: str) -> None:
    assert validate(CA.issue("Node", usages=(usage,)), purpose).trusted


@pytest.mark.parametrize(
    ("purpose", "usage"),
    [
        (CertificatePurpose.SIGNING, "key_encipherment"),
        (CertificatePurpose.SIGNING, "key_cert_sign"),
        (CertificatePurpose.TLS_CLIENT, "key_encipherment"),
        (CertificatePurpose.TLS_SERVER, "key_encipherment"),
        (CertificatePurpose.TLS_SERVER_RSA_KEY_EXCHANGE, "digital_signature"),
        (CertificatePurpose.TIME_STAMPING, "key_encipherment"),
    ],
)
def test_the_wrong_key_usage_is_refused(purpose: CertificatePurpose, usage: str) -> None:
    stamping = (
        {"extended": [STAMPING], "extended_critical": True} if purpose is CertificatePurpose.TIME_STAMPING else {}
    )
    assert validate(CA.issue("Node", usages=(usage,), **stamping), purpose).reason is Reason.WRONG_KEY_USAGE


@pytest.mark.parametrize("purpose", [p for p in CertificatePurpose if p is not CertificatePurpose.TIME_STAMPING])
def test_a_certificate_without_the_extensions_is_not_limited_by_them(purpose: CertificatePurpose) -> None:
    assert validate(CA.issue("Node", usages=None), purpose).trusted


@pytest.mark.parametrize(
    ("purpose", "extended"),
    [
        (CertificatePurpose.SIGNING, [EMAIL]),
        (CertificatePurpose.SIGNING, [DOCUMENTS]),
        (CertificatePurpose.SIGNING, [CLIENT, EMAIL]),
        (CertificatePurpose.TLS_CLIENT, [CLIENT]),
        (CertificatePurpose.TLS_CLIENT, [SERVER, CLIENT]),
        (CertificatePurpose.TLS_SERVER, [SERVER]),
        (CertificatePurpose.TLS_SERVER, [ANY]),
    ],
)
def test_the_right_extended_key_usage_is_accepted(purpose: CertificatePurpose, extended: list[str]) -> None:
    assert validate(CA.issue("Node", extended=extended), purpose).trusted


@pytest.mark.parametrize(
    ("purpose", "extended"),
    [
        (CertificatePurpose.SIGNING, [SERVER]),
        (CertificatePurpose.SIGNING, [STAMPING]),
        (CertificatePurpose.TLS_CLIENT, [SERVER]),
        (CertificatePurpose.TLS_SERVER, [CLIENT]),
        (CertificatePurpose.TLS_SERVER, [EMAIL]),
    ],
)
def test_the_wrong_extended_key_usage_is_refused(purpose: CertificatePurpose, extended: list[str]) -> None:
    verdict = validate(CA.issue("Node", extended=extended), purpose)
    assert verdict.reason is Reason.WRONG_EXTENDED_KEY_USAGE
    assert purpose in verdict.text


def test_an_officer_may_accept_more_for_signing() -> None:
    node = CA.issue("Node", extended=[CLIENT])
    assert not validate(node, CertificatePurpose.SIGNING).trusted
    policy = Policy(signing_extended_key_usages=frozenset({CLIENT}))
    assert validate(node, CertificatePurpose.SIGNING, policy=policy).trusted


def test_a_ca_limited_to_servers_vouches_for_no_signer() -> None:
    middle = CA.authority("Server CA", extended=[SERVER])
    verdict = validate(middle.issue("Signer"), CertificatePurpose.SIGNING, middle.certificate)
    assert verdict.reason is Reason.WRONG_EXTENDED_KEY_USAGE
    assert "CN=Server CA" in verdict.text
    assert validate(middle.issue("Server"), CertificatePurpose.TLS_SERVER, middle.certificate).trusted
