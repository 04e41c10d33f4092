"""The MAC byte stream of a sequence in its smallest parts: headers, Item tags, delimiters and values, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hsm_dicom.dataset.dicom_file import DataSet, DicomFile
from hsm_dicom.dataset.element import Element
from hsm_dicom.dataset.octets.source import Piece, Source
from hsm_dicom.dataset.transfer_syntax import TransferSyntax
from hsm_dicom.dataset.walk.walker import Walker


def feed_pieces(file: DicomFile, level: DataSet, element: Element, take: Callable[[Piece], object]) -> None:
    """Give each part of a sequence, or of encapsulated Pixel Data, to ``take``, in one walk over it.

    Headers come as octets, also of elements that are already as the MAC has them; a value comes as one span.
    """
    walker = Walker(_PieceSource(file.source, take), _Piecemeal(*file.syntax), reading=file.reading)
    walker.stream(element, level.path, lambda _: None)


class _Piecemeal(TransferSyntax):
    """A Transfer Syntax for walks that join no neighbouring elements to one span."""

    @property
    def verbatim(self) -> bool:
        return False


class _PieceSource(Source):
    """A source that passes on what is to be fed from it."""

    def __init__(self, source: Source, take: Callable[[Piece], object]) -> None:
        super().__init__(source.name, held=source.held, fd=source.fd, size=source.size)
        self._take = take

    def feed(self, pieces: Iterable[Piece], update: Callable[[bytes | memoryview], object]) -> int:
        for piece in pieces:
            self._take(piece)
        return 0
