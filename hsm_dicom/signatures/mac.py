"""The byte stream that a signature's hash is computed over (PS3.3 C.12.1.1.3.1.2).

The listed elements of one Data Set in ascending order, each as it stands in explicit VR little endian, sequences and
encapsulated Pixel Data without lengths; then the elements of the signature's own Item, but for its certificate,
signature and Certified Timestamp. What is already encoded so in the file goes to the hash as spans of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element, explicit_header
from hsm_dicom.dataset.octets.source import Piece
from hsm_dicom.dataset.vr import SWAPPED_UNITS
from hsm_dicom.signatures.attributes import LEFT_OUT_OF_MAC

Update = Callable[[bytes | memoryview], object]


def feed_covered(file: DicomFile, level: DataSet, tags: Set[int], update: Update) -> int:
    """Give what the listed elements add to the stream to ``update``, and return its size in bytes.

    All must be signable; absent ones are skipped.
    """
    return _feed(file, level, [element for element in level.elements if element.tag in tags], update)


def feed_own(file: DicomFile, signature_item: DataSet, update: Update) -> int:
    """Give what a signature's own Item adds to the stream to ``update``, and return its size in bytes."""
    own = (element for element in signature_item.elements if element.tag not in LEFT_OUT_OF_MAC)
    return _feed(file, signature_item, [element for element in own if element.signable], update)


def _feed(file: DicomFile, level: DataSet, elements: Iterable[Element], update: Update) -> int:
    """The elements one after the other, neighbouring spans of the file made one."""
    pieces: list[Piece] = []
    verbatim = file.syntax.verbatim
    size = start = end = 0
    for element in elements:
        if element.pieces is None and verbatim:
            if element.start == end:
                end = element.end
                continue
            if start != end:
                pieces.append((start, end, 1))
            start, end = element.start, element.end
            continue
        if start != end:
            pieces.append((start, end, 1))
        start = end = 0
        if element.pieces is None:
            pieces.append(explicit_header(element.tag, element.vr, element.end - element.value))
            unit = SWAPPED_UNITS.get(element.vr, 1) if file.syntax.big_endian else 1
            pieces.append((element.value, element.end, unit))
        elif element.pieces:
            pieces += element.pieces
        else:
            size += file.source.feed(pieces, update)
            pieces = []
            size += file.stream(level, element, update)
    if start != end:
        pieces.append((start, end, 1))
    return size + file.source.feed(pieces, update)
