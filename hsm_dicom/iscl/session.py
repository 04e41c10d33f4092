"""One end of an ISCL connection with its keys: what the state machine asks for, done with the device. No sockets.

A session takes octets and gives octets. Each method that may answer the peer is a generator of what to send, lazily,
so that the first blocks of a message are under way while the device encrypts the next. A transport must exhaust it.
When something is wrong the generator gives what the peer is told, if anything, and then raises: the line is over, and
what is left to do is to close it. One thread at a time.

Data is handed up only after its MAC was verified. What arrives is bounded: a transfer is accepted only once less than
`max_message` octets wait to be read.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hsm_dicom.events import emit
from hsm_dicom.iscl.agreement import judge_request, request_to_send
from hsm_dicom.iscl.authentication import Authenticator
from hsm_dicom.iscl.connection import Connection
from hsm_dicom.iscl.errors import (
    ErrorCode,
    ISCLError,
    LocalProtocolError,
    RemoteProtocolError,
    from_device,
)
from hsm_dicom.iscl.hooks import IsclFailed, ISCLHooks, IsclReady
from hsm_dicom.iscl.messages import (
    ACK,
    DataBlock,
    DisconnectionRequest,
    DisconnectionResponse,
    LineCheckRequest,
    LineCheckResponse,
    Mac,
    MacNotification,
    Message,
    SessionRandomRequest,
    SessionRandomResponse,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.profile import DES_BLOCK, Role
from hsm_dicom.iscl.settings import ISCLSettings, Weakness
from hsm_dicom.iscl.states import ENDED, HANDSHAKE, State
from hsm_dicom.iscl.suite import PIECE, Protection, Suite
from hsm_dicom.iscl.units import Cutter
from tokens.errors import TokenError
from tokens.secrets import Secrets

_Messages = tuple[Message, ...]
"""What goes out at once."""


@dataclass(frozen=True)
class _Outgoing:
    data: bytes
    through: bool = False


@dataclass(frozen=True)
class _Prepared:
    """A message whose request is out, sealed as far as one piece goes.

    `random` is that of its session key, where it has one; `code` is known where the first piece is all of it.
    """

    random: bytes | None
    first: bytes
    rest: Iterator[bytes]
    code: tuple[MacNotification, ...] | None


class Session:
    """One end. `peer` is how messages for people name the other one."""

    def __init__(
        self,
        role: Role,
        settings: ISCLSettings,
        secrets: Secrets,
        *,
        authentication: Secrets | None = None,
        hooks: ISCLHooks | None = None,
        peer: str = "the peer",
    ) -> None:
        self.settings = settings
        self.peer = peer
        self.hooks = hooks or ISCLHooks()
        self.connection = Connection(
            role,
            settings.profile,
            block_data=settings.max_block_data,
            max_message=settings.max_message,
            tap=self.hooks.packet,
        )
        self.is_ready = False
        """Whether both ends were authenticated. It stays so when the line ends."""
        self.steps = 0
        """Counts the messages that went either way, for whoever watches the clock."""
        self.sent = 0
        """How many of the messages that `write` and `write_through` took were sent."""
        self.close_refused: RemoteProtocolError | None = None
        """The peer's refusal to disconnect, where it refused."""
        self._authenticator = Authenticator(role, settings, authentication or secrets, peer)
        self._suite = Suite(settings, secrets)
        self._cutter = Cutter(settings.profile.message_unit, settings.max_message)
        self._protection: Protection | None = None
        self._prepared: _Prepared | None = None
        self._outgoing: deque[_Outgoing] = deque()
        self._taken = 0
        self._withheld = False
        self._disconnects = False
        self._gave_up = False
        self._incoming = bytearray()

    # -- what a transport does ------------------------------------------------------------------------------

    def start(self) -> Iterator[bytes]:
        """Begin; the server speaks first."""
        if self.connection.role is Role.SERVER:
            profile = self.settings.profile
            request = LineCheckRequest(profile.version, profile.block_length(self.connection.block_data))
            yield from self._guarded(iter([(request,)]))

    def receive(self, octets: bytes) -> Iterator[bytes]:
        """Take what the line brought (empty: it ended) and do what follows from it."""
        self.connection.receive_data(octets)
        return self._guarded(self._events())

    def write(self, data: bytes) -> int:
        """Take data to send; then exhaust `proceed`. It was sent when `sent` reaches the number returned."""
        self._require_open()
        for message in self._cutter.cut(bytes(data)):
            self._outgoing.append(_Outgoing(message))
            self._taken += 1
        return self._taken

    def write_through(self, data: bytes) -> int:
        """As `write`, without any protection. Raises `LocalProtocolError` unless that is allowed by name."""
        self._require_open()
        self._require_through_mode(LocalProtocolError, "Nothing is sent without protection")
        if len(data) > self.settings.max_message:
            raise LocalProtocolError(
                ErrorCode.UNEXPECTED_LENGTH,
                f"Unprotected data is at most {self.settings.max_message} octets; this is {len(data)}.",
            )
        self._outgoing.append(_Outgoing(bytes(data), through=True))
        self._taken += 1
        return self._taken

    def read(self, most: int) -> bytes:
        """At most this many octets of what arrived and was verified; then exhaust `proceed`."""
        with memoryview(self._incoming) as incoming:
            data = bytes(incoming[:most])
        del self._incoming[: len(data)]
        return data

    def disconnect(self) -> None:
        """Ask for the end of the line as soon as everything is sent; then exhaust `proceed`."""
        self._disconnects = True
        self.close_refused = None

    def proceed(self) -> Iterator[bytes]:
        """Do what became possible."""
        return self._guarded(self._next())

    def give_up(self, error: ISCLError) -> Iterator[bytes]:
        """The line is over because of `error`, which is raised after what the peer is told."""

        def failing() -> Iterator[_Messages]:
            raise error
            yield

        return self._guarded(failing())

    def close(self) -> None:
        """Let go of the device; doing so twice is fine."""
        self._authenticator.close()
        self._end_message()
        self._suite.close()

    @property
    def readable(self) -> int:
        """Octets that `read` has at once."""
        return len(self._incoming)

    @property
    def has_ended(self) -> bool:
        """Whether the line is closed or failed. There may still be something to read."""
        return self.connection.state in ENDED

    @property
    def is_send_queue_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return not self._outgoing

    @property
    def step_timeout(self) -> float | None:
        """Seconds that the peer has for its next message; None while nothing is due from it."""
        if self.connection.state in HANDSHAKE:
            return self.settings.profile.handshake_timeout
        if self.connection.is_idle or self.has_ended or self._withheld:
            return None
        return self.settings.profile.message_timeout

    # -- errors ---------------------------------------------------------------------------------------------

    def _guarded(self, doing: Iterator[_Messages]) -> Iterator[bytes]:
        """The octets of the messages; what goes wrong on the way is told to the peer and raised."""
        try:
            for messages in doing:
                self.steps += 1
                octets = b"".join(map(self.connection.send, messages))
                self._became_ready()
                yield octets
            return
        except ISCLError as wrong:
            error = wrong
        except TokenError as wrong:
            error = from_device(wrong)
        if not self._gave_up:
            told = self.connection.refuse(error)
            self._give_up(error)
            if told:
                yield told
        raise error

    def _give_up(self, error: ISCLError) -> None:
        self._gave_up = True
        self.close()
        emit(
            IsclFailed(
                peer=self.peer,
                role=self.connection.role,
                state=self.connection.failed_in or self.connection.state,
                code=int(error.code),
                reason=str(error.args[0]),
            )
        )
        if not self.is_ready:
            self.hooks.link_ready(error)

    def _require_open(self) -> None:
        if self.connection.error is not None:
            raise self.connection.error
        if self.has_ended or self._disconnects:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "The connection is closed; open a new one.")

    def _require_through_mode(self, kind: type[ISCLError], what: str) -> None:
        if Weakness.THROUGH_MODE not in self.settings.allow:
            raise kind(
                ErrorCode.THROUGH_MODE_CLOSED,
                f'{what}: through mode is not allowed by name (allow = ["{Weakness.THROUGH_MODE}"]).',
            )

    # -- what follows from a message ------------------------------------------------------------------------

    def _events(self) -> Iterator[_Messages]:
        while (message := self.connection.next_event()) is not None:
            self.steps += 1
            yield from self._follow(message)
            self._became_ready()
        if self.connection.state is State.SENDING and self._protection is not None:
            self._protection.catch_up()
        yield from self._next()

    def _follow(self, message: Message) -> Iterator[_Messages]:
        match message:
            case LineCheckRequest():
                yield (LineCheckResponse(self.settings.profile.block_length(self.connection.block_data)),)
            case TransmissionRequest():
                judge_request(message, self.settings, self.peer)
                self._end_message()  # what was prepared, if our own request gives way to this one
                self._withheld = True
            case TransmissionResponse():
                yield from self._begin_sending()
            case SessionRandomRequest():
                self._protection = self._suite.protect(self.connection.role.peer, message.random)
                yield (SessionRandomResponse(),)
            case SessionRandomResponse():
                yield from self._send_message()
            case DataBlock():
                self._under_way().take(message.data)
                if self.connection.state is State.READY:
                    self._end_receiving(None)
            case MacNotification():
                self._end_receiving(message.code)
            case ThroughData():
                self._require_through_mode(RemoteProtocolError, "The peer sent data without protection")
                self.hooks.through_received(message.data)
            case DisconnectionRequest() if self.connection.state is State.DISCONNECTING:
                yield (DisconnectionResponse(),)
            case DisconnectionResponse() if message.option != ACK:
                self._disconnects = False
                self.close_refused = RemoteProtocolError(
                    ErrorCode.PEER_REFUSED_CLOSE,
                    f"{self.peer} refuses to disconnect; the line is still open. It can be closed by force.",
                )
            case _:
                answer = self._authenticator.follow(message)
                if answer is not None:
                    yield (answer,)

    def _next(self) -> Iterator[_Messages]:
        """What this end may begin, or answer, now."""
        if self._withheld and self.readable < self.settings.max_message:
            self._withheld = False
            yield (self._accept(),)
        while self.connection.state is State.READY:
            if self._outgoing and self._outgoing[0].through:
                data = self._outgoing[0].data
                yield (ThroughData(data),)
                self._was_sent()
                self.hooks.through_sent(len(data))
            elif self._outgoing:
                yield (request_to_send(len(self._outgoing[0].data), self.settings),)
                self._prepare()
            elif self._disconnects:
                yield (DisconnectionRequest(),)
            else:
                break

    # -- becoming ready ------------------------------------------------------------------------------------

    def _became_ready(self) -> None:
        if self.is_ready or self.connection.state is not State.READY:
            return
        self.is_ready = True
        self._authenticator.close()
        settings = self.settings
        told = self.connection.peer_authentication_data or b""
        emit(
            IsclReady(
                peer=self.peer,
                role=self.connection.role,
                peer_authentication_data=told.decode("ascii", "backslashreplace"),
                encryption=settings.encryption.name,
                mac=settings.mac.name,
                unique_keys=settings.unique_keys,
            )
        )
        self.hooks.link_ready(None)

    # -- sending a message ----------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Seal the first piece while the peer, busy with the message before, has not answered yet."""
        if self.connection.state is not State.REQUESTED or self.connection.initiator is not self.connection.role:
            return
        random = os.urandom(DES_BLOCK) if self.settings.unique_keys else None
        self._end_message()
        self._protection = self._suite.protect(self.connection.role, random)
        message = self._outgoing[0].data
        pieces = self._protection.seal(message)
        first = next(pieces)
        code = self._code() if len(message) <= PIECE else None
        self._prepared = _Prepared(random, first, pieces, code)

    def _code(self) -> tuple[MacNotification, ...]:
        return () if self.settings.mac is Mac.NONE else (MacNotification(self._under_way().code()),)

    def _begin_sending(self) -> Iterator[_Messages]:
        random = self._now_prepared().random
        if random is None:
            yield from self._send_message()
        else:
            yield (SessionRandomRequest(random),)

    def _send_message(self) -> Iterator[_Messages]:
        prepared = self._now_prepared()
        if prepared.code is not None:
            yield (*self._blocks(prepared.first), *prepared.code)
        else:
            yield from self._send_pieces(itertools.chain([prepared.first], prepared.rest))
        self._under_way().settle()
        self._end_message()
        self._was_sent()

    def _send_pieces(self, pieces: Iterable[bytes]) -> Iterator[_Messages]:
        """Each piece goes out before the next one is sealed, but for what fills no block yet."""
        rest = b""
        for piece in pieces:
            octets = rest + piece if rest else piece
            whole = (len(octets) - 1) // self.connection.block_data * self.connection.block_data
            if whole:
                yield tuple(self._blocks(octets[:whole]))
            rest = octets[whole:]  # never empty, so that the last block comes with the code
        yield (DataBlock(rest), *self._code())

    def _blocks(self, octets: bytes) -> Iterator[DataBlock]:
        block = self.connection.block_data
        return (DataBlock(octets[start : start + block]) for start in range(0, len(octets), block))

    def _was_sent(self) -> None:
        self._outgoing.popleft()
        self.sent += 1

    # -- receiving a message --------------------------------------------------------------------------------

    def _accept(self) -> TransmissionResponse:
        transfer = self.connection.transfer
        if not self.settings.unique_keys:
            self._protection = self._suite.protect(self.connection.role.peer, None)
        return TransmissionResponse(transfer.request.length if transfer else 0)

    def _now_prepared(self) -> _Prepared:
        if self._prepared is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "No message is being sent.")
        return self._prepared

    def _under_way(self) -> Protection:
        if self._protection is None:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "No message is under way.")
        return self._protection

    def _end_receiving(self, code: bytes | None) -> None:
        request = self.connection.peer_request
        self._incoming += self._under_way().open(code, request.length if request else 0)
        self._under_way().settle()
        self._end_message()

    def _end_message(self) -> None:
        self._prepared = None
        protection, self._protection = self._protection, None
        if protection is not None:
            protection.close()
