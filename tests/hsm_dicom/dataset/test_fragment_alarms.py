"""No false alarms about fragments: real compressed objects, and octets by chance in compressed data."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path
from random import Random
from struct import pack

import pytest
from pydicom.data.data_manager import DATA_ROOT

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.element import EncapsulatedPlace
from hsm_dicom.dataset.encapsulated.fragments import EncapsulatedPixelData, OffsetTables
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.dataset.octets.source import Source
from tests.hsm_dicom.dataset.frames import DELIMITER, END_OF_IMAGE, ITEM, even, jpeg_start, rle_frame
from tests.soak import RUNS

SHIPPED = Path(DATA_ROOT) / "test_files"
JPEG, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
UNREADABLE = "badVR"
"""An image with "1A" as Number of Frames, which is an alarm with every right."""
BLOCK = 1 << 20
COMPRESSORS = (
    ("dcmcjpeg", "+e1"),  # JPEG lossless
    ("dcmcjpeg", "+ee", "+fs", "1"),  # JPEG extended, in fragments of 1 kB
    ("dcmcjpeg", "+eb", "-ot"),
    ("dcmcjpls", "-ot"),  # JPEG-LS, without an offset table
    ("dcmcrle",),
)


def findings(path: Path) -> list[str]:
    with DicomFile.open(path) as file:
        found = [defect.clause for one in file.encapsulated for defect in one.defects]
        return found + [one.hazard.clause for one in file.encapsulated if one.hazard is not None]


def shipped(*, compressed: bool) -> list[Path]:
    """The images that pydicom ships, and hsm-dicom reads."""
    found = []
    for path in sorted(SHIPPED.glob("*.dcm")):
        try:
            with DicomFile.open(path) as file:
                if file.syntax.encapsulated == compressed and 0x7FE00010 in file.main and path.stem != UNREADABLE:
                    found.append(path)
        except DicomFileError:
            continue
    return found


NATIVE, COMPRESSED = shipped(compressed=False), shipped(compressed=True)


@pytest.mark.parametrize("path", COMPRESSED, ids=lambda path: path.stem)
def test_no_shipped_compressed_object_raises_an_alarm(path: Path) -> None:
    assert findings(path) == []


@pytest.mark.interop
def test_no_object_that_dcmtk_compresses_raises_an_alarm(tmp_path: Path) -> None:
    compressed = []
    for number, command in enumerate(COMPRESSORS):
        for path in NATIVE:
            target = tmp_path / f"{number}-{path.name}"
            subprocess.run([command[0], "-q", *command[1:], path, target], capture_output=True, timeout=30)
            if target.exists():
                compressed.append(target)
    assert len(COMPRESSED) + len(compressed) > 100
    assert {path.name: found for path in compressed if (found := findings(path))} == {}


class Noise(Source):
    """Encapsulated Pixel Data of one frame, of random octets that are made when they are read: no disk, no memory."""

    def __init__(self, size: int, before: bytes, behind: bytes, *, stuffed: bool) -> None:
        super().__init__("noise", size=len(before) + size + len(behind))
        self.chance = 0
        self._before, self._behind, self._stuffed = before, behind, stuffed
        self._block = lru_cache(maxsize=4)(self._new_block)

    def _new_block(self, number: int) -> bytes:
        data = Random(number).randbytes(BLOCK)
        if self._stuffed:
            data = data.replace(b"\xff", b"\xff\0")[: BLOCK - 1] + b"\0"
        self.chance += data.count(ITEM) + data.count(DELIMITER)
        return data

    def read(self, start: int, end: int) -> bytes:
        parts = []
        while start < end:
            at = start - len(self._before)
            if at < 0:
                part = self._before[start:]
            elif start >= self.size - len(self._behind):
                part = self._behind[start - self.size + len(self._behind) :]
            else:
                part = self._block(at // BLOCK)[at % BLOCK :]
            parts.append(part[: end - start])
            start += len(parts[-1])
        return b"".join(parts)


@pytest.mark.parametrize("syntax", [JPEG, RLE])
def test_octets_by_chance_raise_no_alarm_property(syntax: str) -> None:
    """Random octets, stuffed as JPEG has it or raw as RLE may have them: 52 MiB in the suite, 1 GiB in a soak."""
    size = 52 * BLOCK * RUNS
    start, end = (jpeg_start(), even(END_OF_IMAGE)) if syntax == JPEG else (rle_frame(b""), b"")
    before = ITEM + bytes(4) + ITEM + pack("<I", len(start) + size + len(end)) + start
    noise = Noise(size, before, end + DELIMITER + bytes(4), stuffed=syntax == JPEG)
    place = EncapsulatedPlace((), 0, 0, 0, noise.size)
    pixel_data = EncapsulatedPixelData(noise, syntax, place, 1, OffsetTables())
    assert list(pixel_data.fragments()) == [(len(before) - len(start), noise.size - 8)]
    assert (pixel_data.defects, pixel_data.hazard) == ((), None)
    assert noise.chance or syntax == RLE, "octets of tags were among them"
