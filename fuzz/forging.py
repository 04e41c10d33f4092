"""Mutations that know what a MAC stream leaves open: content that is wrapped, moved, joined, cut or replaced.

Each keeps the stream of a signature, so that the MAC goes on to fit, and changes the object around it.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from random import Random

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.signatures.read import read_signature_items
from tests.hsm_dicom.dataset.frames import DELIMITER, ITEM, jpeg_frame
from tests.hsm_dicom.signatures.encapsulated_objects import functional_groups, icon, pixels, report
from tests.hsm_dicom.signatures.forgeries import forgeries

MOST_TAGS = 40
"""Files with more octets of such tags have too many readings to choose from."""

MOST_READINGS = 60

PLACES = (None, (), ((0x00081140, 0),), ((0x0040A730, 1),), ((0x00081140, 0), (0x0040A730, 0)))
"""Where a signature's Data Set is put: where it was, the main Data Set, Items."""

REPLACEMENTS = (
    {},
    report("NO FINDING"),
    icon(jpeg_frame(b"another icon")),
    functional_groups(),
    pixels(jpeg_frame(b"another picture")),
    pixels(jpeg_frame(b"one"), jpeg_frame(b"two"), frames=2),
)


def forge(data: bytes, scratch: Path, seed: int) -> bytes | None:
    """Another object with the stream of one of the file's signatures; None if there is none."""
    if data.count(ITEM) + data.count(DELIMITER) > MOST_TAGS:
        return None
    random = Random(seed)
    scratch.write_bytes(data)
    try:
        with DicomFile.open(scratch) as file:
            numbers = [number for number, item in enumerate(read_signature_items(file)) if item.mac is not None]
        number = random.choice(numbers)
        place, unsigned = random.choice(PLACES), random.choice(REPLACEMENTS)
        found = list(islice(forgeries(scratch, number, place=place, unsigned=unsigned), MOST_READINGS))
    except Exception:  # the input is no file, or none with a signature that can be taken apart
        return None
    return random.choice(found)[1] if found else None
