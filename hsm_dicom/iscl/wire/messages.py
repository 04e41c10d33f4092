"""The messages of ISCL V1.00, one small immutable class each, and the numbers that they carry.

Numbers and contents are those of the only implementation with public documentation, whose maker marks them as
specified in the standard. How contents are laid out in octets is not public: see `WireProfile.layouts`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import ClassVar

ACK = 0x00000000
NAK = 0xFFFFFFFF

DEVICE_FAILURE = 0x6F00
"""What we put in the option where a device's result code belongs: ISO 7816-4, "no precise diagnosis"."""

HEADER_LENGTH = 32
"""Octets before the data of every message."""

MAX_MESSAGE = 1_048_576
"""The longest message that we take, in octets, unless a smaller limit is configured."""

MAX_BLOCK_DATA = 8160
"""The most octets that one data block holds."""

MIN_BLOCK_DATA = 8
"""The least that the peer may ask for: one block of DES."""

MAX_AUTHENTICATION_DATA = 128
KEY_INDEXES = range(1, 9)
UNIQUE_KEY = 0x10
"""In the place of an encryption key's index, or or'ed to it: a session key for this message alone."""


class MessageId(IntEnum):
    """High 16 bits: the function. Low 16 bits: 1 request, 2 notification, 3 response."""

    LINE_CHECK_REQUEST = 0x00110001
    LINE_CHECK_RESPONSE = 0x00110003
    AUTHENTICATION_REQUEST = 0x00120001
    AUTHENTICATION_RESPONSE = 0x00120003
    PASS_1 = 0x00130002
    PASS_2 = 0x00140002
    PASS_3 = 0x00150002
    AUTHENTICATION_COMPLETION = 0x00160002
    TRANSMISSION_REQUEST = 0x00200001
    DATA_BLOCK = 0x00200002
    TRANSMISSION_RESPONSE = 0x00200003
    SESSION_RANDOM_REQUEST = 0x00210001
    SESSION_RANDOM_RESPONSE = 0x00210003
    MAC_NOTIFICATION = 0x00230002
    THROUGH_DATA = 0x00260002
    DISCONNECTION_REQUEST = 0x00FF0001
    DISCONNECTION_RESPONSE = 0x00FF0003


class AuthenticationMethod(IntEnum):
    """How the two ends prove themselves: three passes, after ISO/IEC 9798-2."""

    THREE_PASS_FOUR_WAY = 0x00000000


class Encryption(IntEnum):
    """What keeps a message confidential."""

    NONE = 0x00000000
    DES_CBC = 0x00001212


class Mac(IntEnum):
    """What keeps a message whole: none, MD5 (128 bit) encrypted with DES, or DES-MAC (64 bit)."""

    NONE = 0x00000000
    MD5 = 0x00001441
    DES_MAC = 0x00004001


class OptionUse(Enum):
    """What the option field of a message's header says."""

    NOTHING = "nothing"
    ANSWER = "ACK or NAK"
    DEVICE_RESULT = "the result of the sender's device, 0 for success, or NAK"


@dataclass(frozen=True, slots=True)
class Message:
    """What every message has: its option, 0 (ACK) unless something was refused or failed."""

    id: ClassVar[MessageId]
    option_use: ClassVar[OptionUse] = OptionUse.NOTHING
    option: int = field(default=ACK, kw_only=True)


@dataclass(frozen=True, slots=True)
class LineCheckRequest(Message):
    """Server: my version, and the longest block that I take (octets; see `block_length_counts_header`)."""

    id = MessageId.LINE_CHECK_REQUEST
    version: bytes
    block_length: int


@dataclass(frozen=True, slots=True)
class LineCheckResponse(Message):
    """Client: the smaller of the two block lengths."""

    id = MessageId.LINE_CHECK_RESPONSE
    option_use = OptionUse.ANSWER
    block_length: int


@dataclass(frozen=True, slots=True)
class AuthenticationRequest(Message):
    """Server: by this method, with the key of this index; and who I say I am."""

    id = MessageId.AUTHENTICATION_REQUEST
    method: int
    key_index: int
    authentication_data: bytes = b""


@dataclass(frozen=True, slots=True)
class AuthenticationResponse(Message):
    """Client: agreed; and who I say I am."""

    id = MessageId.AUTHENTICATION_RESPONSE
    option_use = OptionUse.ANSWER
    authentication_data: bytes = b""


