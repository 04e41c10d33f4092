"""A clean copy of what others read and we refuse: what changed is said exactly, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from struct import pack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile, DicomFileError
from hsm_dicom.dataset.errors import MediaDirectoryError, UnrepairableFileError, WriteRefusedError
from hsm_dicom.dataset.repair.copy import make_clean_copy, split_fragments
from hsm_dicom.signatures import SigningRequest, check_integrity, sign
from hsm_dicom.signing import find_earlier_signature
from tests.hsm_dicom.dataset.samples import KINDS, data_set, element, encode, part10, sample, shipped
from tests.pki import Identity

CT = shipped("CT_small.dcm").read_bytes()
META_END = 144 + int.from_bytes(CT[140:144], "little")
PATIENT_ID = element(0x00100020, "LO", b"1CT1")
ODD_FRAMES = [b"\xff\xd8one\xff\xd9", b"\xff\xd8second\xff\xd9", b"\xff\xd8third\xff\xd9"]


def with_meta_length(length: int) -> bytes:
    return CT[:140] + pack("<I", length) + CT[144:]


def odd_patient_id() -> bytes:
    assert CT.count(PATIENT_ID) == 1
    return CT.replace(PATIENT_ID, PATIENT_ID[:6] + b"\x05\0" + b"1CT1x")


def odd_nested_comment() -> bytes:
    """In an Item of a sequence, with lengths around it that fit."""
    inner = element(0x00081150, "UI", b"1.2.3.4.5\0") + element(0x00081155, "UI", b"1.2.3", 5)
    sequence = element(0x00081140, "SQ", b"\xfe\xff\x00\xe0" + pack("<I", len(inner)) + inner)
    body = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    return part10(body + sequence)


def odd_fragments() -> bytes:
    """Three frames of 7, 10 and 9 octets, and a Basic Offset Table that points at them."""
    items = [pack("<III", 0, 15, 33), *ODD_FRAMES]
    value = b"".join(b"\xfe\xff\x00\xe0" + pack("<I", len(item)) + item for item in items)
    body = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    body += element(0x00280008, "IS", b"3 ") + element(0x00280010, "US", b"\1\0") + element(0x00280011, "US", b"\1\0")
    pixels = element(0x7FE00010, "OB", value + b"\xfe\xff\xdd\xe0\0\0\0\0", 0xFFFFFFFF)
    return part10(body + pixels, "1.2.840.10008.1.2.4.50")


CASES: dict[str, tuple[Callable[[], bytes], list[str]]] = {
    "no preamble": (
        lambda: CT[132:],
        ["the preamble of 128 octets and the prefix DICM were missing and were added"],
    ),
    "prefix without preamble": (lambda: CT[128:], ["the preamble of 128 octets was missing and was added"]),
    "no length of the meta": (
        lambda: CT[:132] + CT[144:],
        ["(0002,0000) FileMetaInformationGroupLength was missing and was added"],
    ),
    "meta too long": (
        lambda: with_meta_length(202),
        ["(0002,0000) FileMetaInformationGroupLength said 202 octets for a length of 192"],
    ),
    "meta too short": (
        lambda: with_meta_length(184),
        ["(0002,0000) FileMetaInformationGroupLength said 184 octets for a length of 192"],
    ),
    "zeros behind the end": (lambda: CT + bytes(512), ["512 zero octets behind the last element were left out"]),
    "few zeros behind the end": (lambda: CT + bytes(7), ["7 zero octets behind the last element were left out"]),
    "zeros in implicit VR": (
        lambda: sample("implicit") + bytes(64),
        ["64 zero octets behind the last element were left out"],
    ),
    "zeros in big endian": (
        lambda: sample("big-endian") + bytes(64),
        ["64 zero octets behind the last element were left out"],
    ),
    "an odd value": (odd_patient_id, ["PatientID was padded from 5 to 6 octets"]),
    "odd fragments": (
        odd_fragments,
        [
            "PixelData has a zero octet behind each fragment of odd length (1, 3, counted from 1), "
            "and its Basic Offset Table follows",
            "(0002,0002) MediaStorageSOPClassUID was missing and was added",
            "(0002,0003) MediaStorageSOPInstanceUID was missing and was added",
            "(0002,0012) ImplementationClassUID was missing and was added",
            "(0002,0013) ImplementationVersionName was missing and was added",
        ],
    ),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "source.dcm"


@pytest.mark.parametrize("case", CASES)
def test_what_changed_is_reported_and_the_copy_is_signed(
    case: str, path: Path, tmp_path: Path, signer: Identity, base: SigningRequest
) -> None:
    make, changes = CASES[case]
    path.write_bytes(make())
    before = path.read_bytes()
    with pytest.raises(DicomFileError):
        sign(path, tmp_path / "refused.dcm", signer.key, base)
    request = replace(base, repair=True)
    report = sign(path, tmp_path / "signed.dcm", signer.key, request)
    assert list(report.repaired) == changes
    assert check_integrity(tmp_path / "signed.dcm").signatures[0].intact
    assert path.read_bytes() == before
    assert find_earlier_signature(str(path), str(tmp_path / "signed.dcm"), request) == report.uid


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.startswith(("no p", "prefix", "meta", "few", "zeros b"))]
)
def test_the_object_itself_is_the_same_octets(case: str, path: Path) -> None:
    path.write_bytes(CASES[case][0]())
    copy = make_clean_copy(str(path))
    assert list(copy.changes) == CASES[case][1]
    assert copy.content == (CT if "preamble" not in case else bytes(128) + CT[128:])


def test_odd_fragments_are_padded_and_their_table_follows(path: Path) -> None:
    path.write_bytes(odd_fragments())
    copy = make_clean_copy(str(path))
    with DicomFile.open(path, content=copy.content) as file:
        pixels = file.main[0x7FE00010]
        table, *frames = split_fragments(file.source.read(pixels.value, pixels.end - 8))
    assert table == pack("<III", 0, 16, 34)
    assert frames == [ODD_FRAMES[0] + b"\0", ODD_FRAMES[1], ODD_FRAMES[2] + b"\0"]


def test_nested_values_are_padded_with_their_place(path: Path) -> None:
    path.write_bytes(odd_nested_comment())
    copy = make_clean_copy(str(path))
    assert "ReferencedImageSequence[0].ReferencedSOPInstanceUID was padded from 5 to 6 octets" in copy.changes
    [item] = dcmread(BytesIO(copy.content)).ReferencedImageSequence
    assert item.ReferencedSOPInstanceUID == "1.2.3"


def test_a_bare_data_set_gets_its_meta(path: Path) -> None:
    path.write_bytes(CT[META_END:])
    copy = make_clean_copy(str(path))
    assert copy.changes[0] == (
        "preamble, prefix and file meta information were missing and were added; the Transfer Syntax is "
        "1.2.840.10008.1.2.1, the only one that reads to the end of the file"
    )
    with DicomFile.open(path, content=copy.content) as file:
        assert copy.content[file.head :] == CT[META_END:]


def odd_structure() -> bytes:
    """Two elements that changed places, a reserved field that is not zero, and delimiters with a length."""
    item = element(0x00081155, "UI", b"1.2.3.4.5\0") + element(0x00081150, "UI", b"1.2.3.4.5\0")
    items = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + item + b"\xfe\xff\x0d\xe0\1\0\0\0" + b"\xfe\xff\xdd\xe0\2\0\0\0"
    sequence = element(0x00081140, "SQ", items, 0xFFFFFFFF)
    body = element(0x00080018, "UI", b"1.2.3.4\0") + element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    return part10(body + sequence[:6] + b"\7\0" + sequence[8:])


def test_what_changes_between_the_values_is_reported(path: Path) -> None:
    path.write_bytes(odd_structure())
    changes = make_clean_copy(str(path)).changes
    assert list(changes[-5:]) == [
        "the reserved octets behind the VR of ReferencedImageSequence were not zero",
        "the delimiter of the Item ReferencedImageSequence[0] had a length of 1, and has none",
        "the elements of ReferencedImageSequence[0] were put in ascending order",
        "the delimiter of ReferencedImageSequence had a length of 2, and has none",
        "the elements of the Data Set were put in ascending order",
    ]


@given(kind=st.sampled_from([kind for kind in KINDS if kind != "deflated"]), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_change_of_one_octet_is_mended_in_silence(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    """A property: where nothing is said to have changed, nothing has."""
    content = bytearray(sample(kind))
    content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "changed.dcm"
    path.write_bytes(content)
    try:
        copy = make_clean_copy(str(path))
    except DicomFileError:
        return
    assert bool(copy.changes) is (copy.content != bytes(content))


def twice() -> bytes:
    """Patient ID twice; only one of them can be in a copy."""
    return CT.replace(PATIENT_ID, PATIENT_ID + PATIENT_ID)


def twice_before_zeros() -> bytes:
    """As many octets are lost as there are zeros at the end of the pixels."""
    body = element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0") + element(0x00080018, "UI", b"1.2.3.4\0")
    body += element(0x00100020, "LO", b"A ") + element(0x00100020, "LO", b"B ")
    return part10(body + element(0x7FE00010, "OB", bytes(64)))


def odd_number() -> bytes:
    rows = element(0x00280010, "US", pack("<H", 128))
    assert CT.count(rows) == 1
    return CT.replace(rows, element(0x00280010, "US", b"\x80\0\0"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (twice, "PatientID is there twice"),
        (twice_before_zeros, "PatientID is there twice"),
        (odd_number, "cannot be repaired"),
        (lambda: CT[:-3000], r"PixelData has \d+ octets instead of 32768"),
        (lambda: CT + bytes(8) + b"text", "cannot be repaired"),
        (lambda: sample("deflated")[132:], "it is deflated"),
        (lambda: part10(element(0x00100020, "LO", b"A ")) + bytes(8), "it has no SOPClassUID, which the file meta"),
        (lambda: b"no DICOM" * 50, "the prefix DICM of PS3.10 is missing"),
    ],
)
def test_what_cannot_be_explained_is_refused(content: Callable[[], bytes], words: str, path: Path) -> None:
    path.write_bytes(content())
    with pytest.raises(DicomFileError, match=words):
        make_clean_copy(str(path))


def test_a_signed_object_is_not_repaired(path: Path, signer: Identity, base: SigningRequest) -> None:
    path.write_bytes(sample())
    sign(path, None, signer.key, base)
    path.write_bytes(path.read_bytes() + bytes(16))
    with pytest.raises(UnrepairableFileError, match="it carries signatures, which cover it as it is"):
        make_clean_copy(str(path))


def test_a_dicomdir_is_not_repaired() -> None:
    with pytest.raises(MediaDirectoryError, match="not repaired"):
        make_clean_copy(str(shipped("DICOMDIR")))


def test_group_lengths_are_left_out_and_named(path: Path) -> None:
    """pydicom writes none of them, at any depth."""
    inner = element(0x00080000, "UL", pack("<I", 18)) + element(0x00081155, "UI", b"1.2.3.4.5\0")
    sequence = element(0x00081140, "SQ", b"\xfe\xff\x00\xe0" + pack("<I", len(inner)) + inner)
    body = element(0x00080000, "UL", bytes(4)) + element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    path.write_bytes(part10(body + element(0x00080018, "UI", b"1.2.3.4\0") + sequence) + bytes(10))
    changes = make_clean_copy(str(path)).changes
    assert "(0008,0000), a group length, was left out" in changes
    assert "ReferencedImageSequence[0].(0008,0000), a group length, was left out" in changes
    assert "10 zero octets behind the last element were left out" in changes


def test_an_original_is_never_replaced(path: Path, signer: Identity, base: SigningRequest) -> None:
    path.write_bytes(CT[132:])
    with pytest.raises(WriteRefusedError, match="never replaces the original"):
        sign(path, None, signer.key, replace(base, repair=True))
    assert path.read_bytes() == CT[132:]


def test_a_good_file_is_signed_as_it_is(path: Path, signer: Identity, base: SigningRequest) -> None:
    ds = data_set()
    ds.ReferencedStudySequence = Sequence([Dataset()])
    path.write_bytes(encode(ds))
    assert sign(path, None, signer.key, replace(base, repair=True)).repaired == ()
