"""Two ends of a ready line that delays as it likes, and everything that the protocol allows them, in any order.

A model beside them knows what either end should have received. Requests cross, disconnections are refused, messages
wait: the ends must agree in the end, and nothing may be doubled, reordered, or lost unless the line was closed on it.
"""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.messages import (
    NAK,
    DataBlock,
    DisconnectionRequest,
    DisconnectionResponse,
    MacNotification,
    Message,
    SessionRandomRequest,
    SessionRandomResponse,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import Role
from tests.hsm_dicom.iscl.samples import Line

VALUE = bytes(8)
BLOCK = 64


class Keyless:
    """An end that follows the protocol with a connection and no keys: its MAC is the message's number."""

    def __init__(self, connection: StateMachine, wire: deque[bytes]) -> None:
        self.connection = connection
        self.wire = wire
        self.queue: deque[tuple[int, int, bool]] = deque()
        self.received: list[int] = []
        self.through: list[bytes] = []
        self.refuses_to_close = False
        self.wants_to_close = False

    def say(self, message: Message) -> None:
        self.wire.append(self.connection.send(message))

    def begin(self) -> None:
        if self.connection.state is not State.READY:
            return
        if self.queue:
            _, length, unique = self.queue[0]
            self.say(TransmissionRequest(0x1212, 0x11 if unique else 1, 0x1441, length))
        elif self.wants_to_close:
            self.say(DisconnectionRequest())

    def take(self, octets: bytes) -> None:
        self.connection.receive_data(octets)
        while (message := self.connection.next_event()) is not None:
            self.follow(message)
        self.begin()

    def follow(self, message: Message) -> None:
        match message:
            case TransmissionRequest():
                self.say(TransmissionResponse(message.length))
            case TransmissionResponse() if self.queue[0][2]:
                self.say(SessionRandomRequest(VALUE))
            case TransmissionResponse() | SessionRandomResponse():
                number, length, _ = self.queue.popleft()
                total = (length // 8 + 1) * 8
                for start in range(0, total, BLOCK):
                    self.say(DataBlock(bytes(min(BLOCK, total - start))))
                self.say(MacNotification(number.to_bytes(8, "big")))
            case SessionRandomRequest():
                self.say(SessionRandomResponse())
            case MacNotification():
                self.received.append(int.from_bytes(message.code, "big"))
            case ThroughData():
                self.through.append(message.data)
            case DisconnectionRequest():
                # Nobody refuses what it has asked for itself.
                refuses = self.refuses_to_close and not self.wants_to_close
                self.say(DisconnectionResponse(option=NAK if refuses else 0))
            case DisconnectionResponse() if message.option == NAK:
                self.wants_to_close = False


class TwoEnds(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.wires: dict[Role, deque[bytes]] = {role: deque() for role in Role}
        line = Line(block_data=BLOCK).drive(State.READY)
        self.ends = {role: Keyless(line.ends[role], self.wires[role]) for role in Role}
        self.sent: dict[Role, list[int]] = {role: [] for role in Role}
        self.through: dict[Role, list[bytes]] = {role: [] for role in Role}
        self.numbers = iter(range(1, 10**9))

    @rule(who=st.sampled_from(Role), count=st.sampled_from((1, 50, 10_000)))
    def some_octets_arrive(self, who: Role, count: int) -> None:
        wire = self.wires[who.peer]
        octets = b""
        while wire and len(octets) < count:
            octets += wire.popleft()
        if octets[count:]:
            wire.appendleft(octets[count:])
        if octets:
            self.ends[who].take(octets[:count])

    @rule(who=st.sampled_from(Role), length=st.integers(1, 300), unique=st.booleans())
    def an_end_has_something_to_send(self, who: Role, length: int, unique: bool) -> None:
        if self.ends[who].wants_to_close:
            return
        number = next(self.numbers)
        self.sent[who].append(number)
        self.ends[who].queue.append((number, length, unique))
        self.ends[who].begin()

    @rule(who=st.sampled_from(Role), data=st.binary(max_size=40))
    def an_end_sends_unprotected_data(self, who: Role, data: bytes) -> None:
        if self.ends[who].connection.state is State.READY:
            self.ends[who].say(ThroughData(data))
            self.through[who].append(data)

    @rule(who=st.sampled_from(Role), refused=st.booleans())
    def an_end_wants_to_close_when_it_is_done(self, who: Role, refused: bool) -> None:
        if not self.ends[who].queue:
            self.ends[who.peer].refuses_to_close = refused
            self.ends[who].wants_to_close = True
            self.ends[who].begin()

    @invariant()
    def nothing_fails_and_nothing_is_lost_doubled_or_reordered(self) -> None:
        for role, end in self.ends.items():
            assert end.connection.error is None
            arrived = self.ends[role.peer].received
            assert arrived == self.sent[role][: len(arrived)]
            through = self.ends[role.peer].through
            assert through == self.through[role][: len(through)]

    def teardown(self) -> None:
        while any(self.wires.values()):
            for role in Role:
                self.some_octets_arrive(role, 10_000)
        states = {end.connection.state for end in self.ends.values()}
        assert states in ({State.READY}, {State.CLOSED})
        if states == {State.READY}:
            for role, end in self.ends.items():
                assert self.ends[role.peer].received == self.sent[role]
                assert not end.queue


TwoEnds.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestTwoEnds = TwoEnds.TestCase
