"""Closed list of elements that no signature can cover and that no reader treats as content.

PS3.3 C.12.1.1.3.1.1 excludes group lengths, Length to End and Data Set Trailing Padding from every MAC, since writers
such as DCMTK's ``dcmconv +g +p`` add and remove them without changing the object. An element with one of these tags
but another form is unsigned content.
"""

from __future__ import annotations

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.octets.source import CHUNK
from hsm_dicom.dataset.tags import DATA_SET_TRAILING_PADDING, LENGTH_TO_END


def is_ignorable(file: DicomFile, element: Element) -> bool:
    """Return whether an element is a group length (UL, 4 octets), or padding (OB, all octets zero)."""
    if element.tag & 0xFFFF == 0:
        return element.vr == "UL" and element.end - element.value == 4
    return element.tag == DATA_SET_TRAILING_PADDING and element.vr == "OB" and _is_zero(file, element)


def is_length_to_end(file: DicomFile, element: Element, end: int) -> bool:
    """Return whether an element is a correct, retired Length to End (0008,0001) of a Data Set that ends at ``end``."""
    return (
        element.tag == LENGTH_TO_END
        and element.vr == "UL"
        and element.end - element.value == 4
        and file.number(file.value(element)) == end - element.end
    )


def _is_zero(file: DicomFile, element: Element) -> bool:
    starts = range(element.value, element.end, CHUNK)
    return not any(file.source.read(at, min(element.end, at + CHUNK)).strip(b"\0") for at in starts)
