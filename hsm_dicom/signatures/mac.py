"""The byte stream that a signature's hash is made of (PS3.3 C.12.1.1.3.1.2).

The listed elements of one Data Set in ascending order, each as it stands in explicit VR little endian, sequences and
encapsulated Pixel Data without lengths; then the elements of the signature's own Item, but for its certificate,
signature and certified timestamp. What is already encoded so in the file goes to the hash as spans of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from hsm_dicom.dataset.dicom_file import DataSet
from hsm_dicom.dataset.source import Piece
from hsm_dicom.dataset.transfer_syntax import TransferSyntax
from hsm_dicom.dataset.vr import SWAPPED_UNITS
from hsm_dicom.dataset.walker import Element, explicit_header
from hsm_dicom.signatures.attributes import LEFT_OUT_OF_MAC


def covered_pieces(level: DataSet, tags: Set[int], syntax: TransferSyntax) -> list[Piece]:
    """The share of the stream that the listed elements make up. All must be signable; absent ones are skipped."""
    return _pieces([element for element in level.elements if element.tag in tags], syntax)


def own_pieces(signature_item: DataSet, syntax: TransferSyntax) -> list[Piece]:
    """The share of the stream that a signature's own Item makes up."""
    return _pieces(
        [element for element in signature_item.elements if element.tag not in LEFT_OUT_OF_MAC and element.signable],
        syntax,
    )


def _pieces(elements: Iterable[Element], syntax: TransferSyntax) -> list[Piece]:
    """The elements one after the other, neighbouring spans of the file made one."""
    pieces: list[Piece] = []
    if not syntax.verbatim:
        for element in elements:
            if element.pieces is not None:
                pieces += element.pieces
            else:
                pieces.append(explicit_header(element.tag, element.vr, element.end - element.value))
                unit = SWAPPED_UNITS.get(element.vr, 1) if syntax.big_endian else 1
                pieces.append((element.value, element.end, unit))
        return pieces
    start = end = 0
    for element in elements:
        if element.pieces is None and element.start == end:
            end = element.end
            continue
        if start != end:
            pieces.append((start, end, 1))
        if element.pieces is None:
            start, end = element.start, element.end
        else:
            pieces += element.pieces
            start = end = 0
    if start != end:
        pieces.append((start, end, 1))
    return pieces
