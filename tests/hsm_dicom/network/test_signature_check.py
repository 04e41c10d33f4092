"""Which signatures a listener with `check_signatures` stores."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.network.storage.signature_check import check_signatures
from hsm_dicom.signatures import SigningRequest, sign
from tests.hsm_dicom.dataset.samples import encode
from tests.hsm_dicom.signatures.tampering import CONTENT, changed, report, text_item, wrap
from tests.hsm_dicom.validation.verdict_cases import SIGNER


def replace_content(ds: Dataset) -> None:
    ds.ContentSequence = Sequence([text_item("No finding")])


def wrap_and_replace_content(ds: Dataset) -> None:
    wrap(CONTENT)(ds)
    replace_content(ds)


def test_what_was_replaced_under_a_signature_is_refused(tmp_path: Path) -> None:
    plain, signed = tmp_path / "plain.dcm", tmp_path / "signed.dcm"
    plain.write_bytes(encode(report()))
    sign(plain, signed, SIGNER.key, SigningRequest(SIGNER.der))
    assert check_signatures(plain) is None
    assert check_signatures(signed) is None
    assert check_signatures(changed(signed, replace_content)) == "A digital signature does not hold: it was changed."
    reason = check_signatures(changed(signed, wrap_and_replace_content))
    assert reason == "The object may not be what its digital signature is for."
    assert len(reason) <= 64, "Error Comment is an LO"
