"""A Data Set in a file, with octets inserted, as P-DATA-TF PDUs made one after the other in the same memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hsm_dicom.dataset.rewrite import Edit
from hsm_dicom.network.settings import MAXIMUM_PDU
from hsm_dicom.network.upper_layer.pdu import HEADER, VALUE_HEADER, finish_data_pdu, new_data_pdu

_Piece = bytes | tuple[int, int]
"""Octets, or start and end of a part of the file."""


class SplicedPDUs:
    """The Data Set that begins at `offset` of a file, with edits; offsets of edits count from the file's begin.

    `maximum` is the receiver's maximum length of PDUs, 0 for none (PS3.8, D.1).
    """

    def __init__(self, path: Path, offset: int, edits: Sequence[Edit], context_id: int, maximum: int) -> None:
        """Open the file. Raises `OSError`."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._pieces = _list_pieces(offset, os.fstat(self._descriptor).st_size, edits)
        self._left = sum(len(one) if isinstance(one, bytes) else one[1] - one[0] for one in self._pieces)
        self._number = self._at = 0
        """The current piece, and how much of it was taken."""
        self._made_last = False
        most = min(maximum or MAXIMUM_PDU, MAXIMUM_PDU) - VALUE_HEADER
        self._pdu = new_data_pdu(context_id, max(1, min(most, self._left)))

    def next_pdu(self) -> memoryview | None:
        """Return the next PDU, which is valid until the next call; None after the last. Raises `OSError`."""
        if self._made_last:
            return None
        begin = HEADER + VALUE_HEADER
        count = min(self._left, len(self._pdu) - begin)
        pdu = self._pdu[: begin + count]
        self._fill(pdu[begin:])
        self._left -= count
        self._made_last = not self._left
        finish_data_pdu(pdu, is_last=self._made_last)
        return pdu

    def close(self) -> None:
        """Close the file. Harmless to repeat."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _fill(self, space: memoryview) -> None:
        while space:
            piece = self._pieces[self._number]
            if isinstance(piece, bytes):
                count = min(len(space), len(piece) - self._at)
                space[:count] = piece[self._at : self._at + count]
                is_over = self._at + count == len(piece)
            else:
                start, end = piece
                wanted = min(len(space), end - start - self._at)
                count = os.preadv(self._descriptor, [space[:wanted]], start + self._at)
                if not count:
                    raise OSError("it became shorter while it was sent")
                is_over = start + self._at + count == end
            space = space[count:]
            self._number, self._at = (self._number + 1, 0) if is_over else (self._number, self._at + count)


def _list_pieces(offset: int, size: int, edits: Sequence[Edit]) -> list[_Piece]:
    pieces: list[_Piece] = []
    at = offset
    for edit in sorted(edits, key=lambda one: one.start):
        pieces += [(at, edit.start), edit.data]
        at = edit.end
    pieces.append((at, size))
    return [one for one in pieces if (one if isinstance(one, bytes) else one[1] > one[0])]
