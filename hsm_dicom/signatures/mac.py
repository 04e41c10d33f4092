"""The byte stream that a signature's hash is made of (PS3.3 C.12.1.1.3.1.2).

The listed elements of one Data Set in ascending order, each as it stands in explicit VR little endian, sequences and
encapsulated Pixel Data without lengths; then the elements of the signature's own Item, but for its certificate,
signature and certified timestamp. What is already encoded so in the file goes to the hash as spans of the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from hsm_dicom.dataset.dicom_file import DataSet
from hsm_dicom.dataset.source import Piece
from hsm_dicom.dataset.tags import never_signable
from hsm_dicom.dataset.transfer_syntax import TransferSyntax
from hsm_dicom.dataset.vr import SWAPPED_UNITS
from hsm_dicom.dataset.walker import Element, explicit_header
from hsm_dicom.signatures.attributes import LEFT_OUT_OF_MAC


def signable(element: Element) -> bool:
    """Whether PS3.3 C.12.1.1.3.1.1 allows this element in a signature."""
    return not (element.has_un or never_signable(element.tag))


def covered_pieces(level: DataSet, tags: Set[int], syntax: TransferSyntax) -> list[Piece]:
    """The share of the stream that the listed elements make up. All must be signable; absent ones are skipped."""
    return _joined(
        piece for element in level.elements if element.tag in tags for piece in _element_pieces(element, syntax)
    )


def own_pieces(signature_item: DataSet, syntax: TransferSyntax) -> list[Piece]:
    """The share of the stream that a signature's own Item makes up."""
    return _joined(
        piece
        for element in signature_item.elements
        if element.tag not in LEFT_OUT_OF_MAC and signable(element)
        for piece in _element_pieces(element, syntax)
    )


def _element_pieces(element: Element, syntax: TransferSyntax) -> Iterable[Piece]:
    if element.pieces is not None:
        return element.pieces
    if syntax.verbatim:
        return ((element.start, element.end, 1),)
    unit = SWAPPED_UNITS.get(element.vr, 1) if syntax.big_endian else 1
    header = explicit_header(element.tag, element.vr, element.end - element.value)
    return (header, (element.value, element.end, unit))


def _joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same stream with neighbouring spans made one."""
    joined: list[Piece] = []
    start = end = unit = -1
    for piece in pieces:
        if isinstance(piece, bytes):
            if end >= 0:
                joined.append((start, end, unit))
                end = -1
            joined.append(piece)
        elif piece[0] == end and piece[2] == unit:
            end = piece[1]
        else:
            if end >= 0:
                joined.append((start, end, unit))
            start, end, unit = piece
    if end >= 0:
        joined.append((start, end, unit))
    return joined
