"""Encodings that two readers could read in two ways, and files that are none: refused, each in one clear sentence."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile, DicomFileError, MalformedDataSetError
from hsm_dicom.dataset.errors import NotDicomError, UnsupportedTransferSyntaxError
from hsm_dicom.dataset.walk.walker import MAX_DEPTH
from tests.hsm_dicom.dataset.samples import ITEM_END, SEQUENCE_END, element, item, part10, sample

NAME = element(0x00100010, "PN", b"Muster")
ID = element(0x00100020, "LO", b"4711")
PIXELS = 0x7FE00010
RLE = "1.2.840.10008.1.2.5"


def refusal(path: Path, data: bytes) -> DicomFileError:
    path.write_bytes(data)
    with pytest.raises(DicomFileError) as caught, DicomFile.open(path):
        pass
    assert caught.value.name == str(path)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("body", "tag", "sentence"),
    [
        (NAME + NAME + ID, 0x00100010, "is there twice"),
        (ID + NAME, 0x00100010, "after (0010,0020)"),
        (element(0x00400275, "SQ", item(NAME + NAME)), 0x00100010, "is there twice"),
        (element(0x00400275, "SQ", item(element(0x00400275, "SQ", item(ID + NAME)))), 0x00100010, "ascending"),
        (element(0x00100010, "PN", b"Muster", 600), 0x00100010, "594 bytes past the end of the file"),
        (element(PIXELS, "OW", b"", 0xFFFFFFFE), PIXELS, "past the end of the file"),
        (element(0x00400275, "SQ", item(NAME), 200), 0x00400275, "past the end of the file"),
        (element(0x00400275, "SQ", item(NAME, 9) + bytes(8)), 0x00100010, "past the end of what holds it"),
        (element(0x00400275, "SQ", item(NAME, 200)) + ID, 0xFFFEE000, "past the end of what holds it"),
        (element(0x00100010, "PN", b"odd"), 0x00100010, "is odd"),
        (element(0x00100010, "PX", b"even"), 0x00100010, "none of PS3.5's"),
        (element(0x00100010, "p\0", b"even"), 0x00100010, "none of PS3.5's"),
        (b"\xe0\x7f\x10\x00OW\x01\x00\0\0\0\0", PIXELS, "reserved bytes"),
        (NAME[:10], 0x00100010, "past the end of the file"),
        (NAME + b"\x10\x00\x20", None, "3 stray bytes"),
        (b"\xe0\x7f\x10\x00OW\0\0\0\0", PIXELS, "truncated"),
        (item(NAME), 0xFFFEE000, "where a Data Element should begin"),
        (NAME + ITEM_END, 0xFFFEE00D, "where a Data Element should begin"),
        (element(0x00400275, "SQ", NAME, 0xFFFFFFFF), 0x00400275, "where an Item of this sequence should begin"),
        (element(0x00400275, "SQ", item(NAME), 0xFFFFFFFF), 0x00400275, "Sequence Delimitation Item is missing"),
        (element(0x00400275, "SQ", item(NAME, 0xFFFFFFFF), 0xFFFFFFFF), None, "no Item Delimitation Item"),
        (element(0x00400275, "SQ", item(NAME) + SEQUENCE_END[:4] + b"\2\0\0\0", 0xFFFFFFFF), 0x00400275, "of zero"),
        (element(0x00400275, "SQ", item(NAME) + SEQUENCE_END), 0x00400275, "where an Item of this sequence"),
        (element(0x00400275, "SQ", item(NAME + ITEM_END)), 0xFFFEE00D, "where a Data Element should begin"),
        (element(0x00400275, "SQ", b"\xfe\xff\x00\xe0"), None, "cut short"),
        (element(PIXELS, "OB", item(b""), 0xFFFFFFFF), PIXELS, "undefined length in this Transfer Syntax"),
        (element(0x00100020, "UT", b"text", 0xFFFFFFFF), 0x00100020, "undefined length"),
        (element(0x00091010, "UN", item(b""), 0xFFFFFFFF), 0x00091010, "Sequence Delimitation Item is missing"),
    ],
)
def test_an_ambiguous_or_broken_data_set_is_refused_with_tag_and_place(
    body: bytes, tag: int | None, sentence: str, tmp_path: Path
) -> None:
    error = refusal(tmp_path / "x.dcm", part10(body))
    assert isinstance(error, MalformedDataSetError)
    assert sentence in str(error)
    assert error.tag == tag
    assert "at byte" in str(error)


@pytest.mark.parametrize(
    ("fragments", "sentence"),
    [
        (SEQUENCE_END, "Basic Offset Table's Item is missing"),
        (item(b"") + item(b"ab"), "cut short"),
        (item(b"") + item(b"abc") + SEQUENCE_END, "is odd"),
        (item(b"") + item(b"ab", 20) + SEQUENCE_END, "past the end of the file"),
        (item(b"") + ITEM_END + SEQUENCE_END, "where a fragment should begin"),
        (item(b"") + item(b"ab") + SEQUENCE_END[:4] + b"\1\0\0\0", "of zero"),
    ],
)
def test_broken_encapsulated_pixel_data_is_refused(fragments: bytes, sentence: str, tmp_path: Path) -> None:
    body = element(PIXELS, "OB", fragments, 0xFFFFFFFF)
    assert sentence in str(refusal(tmp_path / "x.dcm", part10(body, RLE)))


def test_numbers_of_the_wrong_size_are_refused_where_they_would_have_to_be_swapped(tmp_path: Path) -> None:
    body = b"\x00\x18\x90\x73FD\x00\x06" + bytes(6)
    assert "does not fit its VR FD" in str(refusal(tmp_path / "x.dcm", part10(body, "1.2.840.10008.1.2.2")))


@pytest.mark.parametrize("defined", [True, False])
def test_a_thousand_nested_sequences_are_refused_and_not_a_recursion_error(defined: bool, tmp_path: Path) -> None:
    body = NAME
    for _ in range(1000):
        if defined:
            body = element(0x00400275, "SQ", item(body))
        else:
            body = element(0x00400275, "SQ", item(body + ITEM_END, 0xFFFFFFFF) + SEQUENCE_END, 0xFFFFFFFF)
    assert f"more than {MAX_DEPTH} deep" in str(refusal(tmp_path / "deep.dcm", part10(body)))


def test_a_sequence_as_deep_as_allowed_is_read(tmp_path: Path) -> None:
    body = NAME
    for _ in range(MAX_DEPTH):
        body = element(0x00400275, "SQ", item(body))
    path = tmp_path / "deep.dcm"
    path.write_bytes(part10(body))
    with DicomFile.open(path) as file:
        assert file.item(((0x00400275, 0),) * MAX_DEPTH).elements[0].tag == 0x00100010


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the file is empty"),
        (b"GIF89a" + bytes(300), "not a DICOM file"),
        (bytes(128) + b"DICM", "does not begin with its length"),
        (bytes(128) + b"DICM" + NAME, "does not begin with its length"),
        (part10(b"")[:150], "File Meta Information is cut short"),
        (part10(element(0x00020012, "UI", b"1.")), "longer than (0002,0000) says"),
        (part10(NAME).replace(b"UL\x04\0\x2a", b"UL\x04\0\x38"), "its length (0002,0000) is wrong"),
        (bytes(128) + b"DICM" + element(0x00020000, "UL", bytes(4)) + NAME, "no Transfer Syntax UID"),
    ],
)
def test_what_is_no_dicom_file_is_named_as_such(data: bytes, sentence: str, tmp_path: Path) -> None:
    error = refusal(tmp_path / "x.dcm", data)
    assert isinstance(error, NotDicomError)
    assert sentence in str(error)


def test_a_private_transfer_syntax_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path / "x.dcm", part10(NAME, "1.2.840.113619.5.2"))
    assert isinstance(error, UnsupportedTransferSyntaxError)


def test_a_deflated_data_set_must_end_where_the_file_ends(tmp_path: Path) -> None:
    whole = sample("deflated")
    head = part10(b"", "1.2.840.10008.1.2.1.99")
    body = zlib.compress(NAME, wbits=-15)
    for data, sentence in (
        (whole[:-20], "ends too early"),
        (whole + b"more", "bytes behind"),
        (head + b"\xff" * 40, "is corrupt"),
        (head + body + b"\1", "bytes behind"),
    ):
        assert sentence in str(refusal(tmp_path / "x.dcm", data))
    good = tmp_path / "good.dcm"
    good.write_bytes(head + body + b"\0")
    with DicomFile.open(good) as file:
        assert file.value(file.main[0x00100010]) == b"Muster"


def test_a_deflated_data_set_that_grows_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.dataset.octets.source.MAX_INFLATED", 1 << 20)
    bomb = zlib.compress(element(PIXELS, "OB", bytes(1 << 22)), wbits=-15)
    assert "inflates to more than" in str(refusal(tmp_path / "x.dcm", part10(bomb, "1.2.840.10008.1.2.1.99")))


def test_paths_that_are_no_files_are_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, sentence in (
        (tmp_path, "is a directory"),
        (fifo, "not a regular file"),
        (tmp_path / "absent.dcm", "No such file"),
    ):
        with pytest.raises(DicomFileError, match=sentence):
            DicomFile.open(path)


def test_every_truncation_of_a_file_is_refused_or_has_fewer_elements(tmp_path: Path) -> None:
    whole = sample("undefined")
    path = tmp_path / "x.dcm"
    path.write_bytes(whole)
    with DicomFile.open(path) as file:
        boundaries = {element.start for element in file.main.elements}
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        if size in boundaries:
            continue
        with pytest.raises(DicomFileError):
            DicomFile.open(path)
