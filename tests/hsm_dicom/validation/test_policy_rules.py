"""Which rule of a policy is for an object, and that every demand that it does not meet is listed with its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from hsm_dicom.config.policy_sections import CURVES, STRONG_HASHES, WEAK_HASHES, DemandsSection
from hsm_dicom.dataset.values import ObjectIdentity
from hsm_dicom.trust import ARCHIVE, Policy, RevocationPolicy, Sourced, TrustStore
from hsm_dicom.trust.policy import CURVES as TRUST_CURVES
from hsm_dicom.trust.policy import SHA2_AND_3
from hsm_dicom.validation import Outcome, PolicyValidator, PolicyVerdict, VerificationPolicy
from hsm_dicom.validation.policies.demands import compute_pins
from hsm_dicom.validation.policies.policy import make_trust_policy
from tests.hsm_dicom.validation.verdict_cases import CA, SIGNER, STAMPER, TIME_CA, Desk, image
from tests.pki import Authority, new_key

PATIENT_ID = 0x00100020


def judge(path: Path, calling_ae_title: str = "", *, crls: bool = True, **policy: Any) -> PolicyVerdict:
    """The answer of a named policy on a file, with both CAs trusted."""
    lists = [Sourced(CA.crl(()), "ca.crl")] if crls else []
    validator = PolicyValidator.from_stores(
        VerificationPolicy(**policy),
        TrustStore([CA.certificate], crls=lists),
        timestamp_authorities=TrustStore([TIME_CA.certificate]),
        name="archive",
    )
    judged = validator.validate_file(path, calling_ae_title=calling_ae_title)
    assert judged.is_met is not bool(judged.unmet)
    assert all(one.text and one.remedy for one in judged.unmet), judged.unmet
    return judged


def codes(judged: PolicyVerdict) -> list[str]:
    return [one.code for one in judged.unmet]


CT, MR = {"modalities": ["CT"]}, {"modalities": ["MR"]}


@pytest.mark.parametrize(
    ("when", "calling", "applies"),
    [
        ({}, "", True),
        (CT, "", True),
        (MR, "", False),
        ({"modalities": ["MR", "CT"]}, "", True),
        ({"sop_classes": ["CTImageStorage"]}, "", True),
        ({"sop_classes": ["1.2.840.10008.5.1.4.1.1.2"]}, "", True),
        ({"sop_classes": ["MRImageStorage"]}, "", False),
        ({"calling_ae_titles": ["CT1"]}, "CT1", True),
        ({"calling_ae_titles": ["CT1"]}, "CT2", False),
        ({"calling_ae_titles": ["CT1"]}, "", False),
        (CT | {"calling_ae_titles": ["CT1"]}, "CT2", False),
        (CT | {"calling_ae_titles": ["CT1"]}, "CT1", True),
    ],
)
def test_all_conditions_of_a_rule_must_hold(when: dict[str, Any], calling: str, applies: bool) -> None:
    policy = VerificationPolicy(rules=[{"when": when}])
    ct = ObjectIdentity(modality="CT", sop_class_uid="1.2.840.10008.5.1.4.1.1.2")
    assert (policy.choose_rule(ct, calling) is not None) is applies


def test_the_first_rule_that_matches_applies_and_inherits_from_the_policy(desk: Desk) -> None:
    policy = {
        "require": ["creator"],
        "rules": [
            {"when": MR, "require": ["sr"]},
            {"when": CT, "name": "computed tomography", "minimum_rsa_bits": 3072},
            {"require": ["sr"]},
        ],
    }
    judged = judge(desk.sign(), **policy)
    assert (judged.verdict.policy, judged.verdict.rule) == ("archive", "computed tomography")
    assert "weak-key" in codes(judged)
    assert "profile-not-met" not in codes(judged)
    assert codes(judge(desk.sign(tags=(PATIENT_ID,)), require=["creator"], rules=[{}]))[-1] == "profile-not-met"


def test_objects_that_no_rule_matches_are_refused_unless_the_policy_accepts_them(desk: Desk) -> None:
    signed, only_mr = desk.sign(), {"rules": [{"when": MR}]}
    assert codes(judge(signed, **only_mr)) == ["no-rule"]
    assert codes(judge(image(), **only_mr)) == ["unsigned", "no-rule"]
    for path in (signed, image(), desk.sign(signer=STRANGER)):
        accepted = judge(path, **only_mr, otherwise="accept")
        assert (accepted.is_met, accepted.verdict.outcome) == (True, Outcome.EXEMPT)
    signed.write_bytes(signed.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    assert codes(judge(signed, **only_mr, otherwise="accept")) == ["altered"]


def test_a_policy_asks_for_a_signature_unless_it_accepts_unsigned_objects(desk: Desk) -> None:
    assert codes(judge(image())) == ["unsigned", "no-valid-signature"]
    assert judge(image(), unsigned="accept").verdict.outcome is Outcome.EXEMPT
    assert judge(desk.sign(), unsigned="accept").verdict.outcome is Outcome.GOOD
    stranger = desk.sign(signer=STRANGER)
    assert codes(judge(stranger, unsigned="accept")) == ["no-path", "no-valid-signature"]
    item = desk.sign("reportsi.dcm", item=((0x0040A730, 0),))
    assert codes(judge(item)) == ["no-valid-signature"]


STRANGER = Authority("Other CA", key=new_key("rsa2048", 7)).issue("Stranger", key=new_key("rsa2048", 8))
SIGNER_NAME = SIGNER.certificate.subject.rfc4514_string()
CA_NAME = CA.certificate.subject.rfc4514_string()
BY_CERTIFICATE, BY_KEY = sorted(compute_pins(SIGNER.certificate))


@pytest.mark.parametrize(
    ("demand", "code"),
    [
        ({"issuers": [CA_NAME]}, ""),
        ({"issuers": ["CN=Other CA"]}, "issuer-not-listed"),
        ({"issuers": ["CN=Other CA", CA_NAME.replace("Hospital", "HOSPITAL")]}, ""),
        ({"subjects": [SIGNER_NAME]}, ""),
        ({"subjects": ["CN=*"]}, ""),
        ({"subjects": ["CN=*,O=Hospital"]}, "subject-not-listed"),
        ({"subjects": ["O=*"]}, "subject-not-listed"),
        ({"pins": [BY_CERTIFICATE]}, ""),
        ({"pins": [BY_KEY]}, ""),
        ({"pins": ["00" * 32]}, "pin-not-listed"),
        ({"pins": [":".join(BY_KEY[at : at + 2] for at in range(0, 64, 2)).upper()]}, ""),
        ({"require_extended_key_usage": True}, "extended-key-usage-not-listed"),
        ({"key_types": ["rsa"]}, ""),
        ({"key_types": ["ec"]}, "key-not-allowed"),
        ({"minimum_rsa_bits": 4096}, "key-not-allowed"),
        ({"mac_algorithms": ["SHA512"], "weak_mac_algorithms": []}, "mac-not-listed"),
        ({"cover": ["pixel data", "geometry", "content", "identity"]}, ""),
        ({"require": ["timestamp"]}, "no-timestamp"),
        ({"timestamp_authorities": ["CN=*"]}, "no-timestamp"),
        ({"revocation_age_days": 1}, ""),
        ({"signatures": 2}, "too-few-signatures"),
    ],
)
def test_each_demand_is_asked(desk: Desk, demand: dict[str, Any], code: str) -> None:
    found = codes(judge(desk.sign(), **demand))
    assert (code in found) if code else not found


def test_every_unmet_demand_is_listed_with_its_remedy(desk: Desk) -> None:
    judged = judge(
        desk.sign(tags=(PATIENT_ID,)),
        require=["creator", "timestamp"],
        cover=["pixel data", "identity"],
        issuers=["CN=Other CA"],
        subjects=["CN=Nobody"],
        pins=["00" * 32],
        require_extended_key_usage=True,
        mac_algorithms=["SHA512"],
        weak_mac_algorithms=[],
        key_types=["ec"],
        signatures=2,
        revocation_age_days=1,
    )
    assert set(codes(judged)) >= {
        "mac-refused",
        "pixel-data-open",
        "no-valid-signature",
        "not-covered",
        "issuer-not-listed",
        "subject-not-listed",
        "pin-not-listed",
        "extended-key-usage-not-listed",
        "mac-not-listed",
        "key-not-allowed",
        "no-timestamp",
        "profile-not-met",
        "too-few-signatures",
    }
    assert f"Found: {SIGNER_NAME}." in judged.text
    assert "RSA 2048" in judged.text


@pytest.mark.interop
def test_a_time_stamp_must_be_by_an_authority_that_is_listed(desk: Desk) -> None:
    stamped = desk.sign(stamper=STAMPER)
    for names in (["CN=Time unit"], ["CN=Time CA"]):
        assert judge(stamped, timestamp_authorities=names).is_met
    (unmet,) = judge(stamped, timestamp_authorities=["CN=Other unit"]).unmet
    assert unmet.code == "timestamp-authority-not-listed"
    assert "Found: CN=Time unit." in unmet.text


def test_signatures_are_counted_by_their_keys(desk: Desk) -> None:
    once = desk.sign()
    twice = desk.sign(once)
    assert codes(judge(twice, signatures=2)) == ["too-few-signatures"]
    other = CA.issue("Second reader", key=new_key("rsa2048", 9))
    assert judge(desk.sign(once, signer=other), signatures=2).is_met


def test_one_signature_must_meet_what_is_asked_of_each(desk: Desk) -> None:
    other = CA.issue("Second reader", key=new_key("rsa2048", 9))
    everything = desk.sign(signer=other)
    pinned = desk.sign(everything, tags=(0x00080016, 0x00080018, PATIENT_ID))
    judged = judge(pinned, cover=["pixel data"], pins=[BY_KEY])
    assert "No valid signature that meets the other demands" in judged.text


def test_revocation_data_may_be_required_to_be_recent(desk: Desk) -> None:
    from datetime import timedelta

    from hsm_dicom.trust.clock import current_time

    signed = desk.sign()
    later = current_time() + timedelta(hours=1)
    validator = PolicyValidator.from_stores(
        VerificationPolicy(revocation_age_days=0.01),
        TrustStore([CA.certificate], crls=[Sourced(CA.crl(()), "ca.crl")]),
        name="fresh",
    )
    judged = validator.validate_file(signed, now=later)
    assert codes(judged) == ["revocation-data-too-old"]
    assert "in the last 0.01 days. Found: data of " in judged.text
    without = judge(signed, crls=False, revocation_age_days=3650)
    assert "Found: none for" in without.text


def test_a_file_that_cannot_be_read_does_not_meet_a_policy(tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_text("no image")
    assert codes(judge(tmp_path / "x.dcm", otherwise="accept", rules=[{"when": MR}])) == ["unreadable"]


def test_a_policy_verdict_has_no_truth_value(desk: Desk) -> None:
    with pytest.raises(TypeError, match="is_met"):
        bool(judge(desk.sign()))


def test_the_words_of_policies_are_those_of_certificate_validation() -> None:
    assert set(CURVES) == TRUST_CURVES
    assert set(STRONG_HASHES) == SHA2_AND_3
    assert set(WEAK_HASHES) >= ARCHIVE.tolerated_hashes
    default = make_trust_policy(DemandsSection())
    assert default == Policy(algorithms=ARCHIVE, revocation=RevocationPolicy.WHEN_GIVEN)


def test_the_resume_key_differs_for_another_policy_and_calling_ae_title(desk: Desk) -> None:
    path = desk.sign()
    keys = [
        judge(path, calling, **policy).verdict.resume_key
        for calling, policy in [
            ("", {}),
            ("CT1", {}),
            ("", {"minimum_rsa_bits": 2048}),
            ("", {"rules": [{}]}),
            ("", {"rules": [{"when": CT}]}),
            ("", {"rules": [{"when": CT}], "otherwise": "accept"}),
        ]
    ]
    assert len(set(keys)) == len(keys)


def test_names_are_compared_part_by_part() -> None:
    from hsm_dicom.validation.policies.names import matches_any

    assert matches_any("CN=A\\, B,O=H", ["CN=A\\, B,O=H"])
    assert matches_any("CN=a  b", ["CN=A B"])
    assert not matches_any("CN=A,O=H", ["CN=A"])
    assert not matches_any("CN=A", ["CN=A,O=H"])
    assert not matches_any("not a name", ["CN=*"])
    assert x509.Name.from_rfc4514_string("CN=*")
