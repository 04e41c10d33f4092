"""What we say of signatures that DCMTK 3.6.7's dcmsign made over a part of nested sequences, and of our own to it."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from hsm_dicom.signatures import Finding, SigningRequest, check_integrity, sign
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.trust import Reason, TrustStore
from hsm_dicom.validation.policies.policy import Requirement, VerificationPolicy
from hsm_dicom.validation.validator import Cause, Indication, Validator, Verdict, worst_exit_status
from tests.hsm_dicom.dataset.samples import encode, nested_report
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Authority, Identity, new_key


def judged(path: Path, authority: Authority, **policy: object) -> Verdict:
    validator = Validator.from_stores(
        TrustStore([authority.certificate]), policy=VerificationPolicy.model_validate(policy)
    )
    return validator.validate(check_integrity(path))


def changed(path: Path, number: int) -> Path:
    """The file with the text of one Item changed."""
    other = pydicom.dcmread(path)
    other.ContentSequence[0].ContentSequence[number].TextValue = f"Finding {number:04d}: {'y' * 40}"
    other.save_as(path.with_name("changed.dcm"))
    return path.with_name("changed.dcm")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "report.dcm"
    path.write_bytes(encode(nested_report(500)))
    return path


@pytest.fixture
def of_dcmsign(source: Path, dcmsign: Dcmsign) -> Path:
    dcmsign.sign(source, source.with_name("signed.dcm"))
    return source.with_name("signed.dcm")


def test_what_dcmsign_signs_of_a_long_nested_sequence_is_never_good(
    of_dcmsign: Path, dcmsign: Dcmsign, authority: Authority
) -> None:
    forged = changed(of_dcmsign, 400)
    assert dcmsign.accepts(of_dcmsign)
    assert dcmsign.accepts(forged), "dcmsign does not notice"
    for path in (of_dcmsign, forged):
        verdict = judged(path, authority, require=[Requirement.ANY])
        (one,) = verdict.signatures
        assert one.signature.finding is Finding.PARTIAL
        assert not one.signature.intact
        assert one.signature.profiles == ()
        assert (one.indication, [ground.code for ground in one.grounds]) == (
            Indication.INDETERMINATE,
            [AnomalyCode.DCMTK_STREAM],
        )
        clause = "it was made by DCMTK's dcmsign, and 24,782 octets of nested sequences are not protected"
        assert one.text == f"cannot tell, because {clause}"
        assert worst_exit_status([verdict.outcome]) == 101
        assert [one.text for one in verdict.unmet] == ["There is no valid signature over the main Data Set."]


def test_what_dcmsign_does_hash_is_held_to_it(of_dcmsign: Path, dcmsign: Dcmsign, authority: Authority) -> None:
    forged = changed(of_dcmsign, 100)
    assert not dcmsign.accepts(forged)
    (one,) = judged(forged, authority).signatures
    assert (one.indication, [ground.code for ground in one.grounds]) == (Indication.INVALID, [Cause.ALTERED])


def test_a_signer_who_is_not_trusted_outweighs_it(of_dcmsign: Path, authority: Authority) -> None:
    (unknown,) = judged(of_dcmsign, Authority("Signatures CA", key=new_key("rsa2048", 5))).signatures
    assert AnomalyCode.DCMTK_STREAM not in [ground.code for ground in unknown.grounds]
    assert unknown.indication is Indication.INVALID
    (untold,) = Validator.from_stores().validate(check_integrity(of_dcmsign)).signatures
    assert [ground.code for ground in untold.grounds] == [AnomalyCode.DCMTK_STREAM, Reason.NO_ANCHORS]
    assert untold.text.startswith("cannot tell, because it was made by DCMTK's dcmsign")


def test_short_nested_sequences_are_the_same_for_both(
    dcmsign: Dcmsign, authority: Authority, signer: Identity, tmp_path: Path
) -> None:
    source, theirs, ours = tmp_path / "report.dcm", tmp_path / "theirs.dcm", tmp_path / "ours.dcm"
    source.write_bytes(encode(nested_report(150)))
    dcmsign.sign(source, theirs)
    assert judged(theirs, authority).signatures[0].indication.good
    assert sign(source, ours, signer.key, SigningRequest(signer.der)).unhashed_by_dcmtk == 0
    assert dcmsign.accepts(ours)


def test_signing_says_that_dcmsign_will_disagree(
    source: Path, dcmsign: Dcmsign, authority: Authority, signer: Identity
) -> None:
    target = source.with_name("ours.dcm")
    made = sign(source, target, signer.key, SigningRequest(signer.der))
    assert made.unhashed_by_dcmtk == 24782
    assert made.dcmsign_disagrees
    assert not dcmsign.accepts(target)
    assert judged(target, authority).signatures[0].indication.good
