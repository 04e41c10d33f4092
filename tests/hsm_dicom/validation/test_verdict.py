"""The verdict on a signature in words: valid, invalid, cannot be told; and what a policy allows."""

from __future__ import annotations

import hashlib

import pydicom
import pytest
from pydicom.sequence import Sequence as Items

from hsm_dicom.signatures import Finding, Profile, check_integrity
from hsm_dicom.signatures.errors import MacNotOfferedError
from hsm_dicom.trust import Caution, Reason
from hsm_dicom.validation import find_etsi_status
from hsm_dicom.validation.validator import Cause, Indication, Outcome, ValidationTimeKind, Validator, worst_exit_status
from tests.hsm_dicom.validation.verdict_cases import CA, Desk, codes, only, validator
from tests.pki import Authority, new_key
from tests.softhsm import TestToken
from tokens import open_key


def test_a_signature_with_nothing_against_it_and_nothing_outside_it_is_valid(desk: Desk) -> None:
    verdict = validator().validate(desk.verified(profile=Profile.CREATOR))
    one = only(verdict)
    assert (one.indication, one.text, one.grounds) == (Indication.VALID, "valid", ())
    assert one.trusted
    assert one.signer == "CN=CT room"
    assert one.validation_time is not None
    assert (one.validation_time.at, one.validation_time.kind) == (one.signature.signed_at, ValidationTimeKind.CLAIMED)
    assert verdict.outcome is Outcome.GOOD
    assert verdict.text == "Valid."


def test_a_signature_by_a_key_on_a_token_is_valid(desk: Desk, node: TestToken) -> None:
    with open_key(node.uri("rsa")) as key:
        verdict = validator().validate(desk.verified(signer=CA.issue("Node", key=key)))
    assert only(verdict).text == "valid"


def test_without_trust_anchors_who_signed_is_indeterminate(desk: Desk) -> None:
    verdict = Validator.from_stores().validate(desk.verified())
    assert only(verdict).text == "cannot tell who signed, because no trust anchors were given"
    assert only(verdict).signature.finding is Finding.INTACT
    assert worst_exit_status([verdict.outcome]) == 101


def test_a_changed_byte_is_invalid_whatever_is_trusted(desk: Desk) -> None:
    path = desk.sign()
    path.write_bytes(path.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    for every in (validator(), Validator.from_stores()):
        verdict = every.validate(check_integrity(path))
        assert only(verdict).text == (
            "invalid, because what is covered is not what was signed: it was changed, or signed by another key"
        )
        assert codes(only(verdict)) == [Cause.ALTERED]
        assert not only(verdict).trusted
        assert verdict.outcome is Outcome.SIGNATURE_FAILED


def test_a_signature_that_cannot_be_computed_is_indeterminate(desk: Desk) -> None:
    path = desk.sign()
    path.write_bytes(path.read_bytes().replace(b"SHA256", b"SHA999", 1))
    verdict = validator().validate(check_integrity(path))
    assert only(verdict).text == "cannot tell, because MAC Algorithm 'SHA999' is none of PS3.3's"
    assert codes(only(verdict)) == [Cause.INCOMPLETE]


def test_a_historic_signature_is_shown_and_counts_for_nothing(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    once = pydicom.Dataset()
    for name in ("DigitalSignaturesSequence", "MACParametersSequence"):
        setattr(once, name, signed[name].value)
        delattr(signed, name)
    original = pydicom.Dataset()
    original.ModifiedAttributesSequence = Items([once])
    signed.OriginalAttributesSequence = Items([original])
    path = desk.folder / "amended.dcm"
    signed.save_as(path)
    verdict = validator().validate(check_integrity(path))
    assert only(verdict).indication is Indication.HISTORIC
    assert only(verdict).text.startswith("historic, because it signed an earlier state of the object")
    assert verdict.outcome is Outcome.NO_SIGNATURE


@pytest.mark.parametrize("mac", ["MD5", "SHA1", "RIPEMD160"])
def test_a_weak_hash_counts_with_a_warning_unless_the_policy_refuses_it(desk: Desk, mac: str) -> None:
    found = desk.verified(mac=mac, allow_weak=True)
    assert only(validator().validate(found)).text == f"valid, but its MAC is {mac}, which is weak"
    strict = only(validator(weak_mac_algorithms=()).validate(found))
    assert strict.text == f"invalid, because its MAC is {mac}, which the policy refuses"


def test_a_hash_that_openssl_does_not_have_cannot_be_checked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is RIPEMD-160 where OpenSSL is in FIPS mode, which `make test-fips` runs."""
    signed = desk.sign(mac="ripemd160", allow_weak=True)
    real = hashlib.new

    def new(name: str, *data: bytes, **settings: bool) -> object:
        if name == "ripemd160":
            raise ValueError("unsupported hash type ripemd160")
        return real(name, *data, **settings)

    monkeypatch.setattr(hashlib, "new", new)
    found = only(validator().validate(check_integrity(signed)))
    assert found.text.startswith("cannot tell, because the hash RIPEMD160 is not offered by Python's OpenSSL here")
    assert codes(found) == [Cause.HASH_NOT_OFFERED]
    assert find_etsi_status(found).sub_indication == "CRYPTO_CONSTRAINTS_FAILURE_NO_POE"
    with pytest.raises(MacNotOfferedError, match="does not have the hash of MAC algorithm RIPEMD160"):
        desk.sign(mac="ripemd160", allow_weak=True)


def test_a_short_key_counts_with_a_warning_unless_the_policy_refuses_it(desk: Desk) -> None:
    found = desk.verified(signer=CA.issue("Old console", key=new_key("rsa1024")))
    relaxed, strict = only(validator().validate(found)), only(validator(minimum_rsa_bits=2048).validate(found))
    assert (relaxed.indication, codes(relaxed)) == (Indication.VALID_BUT, [Caution.SHORT_KEY])
    assert (strict.indication, codes(strict)) == (Indication.INVALID, [Reason.WEAK_KEY])


def test_several_signatures_are_validated_apart(desk: Desk) -> None:
    stranger = Authority("Hospital CA", key=new_key("rsa2048", 5)).issue("Stranger", key=new_key("rsa2048", 6))
    twice = desk.sign(desk.sign(), stranger)
    verdict = validator().validate(check_integrity(twice))
    assert [one.indication for one in verdict.signatures] == [Indication.VALID, Indication.INVALID]
    assert verdict.text == "2 signatures: 1 valid, 1 invalid."
    assert verdict.outcome is Outcome.SIGNATURE_FAILED
