"""A small picture of an object's first frame, which shows which object a verdict is about.

    picture = picture_of("ct.dcm", unchanged_since=verdict.validated_at)
    print(picture.uri or picture.caption)       # data:image/png;base64,… or why there is none

Native pixels and RLE Lossless become a PNG of at most SIDE x SIDE pixels. JPEG Baseline is passed to the browser
unchanged. Other compressions are not decoded, since an image codec should not process untrusted files here.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import DicomFileError
from hsm_dicom.dataset.octets.source import swap_bytes
from hsm_dicom.dataset.tags import PIXEL_DATA
from hsm_dicom.dataset.values import read_text
from hsm_dicom.dataset.vr import SWAPPED_UNITS
from hsm_dicom.dataset.walk.walker import ITEM_TAG, Element
from hsm_dicom.report.drawing import Frame, Palette, draw
from hsm_dicom.report.png import png
from hsm_dicom.report.rle import _RleError, decode_rle_frame

_LOG = logging.getLogger(__name__)

SIDE = 192
"""Pixels along the longer side of a picture, at most."""
LARGEST_FRAME = 1 << 25
"""Bytes of a frame; larger ones are not drawn."""
LARGEST_JPEG = 1 << 18
"""Bytes of a JPEG that is put into a page."""

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_RLE_LOSSLESS = "1.2.840.10008.1.2.5"

_ROWS, _COLUMNS = 0x00280010, 0x00280011
_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
_BITS_ALLOCATED, _BITS_STORED, _HIGH_BIT, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_DESCRIPTORS, _TABLES = range(0x00281101, 0x00281104), range(0x00281201, 0x00281204)


@dataclass(frozen=True)
class Picture:
    """A picture as a data: URI with its size in pixels, or only a caption with the reason why there is none."""

    caption: str
    uri: str = ""
    width: int = 0
    height: int = 0


class _NoPictureError(Exception):
    """Signals that there is no picture; the text is the reason, as a clause."""


def picture_of(path: str | os.PathLike[str], *, unchanged_since: datetime) -> Picture:
    """Draw the first frame of a file, or return the reason why there is no picture; never raise.

    A file whose inode was changed at `unchanged_since` or later is not drawn: it may differ from the validated one.
    """
    try:
        with DicomFile.open(path, bare=True) as file:
            if datetime.fromtimestamp(file.status.st_ctime, UTC) >= unchanged_since:
                raise _NoPictureError("the file was changed after it was validated")
            drawn = _draw(file)
            file.check_unchanged()
            return drawn
    except _NoPictureError as reason:
        return Picture(f"No picture: {reason}.")
    except (DicomFileError, _RleError) as error:
        return Picture(f"No picture: {error.reason if isinstance(error, DicomFileError) else error}")
    except Exception:
        _LOG.exception("The picture of %s was not drawn.", os.fspath(path))
        return Picture("No picture: it could not be drawn (the log says why).")


def _draw(file: DicomFile) -> Picture:
    pixels = file.main.get(PIXEL_DATA)
    if pixels is None:
        raise _NoPictureError("the object has no Pixel Data")
    rows, columns = _number(file, _ROWS), _number(file, _COLUMNS)
    if not rows or not columns:
        raise _NoPictureError("its Rows and Columns say nothing")
    frames = read_text(file, file.main, _FRAMES).strip()
    caption = f"Frame 1 of {int(frames)}." if re.fullmatch(r"\d{1,9}", frames, re.ASCII) and int(frames) > 1 else ""
    if file.syntax.uid == _JPEG_BASELINE:
        return _jpeg(file, pixels, rows, columns, caption)
    frame = _frame(file, pixels, rows, columns)
    width, height, channels, data = draw(frame, SIDE)
    uri = "data:image/png;base64," + base64.b64encode(png(width, height, channels, data)).decode()
    return Picture(f"{caption} Contrast stretched, not for diagnosis.".strip(), uri, width, height)


def _frame(file: DicomFile, pixels: Element, rows: int, columns: int) -> Frame:
    photometric = read_text(file, file.main, _PHOTOMETRIC).strip()
    samples = _number(file, _SAMPLES) or 1
    allocated = _number(file, _BITS_ALLOCATED)
    if (photometric, samples) not in _DRAWABLE or allocated not in (8, 16, 32):
        raise _NoPictureError(f"pixels of this kind ({photometric or 'unnamed'}, {allocated} bits) are not drawn")
    stored = _number(file, _BITS_STORED) or allocated
    high = _number(file, _HIGH_BIT) if _HIGH_BIT in file.main else stored - 1
    if not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise _NoPictureError("its Bits Stored and High Bit do not fit its Bits Allocated")
    size = rows * columns * samples * allocated // 8
    if size > LARGEST_FRAME:
        raise _NoPictureError(f"a frame has more than {LARGEST_FRAME >> 20} MiB")
    planar = samples > 1 and _number(file, _PLANAR) == 1
    if file.syntax.uid == _RLE_LOSSLESS:
        data = decode_rle_frame(_first_frame(file, pixels), rows * columns, samples, allocated // 8)
        planar = True
    elif pixels.pieces is not None:
        raise _NoPictureError("this compression is not decoded here")
    else:
        data = file.source.read(pixels.value, min(pixels.end, pixels.value + size + size % 2))
        if file.syntax.big_endian:
            data = swap_bytes(data, SWAPPED_UNITS.get(pixels.vr, 1))
    if len(data) < size:
        raise _NoPictureError("its Pixel Data is shorter than one frame")
    return Frame(
        data=data[:size],
        rows=rows,
        columns=columns,
        samples=samples,
        planar=planar,
        photometric=photometric,
        bytes_per_sample=allocated // 8,
        stored_bits=stored,
        shift=high + 1 - stored,
        signed=_number(file, _SIGNED) == 1,
        palette=_palette(file) if photometric == "PALETTE COLOR" else None,
    )


_DRAWABLE = {("MONOCHROME1", 1), ("MONOCHROME2", 1), ("PALETTE COLOR", 1), ("RGB", 3), ("YBR_FULL", 3)}


def _number(file: DicomFile, tag: int) -> int:
    """Return the first number of a US or SS element of the main Data Set; 0 if there is none."""
    numbers = _numbers(file, tag)
    return numbers[0] if numbers else 0


def _numbers(file: DicomFile, tag: int) -> Sequence[int]:
    element = file.main.get(tag)
    if element is None or element.pieces is not None or element.vr not in ("US", "SS", "OW"):
        return ()
    if element.end - element.value > 1 << 18:
        return ()
    data = file.value(element)
    return [file.number(data[at : at + 2]) for at in range(0, len(data) - 1, 2)]


def _palette(file: DicomFile) -> Palette:
    tables = []
    first = 0
    for descriptor, table in zip(_DESCRIPTORS, _TABLES, strict=True):
        described = _numbers(file, descriptor)
        words = _numbers(file, table)
        if len(described) != 3 or not words:
            raise _NoPictureError("its palette is not in the file or not of a kind that is drawn")
        entries, first, bits = described
        entries = entries or 1 << 16
        if bits == 8 and len(words) * 2 - entries in (0, 1):
            words = [byte for word in words for byte in (word & 0xFF, word >> 8)]
        shift = 8 if max(words) > 0xFF else 0
        tables.append(bytes(word >> shift for word in words[:entries]))
    return Palette(first, (tables[0], tables[1], tables[2]))


def _first_frame(file: DicomFile, pixels: Element) -> bytes:
    """Return the first fragment after the Basic Offset Table: a whole frame in RLE (PS3.5 A.4.2)."""
    spans = _fragments(pixels)
    if not spans or spans[0][1] - spans[0][0] > LARGEST_FRAME:
        raise _NoPictureError("its Pixel Data has no fragment that can be drawn")
    return file.source.read(*spans[0])


def _fragments(pixels: Element) -> list[tuple[int, int]]:
    pieces = pixels.pieces or ()
    spans = [
        (piece[0], piece[1]) for mark, piece in pairwise(pieces) if mark == ITEM_TAG and not isinstance(piece, bytes)
    ]
    return spans[1:]


def _jpeg(file: DicomFile, pixels: Element, rows: int, columns: int, caption: str) -> Picture:
    """Return a JPEG for the browser's decoder, if its type and size are those of the object."""
    photometric = read_text(file, file.main, _PHOTOMETRIC).strip()
    if photometric not in ("MONOCHROME2", "YBR_FULL", "YBR_FULL_422"):
        raise _NoPictureError(f"a browser would not show a JPEG of {photometric or 'no named'} pixels as it is meant")
    spans = _fragments(pixels)
    size = sum(end - start for start, end in spans) if not caption else spans[0][1] - spans[0][0] if spans else 0
    if not 0 < size <= LARGEST_JPEG:
        raise _NoPictureError(f"its first frame is larger than {LARGEST_JPEG >> 10} KiB, or there is none")
    data = b"".join(file.source.read(*span) for span in (spans[:1] if caption else spans)).rstrip(b"\0")
    if not data.endswith(b"\xff\xd9") or _jpeg_size(data) != (rows, columns):
        raise _NoPictureError("its JPEG is not the Baseline one that the object describes")
    uri = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    return Picture(f"{caption} Shown by the browser, not for diagnosis.".strip(), uri, columns, rows)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return lines and samples per line of a baseline JPEG of 8 bits (ITU-T T.81 B.2.2), or None for any other."""
    at = 2
    while data.startswith(b"\xff\xd8") and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xC0:
            lines, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
            return (lines, width) if data[at + 4] == 8 else None
        if marker in (0xD8, 0xD9, 0xDA) or length < 2:
            return None
        at += 2 + length
    return None
