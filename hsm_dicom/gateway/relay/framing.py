"""Where PDUs and Presentation Data Values begin and end in one direction of an association (PS3.8, 9.3). No I/O.

    framing = Framing(Direction.FORTH, allowed={1, 3})
    safe = framing.scan(memory, safe, end)     # octets before `safe` may be sent

A header is held back until it is complete and checked, and a PDU's header together with that of its first value. So no
octet of a value in a context that is not allowed is ever sent.
"""

from __future__ import annotations

from collections.abc import Collection

from hsm_dicom.gateway.relay.commands import CommandGuard
from hsm_dicom.gateway.tap import Direction, Tap
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.pdu import (
    ABORT,
    HEADER,
    INVALID_PARAMETER,
    NAMES,
    P_DATA_TF,
    RELEASE_RP,
    RELEASE_RQ,
    UNEXPECTED_PDU,
    UNRECOGNISED_PDU,
    VALUE_HEADER,
)

_VALUE_LENGTH = 4
_IS_COMMAND = 1
"""Bit of a message control header (PS3.8, E.2)."""

_SHORT = 4
"""Length of A-RELEASE-RQ, A-RELEASE-RP and A-ABORT (PS3.8, Tables 9-24 to 9-26)."""

_ENDS = frozenset((RELEASE_RQ, RELEASE_RP, ABORT))

LONGEST_HEADER = HEADER + VALUE_HEADER
"""The largest number of octets that are held back."""


class Framing:
    """One direction after the negotiation. `allowed` are the IDs of the contexts on which messages may be sent.

    `guard` checks commands before they may be sent, and `tap` sees all values.
    `release_requests`, `release_answers` and `aborted` count and note what was found.
    """

    def __init__(
        self,
        direction: Direction,
        allowed: Collection[int],
        tap: Tap | None = None,
        guard: CommandGuard | None = None,
    ) -> None:
        self.release_requests = self.release_answers = 0
        self.aborted = False
        self.other: Framing | None = None
        """The other direction, whose releases this one answers."""
        self._direction = direction
        self._allowed = frozenset(allowed)
        self._tap = tap
        self._guard = guard
        self._pdu = 0
        """Octets of the P-DATA-TF that are still to come."""
        self._value = 0
        """Octets of the value that are still to come, of those in the P-DATA-TF."""
        self._context = self._control = 0
        self._begun: int | None = None
        """Where the P-DATA-TF began, if nothing of it has been sent."""
        self.checked = 0

    @property
    def is_between_pdus(self) -> bool:
        """Whether the octets that may be sent end with a whole PDU."""
        return self._pdu == 0

    def scan(self, memory: memoryview, start: int, end: int) -> int:
        """Follow `memory` from `start`, where the last call ended, to `end`; return up to where it may be sent.

        Raises `PDUError` where the stream may not go on; `checked` is then up to where it may be sent. That is the end
        of a PDU, unless the PDU had begun before `start`.
        """
        self.checked = at = start
        try:
            return self._scan(memory, at, end)
        except PDUError:
            if self._begun is not None:
                self._pdu = self._value = 0
                self.checked = self._begun
            raise
        finally:
            self._begun = None

    def _scan(self, memory: memoryview, at: int, end: int) -> int:
        while at < end and not self.aborted:
            if self._value:
                at = self._follow_value(memory, at, end)
            elif self._pdu:
                if end - at < VALUE_HEADER:
                    break
                at = self._begin_value(memory, at)
            elif memory[at] == P_DATA_TF:
                if end - at < HEADER:
                    break
                length = int.from_bytes(memory[at + 2 : at + HEADER], "big")
                if length < VALUE_HEADER:
                    raise PDUError(f"a P-DATA-TF of {length} bytes, which holds no value", INVALID_PARAMETER)
                if end - at < LONGEST_HEADER:
                    break
                self._check_value(memory, at + HEADER, length)
                self._pdu, self._begun = length, at
                at = self._begin_value(memory, at + HEADER)
            else:
                if not self._has_short_pdu(memory, at, end):
                    break
                at += HEADER + _SHORT
            if not self._pdu:
                self._begun = None
            self.checked = at
        return at

    def _has_short_pdu(self, memory: memoryview, at: int, end: int) -> bool:
        """Take in an A-RELEASE-RQ, an A-RELEASE-RP or an A-ABORT, and return whether it is complete."""
        kind = memory[at]
        if kind not in NAMES:
            raise PDUError(f"a PDU of the unknown type {kind:02X}H", UNRECOGNISED_PDU)
        if kind not in _ENDS:
            raise PDUError(f"an {NAMES[kind]}, which may not come now", UNEXPECTED_PDU)
        if end - at < HEADER:
            return False
        length = int.from_bytes(memory[at + 2 : at + HEADER], "big")
        if length != _SHORT:
            raise PDUError(f"an {NAMES[kind]} of {length} bytes instead of {_SHORT}", INVALID_PARAMETER)
        if end - at < HEADER + _SHORT:
            return False
        if kind == RELEASE_RP and self.other is not None and self.release_answers >= self.other.release_requests:
            raise PDUError("an A-RELEASE-RP that nobody asked for", UNEXPECTED_PDU)
        self.release_requests += kind == RELEASE_RQ
        self.release_answers += kind == RELEASE_RP
        self.aborted = kind == ABORT
        return True

    def _begin_value(self, memory: memoryview, at: int) -> int:
        length = self._check_value(memory, at, self._pdu)
        self._context, self._control = memory[at + _VALUE_LENGTH], memory[at + _VALUE_LENGTH + 1]
        self._value = length - (VALUE_HEADER - _VALUE_LENGTH)
        self._pdu -= VALUE_HEADER
        at += VALUE_HEADER
        if not self._value:
            self._show(memory[at:at])
        return at

    def _check_value(self, memory: memoryview, at: int, room: int) -> int:
        """Return the length in the header of a value, which must fit into the rest of its P-DATA-TF."""
        length = int.from_bytes(memory[at : at + _VALUE_LENGTH], "big")
        if length < VALUE_HEADER - _VALUE_LENGTH:
            raise PDUError(f"a Presentation Data Value of {length} bytes, which has no header", INVALID_PARAMETER)
        if room < _VALUE_LENGTH + length:
            raise PDUError("a Presentation Data Value that is longer than its P-DATA-TF", INVALID_PARAMETER)
        left = room - _VALUE_LENGTH - length
        if 0 < left < VALUE_HEADER:
            raise PDUError(f"a P-DATA-TF with {left} bytes behind its last value", INVALID_PARAMETER)
        context = memory[at + _VALUE_LENGTH]
        if context not in self._allowed:
            raise PDUError(f"a message in presentation context {context}, which was not accepted", INVALID_PARAMETER)
        return length

    def _follow_value(self, memory: memoryview, at: int, end: int) -> int:
        count = min(self._value, end - at)
        self._value -= count
        self._pdu -= count
        if self._tap is not None or self._control & _IS_COMMAND:
            self._show(memory[at : at + count])
        return at + count

    def _show(self, piece: memoryview) -> None:
        """Show octets of a value, which may be its last ones, to the guard and the tap."""
        if self._guard is not None and self._control & _IS_COMMAND:
            self._guard.take(self._context, self._control, piece, not self._value)
        if self._tap is not None:
            self._tap.take(self._direction, self._context, self._control, piece, not self._value)
