"""A sound message of each kind, and lines that were driven to each state."""

from __future__ import annotations

from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.wire.messages import (
    AuthenticationCompletion,
    AuthenticationRequest,
    AuthenticationResponse,
    DataBlock,
    DisconnectionRequest,
    DisconnectionResponse,
    Encryption,
    LineCheckRequest,
    LineCheckResponse,
    Mac,
    MacNotification,
    Message,
    Pass1,
    Pass2,
    Pass3,
    SessionRandomRequest,
    SessionRandomResponse,
    ThroughData,
    TransmissionRequest,
    TransmissionResponse,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile

VALUE = bytes.fromhex("0011223344556677")

REQUEST = TransmissionRequest(Encryption.DES_CBC, 1, Mac.MD5, 100)
UNIQUE_REQUEST = TransmissionRequest(Encryption.DES_CBC, 0x11, Mac.MD5, 100)

SAMPLES: tuple[Message, ...] = (
    LineCheckRequest(b"MEDIS-ISCL V1.00", 8192),
    LineCheckResponse(8192),
    AuthenticationRequest(0, 1, b"server"),
    AuthenticationResponse(b"client"),
    Pass1(VALUE),
    Pass2(VALUE, VALUE[::-1]),
    Pass3(VALUE),
    AuthenticationCompletion(),
    REQUEST,
    TransmissionResponse(100),
    SessionRandomRequest(VALUE),
    SessionRandomResponse(),
    DataBlock(bytes(40)),
    MacNotification(bytes(24)),
    ThroughData(b"in the clear"),
    DisconnectionRequest(),
    DisconnectionResponse(),
)

HANDSHAKE: tuple[tuple[State, Message], ...] = (
    (State.CONNECTED, SAMPLES[0]),
    (State.LINE_CHECK_ASKED, SAMPLES[1]),
    (State.LINE_CHECKED, SAMPLES[2]),
    (State.AUTHENTICATION_ASKED, SAMPLES[3]),
    (State.AUTHENTICATION_AGREED, SAMPLES[4]),
    (State.CHALLENGED, SAMPLES[5]),
    (State.ANSWERED, SAMPLES[6]),
    (State.PROVEN, SAMPLES[7]),
)
"""Each state of the handshake and the message that leaves it; the server speaks first, then they take turns."""

TRANSFER: dict[State, tuple[Message, ...]] = {
    State.REQUESTED: (REQUEST,),
    State.RANDOM_AWAITED: (UNIQUE_REQUEST, TransmissionResponse(100)),
    State.RANDOM_GIVEN: (UNIQUE_REQUEST, TransmissionResponse(100), SessionRandomRequest(VALUE)),
    State.SENDING: (REQUEST, TransmissionResponse(100)),
    State.SENT: (REQUEST, TransmissionResponse(100), DataBlock(bytes(104))),
    State.DISCONNECTING: (DisconnectionRequest(),),
    State.CLOSED: (DisconnectionRequest(), DisconnectionResponse()),
}
"""How a ready line gets to each later state."""

STATES = [state for state in State if state is not State.FAILED]
"""Where a line can be driven to."""

RESPONSES = (TransmissionResponse, SessionRandomResponse, DisconnectionResponse)


class Line:
    """Both ends of a line, without anything between them."""

    def __init__(self, profile: WireProfile | None = None, **limits: int) -> None:
        self.ends = {role: StateMachine(role, profile, **limits) for role in Role}

    @property
    def server(self) -> StateMachine:
        return self.ends[Role.SERVER]

    @property
    def client(self) -> StateMachine:
        return self.ends[Role.CLIENT]

    def say(self, sender: Role, message: Message) -> Message | None:
        """Send a message; returns what the other end makes of it."""
        other = self.ends[sender.peer]
        other.receive_data(self.ends[sender].send(message))
        return other.next_event()

    def drive(self, state: State, initiator: Role = Role.CLIENT) -> Line:
        """Bring a new line to a state; `initiator` is who began the transfer or the disconnection."""
        speaker = Role.SERVER
        for at, message in HANDSHAKE:
            if at is state:
                return self
            if isinstance(message, LineCheckResponse):
                message = LineCheckResponse(self.client.block_data + 32)
            self.say(speaker, message)
            speaker = speaker.peer
        for message in TRANSFER.get(state, ()):
            self.say(initiator.peer if isinstance(message, RESPONSES) else initiator, message)
        return self