@dataclass(frozen=True, slots=True)
class Pass1(Message):
    """Server: my challenge."""

    id = MessageId.PASS_1
    option_use = OptionUse.DEVICE_RESULT
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Pass2(Message):
    """Client: my response to your challenge, and my challenge."""

    id = MessageId.PASS_2
    option_use = OptionUse.DEVICE_RESULT
    response: bytes
    challenge: bytes


@dataclass(frozen=True, slots=True)
class Pass3(Message):
    """Server: your response is right, and here is mine to your challenge."""

    id = MessageId.PASS_3
    option_use = OptionUse.DEVICE_RESULT
    response: bytes


@dataclass(frozen=True, slots=True)
class AuthenticationCompletion(Message):
    """Client: your response is right."""

    id = MessageId.AUTHENTICATION_COMPLETION
    option_use = OptionUse.DEVICE_RESULT


@dataclass(frozen=True, slots=True)
class TransmissionRequest(Message):
    """Sender: a message of this length, protected like this. `encryption_key` is an index, or `UNIQUE_KEY`."""

    id = MessageId.TRANSMISSION_REQUEST
    encryption: int
    encryption_key: int
    mac: int
    length: int


@dataclass(frozen=True, slots=True)
class TransmissionResponse(Message):
    """Receiver: send it; or NAK, and then `length` is the longest message that the receiver takes."""

    id = MessageId.TRANSMISSION_RESPONSE
    option_use = OptionUse.ANSWER
    length: int


@dataclass(frozen=True, slots=True)
class SessionRandomRequest(Message):
    """Sender: the random number from which both ends make the key of this message."""

    id = MessageId.SESSION_RANDOM_REQUEST
    option_use = OptionUse.DEVICE_RESULT
    random: bytes


@dataclass(frozen=True, slots=True)
class SessionRandomResponse(Message):
    """Receiver: I have the key."""

    id = MessageId.SESSION_RANDOM_RESPONSE
    option_use = OptionUse.DEVICE_RESULT


@dataclass(frozen=True, slots=True)
class DataBlock(Message):
    """Sender: a part of the message."""

    id = MessageId.DATA_BLOCK
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class MacNotification(Message):
    """Sender: the MAC of the whole message, encrypted where the mode says so."""

    id = MessageId.MAC_NOTIFICATION
    code: bytes


@dataclass(frozen=True, slots=True)
class ThroughData(Message):
    """Either end: data without any protection ("through mode")."""

    id = MessageId.THROUGH_DATA
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class DisconnectionRequest(Message):
    """Either end: let us end the connection."""

    id = MessageId.DISCONNECTION_REQUEST


@dataclass(frozen=True, slots=True)
class DisconnectionResponse(Message):
    """The other end: agreed; or NAK, I refuse."""

    id = MessageId.DISCONNECTION_RESPONSE
    option_use = OptionUse.ANSWER


MESSAGES: dict[int, type[Message]] = {
    message.id: message
    for message in (
        LineCheckRequest,
        LineCheckResponse,
        AuthenticationRequest,
        AuthenticationResponse,
        Pass1,
        Pass2,
        Pass3,
        AuthenticationCompletion,
        TransmissionRequest,
        TransmissionResponse,
        SessionRandomRequest,
        SessionRandomResponse,
        DataBlock,
        MacNotification,
        ThroughData,
        DisconnectionRequest,
        DisconnectionResponse,
    )
}
"""Every message, by its id."""


def is_unique(key_id: int) -> bool:
    """Whether an encryption key id asks for a session key of this message alone."""
    return bool(key_id & UNIQUE_KEY)


def key_index(key_id: int) -> int:
    """Return the index, 1 to 8, in an encryption key id; 0 if it has none."""
    return key_id & ~UNIQUE_KEY


def is_key_id(key_id: int) -> bool:
    """Whether this is an index, `UNIQUE_KEY`, or both."""
    index = key_index(key_id)
    return index in KEY_INDEXES or (index == 0 and is_unique(key_id))


def describe(message: type[Message]) -> str:
    """Return a readable name: "line check request"."""
    return message.id.name.lower().replace("_", " ").replace("mac ", "MAC ")


_NAMES = {"THREE_PASS_FOUR_WAY": "three-pass four-way", "NONE": "none"}


def format_code(kind: type[AuthenticationMethod] | type[Encryption] | type[Mac], value: int) -> str:
    """Format a code with its name and number: DES-CBC (0x1212)."""
    for member in kind:
        if member == value:
            return f"{_NAMES.get(member.name, member.name.replace('_', '-'))} ({value:#06x})"
    return f"unknown ({value:#x})"
