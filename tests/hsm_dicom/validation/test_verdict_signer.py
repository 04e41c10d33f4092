"""The verdict on a signature: who made it, and whether anybody trusted vouches for him."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm_dicom.signatures import VerifiedSignature
from hsm_dicom.trust import Caution, Reason, Sourced, TrustStore
from hsm_dicom.validation.trust import CAUTION_CLAUSES, CLAUSES
from hsm_dicom.validation.validator import Indication, Outcome, Validator
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, STAMPER, Desk, codes, only, validator
from tests.pki import DAY, NOW, Authority, new_key


def test_a_stranger_is_invalid(desk: Desk) -> None:
    root = Authority("Somebody", key=new_key("rsa2048", 5))
    found = desk.verified(signer=root.issue("CT room", key=new_key("rsa2048", 6)))
    one = only(Validator.from_stores(TrustStore([CA.certificate], [root.certificate])).validate(found))
    assert one.text == "invalid, because no chain leads from the signer's certificate to a trust anchor"
    assert codes(one) == [Reason.NO_PATH]
    impostor = Authority("Hospital CA", key=new_key("rsa2048", 5)).issue("CT room", key=new_key("rsa2048", 6))
    assert only(validator().validate(desk.verified(signer=impostor))).indication is Indication.INVALID


def test_a_chain_that_is_incomplete_is_indeterminate(desk: Desk) -> None:
    """ETSI EN 319 102-1 has INDETERMINATE for it: the certificate that is missing may be one of the hospital's."""
    issuer = Authority("Somebody", key=new_key("rsa2048", 5))
    one = only(validator().validate(desk.verified(signer=issuer.issue("CT room", key=new_key("rsa2048", 6)))))
    assert one.text == "cannot tell, because a certificate between the signer's and a trust anchor is missing"
    assert codes(one) == [Reason.NO_PATH]
    assert "The certificate of its issuer CN=Somebody is neither among" in one.grounds[0].detail


def test_an_intermediate_from_a_file_completes_the_chain(desk: Desk) -> None:
    between = CA.authority("Devices CA", key=new_key("rsa2048", 5))
    found = desk.verified(signer=between.issue("MR room", key=new_key("rsa2048", 6)))
    crls = [Sourced(CA.crl(), "ca.crl"), Sourced(between.crl(), "devices.crl")]
    assert only(validator().validate(found)).indication is Indication.INDETERMINATE
    complete = Validator.from_stores(TrustStore([CA.certificate], [between.certificate], crls))
    assert only(complete.validate(found)).text == "valid"


def test_a_revoked_signer_is_invalid(desk: Desk) -> None:
    one = only(validator(revoked=[SIGNER]).validate(desk.verified()))
    assert one.text == "invalid, because a certificate of the chain is revoked"
    assert "says the CRL ca.crl" in one.grounds[0].detail


def test_missing_revocation_data_is_reported(desk: Desk) -> None:
    found = desk.verified()
    text = only(validator(crls=False).validate(found)).text
    assert text == "valid, but revocation was not checked: no usable CRL or OCSP response"


def test_missing_revocation_data_is_refused_by_a_policy_that_requires_it(desk: Desk) -> None:
    verdict = validator(crls=False, revocation="required").validate(desk.verified())
    assert only(verdict).text == "cannot tell, because whether a certificate of the chain is revoked is not known"
    assert verdict.outcome is Outcome.SIGNATURE_FAILED


def test_outdated_revocation_data_is_indeterminate(desk: Desk) -> None:
    old = Sourced(CA.crl(issued=NOW - 30 * DAY, until=NOW - 20 * DAY), "old.crl")
    one = only(Validator.from_stores(TrustStore([CA.certificate], crls=[old])).validate(desk.verified()))
    assert (one.indication, codes(one)) == (Indication.INDETERMINATE, [Reason.REVOCATION_UNKNOWN])


def test_a_certificate_for_another_use_is_invalid(desk: Desk) -> None:
    for wishes, reason in (
        ({"usages": ("key_encipherment",)}, Reason.WRONG_KEY_USAGE),
        ({"extended": ["1.3.6.1.5.5.7.3.1"]}, Reason.WRONG_EXTENDED_KEY_USAGE),
    ):
        signer = CA.issue("TLS server", key=new_key("rsa2048", 5), **wishes)
        one = only(validator().validate(desk.verified(signer=signer)))
        assert (one.indication, codes(one)) == (Indication.INVALID, [reason])


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> VerifiedSignature:
    return Desk(tmp_path_factory.mktemp("stamped")).verified(stamper=STAMPER).signatures[0]


@pytest.mark.interop
@settings(max_examples=80, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_certificate_or_time_stamp_can_be_changed_for_the_better(
    stamped: VerifiedSignature, at: int, bit: int
) -> None:
    def flipped(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << bit
        return bytes(changed)

    reserved = validator(stamp_crls=False)
    assert not reserved.validate_signature(replace(stamped, certificate=flipped(stamped.certificate))).indication.good
    # What a token's own signature leaves out may change, but never does it become more than it was.
    assert stamped.timestamp is not None
    assert (
        reserved.validate_signature(replace(stamped, timestamp=flipped(stamped.timestamp))).indication
        is Indication.VALID_BUT
    )


def test_a_signer_who_vouches_for_themselves_is_reported(desk: Desk) -> None:
    alone = Authority("Alone", key=new_key("rsa2048", 5), usages=("digital_signature",), ca=False)
    one = only(Validator.from_stores(TrustStore([alone.certificate])).validate(desk.verified(signer=alone)))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [Caution.SELF_SIGNED])


def test_every_reason_and_caution_has_its_clause() -> None:
    assert set(CLAUSES) == set(Reason) - {Reason.TRUSTED}
    assert set(CAUTION_CLAUSES) == set(Caution)


def test_a_hostile_subject_is_fit_to_be_printed(desk: Desk) -> None:
    name = "\x1b[2Jroot\u202e\n" + "A" * 40
    signer = CA.issue(name, key=new_key("rsa2048", 5))
    one = only(validator().validate(desk.verified(signer=signer)))
    assert one.signer.isprintable()
    assert isinstance(x509.load_der_x509_certificate(one.signature.certificate), x509.Certificate)
