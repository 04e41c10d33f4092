"""CRLs and OCSP responses that cannot be used as they are never make a certificate good, nor lose a revocation."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import CRLEntryExtensionOID, ExtensionOID

from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Reason, Revocation, Sourced, TrustStore
from tests.hsm_dicom.trust.test_revocation import CA, OCSP_SIGNING, OTHER, SIGNER, validate
from tests.pki import DAY, NOW, Authority, new_key


def state(**data: tuple[bytes, ...]) -> Revocation:
    return validate(**data).path[0].revocation.state  # type: ignore[arg-type]


def test_an_entry_whose_reason_cannot_be_read_is_an_entry_all_the_same() -> None:
    unreadable = x509.UnrecognizedExtension(CRLEntryExtensionOID.CRL_REASON, b"\x0a\x01\x63")
    entry = x509.RevokedCertificateBuilder().serial_number(SIGNER.serial).revocation_date(NOW - DAY)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
        .add_revoked_certificate(entry.add_extension(unreadable, critical=False).build())
        .sign(CA.key, hashes.SHA256())
    )
    verdict = validate(crls=(crl.public_bytes(Encoding.DER),))
    assert verdict.reason is Reason.REVOKED
    assert verdict.path[0].revocation.revoked_at == NOW - DAY


@pytest.mark.parametrize("critical", [True, False])
def test_a_crl_whose_extensions_cannot_be_read_makes_nothing_good(critical: bool) -> None:
    unreadable = x509.UnrecognizedExtension(ExtensionOID.ISSUING_DISTRIBUTION_POINT, b"\x05\x00")
    assert state(crls=(CA.crl(extensions=[(unreadable, critical)]),)) is not Revocation.GOOD


def distribution_point(**wishes: object) -> x509.IssuingDistributionPoint:
    described = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
        **wishes,
    }
    return x509.IssuingDistributionPoint(**described)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param({"only_contains_attribute_certs": True}, id="attribute certificates"),
        pytest.param({"only_contains_ca_certs": True}, id="CA certificates"),
        pytest.param(
            {"relative_name": x509.RelativeDistinguishedName([x509.NameAttribute(x509.NameOID.COMMON_NAME, "part 1")])},
            id="a part with a relative name",
        ),
        pytest.param(
            {"full_name": [x509.UniformResourceIdentifier("http://localhost/part-2.crl")]}, id="a part of another name"
        ),
    ],
)
def test_a_crl_about_something_else_makes_nothing_good(scope: dict[str, object]) -> None:
    assert state(crls=(CA.crl(),)) is Revocation.GOOD
    assert state(crls=(CA.crl(extensions=[(distribution_point(**scope), True)]),)) is not Revocation.GOOD


@pytest.mark.parametrize("key", ["rsa2048", "ed25519", "secp384r1"])
def test_a_crl_of_a_namesake_neither_revokes_nor_makes_good(key: str) -> None:
    namesake = Authority("Test CA", key=new_key(key))
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(namesake.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + DAY)
    )
    entry = x509.RevokedCertificateBuilder().serial_number(SIGNER.serial).revocation_date(NOW - DAY).build()
    algorithm = None if key == "ed25519" else hashes.SHA256()
    for made in (builder, builder.add_revoked_certificate(entry)):
        crl = made.sign(namesake.key, algorithm).public_bytes(Encoding.DER)
        assert state(crls=(crl,)) not in (Revocation.GOOD, Revocation.REVOKED)


def test_a_responder_with_a_weak_key_makes_nothing_good() -> None:
    wishes = {"extended": [OCSP_SIGNING], "usages": ("digital_signature",)}
    no_check = [(x509.OCSPNoCheck(), False)]
    strong = CA.issue("Responder", key=new_key("rsa2048", 7), extensions=no_check, **wishes)
    weak = CA.issue("Responder", key=new_key("rsa1024", 7), extensions=no_check, **wishes)
    assert state(answers=(CA.ocsp(SIGNER, responder=strong),)) is Revocation.GOOD
    assert state(answers=(CA.ocsp(SIGNER, responder=weak),)) is not Revocation.GOOD


def test_a_validator_that_fails_inside_never_answers_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a parser failed")

    validator = CertificateValidator(TrustStore([CA.certificate], crls=[Sourced(CA.crl(), "a CRL")]))
    monkeypatch.setattr(validator, "_answer", fail)
    verdict = validator.validate(OTHER.certificate, CertificatePurpose.SIGNING)
    assert not verdict.trusted
    assert verdict.reason is Reason.CANNOT_BE_EXAMINED
    assert "RuntimeError" in verdict.text
