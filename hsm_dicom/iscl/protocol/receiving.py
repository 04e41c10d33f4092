"""The messages that this end receives: the one in transfer, and verified data that waits to be read.

Data can be read only after its MAC was verified, and nothing that follows a message is processed before that message
was verified. Memory is bounded: a message is accepted only once less than `max_message` octets
wait to be read.
"""

from __future__ import annotations

from collections import deque

from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError
from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.suite.algorithms import Protection, Suite
from hsm_dicom.iscl.wire.messages import TransmissionResponse


class Inbox:
    """What came, in order, and the message that is on its way."""

    def __init__(self, connection: StateMachine, settings: ISCLSettings, suite: Suite) -> None:
        self.readable = 0
        """Octets that `read` has."""
        self.is_withheld = False
        """Whether the peer waits for our answer to its request."""
        self._connection = connection
        self._settings = settings
        self._suite = suite
        self._arriving: Protection | None = None
        self._verified: deque[bytes] = deque()
        self._read_of_first = 0

    def read(self, most: int) -> bytes:
        """Return at most this many verified octets."""
        parts: list[bytes] = []
        while most > 0 and self._verified:
            first = self._verified[0]
            part = first[self._read_of_first : self._read_of_first + most]
            self._read_of_first += len(part)
            if self._read_of_first == len(first):
                self._verified.popleft()
                self._read_of_first = 0
            parts.append(part)
            most -= len(part)
        data = b"".join(parts)
        self.readable -= len(data)
        return data

    # -- the message on its way -----------------------------------------------------------------------------

    @property
    def may_accept(self) -> bool:
        """Whether the peer's request waits for an answer, and there is room for the message."""
        return self.is_withheld and self.readable < self._settings.max_message

    def accept(self) -> TransmissionResponse:
        """Return the answer to the peer's request."""
        self.is_withheld = False
        if not self._settings.unique_keys:
            self.begin(None)
        transfer = self._connection.transfer
        return TransmissionResponse(transfer.request.length if transfer else 0)

    def begin(self, random: bytes | None) -> None:
        """Begin a message with the fixed key, or with the session key of this random number."""
        self._arriving = self._suite.protect(self._connection.role.peer, random, self._connection.block_data)

    def take(self, data: bytes) -> None:
        """Take the data of one block or several."""
        self._under_way().take(data)

    def catch_up(self) -> None:
        """Decrypt what arrived, if it is enough to be worth a call of the device; nothing more has arrived for now."""
        if self._connection.state is State.SENDING and self._arriving is not None:
            self._arriving.catch_up()

    def verify(self, code: bytes | None) -> None:
        """Verify a complete message by its code (None where messages have none). Raises `IntegrityError`."""
        request = self._connection.peer_request
        protection = self._under_way()
        message = protection.open(code, request.length if request else 0)
        protection.settle()
        self.drop()
        self._verified.append(message)
        self.readable += len(message)

    def drop(self) -> None:
        """Forget what was not verified, and destroy its session key; doing so twice is fine."""
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.close()

    def _under_way(self) -> Protection:
        if self._arriving is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "No message is under way.")
        return self._arriving
