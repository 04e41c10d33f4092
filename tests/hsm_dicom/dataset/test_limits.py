"""What a hostile file may cost is bounded: memory by what a walk keeps, everything else by refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile, MalformedDataSetError
from hsm_dicom.signatures.coverage import Share, coverage
from hsm_dicom.signatures.mac import feed_covered
from tests.hsm_dicom.dataset.samples import KINDS, element, item, part10, sample


def streamed(path: Path) -> bytes:
    out = bytearray()
    with DicomFile.open(path) as file:
        feed_covered(file, file.main, file.main.signable_tags, out.extend)
        place = ((0x00081140, 2),)
        level = file.item(place)
        feed_covered(file, level, level.signable_tags, out.extend)
    return bytes(out)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_too_long_to_keep_are_made_anew_and_are_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample(kind))
    expected = streamed(path)
    for kept in (0, 1, 3, 9):
        monkeypatch.setattr("hsm_dicom.dataset.walker.KEPT_PIECES", kept)
        assert streamed(path) == expected
        with DicomFile.open(path) as file:
            assert kept > 1 or any(element.pieces == () for element in file.main.elements)


def test_pixel_data_of_too_many_fragments_to_keep_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample("rle-with-offset-table"))
    for kept in (50_000, 1):
        monkeypatch.setattr("hsm_dicom.dataset.walker.KEPT_PIECES", kept)
        with DicomFile.open(path) as file:
            assert coverage(file.main, file.main.signable_tags).pixel_data is Share.COVERED


def test_more_elements_than_any_object_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.walker.MAX_ELEMENTS", 4)
    path = tmp_path / "x.dcm"
    for count in (4, 5):
        path.write_bytes(part10(b"".join(element(0x00100010 + n, "LO", b"") for n in range(count))))
        if count == 4:
            DicomFile.open(path).close()
            continue
        with pytest.raises(MalformedDataSetError, match="more than 4 elements"):
            DicomFile.open(path)


def test_more_signed_items_than_any_object_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.notes.MAX_SIGNED_ITEMS", 2)
    path = tmp_path / "x.dcm"
    for count in (2, 3):
        path.write_bytes(part10(element(0x00081140, "SQ", item(element(0xFFFAFFFA, "SQ", b"")) * count)))
        if count == 2:
            DicomFile.open(path).close()
            continue
        with pytest.raises(MalformedDataSetError, match="more than 2 Items hold signatures"):
            DicomFile.open(path)
