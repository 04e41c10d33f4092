"""PDUs of the DICOM Upper Layer, taken one by one from a stream of bytes (PS3.8, 9.3). Nothing here knows of sockets.

    reader = PDUReader(maximum_data=131072, seconds=30.0)
    pdu = reader.feed(connection.recv(reader.wanted))      # None while the PDU is not complete

    reader.add(connection.recv_into(reader.space()))       # the same without copies, for long messages
    pdu = reader.next()

The header is checked before memory is used for what follows it: type and length first, so that a peer cannot make us
hold more than the longest PDU. `deadline` is when the PDU must be complete, counted from its first byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from hsm_dicom.network.errors import PDUError
from tokens.printable import format_seconds

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)

NAMES = {
    ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    ASSOCIATE_AC: "A-ASSOCIATE-AC",
    ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    P_DATA_TF: "P-DATA-TF",
    RELEASE_RQ: "A-RELEASE-RQ",
    RELEASE_RP: "A-RELEASE-RP",
    ABORT: "A-ABORT",
}

UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6
"""Reasons of an A-ABORT by the service provider (PS3.8, Table 9-26)."""

MAXIMUM_ASSOCIATE = 128 * 1024
"""Bytes of the longest A-ASSOCIATE PDU that is read: 128 presentation contexts with all Transfer Syntaxes fit in."""

HEADER = 6
"""Bytes of a PDU's header: type, a reserved byte, and the length of what follows (32 bits, big endian)."""

_SHORT = 4
"""Length of A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT (PS3.8, Tables 9-21 to 9-26)."""

VALUE_HEADER = 6
"""Bytes before the data of a Presentation Data Value: length, presentation context ID, message control header."""

_PROVIDER = 2
_WHOLE_COMMAND, _IS_LAST = 3, 2
_PDV_HEADER = 4

_RECORD = 1 << 14
"""Bytes of data in a TLS record, the unit in which they arrive (RFC 8446, 5.1)."""


@dataclass(frozen=True, slots=True)
class PDU:
    """One whole PDU. `data` includes the header."""

    type: int
    data: bytes

    @property
    def name(self) -> str:
        """The standard's name of the type."""
        return NAMES[self.type]


@dataclass(frozen=True, slots=True)
class DataPDU:
    """A whole P-DATA-TF in the memory of its reader, which uses it again. `data` includes the header."""

    data: memoryview


