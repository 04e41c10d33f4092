"""Signature attributes of the wrong type or with the wrong key: never "not signed", never good, never written over."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from hsm_dicom.dataset import MalformedDataSetError
from hsm_dicom.signatures import Finding, SigningRequest, check_integrity, sign
from hsm_dicom.signatures.errors import QuestionedObjectError
from tests.hsm_dicom.dataset.samples import element, part10
from tests.pki import Authority, Identity, new_key

SIGNATURES = 0xFFFAFFFA
PATIENT = element(0x00100010, "PN", b"Muster")


def written(folder: Path, *elements: bytes) -> Path:
    path = folder / "object.dcm"
    uids = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    path.write_bytes(part10(uids + PATIENT + b"".join(elements)))
    return path


@pytest.mark.parametrize("vr", ["OB", "UT", "UI"])
def test_a_signature_sequence_of_another_type_is_a_bad_signature(tmp_path: Path, vr: str) -> None:
    path = written(tmp_path, element(SIGNATURES, vr, b"no sequence!"))
    (signature,) = check_integrity(path).signatures
    assert signature.finding is not Finding.INTACT
    assert not signature.intact
    assert "is not a sequence" in signature.reason


@pytest.mark.parametrize("vr", ["OB", "UT"])
def test_an_object_with_such_a_sequence_is_not_signed(
    tmp_path: Path, vr: str, signer: Identity, base: SigningRequest
) -> None:
    path = written(tmp_path, element(SIGNATURES, vr, b"no sequence!"))
    before = path.read_bytes()
    with pytest.raises((MalformedDataSetError, QuestionedObjectError)):
        sign(path, None, signer.key, base)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["object.dcm"]


@pytest.mark.parametrize("kind", ["ed25519", "nonsense"])
def test_a_certificate_whose_key_cannot_have_signed_is_uncheckable(
    native: Path, signer: Identity, base: SigningRequest, authority: Authority, kind: str
) -> None:
    sign(native, None, signer.key, base)
    other = authority.issue("Signer", key=new_key(kind)).der if kind == "ed25519" else b"no certificate"
    ds = pydicom.dcmread(native)
    ds.DigitalSignaturesSequence[0].CertificateOfSigner = other
    ds.save_as(native)
    (signature,) = check_integrity(native).signatures
    assert signature.finding is Finding.UNCHECKABLE


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("MACIDNumber", [1, 1]), ("MACIDNumber", None), ("DataElementsSigned", None), ("MACAlgorithm", None)],
)
def test_parameters_that_are_missing_or_too_many_are_never_intact(
    native: Path, signer: Identity, base: SigningRequest, keyword: str, value: object
) -> None:
    sign(native, None, signer.key, base)
    ds = pydicom.dcmread(native)
    for holder in (ds.MACParametersSequence[0], ds.DigitalSignaturesSequence[0]):
        if keyword in holder:
            setattr(holder, keyword, value)
    ds.save_as(native)
    (signature,) = check_integrity(native).signatures
    assert not signature.intact


def test_a_list_of_tags_that_is_cut_is_never_intact(native: Path, signer: Identity, base: SigningRequest) -> None:
    """Data Elements Signed is a list of tags, four octets each."""
    sign(native, None, signer.key, base)
    data = native.read_bytes()
    header = b"\x00\x04\x20\x00AT"
    at = data.index(header)
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    cut = bytearray(data)
    cut[at + 6 : at + 8] = (length - 2).to_bytes(2, "little")
    native.write_bytes(bytes(cut))
    try:
        verdicts = check_integrity(native).signatures
    except MalformedDataSetError:
        return
    assert not any(signature.intact for signature in verdicts)
