"""The wire format of ISCL as one frozen object, with a field for everything that is our reconstruction.

The text of the standard (MEDIS-DC, Integrated Secure Communication Layer V1.00) is not public. Message ids, method
codes and sizes are known from published interfaces; the rest is designed after the norms that PS3.15-2008 B.2 cites
(ISO/IEC 9798-2, ISO 8730, ISO/IEC 9797-1, ISO 7816-4, FIPS 113). Interoperability with other ISCL products is
unverified. If a capture, or the standard itself, proves a default wrong, configure another profile; neither the
state machine nor the suite changes. `docs/explanation/iscl.md` names the items R1 to R25 one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Literal

from hsm_dicom.iscl.wire.messages import (
    HEADER_LENGTH,
    MAX_AUTHENTICATION_DATA,
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

DES_BLOCK = 8
"""Octets of a block of DES."""

LONGEST_CODE = 24
"""Octets of the longest MAC on the wire: an MD5 digest and its padding."""


class Role(StrEnum):
    """Which end of the connection one is: the server accepted the TCP connection."""

    SERVER = "server"
    CLIENT = "client"

    @property
    def peer(self) -> Role:
        """The other end."""
        return Role.CLIENT if self is Role.SERVER else Role.SERVER


class ByteOrder(StrEnum):
    """How a 32-bit integer is written."""

    BIG = "big"
    LITTLE = "little"


class ResponseCode(StrEnum):
    """The response to a challenge: one block of DES under the authentication key. The verifier reverses it."""

    ENCRYPTED_CHALLENGE = "the challenge, encrypted"
    DECRYPTED_CHALLENGE = "the challenge, decrypted: it is held to be a random number that was encrypted"


class SessionKeyDerivation(StrEnum):
    """How a session key is made of a random number: one block of DES under the encryption key of the index."""

    ENCRYPTED_RANDOM_NUMBER = "the random number, encrypted"
    DECRYPTED_RANDOM_NUMBER = "the random number, decrypted"


class UniqueKeyForm(StrEnum):
    """How a sender says that a message has a session key of its own. Both forms are read."""

    WITH_INDEX = "0x10 or'ed to the encryption key's index"
    BARE = "0x10; the index is that of the authentication request"


class Padding(StrEnum):
    """What is added before encryption, always."""

    PKCS5 = "1 to 8 octets that say how many they are"
    ISO_9797_METHOD_2 = "0x80, then zeros"


class IvChain(StrEnum):
    """How far the last block of ciphertext is carried on as the next initialisation vector."""

    CONNECTION = "over everything that the connection carries, both ways"
    DIRECTION = "over everything that one end sends"
    MESSAGE = "from the data of a message to its MAC"
    NONE = "not at all: zero at each encryption"


class MacPadding(StrEnum):
    """ISO/IEC 9797-1: what DES-MAC adds to the message."""

    METHOD_1 = "zeros up to a full block"
    METHOD_2 = "0x80, then zeros"


class Md5Order(StrEnum):
    """PS3.15-2008 Table B.2-1: which of its two orders a sender follows. A receiver verifies either."""

    ENCRYPT_DIGEST = "the digest of the message, encrypted"
    DIGEST_AFTER_ENCRYPTED_RANDOM = "the digest of the encrypted random number and the message"


class AnnouncedLength(StrEnum):
    """What the length in a transmission request counts."""

    PLAINTEXT = "the message"
    CIPHERTEXT = "the message with its padding"


class Fragmenting(StrEnum):
    """How an encrypted message becomes data blocks. A message in clear is just cut."""

    WHOLE_MESSAGE = "the message is padded and encrypted, then cut into blocks"
    EACH_BLOCK = "the message is cut, then each block is padded and encrypted separately; all but the last are full"


class MessageUnit(StrEnum):
    """What a sender puts in one ISCL message. A receiver does not depend on it."""

    WRITE = "what was written at once"
    PDU = "one DICOM PDU (PS3.8)"


@dataclass(frozen=True)
class Word:
    """An unsigned integer of 32 bits."""

    name: str
    length = 4


@dataclass(frozen=True)
class Octets:
    """A fixed number of octets."""

    name: str
    length: int


@dataclass(frozen=True)
class Value:
    """64 bits that a device made: a challenge, a response, or a random number."""

    name: str
    length = 8


@dataclass(frozen=True)
class Counted:
    """A 32-bit count, and as many octets, at most `most`."""

    name: str
    most: int


@dataclass(frozen=True)
class Rest:
    """All remaining octets, at most `most`; None where the connection's own limits say how many."""

    name: str
    most: int | None = None


Item = Word | Octets | Value | Counted | Rest


@dataclass(frozen=True)
class Layout:
    """The data area of one message, item by item. The option is in the header, not here."""

    message: type[Message]
    items: tuple[Item, ...] = ()


