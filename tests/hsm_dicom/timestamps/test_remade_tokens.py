"""Tokens whose content or attributes the authority itself signed, but which RFC 3161 and RFC 5652 do not allow.

Each is made from a good token by one change, after which the authority's key signs again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from asn1crypto import cms, core, tsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.timestamps.validation import TimestampFinding, TimestampVerdict
from tests.hsm_dicom.timestamps.test_validation import CA, STAMPER, STAMPING, known_token, verify
from tests.pki import NOW, YEAR, name, new_key

Change = Callable[[Any], None]


def remade(info: Change | None = None, attributes: Change | None = None, signer_info: Change | None = None) -> bytes:
    """Return the good token after the changes, signed again by the same key."""
    outer = cms.ContentInfo.load(known_token()).copy()
    signed = outer["content"]
    signer = signed["signer_infos"][0]
    content = tsp.TSTInfo.load(signed["encap_content_info"]["content"].contents).copy()
    if info is not None:
        info(content)
    octets = content.dump(force=True)
    signed["encap_content_info"]["content"] = cms.ParsableOctetString(octets)
    attribute(signer, "message_digest")["values"] = [hashlib.sha256(octets).digest()]
    if attributes is not None:
        attributes(signer["signed_attrs"])
    if signer_info is not None:
        signer_info(signer)
    to_sign = b"\x31" + signer["signed_attrs"].dump(force=True)[1:]
    signer["signature"] = STAMPER.key.sign(to_sign, padding.PKCS1v15(), hashes.SHA256())
    return outer.dump(force=True)


def attribute(signer: Any, kind: str) -> Any:
    return next(one for one in signer["signed_attrs"] if one["type"].native == kind)


def refusal(token: bytes) -> str:
    verdict = verify(token)
    assert verdict.finding is TimestampFinding.INVALID
    return verdict.text


def test_signed_again_without_a_change_it_is_valid() -> None:
    assert verify(remade()).valid


def test_another_version_is_invalid() -> None:
    assert "version" in refusal(remade(info=lambda info: info.__setitem__("version", 2)))


def test_a_critical_extension_that_is_unknown_is_invalid() -> None:
    def extend(info: Any) -> None:
        extension = {"extn_id": "1.2.3.4", "critical": True, "extn_value": core.Null().dump()}
        info["extensions"] = [extension]

    def remark(info: Any) -> None:
        info["extensions"] = [{"extn_id": "1.2.3.4", "critical": False, "extn_value": core.Null().dump()}]

    assert "critical extension" in refusal(remade(info=extend))
    assert verify(remade(info=remark)).valid


def test_a_signature_over_another_type_of_content_is_invalid() -> None:
    def retype(attributes: Any) -> None:
        next(one for one in attributes if one["type"].native == "content_type")["values"] = ["data"]

    assert "not over a time stamp" in refusal(remade(attributes=retype))


@pytest.mark.parametrize("kind", ["content_type", "message_digest"])
def test_a_signed_attribute_that_is_there_twice_is_invalid(kind: str) -> None:
    def double(attributes: Any) -> None:
        attributes.append(next(one for one in attributes if one["type"].native == kind).copy())

    assert "more than once" in refusal(remade(attributes=double))


@pytest.mark.parametrize("kind", ["content_type", "message_digest"])
def test_a_signed_attribute_that_is_missing_is_invalid(kind: str) -> None:
    def leave_out(signer: Any) -> None:
        kept = [one for one in signer["signed_attrs"] if one["type"].native != kind]
        signer["signed_attrs"] = cms.CMSAttributes(kept)

    refusal(remade(signer_info=leave_out))


def by_key_identifier(identifier: bytes) -> TimestampVerdict:
    def rename(signer: Any) -> None:
        signer["version"] = "v3"
        signer["sid"] = cms.SignerIdentifier("subject_key_identifier", identifier)

    return verify(remade(signer_info=rename))


def test_the_signer_may_be_named_by_its_key_identifier() -> None:
    extension = STAMPER.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert by_key_identifier(extension.value.digest).valid


def test_another_key_identifier_names_no_certificate_of_the_token() -> None:
    assert not by_key_identifier(b"\1" * 20).valid


def test_a_certificate_without_key_identifier_is_not_named_by_one() -> None:
    """Otherwise any certificate of the token would do."""
    plain = (
        x509.CertificateBuilder()
        .public_key(STAMPER.key.public_key())
        .subject_name(name("Time stamper"))
        .issuer_name(CA.certificate.subject)
        .serial_number(4711)
        .not_valid_before(NOW - YEAR)
        .not_valid_after(NOW + YEAR)
        .sign(CA.key, hashes.SHA256())
    )

    def exchange(signer: Any) -> None:
        signer["version"] = "v3"
        signer["sid"] = cms.SignerIdentifier("subject_key_identifier", b"")

    outer = cms.ContentInfo.load(remade(signer_info=exchange)).copy()
    der = plain.public_bytes(Encoding.DER)
    outer["content"]["certificates"] = [cms.CertificateChoices.load(der)]
    assert not verify(outer.dump(force=True)).valid


def test_a_key_of_another_stamper_signs_nothing_in_its_name() -> None:
    twin = CA.issue("Time stamper", key=new_key("rsa2048", 5), **STAMPING)
    outer = cms.ContentInfo.load(remade()).copy()
    outer["content"]["certificates"] = [cms.CertificateChoices.load(twin.der)]
    assert not verify(outer.dump(force=True)).valid
