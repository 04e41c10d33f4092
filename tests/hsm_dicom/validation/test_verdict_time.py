"""The verdict on a signature: as of when it is judged, and whose word that time is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hsm_dicom.trust import Caution, Sourced, TrustStore
from hsm_dicom.validation.validator import Cause, Indication, ValidationTimeKind, Validator
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, STAMPER, TIME_CA, Desk, codes, only, validator
from tests.pki import DAY, NOW, YEAR, Revoked, new_key

pytestmark = pytest.mark.interop


def test_a_certificate_that_had_expired_is_invalid_and_needs_no_trust_anchor_to_be(desk: Desk) -> None:
    expired = CA.issue("CT room", key=new_key("rsa2048", 2), ends=NOW - DAY)
    found = desk.verified(signer=expired)
    for every in (validator(), Validator.from_stores()):
        one = only(every.validate(found))
        assert (one.indication, codes(one)) == (Indication.INVALID, [Cause.OUTSIDE_VALIDITY])
        assert "it claims to be from" in one.text


def test_an_old_signature_stays_valid_but_its_time_is_only_the_signers_word(desk: Desk) -> None:
    later = NOW + 3 * YEAR
    one = only(validator().validate(desk.verified(), now=later))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [Cause.EXPIRED_SINCE])


def test_a_certified_time_keeps_an_old_signature_valid(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER)
    for now in (None, NOW + 3 * YEAR):
        one = only(validator().validate(found, now=now))
        assert one.text == "valid"
        assert one.validation_time is not None
        assert one.validation_time.kind is ValidationTimeKind.PROVEN


def test_a_key_revoked_after_the_certified_time_leaves_the_signature_valid(desk: Desk) -> None:
    later = Revoked(SIGNER, at=NOW + 2 * DAY)
    stamped, claimed = desk.verified(stamper=STAMPER), desk.verified()
    one = only(validator(revoked=[later]).validate(stamped))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [Caution.REVOKED_SINCE])
    assert only(validator(revoked=[later]).validate(claimed)).indication is Indication.INVALID


def test_a_time_in_the_future_cannot_be_believed(desk: Desk) -> None:
    found = desk.verified()
    before = found.signatures[0].signed_at - timedelta(hours=1)
    one = only(validator().validate(found, now=before))
    assert (one.indication, codes(one)) == (Indication.INDETERMINATE, [Cause.TIME_IN_FUTURE])
    assert only(validator(clock_tolerance=7200).validate(found, now=before)).text == "valid"


def test_a_signature_without_a_usable_time_is_validated_as_of_now(desk: Desk) -> None:
    found = desk.verified().signatures[0]
    undated = replace(found, date_time="20240101120000", signed_at=None)
    one = validator().validate_signature(undated)
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [Cause.TIME_MISSING])
    assert one.validation_time is not None
    assert one.validation_time.kind is ValidationTimeKind.PRESENT
    over = CA.issue("CT room", key=new_key("rsa2048", 2), ends=NOW - DAY)
    gone = validator().validate_signature(replace(undated, certificate=over.der))
    assert gone.text == (
        "cannot tell, because a certificate of the chain has expired, and nothing says when it was made"
    )


@pytest.mark.parametrize("hour", ["00010101000000+1400", "99991231235959-1200"])
def test_the_first_and_last_hours_of_time_are_no_trap(desk: Desk, hour: str) -> None:
    from hsm_dicom.report import json_line
    from hsm_dicom.signatures.read import parse_date_time

    found = desk.verified(stamper=STAMPER)
    odd = replace(found.signatures[0], date_time=hour, signed_at=parse_date_time(hour))
    for one in (odd, replace(odd, timestamp=None)):
        verdict = validator().validate(replace(found, signatures=(one,)))
        assert json_line(verdict)


def test_a_time_zone_is_honoured(desk: Desk) -> None:
    """DCMTK (seen in 3.6.7) compares the digits alone: 08:00 in New York is after noon UTC, 20:00 in Tokyo is not."""
    found = desk.verified().signatures[0]
    begins = datetime(2026, 1, 1, 12, tzinfo=UTC)
    signer = CA.issue("CT room", key=new_key("rsa2048", 2), begins=begins, ends=begins + YEAR)
    in_new_york = datetime.fromisoformat("2026-01-01T08:00:00-05:00")
    in_tokyo = datetime.fromisoformat("2026-01-01T20:00:00+09:00")
    relaxed = Validator.from_stores(TrustStore([CA.certificate]))
    after = replace(found, certificate=signer.der, signed_at=in_new_york)
    before = replace(found, certificate=signer.der, signed_at=in_tokyo)
    now = begins + DAY
    assert relaxed.validate_signature(after, now=now).indication is Indication.VALID_BUT
    assert codes(relaxed.validate_signature(before, now=now)) == [Cause.OUTSIDE_VALIDITY]


def test_a_time_stamp_is_validated_by_its_own_anchors_alone(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER)
    crl = Sourced(CA.crl(), "ca.crl")
    for store in (
        TrustStore([CA.certificate], crls=[crl]),
        TrustStore([CA.certificate, TIME_CA.certificate], crls=[crl]),
    ):
        one = only(Validator.from_stores(store).validate(found))
        assert (one.indication, codes(one)) == (Indication.VALID_BUT, [Cause.TIMESTAMP_NOT_VALIDATED])
        assert one.validation_time is not None
        assert one.validation_time.kind is ValidationTimeKind.CLAIMED


def test_a_time_stamp_of_another_signature_proves_nothing(desk: Desk) -> None:
    first, second = desk.verified(stamper=STAMPER), desk.verified(stamper=STAMPER)
    swapped = replace(first.signatures[0], timestamp=second.signatures[0].timestamp)
    one = validator().validate_signature(swapped)
    assert one.text == "valid, but its time stamp proves nothing"
    assert "over something else" in one.grounds[0].detail


def test_a_time_stamp_of_another_kind_proves_nothing(desk: Desk) -> None:
    odd = replace(desk.verified(stamper=STAMPER).signatures[0], timestamp_type="SUNDIAL")
    one = validator().validate_signature(odd)
    assert one.text == "valid, but its time stamp is indeterminate"
    assert "'SUNDIAL' is not CMS_TSP" in one.grounds[0].detail


def test_a_revoked_authority_certifies_no_time(desk: Desk) -> None:
    one = only(validator(stamper_revoked=True).validate(desk.verified(stamper=STAMPER)))
    assert one.text == "valid, but its time stamp proves nothing"
    assert "CN=Time unit: It was revoked" in one.grounds[0].detail
    assert one.validation_time is not None
    assert one.validation_time.kind is ValidationTimeKind.CLAIMED


def test_what_a_time_stamp_leaves_open_is_reported(desk: Desk) -> None:
    one = only(validator(stamp_crls=False).validate(desk.verified(stamper=STAMPER)))
    assert one.text == "valid, but of its time stamp, revocation was not checked: no usable CRL or OCSP response"


def test_a_claimed_time_behind_the_certified_one_is_reported(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER).signatures[0]
    late = replace(found, signed_at=found.signed_at + timedelta(hours=1))
    assert codes(validator().validate_signature(late)) == [Cause.TIME_BEHIND_TIMESTAMP]


def test_a_time_stamp_from_before_the_certificate_is_invalid(desk: Desk) -> None:
    young = CA.issue("CT room", key=new_key("rsa2048", 2), begins=NOW + DAY)
    found = desk.verified(signer=young, stamper=STAMPER)
    one = only(validator().validate(found, now=NOW + 2 * DAY))
    assert codes(one) == [Cause.OUTSIDE_VALIDITY]
    assert one.text.startswith("invalid, because its time stamp is from")
