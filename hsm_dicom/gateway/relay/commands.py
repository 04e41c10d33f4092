"""Commands that a presentation context is for (PS3.7, 9.3 and 10.3).

A receiver may act on the command alone: Orthanc 1.10 answers a C-FIND also in a context that was negotiated for CTs.
A route that admits no queries therefore looks at the Command Field and the SOP Class of each request, and not only at
the context. Nothing is held back: without its last octets, which are checked first, a command set has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from struct import Struct

from hsm_dicom.gateway.services import Service, find_service, is_admitted
from hsm_dicom.gateway.tap import AcceptedContext
from hsm_dicom.network.dimse.commands import (
    AFFECTED_SOP_CLASS_UID,
    C_CANCEL_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    LEAST_AMBIGUOUS,
)
from hsm_dicom.network.errors import PDUError
from hsm_dicom.network.upper_layer.pdu import INVALID_PARAMETER

_REQUESTED_SOP_CLASS_UID = 0x00000003
_C_GET, _C_FIND, _C_MOVE, _C_ECHO = 0x0010, 0x0020, 0x0021, 0x0030
_N_EVENT_REPORT, _N_GET, _N_SET, _N_ACTION, _N_CREATE, _N_DELETE = 0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150
_RESPONSE = 0x8000

_COMMANDS = {
    Service.ECHO: {_C_ECHO},
    Service.STORAGE: {C_STORE_RQ},
    Service.COMMITMENT: {_N_ACTION, _N_EVENT_REPORT},
    Service.QUERY_RETRIEVE: {_C_FIND, _C_GET, _C_MOVE, C_CANCEL_RQ},
    Service.WORKLIST: {_C_FIND, C_CANCEL_RQ},
    Service.MPPS: {_N_CREATE, _N_SET, _N_GET, _N_EVENT_REPORT},
    Service.PRINT: {_N_CREATE, _N_SET, _N_GET, _N_ACTION, _N_DELETE, _N_EVENT_REPORT},
}
"""The requests of each service (PS3.4). Every request may be sent in contexts of other services."""

_LENGTHS = {AFFECTED_SOP_CLASS_UID: 64, _REQUESTED_SOP_CLASS_UID: 64, COMMAND_FIELD: 2}
"""What is read of a command set, and the length of the longest value in octets."""

_IS_LAST = 2
_HEADER = Struct("<HHI")


class CommandGuard:
    """Checks the requests in one direction of an association."""

    def __init__(self, contexts: Mapping[int, AcceptedContext], services: Set[Service]) -> None:
        self._contexts, self._services = contexts, services
        self._reading: _CommandReader | None = None
        self._reading_in = 0

    def take(self, context_id: int, control: int, piece: memoryview, ends: bool) -> None:
        """Take the next octets of a command. Raises `PDUError` if the route does not admit it."""
        reader = self._reading
        if reader is None:
            reader, self._reading_in = _CommandReader(), context_id
            self._reading = reader
        elif context_id != self._reading_in:
            # A receiver that does not compare the contexts of fragments puts them together to another command.
            what = f"a command in presentation context {context_id} within one of context {self._reading_in}"
            raise PDUError(what, INVALID_PARAMETER)
        reader.feed(piece)
        if ends and control & _IS_LAST:
            self._reading = None
            if not reader.is_between_elements:
                raise PDUError("a command set that is cut off", INVALID_PARAMETER)
            self._check(context_id, reader.found)

    def _check(self, context_id: int, found: Mapping[int, bytes]) -> None:
        field = int.from_bytes(found.get(COMMAND_FIELD, b""), "little")
        if len(found.get(COMMAND_FIELD, b"")) != _LENGTHS[COMMAND_FIELD]:
            raise PDUError("a command without a Command Field", INVALID_PARAMETER)
        if field & _RESPONSE:
            return
        service = find_service(self._contexts[context_id].abstract_syntax)
        if field not in _COMMANDS.get(service, {field}):
            what = f"the command {field:04X}H in presentation context {context_id}, which is for '{service}'"
            raise PDUError(what, INVALID_PARAMETER)
        for tag in (AFFECTED_SOP_CLASS_UID, _REQUESTED_SOP_CLASS_UID):
            sop_class = found.get(tag, b"").rstrip(b"\0 ").decode("latin-1")
            if sop_class and not is_admitted(sop_class, self._services):
                what = f"a command for a SOP Class of '{find_service(sop_class)}', which the route does not admit"
                raise PDUError(what, INVALID_PARAMETER)


class _CommandReader:
    """Reads a few elements of a command set, which is always in implicit VR little endian (PS3.7, 6.3.1)."""

    __slots__ = ("_held", "_size", "_skip", "_tag", "found")

    def __init__(self) -> None:
        self.found: dict[int, bytes] = {}
        self._held = bytearray()
        self._size, self._skip = _HEADER.size, 0
        self._tag: int | None = None

    @property
    def is_between_elements(self) -> bool:
        """Whether the octets so far end with a whole element."""
        return not (self._skip or self._held or self._tag is not None)

    def feed(self, piece: memoryview) -> None:
        """Take the next octets. Raises `PDUError` for what two readers could read differently."""
        at, end = 0, len(piece)
        while at < end:
            if self._skip:
                step = min(self._skip, end - at)
                self._skip -= step
                at += step
                continue
            step = min(self._size - len(self._held), end - at)
            self._held += piece[at : at + step]
            at += step
            if len(self._held) == self._size:
                self._take(bytes(self._held))
                self._held.clear()

    def _take(self, data: bytes) -> None:
        if self._tag is not None:
            self.found[self._tag] = data
            self._tag, self._size = None, _HEADER.size
            return
        group, number, length = _HEADER.unpack(data)
        tag = group << 16 | number
        if group or length >= LEAST_AMBIGUOUS:
            raise PDUError("a command set with an element that is not one of a command", INVALID_PARAMETER)
        if tag not in _LENGTHS:
            self._skip = length
        elif tag in self.found or length > _LENGTHS[tag]:
            raise PDUError("a command set with an element twice, or longer than it may be", INVALID_PARAMETER)
        elif length:
            self._tag, self._size = tag, length
