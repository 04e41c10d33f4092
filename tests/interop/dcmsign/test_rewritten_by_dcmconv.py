"""DCMTK's dcmconv rewrites signed files with group lengths and padding: these raise no alarm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hsm_dicom.signatures import SigningRequest, check_integrity, sign
from hsm_dicom.trust import TrustStore
from hsm_dicom.validation.validator import SignatureVerdict, Validator
from tests.hsm_dicom.dataset.samples import encode, sample
from tests.hsm_dicom.signatures.tampering import report
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Authority, Identity


def judged(path: Path, authority: Authority) -> SignatureVerdict:
    (verdict,) = Validator.from_stores(TrustStore([authority.certificate])).validate(check_integrity(path)).signatures
    return verdict


@pytest.mark.parametrize("content", [encode(report()), sample()], ids=["report", "image-with-overlay"])
@pytest.mark.parametrize("signed_by", ["ours", "dcmsign"])
@pytest.mark.parametrize("options", [("+g",), ("+p", "512", "64"), ("+g", "+p", "512", "64"), ("-e",)])
def test_group_lengths_and_padding_leave_the_verdict_as_it_is(
    content: bytes,
    signed_by: str,
    options: tuple[str, ...],
    dcmsign: Dcmsign,
    authority: Authority,
    signer: Identity,
    tmp_path: Path,
) -> None:
    plain, signed, rewritten = (tmp_path / f"{name}.dcm" for name in ("plain", "signed", "rewritten"))
    plain.write_bytes(content)
    if signed_by == "ours":
        sign(plain, signed, signer.key, SigningRequest(signer.der, purpose=1))
    else:
        dcmsign.sign(plain, signed, "+pb")
    subprocess.run(["dcmconv", *options, str(signed), str(rewritten)], check=True, timeout=30)
    assert rewritten.read_bytes() != signed.read_bytes()
    before, after = judged(signed, authority), judged(rewritten, authority)
    assert (after.indication, after.text) == (before.indication, before.text)
    assert after.signature.anomalies == ()
