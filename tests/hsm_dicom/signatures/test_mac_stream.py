"""Golden fragments of the MAC byte stream (PS3.3 C.12.1.1.3.1.2), each seen in a stream that dcmsign dumped."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.encode import NewElement, mac_encoding
from hsm_dicom.signatures.mac import feed_covered
from tests.hsm_dicom.dataset.samples import ITEM_END, SEQUENCE_END, element, item, part10

RLE = "1.2.840.10008.1.2.5"


def stream(tmp_path: Path, body: bytes, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    path = tmp_path / "x.dcm"
    path.write_bytes(part10(body, syntax))
    out = bytearray()
    with DicomFile.open(path) as file:
        feed_covered(file, file.main, file.main.signable_tags, out.extend)
    return bytes(out)


ROWS = bytes.fromhex("28001000 5553 0200 0400")


@pytest.mark.parametrize(
    ("body", "syntax", "expected"),
    [
        (ROWS, "1.2.840.10008.1.2.1", ROWS),
        (bytes.fromhex("28001000 02000000 0400"), "1.2.840.10008.1.2", ROWS),
        (bytes.fromhex("00280010 5553 0002 0004"), "1.2.840.10008.1.2.2", ROWS),
    ],
)
def test_an_element_enters_as_explicit_vr_little_endian_whatever_the_file_is_in(
    body: bytes, syntax: str, expected: bytes, tmp_path: Path
) -> None:
    assert stream(tmp_path, body, syntax) == expected


def test_an_empty_sequence_is_its_header_and_a_delimitation_tag(tmp_path: Path) -> None:
    expected = bytes.fromhex("08001822 5351 0000 FEFFDDE0")
    assert stream(tmp_path, element(0x00082218, "SQ", b"")) == expected
    assert stream(tmp_path, element(0x00082218, "SQ", SEQUENCE_END, 0xFFFFFFFF)) == expected


def test_native_pixel_data_keeps_its_length(tmp_path: Path) -> None:
    pixels = bytes(range(16))
    expected = bytes.fromhex("E07F1000 4F42 0000 10000000") + pixels
    assert stream(tmp_path, element(0x7FE00010, "OB", pixels)) == expected


def test_encapsulated_pixel_data_is_its_offset_table_and_fragments_without_lengths(tmp_path: Path) -> None:
    table = bytes.fromhex("00000000 0E000000")
    value = item(table) + item(bytes.fromhex("010203040506")) + item(bytes.fromhex("0708090A")) + SEQUENCE_END
    expected = bytes.fromhex(
        "E07F1000 4F42 0000 FEFF00E0 00000000 0E000000 FEFF00E0 010203040506 FEFF00E0 0708090A FEFFDDE0"
    )
    assert stream(tmp_path, element(0x7FE00010, "OB", value, 0xFFFFFFFF), RLE) == expected
    # PS3.5 A.4 demands OB; a file that says OW is hashed as OB, as DCMTK does.
    assert stream(tmp_path, element(0x7FE00010, "OW", value, 0xFFFFFFFF), RLE) == expected


def test_nested_sequences_have_item_tags_and_no_lengths_however_they_are_encoded(tmp_path: Path) -> None:
    content = element(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00081155, "UI", b"1.2.3\0")
    head, tag, end = bytes.fromhex("08009911 5351 0000"), bytes.fromhex("FEFF00E0"), bytes.fromhex("FEFFDDE0")
    outer = bytes.fromhex("08001511 5351 0000")
    expected = outer + tag + head + tag + content + tag + end + end
    defined = element(0x00081115, "SQ", item(element(0x00081199, "SQ", item(content) + item(b""))))
    undefined = item(content + ITEM_END, 0xFFFFFFFF) + item(ITEM_END, 0xFFFFFFFF) + SEQUENCE_END
    undefined = item(element(0x00081199, "SQ", undefined, 0xFFFFFFFF) + ITEM_END, 0xFFFFFFFF) + SEQUENCE_END
    assert stream(tmp_path, defined) == expected
    assert stream(tmp_path, element(0x00081115, "SQ", undefined, 0xFFFFFFFF)) == expected


def test_what_may_never_be_signed_is_skipped_inside_items_and_drops_out_outside(tmp_path: Path) -> None:
    never = element(0x00080000, "UL", bytes(4)) + element(0x00080001, "UL", bytes(4))
    name = element(0x00100010, "PN", b"Name")
    signatures = element(0x4FFE0001, "SQ", item(name)) + element(0xFFFAFFFA, "SQ", item(name))
    padding = element(0xFFFCFFFC, "OB", bytes(4))
    expected = bytes.fromhex("40007502 5351 0000 FEFF00E0") + name + bytes.fromhex("FEFFDDE0")
    inner = element(0x00400275, "SQ", item(never + name + signatures + padding))
    assert stream(tmp_path, never + inner + signatures + padding) == expected


def test_a_sequence_that_holds_un_at_any_depth_drops_out_whole(tmp_path: Path) -> None:
    unknown = element(0x00091001, "UN", b"\1\2")
    sequence = element(0x00400275, "SQ", item(element(0x00400275, "SQ", item(unknown))))
    assert stream(tmp_path, unknown + sequence + element(0x00400280, "ST", b"ok")) == element(0x00400280, "ST", b"ok")


def test_the_purpose_of_a_signature_enters_like_any_sequence() -> None:
    code = (
        NewElement(0x00080100, "SH", b"1"),
        NewElement(0x00080102, "SH", b"ASTM-sigpurpose"),
        NewElement(0x00080104, "LO", b"Author's Signature"),
    )
    assert mac_encoding(NewElement(0x04000401, "SQ", (code,))) == bytes.fromhex(
        "00040104 5351 0000 FEFF00E0 08000001 5348 0200 3120 08000201 5348 1000"
    ) + b"ASTM-sigpurpose " + bytes.fromhex("08000401 4C4F 1200") + b"Author's Signature" + bytes.fromhex("FEFFDDE0")
    assert (
        mac_encoding(NewElement(0x04000110, "CS", b"X509_1993_SIG"))
        == bytes.fromhex("00041001 4353 0E00") + b"X509_1993_SIG "
    )
