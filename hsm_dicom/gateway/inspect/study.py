"""The study of a Data Set, from the elements up to (0020,000D), in the Transfer Syntaxes of PS3.5, Annex A."""

from __future__ import annotations

import zlib

from hsm_dicom.dataset.transfer_syntax import transfer_syntax
from hsm_dicom.gateway.inspect.scanner import Scanner

STUDY_INSTANCE_UID = 0x0020000D

LONGEST_UID = 64
"""Octets of a UID (PS3.5, 9.1); 64 is even, so that none has padding beyond."""

MOST_INFLATED = 4 << 20
"""Octets of a deflated Data Set that are inflated at the most."""

MOST_INFLATING = 4
"""Deflated Data Sets of one association whose study is looked for at the same time: each uses 48 KiB."""

_STEP = 1 << 12
"""Octets that are inflated at once."""

_WANTED = {STUDY_INSTANCE_UID: LONGEST_UID}


class InflatingScanner(Scanner):
    """A scanner of a deflated Data Set (PS3.5, A.5). zlib's own window holds octets until the study is found."""

    __slots__ = ("_inflater", "_room")

    def __init__(self) -> None:
        super().__init__(_WANTED, STUDY_INSTANCE_UID, implicit_vr=False)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._room = MOST_INFLATED

    def feed(self, data: memoryview | bytes) -> None:
        """Take the next piece, as it is encoded."""
        rest: memoryview | bytes = data
        while not self.is_over:
            step = min(_STEP, self._room)
            try:
                plain = self._inflater.decompress(rest, step)
            except zlib.error:
                self.is_over = True
                return
            super().feed(plain)
            self._room -= len(plain)
            rest = self._inflater.unconsumed_tail
            if self._inflater.eof or not self._room:
                self.is_over = True
            elif not rest and len(plain) < step:
                return


def make_study_scanner(transfer_syntax_uid: str) -> Scanner | None:
    """Return a scanner for Data Sets of a Transfer Syntax, or None if its encoding is not known."""
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax is None:
        return None
    if syntax.deflated:
        return InflatingScanner()
    return Scanner(_WANTED, STUDY_INSTANCE_UID, implicit_vr=syntax.implicit_vr, big_endian=syntax.big_endian)
