"""One end of an ISCL connection with its keys: does with the device what the state machine requires. No sockets.

A session takes octets and gives octets. Each method that may answer the peer is a generator of what to send, lazily,
so that the first blocks of a message are under way while the device encrypts the next. A transport must exhaust it.
After an error the generator yields the message that reports it to the peer, if any, and then raises: the connection
has ended, and only has to be closed. One thread at a time.

`sending` and `receiving` handle the messages in each direction.
"""

from __future__ import annotations

from collections.abc import Iterator

from hsm_dicom.events import emit
from hsm_dicom.iscl.errors import (
    ErrorCode,
    ISCLError,
    LocalProtocolError,
    RemoteProtocolError,
    make_device_error,
)
from hsm_dicom.iscl.hooks import IsclFailed, ISCLHooks, IsclReady
from hsm_dicom.iscl.protocol.agreement import check_request
from hsm_dicom.iscl.protocol.authentication import Authenticator
from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.receiving import Inbox
from hsm_dicom.iscl.protocol.sending import Batch, Outbox
from hsm_dicom.iscl.protocol.states import ENDED, HANDSHAKE, State
from hsm_dicom.iscl.settings import ISCLSettings, Weakness
from hsm_dicom.iscl.suite.algorithms import Suite
from hsm_dicom.iscl.wire.messages import (
    ACK,
    DataBlock,
    DisconnectionRequest,
    DisconnectionResponse,
    LineCheckRequest,
    LineCheckResponse,
    MacNotification,
    Message,
    SessionRandomRequest,
    SessionRandomResponse,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import Role
from tokens.errors import TokenError, fresh_copy
from tokens.secrets import Secrets


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
        self.connection = StateMachine(
            role,
            settings.profile,
            block_data=settings.max_block_data,
            max_message=settings.max_message,
            tap=self.hooks.packet,
        )
        self.is_ready = False
        """Whether both ends were authenticated. It stays so when the connection ends."""
        self.steps = 0
        """Counts the messages in both directions, for the timer of a step."""
        self.close_refused: RemoteProtocolError | None = None
        """The peer's refusal to disconnect, where it refused."""
        self._authenticator = Authenticator(role, settings, authentication or secrets, peer)
        self._suite = Suite(settings, secrets)
        self._outbox = Outbox(self.connection, settings, self._suite)
        self._inbox = Inbox(self.connection, settings, self._suite)
        self._disconnects = False
        self._gave_up = False

    # -- what a transport does ------------------------------------------------------------------------------

    def start(self) -> Iterator[bytes]:
        """Begin; the server speaks first."""
        if self.connection.role is Role.SERVER:
            profile = self.settings.profile
            request = LineCheckRequest(profile.version, profile.block_length(self.connection.block_data))
            yield from self._guard(iter([(request,)]))

    def receive(self, octets: bytes) -> Iterator[bytes]:
        """Process received octets; empty octets mean that the TCP connection ended."""
        self.connection.receive_data(octets)
        return self._guard(self._events())

    def write(self, data: bytes) -> int:
        """Take data to send; then exhaust `proceed`. It was sent when `sent` reaches the number returned."""
        self._require_open()
        return self._outbox.put(bytes(data))

    def write_through(self, data: bytes) -> int:
        """Write without any protection. Raises `LocalProtocolError` unless the settings allow it explicitly."""
        self._require_open()
        self._require_through_mode(LocalProtocolError, "Unprotected data is not sent")
        if len(data) > self.settings.max_message:
            raise LocalProtocolError(
                ErrorCode.UNEXPECTED_LENGTH,
                f"Unprotected data is at most {self.settings.max_message} octets; this is {len(data)}.",
            )
        return self._outbox.put_through(bytes(data))

    def read(self, most: int) -> bytes:
        """Return at most this many octets that arrived and were verified; then exhaust `proceed`."""
        return self._inbox.read(most)

    def disconnect(self) -> None:
        """Ask for the end of the connection as soon as everything is sent; then exhaust `proceed`."""
        self._disconnects = True
        self.close_refused = None

    def proceed(self) -> Iterator[bytes]:
        """Do what became possible."""
        return self._guard(self._next())

    @property
    def can_work_ahead(self) -> bool:
        """Whether `work_ahead` has something to do before the peer answers."""
        return self._outbox.can_advance

    def work_ahead(self) -> Iterator[bytes]:
        """Use the time until the peer answers, in a part of at most a few milliseconds of the device."""

        def sealing() -> Iterator[Batch]:
            self._outbox.advance()
            yield from ()

        return self._guard(sealing())

    def give_up(self, error: ISCLError) -> Iterator[bytes]:
        """End the connection because of `error`, which is raised after the messages to the peer."""

        def failing() -> Iterator[Batch]:
            raise error
            yield

        return self._guard(failing())

    def close(self) -> None:
        """Let go of the device; doing so twice is fine."""
        self._authenticator.close()
        self._outbox.withdraw()
        self._inbox.drop()
        self._suite.close()

    @property
    def sent(self) -> int:
        """How many of the messages that `write` and `write_through` took were sent."""
        return self._outbox.sent

    @property
    def readable(self) -> int:
        """Octets that `read` has at once."""
        return self._inbox.readable

    @property
    def has_ended(self) -> bool:
        """Whether the connection is closed or failed. There may still be something to read."""
        return self.connection.state in ENDED

    @property
    def is_send_queue_empty(self) -> bool:
        """Whether nothing waits to be sent."""
        return self._outbox.is_empty

    @property
    def step_timeout(self) -> float | None:
        """Seconds that the peer has for its next message; None while nothing is due from it."""
        if self.connection.state in HANDSHAKE:
            return self.settings.profile.handshake_timeout
        if self.connection.is_idle or self.has_ended or self._inbox.is_withheld:
            return None
        return self.settings.profile.message_timeout

    # -- errors ---------------------------------------------------------------------------------------------

    def _guard(self, doing: Iterator[Batch]) -> Iterator[bytes]:
        """Yield the octets of the messages; an error on the way is reported to the peer and raised."""
        try:
            for messages in doing:
                self.steps += 1
                octets = b"".join(map(self._octets, messages))
                self._report_ready()
                yield octets
            return
        except ISCLError as wrong:
            error = wrong
        except TokenError as wrong:
            error = make_device_error(wrong)
        if not self._gave_up:
            refusal = self.connection.refuse(error)
            self._give_up(error)
            if refusal:
                yield refusal
        raise error

    def _octets(self, message: Message | bytes) -> bytes:
        return self.connection.send_data(message) if isinstance(message, bytes) else self.connection.send(message)

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
                authenticated=self.is_ready,
            )
        )
        if not self.is_ready:
            self.hooks.link_ready(error)

    def _require_open(self) -> None:
        if self.connection.error is not None:
            raise fresh_copy(self.connection.error)
        if self.has_ended or self._disconnects:
            raise LocalProtocolError(ErrorCode.NOT_NOW, "The connection is closed; open a new one.")

    def _require_through_mode(self, kind: type[ISCLError], what: str) -> None:
        if Weakness.THROUGH_MODE not in self.settings.allow:
            raise kind(
                ErrorCode.THROUGH_MODE_CLOSED,
                f'{what}: through mode is not allowed (allow = ["{Weakness.THROUGH_MODE}"]).',
            )

    # -- what follows from a message ------------------------------------------------------------------------

    def _events(self) -> Iterator[Batch]:
        while True:
            if data := self.connection.next_data():
                self.steps += 1
                self._inbox.take(data)
            message = self.connection.next_event()
            if message is None:
                break
            self.steps += 1
            yield from self._follow(message)
            self._report_ready()
        self._inbox.catch_up()
        yield from self._next()

    def _follow(self, message: Message) -> Iterator[Batch]:
        match message:
            case LineCheckRequest():
                yield (LineCheckResponse(self.settings.profile.block_length(self.connection.block_data)),)
            case TransmissionRequest():
                check_request(message, self.settings, self.peer)
                self._outbox.withdraw()  # if our own request gives way to this one
                self._inbox.is_withheld = True
            case TransmissionResponse():
                yield from self._outbox.release_accepted()
            case SessionRandomRequest():
                self._inbox.begin(message.random)
                yield (SessionRandomResponse(),)
            case SessionRandomResponse():
                yield from self._outbox.send()
            case DataBlock():
                self._inbox.take(message.data)
                if self.connection.state is State.READY:
                    self._inbox.verify(None)
            case MacNotification():
                self._inbox.verify(message.code)
            case ThroughData():
                self._require_through_mode(RemoteProtocolError, "The peer sent data without protection")
                self.hooks.through_received(message.data)
            case DisconnectionRequest() if self.connection.state is State.DISCONNECTING:
                yield (DisconnectionResponse(),)
            case DisconnectionResponse() if message.option != ACK:
                self._disconnects = False
                self.close_refused = RemoteProtocolError(
                    ErrorCode.PEER_REFUSED_CLOSE,
                    f"{self.peer} refuses to disconnect; the connection is still open. It can be closed by force.",
                )
            case _:
                answer = self._authenticator.follow(message)
                if answer is not None:
                    yield (answer,)

    def _next(self) -> Iterator[Batch]:
        """Yield what this end may begin or answer now."""
        if self._inbox.may_accept:
            yield (self._inbox.accept(),)
        while self.connection.state is State.READY:
            if not self._outbox.is_empty:
                yield from self._begin_sending(self._outbox.next())
            elif self._disconnects:
                yield (DisconnectionRequest(),)
            else:
                break

    def _begin_sending(self, message: ThroughData | TransmissionRequest) -> Iterator[Batch]:
        yield (message,)
        if isinstance(message, ThroughData):
            self._outbox.was_sent()
            self.hooks.through_sent(len(message.data))
        elif self.connection.state is State.REQUESTED and self.connection.initiator is self.connection.role:
            self._outbox.prepare()

    # -- becoming ready ------------------------------------------------------------------------------------

    def _report_ready(self) -> None:
        if self.is_ready or self.connection.state is not State.READY:
            return
        self.is_ready = True
        self._authenticator.close()
        settings = self.settings
        received = self.connection.peer_authentication_data or b""
        emit(
            IsclReady(
                peer=self.peer,
                role=self.connection.role,
                peer_authentication_data=received.decode("ascii", "backslashreplace"),
                encryption=settings.encryption.name,
                mac=settings.mac.name,
                unique_keys=settings.unique_keys,
                reason=settings.reason,
            )
        )
        self.hooks.link_ready(None)
