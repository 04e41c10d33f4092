"""Whether two files hold the same object."""

from __future__ import annotations

from pathlib import Path

from hsm_dicom.dataset import DicomFile, DicomFileError

_DATA_SET_TRAILING_PADDING = 0xFFFCFFFC
_COMPARED_BYTES = 1 << 20


def same_data_set(one: Path, other: Path) -> bool:
    """Return whether two files hold the same Data Set in the same encoding.

    The File Meta Information is not compared, nor is Data Set Trailing Padding (FFFC,FFFC), nor how a deflated Data Set
    was deflated. A file that is malformed is like no other.
    """
    try:
        with DicomFile.open(one) as first, DicomFile.open(other) as second:
            start, end = first.main.start, _end_without_padding(first)
            shift = second.main.start - start
            if first.syntax != second.syntax or _end_without_padding(second) - shift != end:
                return False
            return all(
                first.source.read(at, min(end, at + _COMPARED_BYTES))
                == second.source.read(at + shift, min(end, at + _COMPARED_BYTES) + shift)
                for at in range(start, end, _COMPARED_BYTES)
            )
    except DicomFileError:
        return False


def _end_without_padding(file: DicomFile) -> int:
    padding = file.main.get(_DATA_SET_TRAILING_PADDING)
    return file.main.end if padding is None else padding.start
