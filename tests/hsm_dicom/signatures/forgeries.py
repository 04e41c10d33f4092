"""Signed objects rebuilt from readings of their MAC streams: other content under the same signature."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from struct import pack

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures.integrity import feed_mac_stream
from hsm_dicom.signatures.read import SignatureItem, read_signature_items
from tests.hsm_dicom.dataset.samples import element
from tests.hsm_dicom.signatures.mac_streams import (
    MAC_PARAMETERS,
    SIGNATURES,
    Reading,
    encode_sequence,
    encode_tag,
    readings,
)

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
SEALED = (0x04000115, 0x04000120, 0x04000305, 0x04000310)
"""What a signature's Item holds outside its MAC: certificate, signature, time stamp."""


def stream_of(file: DicomFile, item: SignatureItem) -> bytes:
    """The MAC byte stream of a signature."""
    out = BytesIO()
    feed_mac_stream(file, item, out.write)
    return out.getvalue()


def forgeries(
    path: Path, number: int = 0, *, place: ItemPath | None = None, unsigned: dict[int, bytes] | None = None
) -> Iterator[tuple[Reading, bytes]]:
    """Every reading of one signature's stream, and a file that holds it under that signature alone.

    It is at the signature's own level, or at `place`. Elements of `unsigned` are beside it where it does not have such.
    """
    with DicomFile.open(path) as file:
        item = read_signature_items(file)[number]
        stream, syntax = stream_of(file, item), file.syntax.uid
        sealed = [(e.tag, element(e.tag, e.vr, file.value(e))) for e in item.item.elements if e.tag in SEALED]
        assert item.mac is not None
        mac_id, mac_syntax, algorithm = item.mac.mac_id, item.mac.transfer_syntax, item.mac.algorithm
        place = item.level.path if place is None else place
    for reading in readings(stream):
        tags = b"".join(encode_tag(tag) for tag, _ in reading.covered)
        parameters = (
            element(0x04000005, "US", pack("<H", mac_id))
            + element(0x04000010, "UI", _even(mac_syntax.encode(), b"\0"))
            + element(0x04000015, "CS", _even(algorithm.encode(), b" "))
            + element(0x04000020, "AT", tags)
        )
        own = b"".join(encoding for _, encoding in sorted([*reading.own, *sealed]))
        body = [
            *reading.covered,
            (MAC_PARAMETERS, encode_sequence(MAC_PARAMETERS, parameters)),
            (SIGNATURES, encode_sequence(SIGNATURES, own)),
        ]
        content = b"".join(encoding for _, encoding in sorted({**(unsigned or {}), **dict(body)}.items()))
        for tag, before in reversed(place):
            content = encode_sequence(tag, *[b""] * before, content)
        yield reading, file_around(content, syntax, {} if place else dict(reading.covered))


def file_around(body: bytes, syntax: str, elements: dict[int, bytes]) -> bytes:
    """A file whose meta information agrees with the object, which is what a forger would write."""
    uids = [elements.get(tag, b"")[8:] or b"1.2.3\0" for tag in (SOP_CLASS, SOP_INSTANCE)]
    meta = (
        element(0x00020001, "OB", b"\0\1")
        + element(0x00020002, "UI", uids[0])
        + element(0x00020003, "UI", uids[1])
        + element(0x00020010, "UI", _even(syntax.encode(), b"\0"))
        + element(0x00020012, "UI", b"1.2.3.4\0")
    )
    return bytes(128) + b"DICM" + element(0x00020000, "UL", pack("<I", len(meta))) + meta + body


def _even(data: bytes, pad: bytes) -> bytes:
    return data + pad * (len(data) % 2)
