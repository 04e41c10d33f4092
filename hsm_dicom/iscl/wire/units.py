"""The unit that a sender puts in one ISCL message (R18): the data of one write, or one DICOM PDU.

A DICOM PDU begins with its type, a reserved octet and the length of the rest, 32 bits, big-endian (PS3.8, 9.3.1).
"""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.iscl.wire.profile import MessageUnit

PDU_HEADER = 6


class Fragmenter:
    """Cuts what is written into messages of at most `longest` octets."""

    def __init__(self, unit: MessageUnit, longest: int) -> None:
        self._by_pdu = unit is MessageUnit.PDU
        self._longest = longest
        self._buffer = bytearray()
        self._left_of_pdu = 0

    def fragment(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that are complete now. An unfinished PDU waits for its rest."""
        if not self._by_pdu:
            for start in range(0, len(data), self._longest):
                yield data[start : start + self._longest]
            return
        self._buffer += data
        while self._left_of_pdu or len(self._buffer) >= PDU_HEADER:
            if not self._left_of_pdu:
                self._left_of_pdu = PDU_HEADER + int.from_bytes(self._buffer[2:PDU_HEADER], "big")
            length = min(self._left_of_pdu, self._longest)
            if len(self._buffer) < length:
                return
            yield bytes(self._buffer[:length])
            del self._buffer[:length]
            self._left_of_pdu -= length
