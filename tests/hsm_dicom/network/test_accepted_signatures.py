"""What `check_signatures` refuses and accepts, as docs/howto/tls.md says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.network.storage.signature_check import check_signatures
from hsm_dicom.signatures import SigningRequest, sign
from tests.hsm_dicom.dataset.frames import rle_frame
from tests.hsm_dicom.dataset.samples import encode, nested_report
from tests.hsm_dicom.signatures.encapsulated_objects import encapsulated_object, pixels
from tests.hsm_dicom.validation.verdict_cases import SIGNER, Desk, image
from tests.interop.dcmsign.dcmsign import Dcmsign
from tests.pki import Authority, new_key


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_unsigned_objects_and_self_made_certificates_are_accepted(desk: Desk) -> None:
    """No protection against forgers: docs/howto/tls.md and docs/explanation/threat-model.md say so."""
    assert check_signatures(image()) is None
    forger = Authority("Forger", key=new_key("rsa2048", 5)).issue("Dr. House", key=new_key("rsa2048", 6))
    assert check_signatures(desk.sign(signer=forger)) is None
    assert check_signatures(desk.sign(tags=(0x00100020,))) is None
    pages = Path(__file__).parents[3] / "docs"
    assert "instances without any signature" in (pages / "howto/tls.md").read_text()
    assert "signatures by any certificate, also by one that the sender made" in (pages / "howto/tls.md").read_text()
    assert (
        "accepts unsigned objects and signatures by any certificate"
        in (pages / "explanation/threat-model.md").read_text()
    )


def test_what_was_changed_is_refused(desk: Desk) -> None:
    path = desk.sign()
    path.write_bytes(path.read_bytes().replace(b"CompressedSamples", b"DompressedSamples", 1))
    assert check_signatures(path) == "A digital signature does not hold: it was changed."


def test_what_may_not_be_what_was_signed_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.signatures.creation.selection.require_unambiguous_fragments", lambda *_: None)
    source = desk.folder / "source.dcm"
    source.write_bytes(encapsulated_object("1.2.840.10008.1.2.5", pixels(rle_frame(), frames=2)))
    assert check_signatures(desk.sign(source)) == "The object may not be what its digital signature is for."


@pytest.mark.interop
def test_what_dcmsign_protects_in_part_is_refused(tmp_path: Path) -> None:
    authority = Authority("Hospital CA", key=new_key("rsa2048", 1))
    dcmsign = Dcmsign(tmp_path, authority, SIGNER)
    source = tmp_path / "report.dcm"
    source.write_bytes(encode(nested_report(500)))
    dcmsign.sign(source, tmp_path / "signed.dcm")
    refusal = check_signatures(tmp_path / "signed.dcm")
    assert refusal == "A digital signature (by dcmsign) protects a part only."
    assert len(refusal) <= 64
    sign(source, tmp_path / "ours.dcm", SIGNER.key, SigningRequest(SIGNER.der))
    assert check_signatures(tmp_path / "ours.dcm") is None
