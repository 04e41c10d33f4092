"""The verdict on a signature: mathematics, who, when, trusted as of then, allowed, covering what."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pydicom
import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sequence import Sequence as Items

from hsm_dicom.dataset.errors import NotDicomError
from hsm_dicom.events import DicomEvent, VerdictGiven, subscribed
from hsm_dicom.signatures import Finding, Profile, VerifiedSignature, verify
from hsm_dicom.signatures.verdict import (
    Cause,
    FileVerdict,
    Judge,
    MomentKind,
    Outcome,
    Word,
    exit_code,
    record,
    unreadable,
)
from hsm_dicom.signatures.verdict_trust import CAUTION_CLAUSES, CLAUSES
from hsm_dicom.trust import Caution, Reason, Sourced, TrustStore
from tests.hsm_dicom.signatures.verdict_cases import (
    CA,
    CHARACTER_SET,
    PATIENT_ID,
    PIXELS,
    SIGNER,
    SOP_INSTANCE,
    STAMPER,
    TIME_CA,
    Desk,
    codes,
    image,
    judge,
    only,
)
from tests.pki import DAY, NOW, YEAR, Authority, Revoked, new_key
from tests.softhsm import TestToken
from tokens import open_key


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_signature_with_nothing_against_it_and_nothing_outside_it_is_valid(desk: Desk) -> None:
    verdict = judge().file(desk.verified(profile=Profile.CREATOR))
    one = only(verdict)
    assert (one.word, one.text, one.grounds) == (Word.VALID, "valid", ())
    assert one.trusted
    assert one.signer == "CN=CT room"
    assert one.moment is not None
    assert (one.moment.at, one.moment.kind) == (one.signature.signed_at, MomentKind.CLAIMED)
    assert verdict.outcome is Outcome.GOOD
    assert verdict.text == "Valid."


def test_a_signature_by_a_key_on_a_token_is_valid(desk: Desk, node: TestToken) -> None:
    with open_key(node.uri("rsa")) as key:
        verdict = judge().file(desk.verified(signer=CA.issue("Node", key=key)))
    assert only(verdict).text == "valid"


def test_without_trust_anchors_nobody_can_tell_who_signed(desk: Desk) -> None:
    verdict = Judge.trusting().file(desk.verified())
    assert only(verdict).text == "cannot tell who signed, because no trust anchors were given"
    assert only(verdict).signature.finding is Finding.INTACT
    assert exit_code([verdict.outcome]) == 101


def test_a_changed_byte_is_invalid_whoever_is_trusted(desk: Desk) -> None:
    path = desk.sign()
    path.write_bytes(path.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    for every in (judge(), Judge.trusting()):
        verdict = every.file(verify(path))
        assert only(verdict).text == (
            "invalid, because what is covered is not what was signed: it was changed, or signed by another key"
        )
        assert codes(only(verdict)) == [Cause.ALTERED]
        assert not only(verdict).trusted
        assert verdict.outcome is Outcome.SIGNATURE_FAILED


def test_a_signature_that_cannot_be_computed_cannot_be_told(desk: Desk) -> None:
    path = desk.sign()
    path.write_bytes(path.read_bytes().replace(b"SHA256", b"SHA999", 1))
    verdict = judge().file(verify(path))
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
    verdict = judge().file(verify(path))
    assert only(verdict).word is Word.HISTORIC
    assert only(verdict).text.startswith("historic, because it signed an earlier state of the object")
    assert verdict.outcome is Outcome.NO_SIGNATURE


# --- Who ---------------------------------------------------------------------------------------------------------


def test_a_stranger_is_invalid(desk: Desk) -> None:
    stranger = Authority("Somebody", key=new_key("rsa2048", 5)).issue("CT room", key=new_key("rsa2048", 6))
    one = only(judge().file(desk.verified(signer=stranger)))
    assert one.text == "invalid, because no chain leads from the signer's certificate to a trust anchor"
    assert codes(one) == [Reason.NO_PATH]


def test_an_intermediate_from_a_file_completes_the_chain(desk: Desk) -> None:
    between = CA.authority("Devices CA", key=new_key("rsa2048", 5))
    found = desk.verified(signer=between.issue("MR room", key=new_key("rsa2048", 6)))
    crls = [Sourced(CA.crl(), "ca.crl"), Sourced(between.crl(), "devices.crl")]
    assert only(judge().file(found)).word is Word.INVALID
    complete = Judge.trusting(TrustStore([CA.certificate], [between.certificate], crls))
    assert only(complete.file(found)).text == "valid"


def test_a_revoked_signer_is_invalid(desk: Desk) -> None:
    one = only(judge(revoked=[SIGNER]).file(desk.verified()))
    assert one.text == "invalid, because a certificate of the chain is revoked"
    assert "says the CRL ca.crl" in one.grounds[0].detail


def test_missing_revocation_data_is_said(desk: Desk) -> None:
    found = desk.verified()
    assert only(judge(crls=False).file(found)).text == "valid, but revocation was not checked for want of data"


def test_missing_revocation_data_is_refused_by_a_policy_that_requires_it(desk: Desk) -> None:
    verdict = judge(crls=False, revocation="required").file(desk.verified())
    assert only(verdict).text == "cannot tell, because whether a certificate of the chain is revoked is not known"
    assert verdict.outcome is Outcome.SIGNATURE_FAILED


def test_outdated_revocation_data_cannot_tell(desk: Desk) -> None:
    old = Sourced(CA.crl(issued=NOW - 30 * DAY, until=NOW - 20 * DAY), "old.crl")
    one = only(Judge.trusting(TrustStore([CA.certificate], crls=[old])).file(desk.verified()))
    assert (one.word, codes(one)) == (Word.CANNOT_TELL, [Reason.REVOCATION_UNKNOWN])


def test_a_certificate_for_another_use_is_invalid(desk: Desk) -> None:
    for wishes, reason in (
        ({"usages": ("key_encipherment",)}, Reason.WRONG_KEY_USAGE),
        ({"extended": ["1.3.6.1.5.5.7.3.1"]}, Reason.WRONG_EXTENDED_KEY_USAGE),
    ):
        signer = CA.issue("TLS server", key=new_key("rsa2048", 5), **wishes)
        one = only(judge().file(desk.verified(signer=signer)))
        assert (one.word, codes(one)) == (Word.INVALID, [reason])


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> VerifiedSignature:
    return Desk(tmp_path_factory.mktemp("stamped")).verified(stamper=STAMPER).signatures[0]


@settings(max_examples=80, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_bit_of_a_certificate_or_time_stamp_can_be_changed_for_the_better(
    stamped: VerifiedSignature, at: int, bit: int
) -> None:
    def flipped(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << bit
        return bytes(changed)

    reserved = judge(stamp_crls=False)
    assert not reserved.signature(replace(stamped, certificate=flipped(stamped.certificate))).word.good
    # What a token's own signature leaves out may change, but never does it become more than it was.
    assert stamped.timestamp is not None
    assert reserved.signature(replace(stamped, timestamp=flipped(stamped.timestamp))).word is Word.VALID_BUT


def test_a_signer_who_vouches_for_himself_is_said_to(desk: Desk) -> None:
    alone = Authority("Alone", key=new_key("rsa2048", 5), usages=("digital_signature",), ca=False)
    one = only(Judge.trusting(TrustStore([alone.certificate])).file(desk.verified(signer=alone)))
    assert (one.word, codes(one)) == (Word.VALID_BUT, [Caution.SELF_SIGNED])


def test_every_reason_and_caution_has_its_clause() -> None:
    assert set(CLAUSES) == set(Reason) - {Reason.TRUSTED}
    assert set(CAUTION_CLAUSES) == set(Caution)


# --- When --------------------------------------------------------------------------------------------------------


def test_a_certificate_that_had_expired_is_invalid_and_needs_no_trust_anchor_to_be(desk: Desk) -> None:
    expired = CA.issue("CT room", key=new_key("rsa2048", 2), ends=NOW - DAY)
    found = desk.verified(signer=expired)
    for every in (judge(), Judge.trusting()):
        one = only(every.file(found))
        assert (one.word, codes(one)) == (Word.INVALID, [Cause.OUTSIDE_VALIDITY])
        assert "it claims to be from" in one.text


def test_an_old_signature_stays_valid_but_its_time_is_only_the_signers_word(desk: Desk) -> None:
    later = NOW + 3 * YEAR
    one = only(judge().file(desk.verified(), now=later))
    assert (one.word, codes(one)) == (Word.VALID_BUT, [Cause.EXPIRED_SINCE])


def test_a_certified_time_keeps_an_old_signature_valid(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER)
    for now in (None, NOW + 3 * YEAR):
        one = only(judge().file(found, now=now))
        assert one.text == "valid"
        assert one.moment is not None
        assert one.moment.kind is MomentKind.CERTIFIED


def test_a_key_revoked_after_the_certified_time_leaves_the_signature_valid(desk: Desk) -> None:
    later = Revoked(SIGNER, at=NOW + 2 * DAY)
    stamped, claimed = desk.verified(stamper=STAMPER), desk.verified()
    one = only(judge(revoked=[later]).file(stamped))
    assert (one.word, codes(one)) == (Word.VALID_BUT, [Caution.REVOKED_SINCE])
    assert only(judge(revoked=[later]).file(claimed)).word is Word.INVALID


def test_a_time_in_the_future_cannot_be_believed(desk: Desk) -> None:
    found = desk.verified()
    before = found.signatures[0].signed_at - timedelta(hours=1)
    one = only(judge().file(found, now=before))
    assert (one.word, codes(one)) == (Word.CANNOT_TELL, [Cause.TIME_IN_FUTURE])
    assert only(judge(clock_tolerance=7200).file(found, now=before)).text == "valid"


def test_a_signature_without_a_usable_time_is_judged_as_of_now(desk: Desk) -> None:
    found = desk.verified().signatures[0]
    undated = replace(found, date_time="20240101120000", signed_at=None)
    one = judge().signature(undated)
    assert (one.word, codes(one)) == (Word.VALID_BUT, [Cause.TIME_MISSING])
    assert one.moment is not None
    assert one.moment.kind is MomentKind.PRESENT
    over = CA.issue("CT room", key=new_key("rsa2048", 2), ends=NOW - DAY)
    gone = judge().signature(replace(undated, certificate=over.der))
    assert gone.text == (
        "cannot tell, because a certificate of the chain has expired, and nothing says when it was made"
    )


@pytest.mark.parametrize("hour", ["00010101000000+1400", "99991231235959-1200"])
def test_the_first_and_last_hours_of_time_are_no_trap(desk: Desk, hour: str) -> None:
    from hsm_dicom.signatures.read import parse_date_time
    from hsm_dicom.signatures.report import json_line

    found = desk.verified(stamper=STAMPER)
    odd = replace(found.signatures[0], date_time=hour, signed_at=parse_date_time(hour))
    for one in (odd, replace(odd, timestamp=None)):
        verdict = judge().file(replace(found, signatures=(one,)))
        assert json_line(verdict)


def test_a_time_zone_is_honoured(desk: Desk) -> None:
    """DCMTK (seen in 3.6.7) compares the digits alone: 08:00 in New York is after noon UTC, 20:00 in Tokyo is not."""
    found = desk.verified().signatures[0]
    begins = datetime(2026, 1, 1, 12, tzinfo=UTC)
    signer = CA.issue("CT room", key=new_key("rsa2048", 2), begins=begins, ends=begins + YEAR)
    in_new_york = datetime.fromisoformat("2026-01-01T08:00:00-05:00")
    in_tokyo = datetime.fromisoformat("2026-01-01T20:00:00+09:00")
    relaxed = Judge.trusting(TrustStore([CA.certificate]))
    after = replace(found, certificate=signer.der, signed_at=in_new_york)
    before = replace(found, certificate=signer.der, signed_at=in_tokyo)
    now = begins + DAY
    assert relaxed.signature(after, now=now).word is Word.VALID_BUT
    assert codes(relaxed.signature(before, now=now)) == [Cause.OUTSIDE_VALIDITY]


# --- Time stamps -------------------------------------------------------------------------------------------------


def test_a_time_stamp_is_judged_by_its_own_anchors_alone(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER)
    crl = Sourced(CA.crl(), "ca.crl")
    for store in (
        TrustStore([CA.certificate], crls=[crl]),
        TrustStore([CA.certificate, TIME_CA.certificate], crls=[crl]),
    ):
        one = only(Judge.trusting(store).file(found))
        assert (one.word, codes(one)) == (Word.VALID_BUT, [Cause.TIMESTAMP_NOT_JUDGED])
        assert one.moment is not None
        assert one.moment.kind is MomentKind.CLAIMED


def test_a_time_stamp_of_another_signature_proves_nothing(desk: Desk) -> None:
    first, second = desk.verified(stamper=STAMPER), desk.verified(stamper=STAMPER)
    swapped = replace(first.signatures[0], timestamp=second.signatures[0].timestamp)
    one = judge().signature(swapped)
    assert one.text == "valid, but its time stamp proves nothing"
    assert "over something else" in one.grounds[0].detail


def test_a_time_stamp_of_another_kind_proves_nothing(desk: Desk) -> None:
    odd = replace(desk.verified(stamper=STAMPER).signatures[0], timestamp_type="SUNDIAL")
    one = judge().signature(odd)
    assert one.text == "valid, but its time stamp cannot be judged"
    assert "'SUNDIAL' is not CMS_TSP" in one.grounds[0].detail


def test_a_revoked_authority_certifies_no_time(desk: Desk) -> None:
    one = only(judge(stamper_revoked=True).file(desk.verified(stamper=STAMPER)))
    assert one.text == "valid, but its time stamp proves nothing"
    assert "CN=Time unit: It was revoked" in one.grounds[0].detail
    assert one.moment is not None
    assert one.moment.kind is MomentKind.CLAIMED


def test_what_a_time_stamp_leaves_open_is_said(desk: Desk) -> None:
    one = only(judge(stamp_crls=False).file(desk.verified(stamper=STAMPER)))
    assert one.text == "valid, but of its time stamp, revocation was not checked for want of data"


def test_a_claimed_time_behind_the_certified_one_is_said(desk: Desk) -> None:
    found = desk.verified(stamper=STAMPER).signatures[0]
    late = replace(found, signed_at=found.signed_at + timedelta(hours=1))
    assert codes(judge().signature(late)) == [Cause.TIME_BEHIND_TIMESTAMP]


def test_a_time_stamp_from_before_the_certificate_is_invalid(desk: Desk) -> None:
    young = CA.issue("CT room", key=new_key("rsa2048", 2), begins=NOW + DAY)
    found = desk.verified(signer=young, stamper=STAMPER)
    one = only(judge().file(found, now=NOW + 2 * DAY))
    assert codes(one) == [Cause.OUTSIDE_VALIDITY]
    assert one.text.startswith("invalid, because its time stamp is from")


# --- Allowed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mac", ["MD5", "SHA1", "RIPEMD160"])
def test_a_weak_hash_counts_with_a_warning_unless_the_policy_refuses_it(desk: Desk, mac: str) -> None:
    found = desk.verified(mac=mac, allow_weak=True)
    assert only(judge().file(found)).text == f"valid, but its MAC is {mac}, which is weak"
    strict = only(judge(weak_mac_algorithms=()).file(found))
    assert strict.text == f"invalid, because its MAC is {mac}, which the policy refuses"


def test_a_short_key_counts_with_a_warning_unless_the_policy_refuses_it(desk: Desk) -> None:
    found = desk.verified(signer=CA.issue("Old console", key=new_key("rsa1024")))
    relaxed, strict = only(judge().file(found)), only(judge(minimum_rsa_bits=2048).file(found))
    assert (relaxed.word, codes(relaxed)) == (Word.VALID_BUT, [Caution.SHORT_KEY])
    assert (strict.word, codes(strict)) == (Word.INVALID, [Reason.WEAK_KEY])


# --- Covered -----------------------------------------------------------------------------------------------------


def test_what_is_outside_is_named_the_gravest_first(desk: Desk) -> None:
    one = only(judge().file(desk.verified(tags=(SOP_INSTANCE, PATIENT_ID))))
    assert one.word is Word.VALID_BUT
    assert codes(one) == [
        Cause.PIXEL_DATA_OPEN,
        Cause.IDENTITY_OPEN,
        Cause.CHARACTER_SET_OPEN,
        Cause.PRIVATE_OPEN,
        Cause.ELEMENTS_OPEN,
    ]
    clauses = [ground.clause for ground in one.grounds]
    assert clauses[0] == "the pixel data is not covered"
    assert clauses[1] == "the identity of the patient, study, series and SOP instance is not covered"
    assert clauses[3].startswith("179 private elements are not covered: (0009,0010), (0009,1001), (0009,1002) and")


def test_an_element_added_since_is_named(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    signed.PatientComments = "added"
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    assert only(judge().file(verify(path))).text == "valid, but 1 element is not covered: PatientComments"


def test_private_and_unknown_elements_outside_are_named(desk: Desk) -> None:
    signed = pydicom.dcmread(desk.sign())
    signed.private_block(0x0029, "SOMEBODY", create=True).add_new(0x01, "LO", "added")
    signed.add_new(0x0018_9999, "UN", b"\1\2")
    path = desk.folder / "added.dcm"
    signed.save_as(path)
    one = only(judge().file(verify(path)))
    assert codes(one) == [Cause.PRIVATE_OPEN, Cause.UNKNOWN_VR_OPEN]
    assert "2 private elements are not covered: (0029,0011), (0029,1101)" in one.text
    assert "1 element of unknown VR is not covered: (0018,9999)" in one.text


def test_a_character_set_put_around_signed_text_is_named(desk: Desk) -> None:
    everything_else = tuple(
        int(element.tag)
        for element in pydicom.dcmread(image())
        if element.tag.group >= 8 and element.tag not in (CHARACTER_SET, 0xFFFCFFFC)
    )
    one = only(judge().file(desk.verified(profile=Profile.NONE, tags=everything_else)))
    assert Cause.CHARACTER_SET_OPEN in codes(one)


def test_a_signature_of_an_item_is_not_one_of_the_object(desk: Desk) -> None:
    one = only(judge().file(desk.verified("reportsi.dcm", item=((0x0040A730, 0),))))
    assert codes(one)[0] == Cause.ITEM_ONLY
    assert "it covers the Item ContentSequence[0] only, not the object" in one.text


def test_several_signatures_are_judged_apart(desk: Desk) -> None:
    stranger = Authority("Somebody", key=new_key("rsa2048", 5)).issue("Stranger", key=new_key("rsa2048", 6))
    twice = desk.sign(desk.sign(), stranger)
    verdict = judge().file(verify(twice))
    assert [one.word for one in verdict.signatures] == [Word.VALID, Word.INVALID]
    assert verdict.text == "2 signatures: 1 valid, 1 invalid."
    assert verdict.outcome is Outcome.SIGNATURE_FAILED


# --- Runs --------------------------------------------------------------------------------------------------------


def test_the_worst_file_decides_the_exit_status() -> None:
    def status(*outcomes: Outcome) -> int:
        return exit_code(outcomes)

    assert status() == 1
    assert status(Outcome.GOOD) == 0
    assert status(Outcome.GOOD, Outcome.POLICY_NOT_MET) == 102
    assert status(Outcome.POLICY_NOT_MET, Outcome.NO_SIGNATURE) == 100
    assert status(Outcome.NO_SIGNATURE, Outcome.UNREADABLE) == 1
    assert status(*Outcome) == 101


def test_a_file_that_cannot_be_read_is_part_of_the_run(tmp_path: Path) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"no image")
    with pytest.raises(NotDicomError) as refused:
        verify(bad)
    verdict = unreadable(str(bad), refused.value)
    assert verdict.outcome is Outcome.UNREADABLE
    assert verdict.text == "Could not be read: not a DICOM file: the prefix DICM of PS3.10 is missing."


def test_an_unsigned_file_is_neither_good_nor_bad() -> None:
    verdict = judge().file(verify(image()))
    assert verdict.outcome is Outcome.NO_SIGNATURE
    assert verdict.text == "Not signed: nothing in it is protected by a signature."


def _judged(judge: Judge, paths: Sequence[str], now: datetime) -> list[FileVerdict]:
    return [judge.file(verify(path), now=now) for path in paths]


def test_judges_work_in_other_processes_and_threads_and_verdicts_come_back(desk: Desk) -> None:
    paths = [str(desk.sign(stamper=STAMPER)), str(desk.sign()), str(image())]
    later = NOW + DAY
    here = _judged(judge(), paths, later)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(_judged, judge(), paths, later).result(timeout=60) == here
    shared = judge()
    with ThreadPoolExecutor(4) as threads:
        assert all(found == here for found in threads.map(lambda _: _judged(shared, paths, later), range(8)))
    assert pickle.loads(pickle.dumps(here)) == here


def test_judging_one_more_file_of_a_known_signer_takes_no_time_to_speak_of(desk: Desk) -> None:
    found, every = desk.verified(), judge()
    every.file(found)
    began = time.perf_counter()
    for _ in range(200):
        every.file(found)
    assert (time.perf_counter() - began) / 200 < 0.001


def test_each_verdict_is_an_event(desk: Desk) -> None:
    verdict = judge(revoked=[SIGNER]).file(desk.verified())
    events: list[Any] = []
    with subscribed(events.append):
        record(verdict)
    (event,) = [event for event in events if isinstance(event, DicomEvent)]
    assert isinstance(event, VerdictGiven)
    assert (event.verdict, event.signer) == ("invalid", "CN=CT room")
    assert event.reason == "invalid, because a certificate of the chain is revoked"


def test_a_hostile_subject_is_fit_to_be_printed(desk: Desk) -> None:
    name = "\x1b[2Jroot\u202e\n" + "A" * 40
    signer = CA.issue(name, key=new_key("rsa2048", 5))
    one = only(judge().file(desk.verified(signer=signer)))
    assert one.signer.isprintable()
    assert isinstance(x509.load_der_x509_certificate(one.signature.certificate), x509.Certificate)


def test_pixels_and_identity_that_are_covered_leave_no_such_ground(desk: Desk) -> None:
    named = (0x00080005, 0x00080016, SOP_INSTANCE, 0x00100010, PATIENT_ID, 0x00100030, 0x0020000D, 0x0020000E, PIXELS)
    one = only(judge().file(desk.verified(tags=named)))
    assert codes(one) == [Cause.PRIVATE_OPEN, Cause.ELEMENTS_OPEN]
