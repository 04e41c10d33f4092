"""What waits to be sent to one side of an association: PDUs, and Data Sets that become PDUs when their turn comes."""

from __future__ import annotations

from collections import deque

from hsm_dicom.gateway.hold import DataPDUs
from hsm_dicom.gateway.relay.leg import Leg

_EMPTY = memoryview(b"")


class Outbox:
    """A queue of octets for one leg. `octets` counts what the leg took."""

    def __init__(self) -> None:
        self.octets = 0
        self._parts: deque[memoryview | DataPDUs] = deque()
        self._rest = _EMPTY
        """What the leg has not taken yet of the part that was begun."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._rest and not self._parts

    def add(self, part: bytes | memoryview | DataPDUs) -> None:
        """Put octets, or a Data Set, behind what waits."""
        self._parts.append(memoryview(part) if isinstance(part, bytes) else part)

    def cut(self) -> None:
        """Discard what waits, except the rest of what was begun, which ends with a whole PDU."""
        parts, self._parts = self._parts, deque()
        for part in parts:
            if not isinstance(part, memoryview):
                part.close()

    def clear(self) -> None:
        """Discard everything."""
        self.cut()
        self._rest = _EMPTY

    def send(self, leg: Leg) -> int:
        """Give octets to the leg, and return how many it took. Raises `OSError` if a Data Set cannot be read."""
        while not self._rest:
            if not self._parts:
                return 0
            part = self._parts[0]
            if isinstance(part, memoryview):
                self._rest = part
                self._parts.popleft()
                continue
            pdu = part.next_pdu()
            if pdu is None:
                part.close()
                self._parts.popleft()
            else:
                self._rest = pdu
        count = leg.send(self._rest)
        self._rest = self._rest[count:]
        self.octets += count
        return count
