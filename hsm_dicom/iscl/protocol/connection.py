"""The state machine of an ISCL connection: which message may follow which, and from whom, without I/O and keys.

The four protocols of ISCL V1.00 (line connection, mutual authentication, message transfer, line disconnection)
alternate strictly; the rules are the table in `states`. A `StateMachine` is one end of the connection. It maps
octets to messages and back, and enforces the rules and the limits for both ends:

>>> server, client = StateMachine(Role.SERVER), StateMachine(Role.CLIENT)
>>> client.receive_data(server.send(LineCheckRequest(b"MEDIS-ISCL V1.00", 8192)))
>>> client.next_event()
LineCheckRequest(option=0, version=b'MEDIS-ISCL V1.00', block_length=8192)
>>> server.receive_data(client.send(LineCheckResponse(4096)))
>>> server.next_event(), server.block_data
(LineCheckResponse(option=0, block_length=4096), 4064)

`hsm_dicom.iscl.protocol.session` verifies authenticity and MACs, and decrypts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hsm_dicom.iscl.errors import (
    ConnectionLostError,
    ErrorCode,
    ISCLError,
    LocalProtocolError,
    RemoteProtocolError,
)
from hsm_dicom.iscl.protocol.refusals import refusal
from hsm_dicom.iscl.protocol.states import CROSSINGS, ENDED, RULES, Case, Crossing, Rule, Speaker, State
from hsm_dicom.iscl.wire.blocks import Fragmentation
from hsm_dicom.iscl.wire.encoding import MessageReader, build, build_run, data_header
from hsm_dicom.iscl.wire.messages import (
    ACK,
    MAX_BLOCK_DATA,
    MAX_MESSAGE,
    AuthenticationRequest,
    AuthenticationResponse,
    DataBlock,
    DisconnectionRequest,
    Encryption,
    LineCheckRequest,
    LineCheckResponse,
    Mac,
    Message,
    Pass3,
    TransmissionRequest,
    TransmissionResponse,
    describe,
    is_unique,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile
from hsm_dicom.iscl.wire.validation import Bounds, Transfer, find_mistake
from tokens.errors import fresh_copy

Tap = Callable[[Role, bytes], None]
"""Is shown every message that passes, exactly as on the wire, with the role of the end that sent it."""


class StateMachine:
    """One end of a connection.

    `block_data` and `max_message` are limits in octets: the longest data block that we take (then, once negotiated,
    that both take), and the longest message that we receive.
    """

    def __init__(
        self,
        role: Role,
        profile: WireProfile | None = None,
        *,
        block_data: int = MAX_BLOCK_DATA,
        max_message: int = MAX_MESSAGE,
        tap: Tap | None = None,
    ) -> None:
        self.role = role
        self._peer = role.peer
        self.profile = profile or WireProfile()
        self.block_data = block_data
        self.max_message = max_message
        self.state = State.CONNECTED
        self.initiator: Role | None = None
        self.transfer: Transfer | None = None
        self.peer_authentication_data: bytes | None = None
        self.peer_request: TransmissionRequest | None = None
        """The last transmission request that arrived, whether or not it was accepted."""
        self.error: ISCLError | None = None
        """Why the connection failed, where it did."""
        self._tap = tap or (lambda sender, octets: None)
        self._is_tapped = tap is not None
        self.failed_in: State | None = None
        """Where the connection was when it failed."""
        self._told = False
        self._reader = MessageReader(self.profile, keeps_octets=self._is_tapped)
        self._ended = False
        self._overlooked = False
        self._fragmentations: dict[tuple[int, int], Fragmentation] = {}
        """Every message of a connection has the same, unless the peer asks for an encryption that is refused."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way and nothing half arrived."""
        return self.state is State.READY and self._reader.is_empty

    def fragmentation(self, encryption: int) -> Fragmentation:
        """Return how a message with this encryption is fragmented, as negotiated."""
        known = self._fragmentations.get((encryption, self.block_data))
        if known is None:
            known = Fragmentation(self.profile, encryption, self.block_data)
            self._fragmentations[encryption, self.block_data] = known
        return known

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, message: Message) -> bytes:
        """Return the octets of a message to send. Raises `LocalProtocolError`, and then nothing has changed."""
        if self.state in ENDED:
            raise LocalProtocolError(ErrorCode.NOT_NOW, f"The connection is {self.state}; open a new one.")
        rule = self._rule(message, self.role)
        if rule is None:
            raise LocalProtocolError(
                ErrorCode.NOT_NOW,
                f"A {describe(type(message))} may not be sent by the {self.role} while the connection is "
                f"in the state '{self.state}'.",
            )
        mistake = find_mistake(message, True, self._bounds())
        if mistake is not None:
            raise LocalProtocolError(mistake.code, f"We may not send {mistake.what}.")
        octets = build(message, self.profile)
        self._go(rule, message, self.role)
        self._tap(self.role, octets)
        return octets

    def send_data(self, data: bytes) -> bytes:
        """Return data blocks with this data, all full but the last. Raises `LocalProtocolError`."""
        full = self.transfer.fragmentation.full if self.transfer else self.block_data
        header = self._header_of_full_blocks(self.role)
        whole = min(len(data), self.transfer.to_come - 1) // full * full if self.transfer and header else 0
        pieces = [build_run(header, full, data[:whole])] if whole else []
        self._count_passed(whole)
        pieces += (self.send(DataBlock(data[start : start + full])) for start in range(whole, len(data), full))
        return b"".join(pieces)

    def refuse(self, error: ISCLError) -> bytes:
        """End the connection because of `error`, and return the octets, if any, that report it to the peer.

        A refusal is the message that is due from us, with NAK or our device's failure as its option. Where nothing
        is due, the error cannot be reported, and the caller closes the connection.
        """
        octets = b""
        self.fail(error)
        encryption = self.transfer.request.encryption if self.transfer else Encryption.NONE
        speaker, message = refusal(self.failed_in or self.state, error.code, self._bounds().limit(encryption))
        if message is not None and _may_send(speaker, self.role, self.initiator) and not self._told:
            octets = build(message, self.profile, int(error.code) if self.profile.error_number_sent else 0)
            self._tap(self.role, octets)
        self._told = True
        return octets

    def fail(self, error: ISCLError) -> None:
        """Mark the connection as failed: every later call raises this error. `refuse` still knows what was due."""
        if self.error is None:
            self.error, self.failed_in, self.state = error, self.state, State.FAILED

    # -- receiving ------------------------------------------------------------------------------------------

    def receive_data(self, octets: bytes) -> None:
        """Take received octets; empty octets mean that the TCP connection ended."""
        if not octets:
            self._ended = True
        elif self.state not in ENDED:
            self._reader.feed(octets)

    def next_event(self) -> Message | None:
        """Return the next message of the peer; None if more octets are needed or the connection is closed.

        Raises `RemoteProtocolError` for a violation by the peer, and `ConnectionLostError` if the connection ended
        without the disconnection protocol. The connection has failed then, and `refuse` returns what to send.
        """
        if self.error is not None:
            raise fresh_copy(self.error)
        while self.state not in ENDED:
            try:
                message = self._reader.read(self._longest(), _list_awaited(self.state, self._peer, self.initiator))
            except RemoteProtocolError as error:
                raise self._failure(error.code, str(error.args[0])) from None
            if message is None:
                if self._ended:
                    self.fail(_make_lost_error(self.state))
                    break
                return None
            self._tap(self._peer, self._reader.octets)
            if self._receive(message):
                return message
        if self.error is not None:
            raise fresh_copy(self.error)
        return None

    def next_data(self) -> bytes:
        """Return the data of the full blocks that arrived, except one that ends the message.

        `next_event` gives each of them, too. Their headers are all the same, so that they are known at a glance.
        """
        header = self._header_of_full_blocks(self._peer)
        if not header or self.transfer is None:
            return b""
        full = self.transfer.fragmentation.full
        data = self._reader.read_run(header, full, (self.transfer.to_come - 1) // full)
        self._count_passed(len(data))
        return data

    def _header_of_full_blocks(self, sender: Role) -> bytes:
        """Return the header of full blocks; empty if none may be sent now, or the tap needs each of them."""
        if self.transfer is None or self.state is not State.SENDING or self.initiator is not sender or self._is_tapped:
            return b""
        return data_header(self.transfer.fragmentation.full, self.profile)

    def _receive(self, message: Message) -> bool:
        """Follow a message that the peer may send now. Whether anybody needs to see it."""
        rule = self._rule(message, self._peer)
        if rule is None:
            match self._crossing(message):
                case Crossing.BOTH:
                    return True
                case Crossing.OVERLOOK:
                    return False
                case _:
                    self._go_to(State.READY)
                    rule = self._rule(message, self._peer)
        if rule is None:
            raise self._failure(ErrorCode.UNEXPECTED_MESSAGE, "The peer sent a message out of turn.")
        mistake = find_mistake(message, False, self._bounds())
        self._go(rule, message, self._peer)
        if mistake is not None:
            raise self._failure(mistake.code, f"The peer sent {mistake.what}.")
        return True

    def _crossing(self, message: Message) -> Crossing:
        crossing = CROSSINGS[self.state, type(message)]
        if crossing is Crossing.BY_ROLE:
            ours_yields = self.role is self.profile.glare_yields
            crossing = Crossing.GIVE_WAY if ours_yields else Crossing.OVERLOOK
        if crossing is Crossing.OVERLOOK:
            if self._overlooked:
                raise self._failure(
                    ErrorCode.UNEXPECTED_MESSAGE,
                    f"The peer repeats its {describe(type(message))} instead of answering.",
                )
            self._overlooked = True
        return crossing

    def _failure(self, code: ErrorCode, sentence: str) -> RemoteProtocolError:
        random_is_due = self.state is State.RANDOM_AWAITED and self.initiator is not self.role
        if code is ErrorCode.UNEXPECTED_MESSAGE and random_is_due:
            code, sentence = (
                ErrorCode.SESSION_RANDOM_EXPECTED,
                "The peer sent something else where the random number of its session key is due.",
            )
        error = RemoteProtocolError(code, sentence)
        self.fail(error)
        return error

    # -- the rules ------------------------------------------------------------------------------------------

    def _rule(self, message: Message, sender: Role) -> Rule | None:
        for case in (self._case(message), Case.PLAIN):
            rule = _RULES.get((self.state, type(message), case))
            if rule is not None:
                return rule if _may_send(rule.speaker, sender, self.initiator) else None
        return None

    def _case(self, message: Message) -> Case:
        if message.option != ACK:
            return Case.REFUSED
        match message:
            case DataBlock() if self.transfer and len(message.data) >= self.transfer.to_come:
                return Case.LAST_WITHOUT_MAC if self.transfer.request.mac == Mac.NONE else Case.LAST
            case Pass3() if not self.profile.completion_notice:
                return Case.WITHOUT_NOTICE
            case TransmissionResponse() if self.transfer and is_unique(self.transfer.request.encryption_key):
                return Case.UNIQUE_KEY
            case DisconnectionRequest() if not self.profile.disconnection_answered:
                return Case.UNANSWERED
        return Case.PLAIN

    def _longest(self) -> int:
        """Return the limit for data of open length: that of a block, or of through-mode data."""
        return self.block_data if self.state is State.SENDING else self.max_message

    def _go(self, rule: Rule, message: Message, sender: Role) -> None:
        """Follow a rule."""
        match message:
            case LineCheckRequest():
                self.block_data = min(self.block_data, self.profile.block_data(message.block_length))
            case LineCheckResponse(option=0):
                self.block_data = self.profile.block_data(message.block_length)
            case AuthenticationRequest() | AuthenticationResponse():
                if sender is not self.role:
                    self.peer_authentication_data = message.authentication_data
            case TransmissionRequest():
                self.initiator = sender
                fragmentation = self.fragmentation(message.encryption)
                self.transfer = Transfer(message, fragmentation, fragmentation.on_the_wire(message.length))
                if sender is not self.role:
                    self.peer_request = message
            case DataBlock() if self.transfer is not None:
                self._count_passed(len(message.data))
            case DisconnectionRequest():
                self.initiator = sender
        self._go_to(rule.then)

    def _count_passed(self, octets: int) -> None:
        if self.transfer is not None and octets:
            request, fragmentation, to_come = self.transfer
            self.transfer = Transfer(request, fragmentation, to_come - octets)

    def _go_to(self, state: State) -> None:
        self.state = state
        if state is State.READY:
            self.initiator = None
            self.transfer = None
            self._overlooked = False

    def _bounds(self) -> Bounds:
        return Bounds(self.profile, self.block_data, self.max_message, self.transfer, self.fragmentation)


def _may_send(speaker: Speaker, role: Role, initiator: Role | None) -> bool:
    match speaker:
        case Speaker.EITHER:
            return True
        case Speaker.INITIATOR:
            return role is initiator
        case Speaker.OTHER:
            return role is not initiator
        case Speaker.SERVER:
            return role is Role.SERVER
        case Speaker.CLIENT:
            return role is Role.CLIENT


@cache
def _list_awaited(state: State, sender: Role, initiator: Role | None) -> frozenset[type[Message]]:
    """List the kinds of message that this end may send now, as far as the other one knows."""
    kinds = {rule.message for rule in RULES if rule.state is state and _may_send(rule.speaker, sender, initiator)}
    if initiator is sender.peer:
        kinds |= {kind for at, kind in CROSSINGS if at is state}
    return frozenset(kinds)


_RULES = {(rule.state, rule.message, rule.case): rule for rule in RULES}


def _make_lost_error(state: State) -> ConnectionLostError:
    return ConnectionLostError(
        ErrorCode.CONNECTION_LOST,
        f"The connection ended in the state '{state}', without the disconnection protocol; "
        "something may be missing. Look at the peer's log.",
    )
