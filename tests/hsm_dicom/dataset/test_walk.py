"""The walk sees what is in the file: the same elements and values as pydicom, at every level, however it reads."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest

from hsm_dicom.dataset import DicomFile, DicomFileError
from hsm_dicom.dataset.tags import PIXEL_DATA, format_path, parse_path, parse_tag
from hsm_dicom.dataset.values import read_identity
from tests.hsm_dicom.dataset.samples import (
    ITEM_END,
    KINDS,
    SEQUENCE_END,
    data_set,
    element,
    encode,
    item,
    part10,
    sample,
    shipped,
)

SHIPPED = sorted(path.name for path in shipped("CT_small.dcm").parent.glob("*.dcm"))
REFUSED = {
    "ExplVR_BigEndNoMeta.dcm",
    "ExplVR_LitEndNoMeta.dcm",
    "MR_truncated.dcm",
    "SC_rgb_jpeg.dcm",
    "meta_missing_tsyntax.dcm",
    "nested_priv_SQ.dcm",
    "no_meta.dcm",
    "no_meta_group_length.dcm",
    "rtplan_truncated.dcm",
    "rtstruct.dcm",
}


@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in REFUSED])
def test_every_shipped_file_has_the_elements_and_values_that_pydicom_finds(name: str) -> None:
    with warnings.catch_warnings(), DicomFile.open(shipped(name)) as file:
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(shipped(name))
        raw = {int(tag): theirs.get_item(tag) for tag in theirs.keys() if tag.group > 2}  # noqa: SIM118
        assert [e.tag for e in file.main.elements] == sorted(raw)
        for tag, value in raw.items():
            ours = file.main[tag]
            if ours.pieces is None and isinstance(value, pydicom.dataelem.RawDataElement):
                assert file.value(ours) == (value.value or b"")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_shipped_files_that_break_the_standard_are_refused(name: str) -> None:
    with pytest.raises(DicomFileError):
        DicomFile.open(shipped(name))


@pytest.mark.parametrize("kind", KINDS)
def test_reading_through_small_windows_finds_the_same_as_reading_whole(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample(kind))
    with DicomFile.open(path) as file:
        whole = file.main
        inner = file.item(parse_path("ReferencedImageSequence[2]"))
    monkeypatch.setattr("hsm_dicom.dataset.octets.source.HELD_IN_MEMORY", 0)
    monkeypatch.setattr("hsm_dicom.dataset.octets.source.WINDOW", 13)
    with DicomFile.open(path) as file:
        assert kind == "deflated" or file.source.held is None
        assert file.main == whole
        assert file.item(parse_path("ReferencedImageSequence[2]")) == inner


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_found_by_their_place_at_every_depth(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample(kind))
    place = parse_path("ReferencedImageSequence[2].PurposeOfReferenceCodeSequence[0]")
    assert format_path(place) == "ReferencedImageSequence[2].PurposeOfReferenceCodeSequence[0]"
    with DicomFile.open(path) as file:
        assert file.value(file.item(place)[parse_tag("CodeMeaning")]) == b"Source image"
        assert file.item(parse_path("0008,1140[1]")).elements == ()
        assert file.value(file.item(parse_path("(0008,1140)[0]"))[0x00081155]) == b"1.2.3.6\0"
        for absent in ("ReferencedImageSequence[3]", "AnatomicRegionSequence[0]", "PatientName[0]"):
            with pytest.raises(KeyError):
                file.item(parse_path(absent))


def test_identity_is_shown_in_the_character_set_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    for terms, name in (
        ("ISO_IR 192", "Märta^山田"),
        ("ISO_IR 100", "Märta^Åse"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["GB18030"], "王^小东"),
    ):
        ds = data_set()
        ds.SpecificCharacterSet, ds.PatientName = terms, name
        path.write_bytes(encode(ds))
        with DicomFile.open(path) as file:
            identity = read_identity(file)
        assert (identity.patient_name, identity.patient_id) == (name, "4711")
        assert (identity.study_instance_uid, identity.sop_instance_uid) == ("1.2.3", "1.2.3.4.5")


def test_bytes_outside_the_character_set_are_shown_as_such_and_never_fail(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    character_set = element(0x00080005, "CS", b"ISO_IR 192")
    path.write_bytes(part10(character_set + element(0x00100010, "PN", b"M\xfcller\xff\xff")))
    with DicomFile.open(path) as file:
        assert read_identity(file).patient_name == "M\ufffdller\ufffd\ufffd"


def test_un_of_undefined_length_is_walked_in_implicit_vr_and_bars_its_sequence(tmp_path: Path) -> None:
    implicit_name = b"\x10\0\x10\0\x04\0\0\0Name"
    inside = item(implicit_name + ITEM_END, 0xFFFFFFFF) + SEQUENCE_END
    unknown = element(0x00091010, "UN", inside, 0xFFFFFFFF)
    path = tmp_path / "x.dcm"
    path.write_bytes(part10(unknown + element(0x00400275, "SQ", item(unknown)) + element(0x00400280, "ST", b"ok")))
    with DicomFile.open(path) as file:
        assert [(e.tag, e.signable) for e in file.main.elements] == [
            (0x00091010, False),
            (0x00400275, False),
            (0x00400280, True),
        ]


def test_pixel_data_of_no_length_is_read_and_left_to_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(part10(element(PIXEL_DATA, "OW", b"")))
    with DicomFile.open(path) as file:
        assert file.value(file.main[PIXEL_DATA]) == b""
