"""The messages that this end sends: their queue, and the sealing of the next one before the peer requests it.

A request may go out while the peer is still busy with the message before. Until it answers, the message is sealed as
far as the time allows; then each piece is sent before the next one is sealed, so that both ends' devices work at the
same time. A message that gives way to one of the peer's is sealed again, for its new place in the chain.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from hsm_dicom.iscl.errors import ErrorCode, LocalProtocolError
from hsm_dicom.iscl.protocol.agreement import request_to_send
from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.settings import ISCLSettings
from hsm_dicom.iscl.suite.algorithms import Protection, Suite
from hsm_dicom.iscl.wire.messages import (
    Mac,
    MacNotification,
    Message,
    SessionRandomRequest,
    ThroughData,
    TransmissionRequest,
)
from hsm_dicom.iscl.wire.profile import DES_BLOCK
from hsm_dicom.iscl.wire.units import Fragmenter

Batch = tuple[Message | bytes, ...]
"""What is sent at once: messages, and octets that become data blocks."""


@dataclass(frozen=True)
class _Outgoing:
    data: bytes
    through: bool = False


class Outbox:
    """What waits to be sent, in order, and the message that is on its way."""

    def __init__(self, connection: StateMachine, settings: ISCLSettings, suite: Suite) -> None:
        self.sent = 0
        """How many of the messages that were put in were sent."""
        self._connection = connection
        self._settings = settings
        self._suite = suite
        self._fragmenter = Fragmenter(settings.profile.message_unit, settings.max_message)
        self._queue: deque[_Outgoing] = deque()
        self._taken = 0
        self._sealing: _Sealing | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._queue

    def put(self, data: bytes) -> int:
        """Take data, in as many messages as it needs. They were sent when `sent` reaches the number returned."""
        for message in self._fragmenter.fragment(data):
            self._queue.append(_Outgoing(message))
            self._taken += 1
        return self._taken

    def put_through(self, data: bytes) -> int:
        """Queue one message without protection, as `put` does."""
        self._queue.append(_Outgoing(data, through=True))
        self._taken += 1
        return self._taken

    # -- the first of the queue -----------------------------------------------------------------------------

    def next(self) -> ThroughData | TransmissionRequest:
        """Return the first message of the transfer that is due."""
        outgoing = self._queue[0]
        if outgoing.through:
            return ThroughData(outgoing.data)
        settings, connection = self._settings, self._connection
        return request_to_send(len(outgoing.data), settings, connection.fragmentation(settings.encryption))

    def prepare(self) -> None:
        """Seal the first piece, after the request was sent."""
        random = os.urandom(DES_BLOCK) if self._settings.unique_keys else None
        self.withdraw()
        protection = self._suite.protect(self._connection.role, random, self._connection.block_data)
        self._sealing = _Sealing(self._queue[0].data, protection, random, self._settings.mac is not Mac.NONE)
        self._sealing.advance()

    @property
    def can_advance(self) -> bool:
        """Whether there is more to seal while the peer has not answered."""
        return self._sealing is not None and not self._sealing.is_done and self._connection.state is State.REQUESTED

    def advance(self) -> None:
        """Seal one piece more."""
        self._under_way().advance()

    def release_accepted(self) -> Iterator[Batch]:
        """Yield the random number, or the whole message, after the peer accepted it."""
        random = self._under_way().random
        if random is None:
            yield from self.send()
        else:
            yield (SessionRandomRequest(random),)

    def send(self) -> Iterator[Batch]:
        """Yield the whole message: what is sealed already, then piece by piece. The last piece has the code."""
        sealing = self._under_way()
        yield sealing.take()
        while not sealing.is_done:
            sealing.advance()
            yield sealing.take()
        sealing.protection.settle()
        self.withdraw()
        self.was_sent()

    def was_sent(self) -> None:
        """Remove the first of the queue, which was sent."""
        self._queue.popleft()
        self.sent += 1

    def withdraw(self) -> None:
        """Forget what was sealed of the first message, and destroy its session key; doing so twice is fine."""
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.protection.close()

    def _under_way(self) -> _Sealing:
        if self._sealing is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "No message is being sent.")
        return self._sealing


class _Sealing:
    """A message that is sealed piece by piece. `random` is that of its session key, where it has one."""

    def __init__(self, message: bytes, protection: Protection, random: bytes | None, has_code: bool) -> None:
        self.protection = protection
        self.random = random
        self._has_code = has_code
        self._pieces = protection.seal(message)
        self._left = protection.fragmentation.compute_sealed_length(len(message))
        self._ready: list[Message | bytes] = []

    @property
    def is_done(self) -> bool:
        """Whether all of it is sealed, with its code."""
        return not self._left

    def advance(self) -> None:
        """Seal one piece more, the last one together with the code."""
        piece = next(self._pieces)
        self._left -= len(piece)
        self._ready.append(piece)
        if self.is_done and self._has_code:
            self._ready.append(MacNotification(self.protection.code()))

    def take(self) -> Batch:
        """Return what was sealed since the last call."""
        ready, self._ready = self._ready, []
        return tuple(ready)
