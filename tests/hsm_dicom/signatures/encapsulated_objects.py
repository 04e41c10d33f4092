"""Small objects with encapsulated Pixel Data, in the main Data Set and in an icon, as tests of fragments need them."""

from __future__ import annotations

from struct import pack

from tests.hsm_dicom.dataset.samples import element
from tests.hsm_dicom.signatures.forgeries import file_around
from tests.hsm_dicom.signatures.mac_streams import encode_fragments, encode_sequence

JPEG = "1.2.840.10008.1.2.4.50"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
RLE = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
JPEG_XL = "1.2.840.10008.1.2.4.110"
VIDEO = "1.2.840.10008.1.2.4.102"

NUMBER_OF_FRAMES, ICON, FUNCTIONAL_GROUPS, REPORT = 0x00280008, 0x00880200, 0x52009230, 0x4008010B
OFFSETS, LENGTHS, PIXEL_DATA = 0x7FE00001, 0x7FE00002, 0x7FE00010

Elements = dict[int, bytes]


def pixels(*fragments: bytes, frames: int | None = None, table: bytes = b"") -> Elements:
    """Pixel Data of these fragments, with Number of Frames if it is given, and with a Basic Offset Table."""
    found = {PIXEL_DATA: encode_fragments(table, *fragments)}
    if frames is not None:
        text = str(frames).encode()
        found[NUMBER_OF_FRAMES] = element(NUMBER_OF_FRAMES, "IS", text + b" " * (len(text) % 2))
    return found


def icon(*fragments: bytes) -> Elements:
    """An Icon Image Sequence with this Pixel Data."""
    return {ICON: encode_sequence(ICON, in_order(pixels(*fragments)))}


def report(text: str) -> Elements:
    """Interpretation Text, whose tag is between an icon's sequence and the main Pixel Data."""
    value = text.encode()
    return {REPORT: element(REPORT, "ST", value + b" " * (len(value) % 2))}


def functional_groups() -> Elements:
    """Per-frame Functional Groups that end in two delimiters."""
    measures = encode_sequence(0x00289110, element(0x00280030, "DS", b"0.5\\0.5 "))
    return {FUNCTIONAL_GROUPS: encode_sequence(FUNCTIONAL_GROUPS, measures)}


def extended_table(*fragments: bytes) -> Elements:
    """The Extended Offset Table of these fragments."""
    offsets, at = [], 0
    for fragment in fragments:
        offsets.append(at)
        at += 8 + len(fragment)
    count = len(fragments)
    return {
        OFFSETS: element(OFFSETS, "OV", pack(f"<{count}Q", *offsets)),
        LENGTHS: element(LENGTHS, "OV", pack(f"<{count}Q", *map(len, fragments))),
    }


def basic_table(*frames: tuple[bytes, ...]) -> bytes:
    """The Basic Offset Table of frames of these fragments."""
    offsets, at = [], 0
    for fragments in frames:
        offsets.append(at)
        at += sum(8 + len(fragment) for fragment in fragments)
    return pack(f"<{len(offsets)}I", *offsets)


def in_order(elements: Elements) -> bytes:
    """The elements as one Data Set."""
    return b"".join(elements[tag] for tag in sorted(elements))


def encapsulated_object(syntax: str, *parts: Elements) -> bytes:
    """A file of these parts, with the attributes that every instance has."""
    elements = {
        0x00080016: element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0"),
        0x00080018: element(0x00080018, "UI", b"1.2.3.4.5\0"),
        0x00080060: element(0x00080060, "CS", b"OT"),
        0x00100010: element(0x00100010, "PN", b"Muster^Anna "),
        0x00100020: element(0x00100020, "LO", b"4711"),
        0x0020000D: element(0x0020000D, "UI", b"1.2.3\0"),
        0x0020000E: element(0x0020000E, "UI", b"1.2.3.4\0"),
    }
    for part in parts:
        elements |= part
    return file_around(in_order(elements), syntax, elements)
