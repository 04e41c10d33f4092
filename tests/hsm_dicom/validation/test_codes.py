"""Every code has its meaning and its remedy in the reference, and its words of ETSI EN 319 102-1."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hsm_dicom.signatures import check_integrity
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.trust import Caution, Reason, TrustStore
from hsm_dicom.validation import (
    Cause,
    Ground,
    Indication,
    MainIndication,
    Validator,
    find_etsi_status,
    find_etsi_status_of_object,
)
from hsm_dicom.validation.policies.demands import Demand
from hsm_dicom.validation.policies.unmet import find_all_unmet
from hsm_dicom.validation.policies.validator import NO_RULE
from hsm_dicom.validation.remedies import UNREADABLE, UNSIGNED, find_remedy
from hsm_dicom.validation.result import ValidationTime, ValidationTimeKind
from tests.hsm_dicom.validation.verdict_cases import CA, STAMPER, Desk, image, only, validator
from tests.pki import Authority, new_key

PAGE = (Path(__file__).parents[3] / "docs/reference/verdict-codes.md").read_text()
OF_VERDICTS, OF_DEMANDS = PAGE.partition("## ETSI")[0].split("## Demands of a policy")
ROW = r"(?m)^\| `([a-z-]+)` \| (.+?) \| (.*?) \|$"
CODES = {*Cause, *Reason, *Caution, *AnomalyCode} - {Reason.TRUSTED}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_its_meaning_and_its_remedy(code: str) -> None:
    rows = [remedy for name, meaning, remedy in re.findall(ROW, OF_VERDICTS) if name == code and meaning]
    assert rows
    assert all(remedy.replace("`", "") == find_remedy(code) for remedy in rows)


def test_every_demand_is_explained() -> None:
    explained = {name for name, *_ in re.findall(ROW, OF_DEMANDS)}
    assert {*Demand, NO_RULE.code, UNSIGNED, UNREADABLE} <= explained
    assert all(map(find_remedy, (UNSIGNED, UNREADABLE)))


def etsi(desk: Desk, made: Validator, **wishes: object) -> tuple[str, str | None]:
    found = find_etsi_status(only(made.validate(desk.verified(**wishes))))
    return found.indication.value, found.sub_indication


def test_the_words_of_etsi_stand_beside_ours(desk: Desk) -> None:
    assert etsi(desk, validator()) == ("TOTAL-PASSED", None)
    assert etsi(desk, validator(), tags=(0x00100020,)) == ("INDETERMINATE", "SIG_CONSTRAINTS_FAILURE")
    assert etsi(desk, validator(minimum_rsa_bits=4096)) == ("INDETERMINATE", "CRYPTO_CONSTRAINTS_FAILURE_NO_POE")
    assert etsi(desk, validator(crls=False, revocation="required")) == ("INDETERMINATE", "TRY_LATER")
    assert etsi(desk, Validator.from_stores()) == ("INDETERMINATE", "NO_CERTIFICATE_CHAIN_FOUND")
    altered = desk.sign()
    altered.write_bytes(altered.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))

    verdict = validator().validate(check_integrity(altered))
    assert find_etsi_status_of_object(verdict) == (MainIndication.TOTAL_FAILED, "SIG_CRYPTO_FAILURE")
    assert find_etsi_status_of_object(validator().validate(check_integrity(image()))) is None
    unmet = validator(require={"sr"}).validate(check_integrity(desk.sign()))
    assert find_etsi_status_of_object(unmet) == (MainIndication.INDETERMINATE, "SIG_CONSTRAINTS_FAILURE")


@pytest.mark.interop
def test_a_proven_time_changes_the_words_of_etsi(desk: Desk) -> None:
    stamped = validator(minimum_rsa_bits=4096, stamp_crls=False)
    stamped = replace(stamped, timestamp_authorities=validator(stamp_crls=False).timestamp_authorities)
    assert etsi(desk, stamped, stamper=STAMPER) == ("INDETERMINATE", "CRYPTO_CONSTRAINTS_FAILURE")


def test_a_missing_intermediate_is_indeterminate_and_named(desk: Desk) -> None:
    intermediate = CA.authority("Department CA", key=new_key("rsa2048", 10))
    signed = desk.sign(signer=intermediate.issue("Reader", key=new_key("rsa2048", 11)))

    without = Validator.from_stores(TrustStore([CA.certificate])).validate(check_integrity(signed))
    assert only(without).indication is Indication.INDETERMINATE
    assert find_etsi_status(only(without)) == (MainIndication.INDETERMINATE, "NO_CERTIFICATE_CHAIN_FOUND")
    (unmet,) = find_all_unmet(without)
    assert (unmet.code, "--intermediate" in unmet.remedy) == ("no-path", True)
    assert "CN=Department CA" in without.signatures[0].grounds[0].detail
    store = TrustStore([CA.certificate], intermediates=[intermediate.certificate])
    assert Validator.from_stores(store).validate(check_integrity(signed)).valid


def test_a_stamp_that_is_older_than_the_certificate_is_not_yet_valid(desk: Desk) -> None:
    one = only(validator().validate(desk.verified()))
    early = ValidationTime(datetime.now(UTC) - timedelta(days=36500), ValidationTimeKind.PROVEN)
    outside = replace(
        one, indication=Indication.INVALID, validation_time=early, grounds=(Ground(Cause.OUTSIDE_VALIDITY, "x"),)
    )
    assert find_etsi_status(outside) == (MainIndication.TOTAL_FAILED, "NOT_YET_VALID")
    claimed = replace(outside, validation_time=replace(early, kind=ValidationTimeKind.CLAIMED))
    assert find_etsi_status(claimed) == (MainIndication.INDETERMINATE, "OUT_OF_BOUNDS_NO_POE")


def test_certificates_of_strangers_have_no_chain(desk: Desk) -> None:
    stranger = Authority("Other CA", key=new_key("rsa2048", 7)).issue("Stranger", key=new_key("rsa2048", 8))
    assert etsi(desk, validator(), signer=stranger) == ("INDETERMINATE", "NO_CERTIFICATE_CHAIN_FOUND")