class PDUReader:
    """Takes one direction of a connection apart into PDUs, and refuses what is no PDU as soon as that is known.

    `maximum_data` is the length of a P-DATA-TF that we announced, in bytes (PS3.8, D.1). A PDU must be complete within
    `seconds` of its first byte. With `expected`, only PDUs of these types are read at all.
    """

    def __init__(
        self,
        *,
        maximum_data: int,
        seconds: float,
        expected: Collection[int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._maximum_data = maximum_data
        self._seconds = seconds
        self._expected = expected
        self._clock = clock
        self._memory = memoryview(bytearray())
        self._start = self._end = 0
        self._size = HEADER
        self._deadline: float | None = None

    @property
    def wanted(self) -> int:
        """How many bytes are missing of the current PDU, or of its header while the length is not known."""
        return max(0, self._size - (self._end - self._start))

    @property
    def deadline(self) -> float | None:
        """When the PDU that has begun must be complete, by the clock; None between PDUs."""
        return self._deadline

    def feed(self, data: bytes) -> PDU | None:
        """Take in bytes, no more than are wanted, and return the PDU if they complete it.

        Raises `PDUError` for a header or a P-DATA-TF that is not as PS3.8 has it.
        """
        if len(data) > self.wanted:
            raise ValueError(f"{len(data)} bytes were given, and {self.wanted} were wanted.")
        self._make_room(len(data))
        self._memory[self._end : self._end + len(data)] = data
        self.add(len(data))
        pdu = self.next()
        return PDU(P_DATA_TF, bytes(pdu.data)) if isinstance(pdu, DataPDU) else pdu

    def space(self) -> memoryview:
        """Return memory to read the next bytes into: enough for the current PDU, and to begin the one after it.

        Views of earlier PDUs are not valid any more.
        """
        self._make_room(self.wanted + 2 * _RECORD)
        return self._memory[self._end :]

    def add(self, count: int) -> None:
        """Take in the first bytes of `space`."""
        self._end += count
        if self._deadline is None and count:
            self._deadline = self._clock() + self._seconds

    def next(self) -> PDU | DataPDU | None:
        """Return the next PDU if it is complete. A P-DATA-TF is valid until the next `space` or `feed`.

        Raises `PDUError` as `feed` does.
        """
        held = self._end - self._start
        if self._size == HEADER and held >= HEADER:
            self._size += self._check_length()
        if held < self._size or self._size == HEADER:
            return None
        data = self._memory[self._start : self._start + self._size]
        self._start += self._size
        self._size = HEADER
        self._deadline = None if self._start == self._end else self._clock() + self._seconds
        if data[0] != P_DATA_TF:
            return PDU(data[0], bytes(data))
        for _ in presentation_data_values(data):
            pass
        return DataPDU(data)

    def check_deadline(self) -> None:
        """Raise `PDUError` if a PDU has begun and was not complete in time."""
        if self._deadline is not None and self._clock() >= self._deadline:
            raise PDUError(f"part of a PDU, and not the rest within {format_seconds(self._seconds)} of its first byte")

    def _make_room(self, count: int) -> None:
        """Have so many bytes free behind those that are held."""
        if self._start == self._end:
            self._start = self._end = 0
        if len(self._memory) - self._end >= count:
            return
        held = self._memory[self._start : self._end]
        needed = len(held) + count
        memory = self._memory
        if len(memory) < needed:
            # Doubled, so that a peer that sends single bytes does not cause a copy for each of them.
            memory = memoryview(bytearray(max(needed, min(2 * len(memory), self._size))))
        memory[: len(held)] = held
        self._memory, self._start, self._end = memory, 0, len(held)

    def _check_length(self) -> int:
        header = self._memory[self._start : self._start + HEADER]
        kind, length = header[0], int.from_bytes(header[2:], "big")
        if kind not in NAMES:
            raise PDUError(f"a PDU of the unknown type {kind:02X}H", UNRECOGNISED_PDU)
        name = NAMES[kind]
        if self._expected is not None and kind not in self._expected:
            raise PDUError(f"an {name}, which may not come now", UNEXPECTED_PDU)
        if kind in (ASSOCIATE_RQ, ASSOCIATE_AC):
            most = MAXIMUM_ASSOCIATE
        elif kind == P_DATA_TF:
            most = self._maximum_data
        elif length == _SHORT:
            most = _SHORT
        else:
            raise PDUError(f"an {name} of {length} bytes instead of {_SHORT}", INVALID_PARAMETER)
        if not 0 < length <= most:
            raise PDUError(f"an {name} of {length} bytes, where 1 to {most} are allowed", INVALID_PARAMETER)
        return length


def presentation_data_values(data: bytes | memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield the Presentation Data Values of a P-DATA-TF (PS3.8, 9.3.5): context ID, start and end of its content.

    Raises `PDUError` where lengths do not fit, or a value has no message control header.
    """
    at, end = HEADER, len(data)
    while at < end:
        value = at + _PDV_HEADER
        length = int.from_bytes(data[at:value], "big")
        if length < 2:
            raise PDUError(f"a Presentation Data Value of {length} bytes, which has no header", INVALID_PARAMETER)
        at = value + length
        if at > end:
            raise PDUError("a Presentation Data Value that is longer than its P-DATA-TF", INVALID_PARAMETER)
        yield data[value], value + 1, at


def abort(reason: int = 0) -> bytes:
    """Encode an A-ABORT PDU by the service provider (PS3.8, 9.3.8)."""
    return bytes([ABORT, 0, 0, 0, 0, _SHORT, 0, 0, _PROVIDER, reason])


def rejection(result: int, source: int, reason: int) -> bytes:
    """Encode an A-ASSOCIATE-RJ PDU (PS3.8, 9.3.4)."""
    return bytes([ASSOCIATE_RJ, 0, 0, 0, 0, _SHORT, 0, result, source, reason])


def release_request() -> bytes:
    """Encode an A-RELEASE-RQ PDU (PS3.8, 9.3.6)."""
    return bytes([RELEASE_RQ, 0, 0, 0, 0, _SHORT, 0, 0, 0, 0])


def encode_command(context_id: int, command: bytes) -> bytes:
    """Encode a P-DATA-TF PDU with a whole command set (PS3.8, 9.3.5 and E.2)."""
    value = (len(command) + 2).to_bytes(4, "big") + bytes([context_id, _WHOLE_COMMAND]) + command
    return bytes([P_DATA_TF, 0]) + len(value).to_bytes(4, "big") + value


def new_data_pdu(context_id: int, most: int) -> memoryview:
    """Return memory for P-DATA-TF PDUs with one fragment of a Data Set each, of up to so many bytes.

    The data begins behind `HEADER` and `VALUE_HEADER`; `finish_data_pdu` writes the rest (PS3.8, 9.3.5 and E.2).
    """
    pdu = memoryview(bytearray(HEADER + VALUE_HEADER + most))
    pdu[0] = P_DATA_TF
    pdu[HEADER + _PDV_HEADER] = context_id
    return pdu


def finish_data_pdu(pdu: memoryview, *, is_last: bool) -> None:
    """Write the lengths and the message control header of a PDU of `new_data_pdu`, which is cut to its data."""
    length = len(pdu) - HEADER
    pdu[2:HEADER] = length.to_bytes(4, "big")
    pdu[HEADER : HEADER + _PDV_HEADER] = (length - _PDV_HEADER).to_bytes(4, "big")
    pdu[HEADER + VALUE_HEADER - 1] = _IS_LAST if is_last else 0
