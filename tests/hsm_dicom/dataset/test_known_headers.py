"""Headers that were decoded before are not decoded again; what is found does not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm_dicom.dataset import DicomFile, MalformedDataSetError
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.walk import known_headers
from tests.hsm_dicom.dataset.samples import KINDS, element, part10, sample


@pytest.fixture(autouse=True)
def none_known() -> Iterator[None]:
    """No header is known before a test, nor after it."""
    known_headers._known.clear()
    yield
    known_headers._known.clear()


def walked(path: Path) -> tuple[object, ...]:
    """All that a walk finds."""
    with DicomFile.open(path, note_padding=True) as file:
        return file.main, file.signed_items, file.encapsulated_places, file.overpadded, file.unsignable_inside


def read(body: bytes, path: Path) -> tuple[Element, ...]:
    """The elements of a file with this Data Set."""
    path.write_bytes(part10(body))
    with DicomFile.open(path) as file:
        return file.main.elements


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_walk_finds_the_same(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(sample(kind))
    first = walked(path)
    known = len(known_headers._known)
    assert (known > 10) is (kind not in ("implicit", "big-endian"))
    assert walked(path) == first
    assert len(known_headers._known) == known


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (element(0x00100020, "LO", b"ab") + element(0x00100010, "LO", b"ab"), "it comes after"),
        (element(0x00100010, "LO", b"ab") * 2, "is there twice"),
        (element(0x00100010, "LO", b"", 2), "reaches 2 bytes past"),
        (element(0x00100010, "LO", b"ab") + element(0x00100020, "LO", b"ab")[:6], "6 stray bytes"),
    ],
)
def test_a_known_header_in_a_wrong_place_is_refused(body: bytes, problem: str, tmp_path: Path) -> None:
    read(element(0x00100010, "LO", b"ab") + element(0x00100020, "LO", b"ab"), tmp_path / "good.dcm")
    assert {b"\x10\0\x10\0LO\2\0", b"\x10\0\x20\0LO\2\0"} <= known_headers._known.keys()
    with pytest.raises(MalformedDataSetError, match=problem):
        read(body, tmp_path / "bad.dcm")


@pytest.mark.parametrize(
    "body",
    [
        element(0x00080000, "UL", bytes(4)),  # group length
        element(0x00100010, "UN", b"ab"),
        element(0x00100010, "UT", b"ab"),  # 32-bit length
        element(0xFFFCFFFC, "OB", b"ab"),
        element(0xFFFA0002, "LO", b"ab"),
    ],
)
def test_a_header_that_needs_a_further_look_is_not_kept(body: bytes, tmp_path: Path) -> None:
    found = read(body, tmp_path / "x.dcm")
    assert body[:8] not in known_headers._known
    assert read(body, tmp_path / "x.dcm") == found


def test_the_other_byte_order_has_headers_of_its_own(tmp_path: Path) -> None:
    """Patient ID in big endian has the octets of (1000,2000) in little endian."""
    little = read(element(0x10002000, "LO", b"ab"), tmp_path / "little.dcm")
    body = bytes.fromhex("00100020") + b"LO" + bytes.fromhex("0002") + b"ab"
    (tmp_path / "big.dcm").write_bytes(part10(body, "1.2.840.10008.1.2.2"))
    with DicomFile.open(tmp_path / "big.dcm") as file:
        assert [found.tag for found in file.main.elements] == [0x00100020]
    assert [found.tag for found in little] == [0x10002000]


def test_a_file_of_many_headers_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_headers, "_KEPT", 20)
    body = b"".join(element(0x00110000 + number, "LO", b"") for number in range(0x10, 0x100))
    assert len(read(body, tmp_path / "x.dcm")) == 0xF0
    assert len(known_headers._known) <= 20
    assert len(read(body, tmp_path / "x.dcm")) == 0xF0
