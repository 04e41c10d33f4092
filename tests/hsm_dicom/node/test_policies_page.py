"""The ten examples of docs/howto/policies.md accept and refuse what their titles say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hsm_dicom.node import open_policy
from hsm_dicom.node.check import check_configuration
from hsm_dicom.node.compiler import read_plan
from hsm_dicom.signatures import Profile
from hsm_dicom.validation.policies.demands import compute_pins
from tests.hsm_dicom.validation.verdict_cases import CA, PATIENT_ID, SIGNER, STAMPER, TIME_CA, Desk, image
from tests.pki import Authority, Identity, new_key

PAGE = (Path(__file__).parents[3] / "docs/howto/policies.md").read_text()
EXAMPLES = re.findall(r"(?m)^### (.*)\n\n```toml\n((?:.*\n)*?)```", PAGE)
PIN = sorted(compute_pins(SIGNER.certificate))[0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "ca.pem").write_bytes(CA.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "time.pem").write_bytes(TIME_CA.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "ca.crl").write_bytes(CA.crl(()))
    (tmp_path / "time.crl").write_bytes(TIME_CA.crl(()))
    return Desk(tmp_path)


def judge(desk: Desk, title: str, path: Path, calling_ae_title: str = "") -> list[str]:
    """The codes of what a file does not meet of the example with this title."""
    text = re.sub(r'pins = \["[0-9a-f]{64}"\]', f'pins = ["{PIN}"]', dict(EXAMPLES)[title])
    trust = '[trust]\nanchors = ["ca.pem"]\ntimestamp_anchors = ["time.pem"]\ncrls = ["ca.crl", "time.crl"]\n\n'
    file = desk.folder / "hsm-dicom.toml"
    file.write_text(trust + text)
    file.chmod(0o600)
    plan = read_plan(file)
    assert not plan.problems
    (name,) = plan.policies
    validator = open_policy(plan, name)
    return [str(one.code) for one in validator.validate_file(path, calling_ae_title=calling_ae_title).unmet]


def stranger() -> Identity:
    return Authority("Other CA", key=new_key("rsa2048", 7)).issue("Stranger", key=new_key("rsa2048", 8))


def test_there_are_ten() -> None:
    assert len(EXAMPLES) == 10


def test_the_examples_are_free_of_contradictions(desk: Desk) -> None:
    for title, _ in EXAMPLES:
        judge(desk, title, image())
        problems = check_configuration(desk.folder / "hsm-dicom.toml").problems
        assert [one for one in problems if one.key.startswith("policies") and "minimum_rsa_bits" not in one.key] == []


def test_everything_must_be_signed(desk: Desk) -> None:
    title = "Everything must be signed by somebody whom we trust"
    assert judge(desk, title, desk.sign()) == []
    assert "unsigned" in judge(desk, title, image())
    assert "no-path" in judge(desk, title, desk.sign(signer=stranger()))


def test_images_must_be_signed_and_anything_else_may_pass(desk: Desk) -> None:
    title = "CT and MR images must be signed; anything else may pass"
    assert judge(desk, title, desk.sign()) == []
    assert "unsigned" in judge(desk, title, image("MR_small.dcm"))
    assert judge(desk, title, image("reportsi.dcm")) == []


@pytest.mark.interop
def test_ct_images_need_the_hospitals_ca_a_strong_hash_and_a_time_stamp(desk: Desk) -> None:
    title = "CT images only by the hospital's CA, with SHA-256 or better, and a time stamp"
    assert judge(desk, title, desk.sign(stamper=STAMPER)) == []
    assert judge(desk, title, desk.sign()) == ["no-timestamp"]
    weak = desk.sign(stamper=STAMPER, mac="SHA1", allow_weak=True)
    assert "mac-not-listed" in judge(desk, title, weak)
    assert "issuer-not-listed" in judge(desk, title, desk.sign(signer=stranger(), stamper=STAMPER))
    assert judge(desk, title, image("MR_small.dcm")) == []


def test_a_modality_signs_with_its_own_key(desk: Desk) -> None:
    title = "What a modality sends must be signed by its own key"
    other = CA.issue("MR room", key=new_key("rsa2048", 9))
    assert judge(desk, title, desk.sign(), "CT1") == []
    assert judge(desk, title, desk.sign(signer=other), "CT1") == ["pin-not-listed"]
    assert judge(desk, title, desk.sign(), "CT2") == ["no-rule"]


def test_old_devices_need_not_sign(desk: Desk) -> None:
    title = "Old devices need not sign, but a signature that is there must be good"
    assert judge(desk, title, image()) == []
    assert judge(desk, title, desk.sign()) == []
    assert "no-path" in judge(desk, title, desk.sign(signer=stranger()))


def test_the_picture_and_the_patient_are_covered(desk: Desk) -> None:
    title = "The whole picture and whose it is must be covered"
    assert judge(desk, title, desk.sign(profile=Profile.CREATOR)) == []
    assert {"pixel-data-open", "not-covered"} <= set(judge(desk, title, desk.sign(tags=(PATIENT_ID,))))


def test_reports_need_two_people_of_radiology(desk: Desk) -> None:
    title = "Reports need two signatures of different people in radiology"
    names = [f"CN={who},OU=Radiology,O=Hospital" for who in ("Dr. A", "Dr. B")]
    first, second = (
        CA.issue("", key=new_key("rsa2048", 20 + number), subject=x509.Name.from_rfc4514_string(one))
        for number, one in enumerate(names)
    )
    once = desk.sign("reportsi.dcm", first)
    assert "subject-not-listed" in judge(desk, title, desk.sign("reportsi.dcm"))
    assert judge(desk, title, once) == ["too-few-signatures"]
    assert judge(desk, title, desk.sign(once, second)) == []
    assert judge(desk, title, image()) == []


def test_short_keys_and_weak_hashes_are_refused(desk: Desk) -> None:
    title = "No short keys, and nothing weak in the chain"
    assert {"weak-key", "key-not-allowed"} <= set(judge(desk, title, desk.sign()))


def test_revocation_data_is_of_the_last_day(desk: Desk) -> None:
    title = "A signer may not be revoked, by data that is not older than a day"
    signed = desk.sign()
    assert judge(desk, title, signed) == []
    (desk.folder / "ca.crl").write_bytes(CA.crl([SIGNER]))
    assert "revoked" in judge(desk, title, signed)


@pytest.mark.interop
def test_time_stamps_are_of_the_national_authority(desk: Desk) -> None:
    title = "Time stamps only of our national authority"
    assert judge(desk, title, desk.sign(stamper=STAMPER)) == []
    assert judge(desk, title, desk.sign()) == ["no-timestamp"]
