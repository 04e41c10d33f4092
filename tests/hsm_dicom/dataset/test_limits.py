"""What a hostile file may cost is bounded: memory by what a walk keeps, everything else by refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile, MalformedDataSetError
from hsm_dicom.signatures.coverage.shares import Share, compute_coverage
from hsm_dicom.signatures.mac import feed_covered
from tests.hsm_dicom.dataset.frames import DELIMITER, ITEM, jpeg_frame
from tests.hsm_dicom.dataset.samples import KINDS, SEQUENCE_END, element, item, part10, sample


def streamed(path: Path) -> bytes:
    out = bytearray()
    with DicomFile.open(path) as file:
        feed_covered(file, file.main, file.main.signable_tags, out.extend)
        place = ((0x00081140, 2),)
        level = file.item(place)
        feed_covered(file, level, level.signable_tags, out.extend)
    return bytes(out)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_too_long_to_keep_are_made_again_and_are_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample(kind))
    expected = streamed(path)
    for kept in (0, 1, 3, 9):
        monkeypatch.setattr("hsm_dicom.dataset.walk.walker.KEPT_PIECES", kept)
        assert streamed(path) == expected
        with DicomFile.open(path) as file:
            assert kept > 1 or any(element.pieces == () for element in file.main.elements)


def test_pixel_data_of_too_many_fragments_to_keep_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample("rle-with-offset-table"))
    for kept in (50_000, 1):
        monkeypatch.setattr("hsm_dicom.dataset.walk.walker.KEPT_PIECES", kept)
        with DicomFile.open(path) as file:
            assert compute_coverage(file.main, file.main.signable_tags).pixel_data is Share.COVERED


@pytest.mark.parametrize("vr", ["LO", "OB", "SQ"])
def test_more_elements_than_any_object_has_are_refused(
    vr: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.walk.walker.MAX_ELEMENTS", 4)
    path = tmp_path / "x.dcm"
    for count in (4, 5):
        path.write_bytes(part10(b"".join(element(0x00100010 + n, vr, b"") for n in range(count))))
        if count == 4:
            DicomFile.open(path).close()
            continue
        with pytest.raises(MalformedDataSetError, match="more than 4 elements"):
            DicomFile.open(path)


def test_more_signed_items_than_any_object_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.walk.notes.MAX_SIGNED_ITEMS", 2)
    path = tmp_path / "x.dcm"
    for count in (2, 3):
        path.write_bytes(part10(element(0x00081140, "SQ", item(element(0xFFFAFFFA, "SQ", b"")) * count)))
        if count == 2:
            DicomFile.open(path).close()
            continue
        with pytest.raises(MalformedDataSetError, match="more than 2 Items hold signatures"):
            DicomFile.open(path)


def test_more_pixel_data_than_any_object_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.walk.notes.MAX_ENCAPSULATED", 2)
    path = tmp_path / "x.dcm"
    pixels = element(0x7FE00010, "OB", item(b"") + item(b"data") + SEQUENCE_END, 0xFFFFFFFF)
    for count in (2, 3):
        path.write_bytes(part10(element(0x00880200, "SQ", item(pixels) * count), "1.2.840.10008.1.2.4.50"))
        if count == 2:
            DicomFile.open(path).close()
            continue
        with pytest.raises(MalformedDataSetError, match="more than 2 Data Sets hold Pixel Data"):
            DicomFile.open(path)


@pytest.mark.parametrize("tag", [ITEM, DELIMITER])
def test_octets_of_tags_more_often_than_by_chance_are_not_looked_into(
    tag: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.encapsulated.fragments.MOST_BY_CHANCE", 4)
    path = tmp_path / "x.dcm"
    for count in (4, 5):
        frame = jpeg_frame((tag + b"\1\2\3\4") * count)
        pixels = element(0x7FE00010, "OB", item(b"") + item(frame) + SEQUENCE_END, 0xFFFFFFFF)
        path.write_bytes(part10(pixels, "1.2.840.10008.1.2.4.50"))
        with DicomFile.open(path) as file:
            assert len(file.encapsulated[0].defects) == count - 4
