"""The messages that this end receives: the one that is on its way, and what waits to be read.

Data waits to be read only after its MAC was verified. What arrives is bounded: a message is accepted only once less
than `max_message` octets wait.
"""

from __future__ import annotations

from hsm_dicom.iscl.connection import Connection
from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError
from hsm_dicom.iscl.messages import TransmissionResponse
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.states import State
from hsm_dicom.iscl.suite import Protection, Suite


class Inbox:
    """What came, in order, and the message that is on its way."""

    def __init__(self, connection: Connection, settings: ISCLSettings, suite: Suite) -> None:
        self.is_withheld = False
        """Whether the peer waits for our answer to its request."""
        self._connection = connection
        self._settings = settings
        self._suite = suite
        self._protection: Protection | None = None
        self._verified = bytearray()

    @property
    def readable(self) -> int:
        """Octets that `read` has."""
        return len(self._verified)

    def read(self, most: int) -> bytes:
        """At most this many octets of what was verified."""
        if most >= len(self._verified):
            everything, self._verified = self._verified, bytearray()
            return bytes(everything)
        with memoryview(self._verified) as verified:
            data = bytes(verified[:most])
        del self._verified[: len(data)]
        return data

    # -- the message on its way -----------------------------------------------------------------------------

    @property
    def may_accept(self) -> bool:
        """Whether the peer's request waits for an answer, and there is room for the message."""
        return self.is_withheld and self.readable < self._settings.max_message

    def accept(self) -> TransmissionResponse:
        """The answer to the peer's request."""
        self.is_withheld = False
        if not self._settings.unique_keys:
            self.begin(None)
        transfer = self._connection.transfer
        return TransmissionResponse(transfer.request.length if transfer else 0)

    def begin(self, random: bytes | None) -> None:
        """The key of the message is known: the fixed one, or the one that is made of this random number."""
        self.drop()
        self._protection = self._suite.protect(self._connection.role.peer, random, self._connection.block_data)

    def take(self, data: bytes) -> None:
        """The data of one block or several."""
        self._under_way().take(data)

    def catch_up(self) -> None:
        """Nothing more has come for now: decrypt what came, if it is enough to be worth a call of the device."""
        if self._connection.state is State.SENDING and self._protection is not None:
            self._protection.catch_up()

    def finish(self, code: bytes | None) -> None:
        """The message is whole: judge it by its code (None where messages have none). Raises `IntegrityError`."""
        request = self._connection.peer_request
        protection = self._under_way()
        message = protection.open(code, request.length if request else 0)
        protection.settle()
        self.drop()
        if self._verified:
            self._verified += message
        else:
            self._verified = message

    def drop(self) -> None:
        """Forget what came of the message, and destroy its session key; doing so twice is fine."""
        protection, self._protection = self._protection, None
        if protection is not None:
            protection.close()

    def _under_way(self) -> Protection:
        if self._protection is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "No message is under way.")
        return self._protection
