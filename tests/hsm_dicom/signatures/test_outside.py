"""What a file holds outside every MAC is named at every depth, unless no reader takes its form for content."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset.tags import ORIGINAL_ATTRIBUTES_SEQUENCE, ItemPath
from hsm_dicom.signatures import check_integrity
from hsm_dicom.signatures.anomalies.record import AnomalyCode
from hsm_dicom.validation.validator import Indication, SignatureVerdict
from tests.hsm_dicom.dataset.samples import element, encode, item
from tests.hsm_dicom.signatures.tampering import (
    CONTENT,
    MAC_PARAMETERS,
    PADDING,
    SIGNATURES,
    changed,
    inserted,
    report,
    text_item,
)
from tests.hsm_dicom.validation.verdict_cases import Desk, codes, only, validator

MAIN: ItemPath = ()
ITEM: ItemPath = ((CONTENT, 0),)
DEEP: ItemPath = ((CONTENT, 0), (CONTENT, 0))
LENGTH_TO_END = 0x00080001


def judged(path: Path) -> SignatureVerdict:
    return only(validator().validate(check_integrity(path)))


@pytest.fixture
def signed(desk: Desk) -> Path:
    """A report with an Item in an Item."""
    ds = report()
    ds.ContentSequence[0].ContentSequence = Sequence([text_item("deeper")])
    path = desk.folder / "plain.dcm"
    path.write_bytes(encode(ds))
    signed = desk.sign(path)
    assert judged(signed).text == "valid"
    return signed


@pytest.mark.parametrize("place", [MAIN, ITEM, DEEP], ids=["main", "item", "deep"])
@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (PADDING, "OB", b"A TUMOUR"),
        (PADDING, "OW", bytes(8)),
        (PADDING, "LO", b"text"),
        (0x00100000, "LO", b"text"),
        (0x00100000, "UL", b"A TUMOUR"),
        (0x00040010, "LO", b"text"),
        (0x00060001, "SQ", item(element(0x0040A160, "UT", b"text"))),
        (LENGTH_TO_END, "UL", b"text"),
        (LENGTH_TO_END, "LO", b"text"),
        (0xFFFA0010, "LO", b"text"),
        (0xFFFAFFFB, "SQ", item(element(0x0040A160, "UT", b"text"))),
    ],
)
def test_content_that_no_signature_can_cover_is_named_at_every_depth(
    signed: Path, place: ItemPath, tag: int, vr: str, value: bytes
) -> None:
    one = judged(inserted(signed, place, tag, vr, value))
    assert one.signature.intact
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.OUTSIDE_CONTENT])
    assert one.text.startswith("valid, but it holds content that no signature can cover: ")
    assert one.text.count("ContentSequence[0].") == len(place)


@pytest.mark.parametrize("place", [ITEM, DEEP], ids=["item", "deep"])
@pytest.mark.parametrize("vr", ["SQ", "LO"])
def test_mac_parameters_of_no_signature_inside_an_item_are_named(signed: Path, place: ItemPath, vr: str) -> None:
    hidden = item(element(0x0040A160, "UT", b"HIDDEN"))
    one = judged(inserted(signed, place, MAC_PARAMETERS, vr, hidden))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.OUTSIDE_CONTENT])
    name = "MACParametersSequence[0]" if vr == "SQ" else "MACParametersSequence"
    assert one.text.endswith(f"ContentSequence[0].{name}")


def test_mac_parameters_of_no_signature_beside_a_signature_are_named(signed: Path) -> None:
    def change(ds: Dataset) -> None:
        spare = Dataset()
        spare.MACIDNumber = 7
        ds[MAC_PARAMETERS].value.append(spare)

    assert judged(changed(signed, change)).text.endswith("no signature can cover: MACParametersSequence[1]")


def test_a_signature_that_is_history_and_what_it_hides_is_named(desk: Desk) -> None:
    old = Dataset()
    old.add_new(SIGNATURES, "SQ", [text_item("HIDDEN")])
    ds = report()
    ds.add_new(ORIGINAL_ATTRIBUTES_SEQUENCE, "SQ", [old])
    path = desk.folder / "plain.dcm"
    path.write_bytes(encode(ds))
    judged_file = validator().validate(check_integrity(desk.sign(path)))
    live = judged_file.signatures[0]
    assert live.signature.place == ()
    assert codes(live) == [AnomalyCode.OUTSIDE_CONTENT]
    assert "OriginalAttributesSequence[0].DigitalSignaturesSequence[0].ValueType" in live.text


def test_group_lengths_zero_padding_and_a_right_length_to_end_are_ignored(signed: Path) -> None:
    path = signed
    for place in (DEEP, ITEM, MAIN):
        for group in (0x0010, 0x0040):
            path = inserted(path, place, group << 16, "UL", b"\1\0\0\0")
        path = inserted(path, place, PADDING, "OB", bytes(3000))
    assert judged(path).text == "valid"
    with_length = inserted(path, MAIN, LENGTH_TO_END, "UL", bytes(4))
    data = bytearray(with_length.read_bytes())
    at = data.index(b"\x08\0\1\0UL\4\0") + 8
    data[at : at + 4] = (len(data) - at - 4).to_bytes(4, "little")
    with_length.write_bytes(data)
    assert judged(with_length).text == "valid"
    data[at] ^= 2
    with_length.write_bytes(data)
    assert judged(with_length).text.endswith("cover: LengthToEnd")


@pytest.mark.parametrize(
    ("start", "clause"),
    [
        (b"MZ\x90\0", "the preamble makes the file a program for Windows as well"),
        (b"\x7fELF", "the preamble makes the file a program for Linux as well"),
        (b"#!/bin/sh\n", "the preamble makes the file a script as well"),
        (b"II*\0\x10\0\0\0", "the preamble makes the file a TIFF image as well"),
        (b"\0" * 100 + b"text", "the preamble of the file is not empty"),
    ],
)
def test_a_preamble_with_content_is_named(signed: Path, start: bytes, clause: str) -> None:
    data = signed.read_bytes()
    signed.write_bytes(start.ljust(128, b"\0") + data[128:])
    one = judged(signed)
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.PREAMBLE_CONTENT])
    assert one.text == f"valid, but {clause}"


def _private(meta: FileMetaDataset) -> None:
    meta.PrivateInformationCreatorUID = "1.2.3"
    meta.PrivateInformation = b"HIDDEN"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_private, "PrivateInformationCreatorUID, PrivateInformation"),
        (lambda meta: meta.add_new(0x00020016, "LO", "text"), "SourceApplicationEntityTitle"),
        (lambda meta: meta.add_new(0x00020001, "OB", b"text"), "FileMetaInformationVersion"),
        (lambda meta: meta.add_new(0x00020099, "LO", "text"), "(0002,0099)"),
    ],
)
def test_file_meta_information_with_content_is_named(
    signed: Path, change: Callable[[FileMetaDataset], None], named: str
) -> None:
    one = judged(changed(signed, lambda ds: change(ds.file_meta)))
    assert (one.indication, codes(one)) == (Indication.VALID_BUT, [AnomalyCode.FILE_META_CONTENT])
    assert one.text == f"valid, but the file meta information holds content: {named}"


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (b"PYDICOM", b"PYD\xffCOM", "ImplementationVersionName"),
        (b"1.2.826.0.1", b"1.2.A TUMOR", "ImplementationClassUID"),
    ],
)
def test_file_meta_information_in_another_form_is_named(signed: Path, before: bytes, after: bytes, named: str) -> None:
    data = signed.read_bytes()
    assert before in data
    signed.write_bytes(data.replace(before, after))
    assert judged(signed).text == f"valid, but the file meta information holds content: {named}"


def test_what_is_around_an_item_is_no_matter_of_the_items_signature(desk: Desk) -> None:
    path = desk.folder / "plain.dcm"
    path.write_bytes(encode(report()))
    signed = inserted(desk.sign(path, item=ITEM), MAIN, PADDING, "OB", b"text")
    assert judged(signed).signature.anomalies == ()
    inside = judged(inserted(signed, ITEM, PADDING, "OB", b"text"))
    assert AnomalyCode.OUTSIDE_CONTENT in codes(inside)


def test_more_content_than_is_looked_at_is_reported(desk: Desk) -> None:
    """So that nobody hides one element behind a great many others."""
    ds = report()
    ds.ContentSequence = Sequence([text_item(str(number)) for number in range(1001)])
    for one in ds.ContentSequence:
        one.add_new(PADDING, "OB", b"text")
    path = desk.folder / "plain.dcm"
    path.write_bytes(encode(ds))
    one = judged(desk.sign(path))
    assert codes(one) == [AnomalyCode.OUTSIDE_CONTENT, AnomalyCode.OUTSIDE_CONTENT]
    assert "it holds more elements that no signature can cover than verify examines" in one.text
