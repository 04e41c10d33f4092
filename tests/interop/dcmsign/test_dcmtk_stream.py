"""DCMTK 3.6.7's dcmsign leaves parts of nested sequences out of its hash: which parts, compared with its own dump."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from hsm_dicom.dataset import DicomFile
from hsm_dicom.dataset.walk.walker import MAX_DEPTH, Walker
from hsm_dicom.signatures.dcmtk_stream import BUFFER, can_leave_out, feed_as_dcmtk
from hsm_dicom.signatures.integrity import feed_mac_stream
from hsm_dicom.signatures.mac import feed_own
from hsm_dicom.signatures.read import read_signature_items
from tests.hsm_dicom.dataset.samples import SEQUENCE_END, element, encode, item, part10
from tests.interop.dcmsign.dcmsign import Dcmsign

OUTER, INNER, TEXT, TAIL = 0x0040A730, 0x0040A730, 0x0040A160, 0x00720070
RLE = "1.2.840.10008.1.2.5"


class Content:
    """Octets of which no eight are there twice, so that what is left out cannot be taken for something else."""

    def __init__(self) -> None:
        self._count = 0

    def octets(self, size: int) -> bytes:
        """The next octets."""
        first, self._count = self._count, self._count + size // 8 + 1
        return b"".join(b"%07d." % number for number in range(first, self._count))[:size]

    def text(self, size: int, tag: int = TEXT) -> bytes:
        """An element with a header of 12 octets."""
        return element(tag, "UT", self.octets(size))

    def texts(self, number: int, size: int = 54) -> list[bytes]:
        """Contents of Items that are one text each."""
        return [self.text(size) for _ in range(number)]


def sq(tag: int, *items: bytes) -> bytes:
    return element(tag, "SQ", b"".join(map(item, items)))


def pixels(*fragments: bytes) -> bytes:
    return b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + b"".join(map(item, (b"", *fragments))) + SEQUENCE_END


def shapes() -> Iterator[tuple[str, bytes, str]]:
    """Name, Data Set and Transfer Syntax of each."""
    c = Content()
    plain = "1.2.840.10008.1.2.1"
    yield "one level", sq(OUTER, *c.texts(500)), plain
    yield "two levels", sq(OUTER, sq(INNER, *c.texts(500))), plain
    yield "two levels, one long value", sq(OUTER, sq(INNER, c.text(40000))), plain
    yield "two levels, one Item after another", sq(OUTER, *[sq(INNER, *c.texts(100)) for _ in range(6)]), plain
    yield "three levels", sq(OUTER, sq(INNER, sq(INNER, *c.texts(500)))), plain
    yield "three levels, broad", sq(OUTER, sq(INNER, *[sq(INNER, *c.texts(9)) for _ in range(60)])), plain
    yield "a tail in the Item", sq(OUTER, sq(INNER, *c.texts(500)) + c.text(100, 0x0040A731)), plain
    yield "a tail in the sequence", sq(OUTER, sq(INNER, *c.texts(500)), *c.texts(9)), plain
    yield "a tail in the Data Set", sq(OUTER, sq(INNER, *c.texts(500))) + c.text(100, TAIL), plain
    two = sq(OUTER, sq(INNER, *c.texts(500))) + sq(0x0040A731, sq(INNER, *c.texts(500)))
    yield "two sequences", two + c.text(100, TAIL), plain
    yield "a long value before it", c.text(50000, 0x00080119) + sq(OUTER, sq(INNER, *c.texts(500))), plain
    yield "a long value in it at one level", sq(OUTER, c.text(50000), sq(INNER, *c.texts(500))), plain
    yield "empty Items and sequences", sq(OUTER, sq(INNER, *[b""] * 5000)) + sq(0x0040A731, sq(INNER)), plain
    yield "numbers", sq(OUTER, sq(INNER, *[element(0x00280010, "US", c.octets(2)) for _ in range(1500)])), plain
    icon = element(0x00280010, "US", b"\1\0") + pixels(*[c.octets(2000) for _ in range(20)])
    yield "fragments of an icon", sq(0x00880200, icon, icon) + pixels(c.octets(30000)), RLE
    yield "fragments deeper", sq(OUTER, sq(0x00880200, icon, icon)) + pixels(c.octets(30000), c.octets(8)), RLE
    for left in range(0, 18, 2):  # octets of the buffer that are left before a header, an Item tag, a delimiter
        before = BUFFER - 12 - left
        for kind, parts in {
            "short": [element(0x00080050, "SH", b"Z" * 16), c.text(40)],
            "long": [c.text(40), c.text(50)],
            "sequence": [sq(0x00081115, c.text(40)), c.text(50)],
            "empty sequence": [sq(0x00081115), c.text(50)],
            "fragments": [pixels(c.octets(30)), c.text(50)],
        }.items():
            syntax = RLE if kind == "fragments" else plain
            yield f"{left} left, {kind}", c.text(before - 24, 0x00080119) + sq(OUTER, sq(INNER, *parts)), syntax
        yield (
            f"{left} left, fragment",
            c.text(before - 36, 0x00080119) + sq(OUTER, sq(INNER, pixels(c.octets(30)), b"")),
            RLE,
        )
        deep = sq(OUTER, sq(INNER, sq(INNER, c.text(40)), c.text(40)))
        yield f"{left} left, delimiter", c.text(before - 88, 0x00080119) + deep, plain


SHAPES = list(shapes())


def compare(dcmsign: Dcmsign, source: Path, place: str = "") -> int:
    """dcmsign's dump and ours are the same; return the octets that are left out."""
    target = source.with_suffix(".signed")
    theirs = dcmsign.sign(source, target, "-pf", item=place)
    ours, whole = bytearray(), bytearray()
    with DicomFile.open(target) as file:
        found = read_signature_items(file)[-1 if place else 0]
        assert found.mac is not None
        tags = set(found.mac.tags)
        left_out = feed_as_dcmtk(file, found.level, tags, ours.extend)
        assert feed_as_dcmtk(file, found.level, tags, None) == left_out
        assert left_out == 0 or can_leave_out(found.level, tags, len(ours) + left_out)
        feed_own(file, found.item, ours.extend)
        feed_mac_stream(file, found, whole.extend)
    assert theirs == bytes(ours)
    assert len(whole) == len(ours) + left_out
    return left_out


