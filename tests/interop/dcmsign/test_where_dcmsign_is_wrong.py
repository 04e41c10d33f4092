"""What DCMTK 3.6.7's dcmsign says too much or too little of, and what we say instead, with the standard's reason."""

from __future__ import annotations

import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

from hsm_dicom.signatures import SigningRequest, check_integrity, sign
from hsm_dicom.trust import Reason, TrustStore
from hsm_dicom.validation.validator import Cause, Indication, SignatureVerdict, Validator
from tests.hsm_dicom.dataset.samples import encode, structure_set
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import NOW, Authority, Identity, new_key

PATIENT_NAME = 0x00100010


def judged(path: Path, authority: Authority) -> SignatureVerdict:
    (verdict,) = Validator.from_stores(TrustStore([authority.certificate])).validate(check_integrity(path)).signatures
    return verdict


@pytest.fixture
def twelve_hours_behind_utc(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "XXX+12")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_time_zone_of_a_signature_counts(
    samples: dict[str, Path], dcmsign: Dcmsign, authority: Authority, tmp_path: Path, twelve_hours_behind_utc: None
) -> None:
    """PS3.3 C.12.1.1.3: Digital Signature DateTime carries its UTC offset. dcmsign compares the digits alone."""
    hour = timedelta(hours=1)
    signer = authority.issue("Short-lived", key=new_key("rsa2048"), begins=NOW - 2 * hour, ends=NOW + 2 * hour)
    signed = tmp_path / "signed.dcm"
    sign(samples["native"], signed, signer.key, SigningRequest(signer.der))
    assert not dcmsign.accepts(signed)
    verdict = judged(signed, authority)
    assert verdict.indication.good
    assert Cause.OUTSIDE_VALIDITY not in [ground.code for ground in verdict.grounds]


def test_a_certificate_that_is_not_for_signing_makes_no_signature_valid(
    samples: dict[str, Path], dcmsign: Dcmsign, authority: Authority, tmp_path: Path
) -> None:
    """RFC 5280, 4.2.1.3: a key whose usage is key encipherment does not sign. dcmsign does not look at key usage."""
    signer = authority.issue("Enciphering", key=new_key("rsa2048"), usages=("key_encipherment",))
    signed = tmp_path / "signed.dcm"
    sign(samples["native"], signed, signer.key, SigningRequest(signer.der))
    assert dcmsign.accepts(signed)
    verdict = judged(signed, authority)
    assert verdict.indication is Indication.INVALID
    assert [ground.code for ground in verdict.grounds] == [Reason.WRONG_KEY_USAGE]


def test_a_signature_over_one_element_is_not_simply_ok(
    samples: dict[str, Path], dcmsign: Dcmsign, authority: Authority, signer: Identity, tmp_path: Path
) -> None:
    """PS3.15 C.1 prescribes no attributes: what is covered must be said, or a reader takes it for everything."""
    signed = tmp_path / "signed.dcm"
    sign(samples["native"], signed, signer.key, SigningRequest(signer.der, tags=(PATIENT_NAME,)))
    assert dcmsign.accepts(signed)
    verdict = judged(signed, authority)
    assert verdict.indication is Indication.QUESTIONABLE
    assert "the pixel data is not covered" in verdict.text
    coverage = verdict.signature.coverage
    assert coverage is not None
    assert coverage.signed == (PATIENT_NAME,)
    assert len(coverage.open) > 10


def test_a_value_that_is_un_in_explicit_vr_is_signed_by_dcmsign_in_implicit_vr_only(
    dcmsign: Dcmsign, tmp_path: Path
) -> None:
    """PS3.5 6.2.2: DS of more than 65534 bytes is UN in explicit VR, and PS3.3 C.12.1.1.3.1.1 bars UN.

    dcmsign signs the sequence around it in implicit VR, with UN in the MAC, and calls the same object, converted to
    explicit VR, one with an attribute that is not signable.
    """
    source, signed, explicit = tmp_path / "implicit.dcm", tmp_path / "signed.dcm", tmp_path / "explicit.dcm"
    source.write_bytes(encode(structure_set(4000), "implicit"))
    stream = dcmsign.sign(source, signed)
    assert b"\x06\x30\x50\x00UN\0\0" in stream
    subprocess.run(["dcmconv", "+te", signed, explicit], check=True, timeout=30)
    refusal = dcmsign.verify(explicit)
    assert refusal.returncode != 0
    assert "signature contains attribute that is not signable" in refusal.stdout + refusal.stderr
