"""The messages that this end receives: the one that is on its way, and what waits to be read.

Data waits to be read only after its MAC was verified. What arrives is bounded: a message is accepted only once less
than `max_message` octets wait to be read, and no more than that to be read or judged.

A message that came whole is not judged at once, but after the peer's next request was answered if that came with it:
so the peer has something to do meanwhile. Whatever else the peer says waits for the judgement.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from hsm_dicom.iscl.connection import Connection
from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError
from hsm_dicom.iscl.messages import TransmissionResponse
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.states import State
from hsm_dicom.iscl.suite import Protection, Suite


@dataclass(frozen=True)
class _Whole:
    """A message that came whole, with its code (None where messages have none)."""

    protection: Protection
    code: bytes | None
    announced: int


class Inbox:
    """What came, in order, and the message that is on its way."""

    def __init__(self, connection: Connection, settings: ISCLSettings, suite: Suite) -> None:
        self.readable = 0
        """Octets that `read` has."""
        self.is_withheld = False
        """Whether the peer waits for our answer to its request."""
        self._connection = connection
        self._settings = settings
        self._suite = suite
        self._arriving: Protection | None = None
        self._whole: _Whole | None = None
        self._verified: deque[bytes] = deque()
        self._read_of_first = 0

    def read(self, most: int) -> bytes:
        """At most this many octets of what was verified."""
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
        unjudged = self._whole.announced if self._whole else 0
        most = self._settings.max_message
        return self.is_withheld and self.readable < most and self.readable + unjudged <= most

    def accept(self) -> TransmissionResponse:
        """The answer to the peer's request."""
        self.is_withheld = False
        if not self._settings.unique_keys:
            self.begin(None)
        transfer = self._connection.transfer
        return TransmissionResponse(transfer.request.length if transfer else 0)

    def begin(self, random: bytes | None) -> None:
        """The key of the message is known: the fixed one, or the one that is made of this random number."""
        self._arriving = self._suite.protect(self._connection.role.peer, random, self._connection.block_data)

    def take(self, data: bytes) -> None:
        """The data of one block or several."""
        self._under_way().take(data)

    def catch_up(self) -> None:
        """Nothing more has come for now: decrypt what came, if it is enough to be worth a call of the device."""
        if self._connection.state is State.SENDING and self._arriving is not None:
            self._arriving.catch_up()

    def complete(self, code: bytes | None) -> None:
        """The message came whole, with this code (None where messages have none)."""
        transfer = self._connection.peer_request
        self._whole = _Whole(self._under_way(), code, transfer.length if transfer else 0)
        self._arriving = None

    def judge(self) -> None:
        """Judge the message that came whole, if one did; it can be read then. Raises `IntegrityError`."""
        whole, self._whole = self._whole, None
        if whole is None:
            return
        try:
            message = whole.protection.open(whole.code, whole.announced)
            whole.protection.settle()
        finally:
            whole.protection.close()
        self._verified.append(message)
        self.readable += len(message)

    def drop(self) -> None:
        """Forget what was not verified, and destroy session keys; doing so twice is fine."""
        arriving, self._arriving = self._arriving, None
        whole, self._whole = self._whole, None
        for protection in (arriving, whole.protection if whole else None):
            if protection is not None:
                protection.close()

    def _under_way(self) -> Protection:
        if self._arriving is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "No message is under way.")
        return self._arriving
