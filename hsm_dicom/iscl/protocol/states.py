"""The rules of an ISCL connection, as data: which message may follow which, and from whom.

The four protocols of ISCL V1.00 (line connection, mutual authentication, message transfer, line disconnection)
alternate strictly, so that one state describes the connection for both ends. `RULES` has every transition; it knows
the ends only as server and client, or as initiator (of this transfer or disconnection) and other, not which of them we
are. On a ready connection both ends may begin, and their requests can cross: `CROSSINGS` says what follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from hsm_dicom.iscl.wire.messages import (
    AuthenticationCompletion,
    AuthenticationRequest,
    AuthenticationResponse,
    DataBlock,
    DisconnectionRequest,
    DisconnectionResponse,
    LineCheckRequest,
    LineCheckResponse,
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


class State(StrEnum):
    """Where a connection is."""

    CONNECTED = "connected"
    LINE_CHECK_ASKED = "line check asked"
    LINE_CHECKED = "line checked"
    AUTHENTICATION_ASKED = "authentication asked"
    AUTHENTICATION_AGREED = "authentication agreed"
    CHALLENGED = "client challenged"
    ANSWERED = "client answered"
    PROVEN = "server answered"
    READY = "ready"
    REQUESTED = "transfer requested"
    RANDOM_AWAITED = "session random awaited"
    RANDOM_GIVEN = "session random given"
    SENDING = "data under way"
    SENT = "MAC awaited"
    DISCONNECTING = "disconnection requested"
    CLOSED = "closed"
    FAILED = "failed"


HANDSHAKE = frozenset(
    {
        State.CONNECTED,
        State.LINE_CHECK_ASKED,
        State.LINE_CHECKED,
        State.AUTHENTICATION_ASKED,
        State.AUTHENTICATION_AGREED,
        State.CHALLENGED,
        State.ANSWERED,
        State.PROVEN,
    }
)
"""The states before the connection is ready."""

ENDED = frozenset({State.CLOSED, State.FAILED})


class Speaker(Enum):
    """Who may send a message."""

    SERVER = "server"
    CLIENT = "client"
    EITHER = "either end"
    INITIATOR = "the end that asked for the transfer or the disconnection"
    OTHER = "the end that was asked"


class Case(StrEnum):
    """What a rule depends on beyond the kind of message."""

    PLAIN = "nothing"
    WITHOUT_NOTICE = "the profile has no completion notice"
    UNIQUE_KEY = "the transfer has a session key of its own"
    LAST = "the last data block"
    LAST_WITHOUT_MAC = "the last data block of a transfer without MAC"
    UNANSWERED = "the profile does not answer a disconnection request"
    REFUSED = "the option is NAK, or a device's failure"


@dataclass(frozen=True)
class Rule:
    """In this state, this speaker may send this message, and then the connection is in another state."""

    state: State
    speaker: Speaker
    message: type[Message]
    then: State
    case: Case = Case.PLAIN


_S, _C, _E, _I, _O = Speaker.SERVER, Speaker.CLIENT, Speaker.EITHER, Speaker.INITIATOR, Speaker.OTHER

RULES = (
    # line connection
    Rule(State.CONNECTED, _S, LineCheckRequest, State.LINE_CHECK_ASKED),
    Rule(State.LINE_CHECK_ASKED, _C, LineCheckResponse, State.LINE_CHECKED),
    Rule(State.LINE_CHECK_ASKED, _C, LineCheckResponse, State.FAILED, Case.REFUSED),
    # mutual authentication
    Rule(State.LINE_CHECKED, _S, AuthenticationRequest, State.AUTHENTICATION_ASKED),
    Rule(State.AUTHENTICATION_ASKED, _C, AuthenticationResponse, State.AUTHENTICATION_AGREED),
    Rule(State.AUTHENTICATION_ASKED, _C, AuthenticationResponse, State.FAILED, Case.REFUSED),
    Rule(State.AUTHENTICATION_AGREED, _S, Pass1, State.CHALLENGED),
    Rule(State.AUTHENTICATION_AGREED, _S, Pass1, State.FAILED, Case.REFUSED),
    Rule(State.CHALLENGED, _C, Pass2, State.ANSWERED),
    Rule(State.CHALLENGED, _C, Pass2, State.FAILED, Case.REFUSED),
    Rule(State.ANSWERED, _S, Pass3, State.PROVEN),
    Rule(State.ANSWERED, _S, Pass3, State.READY, Case.WITHOUT_NOTICE),
    Rule(State.ANSWERED, _S, Pass3, State.FAILED, Case.REFUSED),
    Rule(State.PROVEN, _C, AuthenticationCompletion, State.READY),
    Rule(State.PROVEN, _C, AuthenticationCompletion, State.FAILED, Case.REFUSED),
    # message transfer
    Rule(State.READY, _E, TransmissionRequest, State.REQUESTED),
    Rule(State.REQUESTED, _O, TransmissionResponse, State.SENDING),
    Rule(State.REQUESTED, _O, TransmissionResponse, State.RANDOM_AWAITED, Case.UNIQUE_KEY),
    Rule(State.REQUESTED, _O, TransmissionResponse, State.FAILED, Case.REFUSED),
    Rule(State.RANDOM_AWAITED, _I, SessionRandomRequest, State.RANDOM_GIVEN),
    Rule(State.RANDOM_AWAITED, _I, SessionRandomRequest, State.FAILED, Case.REFUSED),
    Rule(State.RANDOM_GIVEN, _O, SessionRandomResponse, State.SENDING),
    Rule(State.RANDOM_GIVEN, _O, SessionRandomResponse, State.FAILED, Case.REFUSED),
    Rule(State.SENDING, _I, DataBlock, State.SENDING),
    Rule(State.SENDING, _I, DataBlock, State.SENT, Case.LAST),
    Rule(State.SENDING, _I, DataBlock, State.READY, Case.LAST_WITHOUT_MAC),
    Rule(State.SENT, _I, MacNotification, State.READY),
    Rule(State.READY, _E, ThroughData, State.READY),
    # line disconnection
    Rule(State.READY, _E, DisconnectionRequest, State.DISCONNECTING),
    Rule(State.READY, _E, DisconnectionRequest, State.CLOSED, Case.UNANSWERED),
    Rule(State.DISCONNECTING, _O, DisconnectionResponse, State.CLOSED),
    Rule(State.DISCONNECTING, _O, DisconnectionResponse, State.READY, Case.REFUSED),
)


class Crossing(Enum):
    """What becomes of a message that the peer sent before it saw our request."""

    BY_ROLE = "one end gives way, by its role (R19)"
    GIVE_WAY = "our request is withdrawn; the peer's counts"
    OVERLOOK = "the peer's request is withdrawn as soon as it sees ours"
    BOTH = "both count"


CROSSINGS = {
    (State.REQUESTED, TransmissionRequest): Crossing.BY_ROLE,
    (State.REQUESTED, DisconnectionRequest): Crossing.GIVE_WAY,
    (State.REQUESTED, ThroughData): Crossing.BOTH,
    (State.DISCONNECTING, TransmissionRequest): Crossing.OVERLOOK,
    (State.DISCONNECTING, DisconnectionRequest): Crossing.GIVE_WAY,
    (State.DISCONNECTING, ThroughData): Crossing.BOTH,
}
"""Our own request made the state; this came from the peer."""
