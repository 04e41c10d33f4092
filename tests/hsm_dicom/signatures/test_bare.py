"""Data Sets without File Meta Information: verified with a "but" if they read in one way, never signed; DICOMDIRs."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.errors import MediaDirectoryError, NotDicomError
from hsm_dicom.signatures import SigningRequest, check_integrity, sign
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.validation.validator import Indication
from tests.hsm_dicom.dataset.samples import KINDS, element, sample, shipped
from tests.hsm_dicom.validation.verdict_cases import SIGNER, Desk, codes, only, validator
from tests.pki import Identity

NATIVE_KINDS = [kind for kind in KINDS if not kind.startswith(("rle", "jpeg"))]


def strip_meta(path: Path) -> Path:
    """The same object without preamble, prefix and File Meta Information."""
    with DicomFile.open(path) as file:
        head = file.head
    bare = path.with_suffix(".bare")
    bare.write_bytes(path.read_bytes()[head:])
    return bare


@pytest.mark.parametrize("kind", NATIVE_KINDS)
def test_a_bare_data_set_that_reads_in_one_way_is_verified_with_a_but(kind: str, desk: Desk) -> None:
    source = desk.folder / "source.dcm"
    source.write_bytes(sample(kind))
    signed = desk.sign(source, SIGNER)
    bare = strip_meta(signed)
    verified = check_integrity(bare)
    assert verified.transfer_syntax == check_integrity(signed).transfer_syntax
    one = only(validator().validate(verified))
    assert one.signature.intact
    assert one.indication is Indication.VALID_BUT
    assert codes(one)[0] is AnomalyCode.BARE_DATA_SET
    assert f"it was read as {verified.transfer_syntax}, the only way" in one.text
    with pytest.raises(NotDicomError, match="the prefix DICM of PS3.10 is missing"):
        DicomFile.open(bare)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no DICOM" * 99, "not a DICOM file"),
        (b"", "the file is empty"),
        (sample("rle-with-offset-table")[132:], "not a DICOM file"),
        (bytes(4), "not a DICOM file"),
        (element(0x00080016, "UI", b"1.2")[:-1], "not a DICOM file"),
    ],
)
def test_what_reads_in_no_way_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(NotDicomError, match=words):
        check_integrity(path)


def test_what_reads_in_two_ways_is_refused(tmp_path: Path) -> None:
    """In explicit VR it is 2538 elements of VR LO; in implicit VR one element, of the length that "LO" spells."""
    content = b"".join(element(0x00080000 + number, "LO", b"") for number in range(1, 2538))
    content += element(0x00080000 + 2538, "LO", b"last")
    assert len(content) == 8 + int.from_bytes(b"LO\0\0", "little")
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(NotDicomError, match=r"reads as 1\.2\.840\.10008\.1\.2 and 1\.2\.840\.10008\.1\.2\.1 alike"):
        check_integrity(path)


def test_compressed_pixel_data_does_not_say_how_it_is_compressed(desk: Desk) -> None:
    source = desk.folder / "source.dcm"
    source.write_bytes(sample("rle-with-offset-table"))
    with pytest.raises(NotDicomError, match="Pixel Data is compressed; nothing says in which way"):
        check_integrity(strip_meta(source))


def test_a_dicomdir_is_refused_as_a_dicomdir(signer: Identity, base: SigningRequest, tmp_path: Path) -> None:
    dicomdir = shipped("DICOMDIR")
    with pytest.raises(MediaDirectoryError, match="is a DICOMDIR, the directory of a medium"):
        sign(dicomdir, tmp_path / "x", signer.key, base)
    with pytest.raises(MediaDirectoryError, match="Name the files that it lists"):
        check_integrity(dicomdir)