LAYOUTS = (
    Layout(LineCheckRequest, (Octets("version", 16), Word("block_length"))),
    Layout(LineCheckResponse, (Word("block_length"),)),
    Layout(
        AuthenticationRequest,
        (Word("method"), Word("key_index"), Counted("authentication_data", MAX_AUTHENTICATION_DATA)),
    ),
    Layout(AuthenticationResponse, (Counted("authentication_data", MAX_AUTHENTICATION_DATA),)),
    Layout(Pass1, (Value("challenge"),)),
    Layout(Pass2, (Value("response"), Value("challenge"))),
    Layout(Pass3, (Value("response"),)),
    Layout(AuthenticationCompletion),
    Layout(TransmissionRequest, (Word("encryption"), Word("encryption_key"), Word("mac"), Word("length"))),
    Layout(TransmissionResponse, (Word("length"),)),
    Layout(SessionRandomRequest, (Value("random"),)),
    Layout(SessionRandomResponse),
    Layout(DataBlock, (Rest("data"),)),
    Layout(MacNotification, (Rest("code", LONGEST_CODE),)),
    Layout(ThroughData, (Rest("data"),)),
    Layout(DisconnectionRequest),
    Layout(DisconnectionResponse),
)
"""The data areas as we reconstruct them."""


@dataclass(frozen=True, kw_only=True)
class WireProfile:
    """Every reconstructed property of ISCL that can be set. The defaults are those that the norms make most likely."""

    byte_order: ByteOrder = ByteOrder.BIG
    """R1. Of all integers; DICOM's upper layer and ISO 7816 are big-endian."""

    reversed_values: bool = False
    """R1. Whether challenges, responses and random numbers travel back to front, as from an implementation that
    holds them as little-endian integers. By default they are octets in the device's order."""

    layouts: tuple[Layout, ...] = LAYOUTS
    """R2, R5. The data areas; the authentication data is the last item of the request and of the response."""

    unused_fields_ignored: bool = True
    """R2. Whether a receiver overlooks header fields that have no known use. We send them as zero."""

    version: bytes = b"MEDIS-ISCL V1.00"
    """R3. What the line check request carries, 16 octets."""

    block_length_counts_header: bool = True
    """R4. Whether a block length of 8192 leaves 8160 octets for data, or 8192."""

    response_code: ResponseCode = ResponseCode.ENCRYPTED_CHALLENGE
    """R6, R7. Where a peer's challenge code is the encrypted random number and its response that random number, the
    response is the challenge decrypted. The challenge itself is eight unpredictable octets in either case: R6 has no
    difference of its own that could be seen. A smart card answers as its INTERNAL AUTHENTICATE does, by encryption."""

    directional_keys: bool = False
    """R8. Whether client and server each answer with an authentication key of their own."""

    completion_notice: bool = True
    """R9. Whether the client ends the authentication with a completion notice: the fourth of the "four ways"."""

    session_key: SessionKeyDerivation = SessionKeyDerivation.ENCRYPTED_RANDOM_NUMBER
    """R10. A key by decryption stays on no device, so the secret keys must be opened with `host_session_keys`. The
    other order of the MD5 code (R15) begins with the same eight octets, however they are made."""

    unique_key_form: UniqueKeyForm = UniqueKeyForm.WITH_INDEX
    """R11. How we announce a session key."""

    padding: Padding = Padding.PKCS5
    """R12. Always added before encryption, and checked after decryption."""

    iv_chain: IvChain = IvChain.CONNECTION
    """R13. Starts at zero."""

    mac_padding: MacPadding = MacPadding.METHOD_1
    """R14. DES-MAC is ISO/IEC 9797-1 algorithm 1 (FIPS 113) over the whole message before encryption."""

    mac_length: Literal[4, 8] = 8
    """R14. Octets kept of a DES-MAC, before it is encrypted where encryption is on; ISO 8730 banks keep 4."""

    md5_order: Md5Order = Md5Order.ENCRYPT_DIGEST
    """R15. The order in which we send. The other order needs a session key that may be on the host."""

    md5_always_encrypted: bool = True
    """R15. Whether the digest is encrypted when the message is not. A clear digest protects nothing: it is held to
    be no MAC at all, and must be allowed as such."""

    announced_length: AnnouncedLength = AnnouncedLength.PLAINTEXT
    """R16. The receiver's limit applies to the same length, and a NAK carries the limit."""

    fragmenting: Fragmenting = Fragmenting.WHOLE_MESSAGE
    """R17. One MAC follows the last block, in either case."""

    message_unit: MessageUnit = MessageUnit.WRITE
    """R18."""

    glare_yields: Role = Role.CLIENT
    """R19. Whose transmission request gives way when both ends send one at once."""

    disconnection_answered: bool = True
    """R21. Whether a disconnection request waits for an answer, which may be a refusal."""

    handshake_timeout: float = 30.0
    """R22. Seconds for each step of line check and authentication."""

    message_timeout: float = 60.0
    """R22. Seconds for each step of a message and of the disconnection."""

    error_number_sent: bool = False
    """R24. Whether a NAK also carries our error code in the header's error field. The peer learns there what exactly
    it got wrong, so leave it off outside a laboratory."""

    @cached_property
    def items(self) -> dict[type[Message], tuple[Item, ...]]:
        """The data area of each kind of message."""
        return {layout.message: layout.items for layout in self.layouts}

    def block_data(self, block_length: int) -> int:
        """Return the octets of data in a block of this negotiated length."""
        return block_length - HEADER_LENGTH if self.block_length_counts_header else block_length

    def block_length(self, block_data: int) -> int:
        """Return the block length to negotiate for this many octets of data."""
        return block_data + HEADER_LENGTH if self.block_length_counts_header else block_data