@pytest.mark.parametrize(("body", "syntax"), [shape[1:] for shape in SHAPES], ids=[shape[0] for shape in SHAPES])
def test_what_dcmsign_hashes_is_known_to_the_octet(dcmsign: Dcmsign, body: bytes, syntax: str, tmp_path: Path) -> None:
    source = tmp_path / "source.dcm"
    source.write_bytes(part10(body, syntax))
    compare(dcmsign, source)


def random_item(dice: random.Random, content: Content, depth: int) -> Dataset:
    """An Item of elements with all forms of headers and units, and of sequences up to five levels deep."""
    made = Dataset()
    for tag, vr in ((0x00080050, "SH"), (0x00081155, "UI"), (0x00189073, "FD"), (0x00280010, "US"), (0x00283006, "OW")):
        if dice.random() < 0.5:
            numbers = {"US": 7, "FD": [dice.random() for _ in range(dice.randrange(1, 90))], "UI": "1.2.3"}
            made.add_new(tag, vr, numbers.get(vr, content.octets(8).decode() if vr == "SH" else content.octets(600)))
    for tag in (0x00081115, 0x00081199, 0x0040A730):
        if depth < 5 and dice.random() < 0.35:
            inner = [random_item(dice, content, depth + 1) for _ in range(dice.randrange(6))]
            made.add_new(tag, "SQ", Sequence(inner))
    if dice.random() < 0.4:
        size = dice.choice([0, 2, 30, 400, 3000, 40000 if dice.random() < 0.1 else 100])
        made.add_new(TEXT, "UT", content.octets(size).decode())
    return made


@pytest.mark.parametrize("kind", ["native", "undefined", "implicit", "big-endian"])
def test_what_dcmsign_hashes_of_objects_of_any_shape_is_known(dcmsign: Dcmsign, kind: str, tmp_path: Path) -> None:
    dice, content, cut = random.Random(kind), Content(), 0
    for number in range(12):
        made = Dataset()
        for tag in (0x00081115, 0x00081199, 0x0040A730, 0x00720080):
            made.add_new(tag, "SQ", Sequence([random_item(dice, content, 1) for _ in range(dice.randrange(1, 12))]))
        made.add_new(TAIL, "UT", "tail")
        if kind == "undefined":
            for one in made.iterall():
                if one.VR == "SQ":
                    one.is_undefined_length = True
        source = tmp_path / f"{number}.dcm"
        source.write_bytes(encode(made, kind))
        cut += compare(dcmsign, source) > 0
    assert cut > 3, "most shapes are ones of which something is left out"


def test_levels_count_from_the_data_set_that_is_signed(dcmsign: Dcmsign, tmp_path: Path) -> None:
    """In a signature of an Item a sequence of the Item is of the first level. Signatures inside are not hashed."""
    c = Content()
    source = tmp_path / "source.dcm"
    source.write_bytes(part10(sq(OUTER, sq(INNER, *c.texts(400)), c.text(9))))
    assert compare(dcmsign, source, "ContentSequence[0]") == 0
    signed_inside = source.with_suffix(".signed")
    assert compare(dcmsign, signed_inside) > 0
    source.write_bytes(part10(sq(OUTER, sq(INNER, sq(INNER, *c.texts(400))), c.text(9))))
    assert compare(dcmsign, source, "ContentSequence[0]") > 0


def test_depth_does_not_multiply_the_effort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile file of sequences nested as deep as is read is walked once, whatever its depth."""
    walks: list[int] = []
    really = Walker._sequence

    def counted(walker: Walker, tag: int, *rest: object) -> int:
        walks.append(tag)
        return really(walker, tag, *rest)  # type: ignore[arg-type]

    body = sq(INNER, *Content().texts(500))
    for _ in range(MAX_DEPTH - 1):
        body = sq(OUTER, body)
    source = tmp_path / "deep.dcm"
    source.write_bytes(part10(body))
    with DicomFile.open(source) as file:
        monkeypatch.setattr(Walker, "_sequence", counted)
        assert feed_as_dcmtk(file, file.main, {OUTER}, None) > 0
    assert len(walks) == MAX_DEPTH
