"""One direction of an association on a route that holds objects: a `Flow` that knows where messages begin and end.

Each Presentation Data Value is sent in a P-DATA-TF of its own. It is never longer than the one in which it came, so
that the receiver's maximum length holds. A command set is kept back until it is complete, because it decides whether
the Data Set behind it is held (PS3.7, 6.3.1).
"""

from __future__ import annotations

from collections.abc import Callable

from hsm_dicom.gateway.relay.flow import MEMORY
from hsm_dicom.gateway.relay.framing import Framing
from hsm_dicom.gateway.relay.leg import Leg
from hsm_dicom.gateway.relay.outbox import Outbox
from hsm_dicom.network.dimse.commands import CommandSet
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.pdu import ABORT, HEADER, INVALID_PARAMETER, P_DATA_TF, VALUE_HEADER

MOST_COMMAND = 1 << 16
"""Octets of the longest command set. A longer one ends the association: it must not pass unread."""

_VALUE_LENGTH = 4
_SHORT_PDU = 10
"""Octets of an A-RELEASE-RQ, an A-RELEASE-RP and an A-ABORT (PS3.8, Tables 9-24 to 9-26)."""

_IS_COMMAND, _IS_LAST = 1, 2


class MessageFlow:
    """The direction from one leg to the other; see `Flow`, whose surface this is.

    `first` is sent first. `on_command` is told of each command set before it is sent.
    """

    def __init__(
        self,
        source: Leg,
        sink: Leg,
        framing: Framing,
        first: bytes = b"",
        on_command: Callable[[CommandSet], None] | None = None,
    ) -> None:
        self.source, self.sink, self.framing = source, sink, framing
        self.is_closed = False
        """Whether nothing more is taken from the source."""
        self.is_deaf = False
        """Whether the sink has left, so that what comes for it is thrown away."""
        self.is_paused = False
        """Whether the source is in the hands of another thread, until `restart`."""
        self._memory = memoryview(bytearray(MEMORY))
        self._start = self._safe = self._end = 0
        self._out = Outbox()
        self._uncounted = len(first)
        if first:
            self._out.add(first)
        self._on_command = on_command
        self._pdu = self._value = 0
        """Octets that are still to come of the P-DATA-TF, and of the value in it."""
        self._context = self._control = 0
        self._command = bytearray()
        self._command_pdus = bytearray()
        self._in_data = False
        """Whether a Data Set is to come, or has begun."""
        self._header = b""
        """The header of a value of a Data Set of which no octet has come. It waits for them, so that what is sent in
        one piece ends with a PDU if the value does."""
        self._message_context = 0
        self._between: list[tuple[bytes, Callable[[], None]]] = []
        """Messages of this node, which wait for the end of the message that passes, and what to call then."""
        self._has_last = False

    @property
    def octets(self) -> int:
        """Octets that the sink took after `first`."""
        return max(0, self._out.octets - self._uncounted)

    @property
    def wants_to_read(self) -> bool:
        """Whether octets of the source would be taken now."""
        if self.is_closed or self.is_paused or self.source.has_ended:
            return False
        return self._has_room if self.is_blocked else not self.wants_to_write

    @property
    def wants_to_write(self) -> bool:
        """Whether octets wait for the sink."""
        return not self._out.is_empty and not self.sink.is_lost

    @property
    def is_at_boundary(self) -> bool:
        """Whether another PDU may follow what was sent and waits to be sent."""
        return not (self._in_data and self._value) or bool(self._header)

    @property
    def is_between_messages(self) -> bool:
        """Whether the sink has received whole messages only."""
        return not self._in_data and self._out.is_empty

    @property
    def is_blocked(self) -> bool:
        """Whether what has come waits for something else than the sink."""
        return False

    def receive(self) -> int:
        """Take octets from the source, and return how many. Raises `PDUError` if they may not be sent."""
        if self._start:
            held = self._memory[self._start : self._end]
            count = len(held)
            self._memory[:count] = held
            self._start, self._safe, self._end = 0, self._safe - self._start, count
        count = self.source.receive(self._memory[self._end :])
        if not count:
            return 0
        self._end += count
        try:
            self._safe = self.framing.scan(self._memory, self._safe, self._end)
        except PDUError:
            self._safe = max(self._safe, self.framing.checked)
            self.advance()
            raise
        self.advance()
        return count

    def advance(self) -> bool:
        """Process what has come, up to where it waits for something; return whether anything has changed.

        Raises `PDUError`.
        """
        before = self._start
        while self._start < self._safe and not self.is_blocked:
            if self._value:
                self._take_piece()
            elif self._pdu:
                self._begin_value()
            elif self._memory[self._start] == P_DATA_TF:
                self._pdu = int.from_bytes(self._memory[self._start + 2 : self._start + HEADER], "big")
                self._start += HEADER
            elif self._memory[self._start] == ABORT:
                break  # the association decides whether it passes
            else:
                self._out.add(bytes(self._memory[self._start : self._start + _SHORT_PDU]))
                self._start += _SHORT_PDU
        return self._start != before

    def send(self) -> int:
        """Give octets to the sink, and return how many it took. Raises `OSError` if held data cannot be read."""
        return self._out.send(self.sink)

    def insert(self, message: bytes, note: Callable[[], None]) -> None:
        """Send a message of this node behind the one that passes, and call `note` when its turn has come."""
        self._between.append((message, note))
        self._insert_waiting()

    def close(self, last: bytes = b"") -> None:
        """Take nothing more from the source. `last` is sent after what waits, if it would begin a PDU there."""
        self.is_closed = True
        if self._has_last:
            return
        if self.framing.aborted and self._start < self._safe:
            last = bytes(self._memory[self._safe - _SHORT_PDU : self._safe])
        if last and self.is_at_boundary:
            self._has_last = True
            self._out.cut()
            self._out.add(last)

    def restart(self, source: Leg, framing: Framing) -> None:
        """Take what comes from another source, after whole messages of the first one."""
        self.source, self.framing, self.is_paused = source, framing, False
        self._start = self._safe = self._end = self._pdu = self._value = 0
        self._command.clear()
        self._command_pdus.clear()

    def deafen(self) -> None:
        """Throw away what comes for the sink, which has left."""
        self.is_deaf = True
        self._out.clear()

    # -- inside -----------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        return self._end - self._start < MEMORY

    def _begin_value(self) -> None:
        memory, at = self._memory, self._start
        length = int.from_bytes(memory[at : at + _VALUE_LENGTH], "big")
        self._context, self._control = memory[at + _VALUE_LENGTH], memory[at + _VALUE_LENGTH + 1]
        header = bytes([P_DATA_TF, 0]) + (length + _VALUE_LENGTH).to_bytes(4, "big")
        header += bytes(memory[at : at + VALUE_HEADER])
        self._value = length - (VALUE_HEADER - _VALUE_LENGTH)
        self._pdu -= VALUE_HEADER
        self._start += VALUE_HEADER
        self._check_order()
        if self._control & _IS_COMMAND:
            self._message_context = self._context
            self._command_pdus += header
        else:
            self._begin_data(header)
        if not self._value:
            self._take_piece()

    def _check_order(self) -> None:
        """Raise `PDUError` for a value that cannot come now: two receivers could put it into different messages."""
        is_command = bool(self._control & _IS_COMMAND)
        if is_command and self._in_data:
            raise PDUError("a command in the middle of a Data Set", INVALID_PARAMETER)
        if not is_command and not self._in_data:
            raise PDUError("a Data Set without its command", INVALID_PARAMETER)
        if (self._in_data or self._command_pdus) and self._context != self._message_context:
            what = f"a message in presentation context {self._context} within one of context {self._message_context}"
            raise PDUError(what, INVALID_PARAMETER)

    def _take_piece(self) -> None:
        count = min(self._value, self._safe - self._start)
        piece = self._memory[self._start : self._start + count]
        self._start += count
        self._value -= count
        self._pdu -= count
        is_last = not self._value and bool(self._control & _IS_LAST)
        if self._control & _IS_COMMAND:
            self._command += piece
            self._command_pdus += piece
            if len(self._command_pdus) > MOST_COMMAND:
                raise PDUError(f"a command set of more than {MOST_COMMAND} bytes", INVALID_PARAMETER)
            if is_last:
                self._end_command()
            return
        self._take_data(piece)
        if is_last:
            self._in_data = False
            self._end_data()

    def _end_command(self) -> None:
        command = CommandSet.read(bytes(self._command))
        pdus = bytes(self._command_pdus)
        self._command.clear()
        self._command_pdus.clear()
        self._in_data = command.has_data_set
        if self._on_command is not None:
            self._on_command(command)
        self._begin_message(command, pdus)
        if not self._in_data:
            self._insert_waiting()

    def _insert_waiting(self) -> None:
        if not self._in_data:
            for message, note in self._between:
                self._emit(message)
                note()
            self._between.clear()

    def _emit(self, octets: bytes) -> None:
        if not self.is_deaf:
            self._out.add(octets)

    # -- what a flow that holds objects does otherwise ----------------------------------------------------------

    def _begin_message(self, command: CommandSet, pdus: bytes) -> None:
        self._emit(pdus)

    def _begin_data(self, header: bytes) -> None:
        self._header = header

    def _take_data(self, piece: memoryview) -> None:
        header, self._header = self._header, b""
        self._emit(header + piece)

    def _end_data(self) -> None:
        self._insert_waiting()
