"""Semantic validation of in-sequence messages: unknown values, lengths beyond a limit, refusals.

Pure functions, for messages of either end. The sequence is checked by `hsm_dicom.iscl.protocol.connection`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from hsm_dicom.iscl.errors import ErrorCode
from hsm_dicom.iscl.wire.blocks import Fragmentation
from hsm_dicom.iscl.wire.messages import (
    ACK,
    KEY_INDEXES,
    MIN_BLOCK_DATA,
    NAK,
    AuthenticationCompletion,
    AuthenticationMethod,
    AuthenticationRequest,
    AuthenticationResponse,
    DataBlock,
    DisconnectionResponse,
    Encryption,
    LineCheckRequest,
    LineCheckResponse,
    Mac,
    Message,
    OptionUse,
    Pass1,
    Pass3,
    TransmissionRequest,
    TransmissionResponse,
    describe,
    is_key_id,
)
from hsm_dicom.iscl.wire.profile import DES_BLOCK, WireProfile


class Transfer(NamedTuple):
    """One message on its way. `to_come` counts the octets of its data blocks that are still due."""

    request: TransmissionRequest
    fragmentation: Fragmentation
    to_come: int


class Bounds(NamedTuple):
    """What a message is held to: the limits of this end in octets, and the transfer that is under way.

    `fragmentation` returns how a message with an encryption is fragmented.
    """

    profile: WireProfile
    block_data: int
    max_message: int
    transfer: Transfer | None
    fragmentation: Callable[[int], Fragmentation]

    def limit(self, encryption: int) -> int:
        """Return the greatest length that a transmission request to us may announce."""
        return self.fragmentation(encryption).announce_length(self.max_message)


@dataclass(frozen=True)
class Mistake:
    """What is wrong. `what` completes the sentence "The peer sent …"."""

    code: ErrorCode
    what: str


def find_mistake(message: Message, ours: bool, bounds: Bounds) -> Mistake | None:
    """Find what is wrong with the contents of a message of ours, or of the peer's; None if nothing is."""
    if message.option != ACK:
        return _refusal(message, ours, bounds)
    match message:
        case LineCheckRequest():
            if message.version != bounds.profile.version:
                return Mistake(ErrorCode.WRONG_VERSION, f"a version that is not {bounds.profile.version.decode()}")
            if bounds.profile.block_data(message.block_length) < MIN_BLOCK_DATA:
                return Mistake(ErrorCode.UNEXPECTED_LENGTH, "a block length in which no data fits")
        case LineCheckResponse():
            if bounds.profile.block_data(message.block_length) > bounds.block_data:
                return Mistake(ErrorCode.BLOCK_LENGTH_TOO_LARGE, "a block length beyond the smaller of the two")
            if bounds.profile.block_data(message.block_length) < MIN_BLOCK_DATA:
                return Mistake(ErrorCode.UNEXPECTED_LENGTH, "a block length in which no data fits")
        case AuthenticationRequest():
            if message.method != AuthenticationMethod.THREE_PASS_FOUR_WAY:
                return Mistake(
                    ErrorCode.WRONG_AUTHENTICATION_METHOD, "an authentication method other than three-pass four-way"
                )
            if message.key_index not in KEY_INDEXES:
                return Mistake(ErrorCode.KEY_NOT_CONFIGURED, "an authentication key index outside 1 to 8")
        case TransmissionRequest():
            return _find_request_mistake(message, ours, bounds)
        case DataBlock():
            if not _fits(message, bounds.transfer):
                return Mistake(ErrorCode.UNEXPECTED_LENGTH, "a data block that does not fit what was announced")
    return None


def _find_request_mistake(request: TransmissionRequest, ours: bool, bounds: Bounds) -> Mistake | None:
    if request.encryption not in _ENCRYPTIONS or request.mac not in _MACS or not is_key_id(request.encryption_key):
        return Mistake(ErrorCode.METHOD_NOT_ACCEPTABLE, "an encryption, key or MAC that does not exist")
    on_the_wire = bounds.fragmentation(request.encryption).on_the_wire(request.length)
    if request.length < 1 or (request.encryption != Encryption.NONE and on_the_wire % DES_BLOCK):
        return Mistake(ErrorCode.UNEXPECTED_LENGTH, "a transmission request of a length that no message has")
    if not ours and request.length > (limit := bounds.limit(request.encryption)):
        return Mistake(ErrorCode.OWN_LIMIT_TOO_SMALL, f"a request to transmit {request.length} octets; we take {limit}")
    return None


def _fits(block: DataBlock, transfer: Transfer | None) -> bool:
    if transfer is None:
        return False
    most = min(transfer.to_come, transfer.fragmentation.full)
    return len(block.data) == most if transfer.fragmentation.seals_each_block else 1 <= len(block.data) <= most


def _refusal(message: Message, ours: bool, bounds: Bounds) -> Mistake | None:
    """Return what an option other than ACK means."""
    use, transfer = message.option_use, bounds.transfer
    name = f"{'an' if describe(type(message))[0] in 'aeiou' else 'a'} {describe(type(message))}"
    if use is OptionUse.NOTHING or (use is OptionUse.ANSWER and message.option != NAK):
        return Mistake(ErrorCode.UNEXPECTED_OPTION, f"{name} with the option {message.option:#010x}")
    if ours or isinstance(message, DisconnectionResponse):
        return None
    if message.option != NAK:
        return Mistake(ErrorCode.PEER_DEVICE_FAILED, f"{name}: its device failed ({message.option:#06x})")
    if isinstance(message, TransmissionResponse) and transfer is not None:
        if message.length < transfer.request.length:
            return Mistake(
                ErrorCode.PEER_LIMIT_TOO_SMALL,
                f"a refusal: it takes {message.length} octets, and the message has {transfer.request.length}",
            )
        return Mistake(ErrorCode.METHOD_NOT_ACCEPTABLE, "a refusal of our encryption, key or MAC; set both ends alike")
    meaning = _MEANINGS.get(type(message), "its log may say why")
    return Mistake(ErrorCode.PEER_REFUSED, f"{name} with a refusal (NAK): {meaning}")


_WRONG_RESPONSE = "the response to its challenge was wrong; compare the check values of the authentication keys"

_MEANINGS: dict[type[Message], str] = {
    LineCheckResponse: "it has another version or block length",
    AuthenticationResponse: "it has another key index or other authentication data configured",
    Pass1: "it has other authentication data configured",
    Pass3: _WRONG_RESPONSE,
    AuthenticationCompletion: _WRONG_RESPONSE,
}
"""What most likely lies behind a NAK, which itself gives no reason."""


_ENCRYPTIONS = frozenset(Encryption)
_MACS = frozenset(Mac)
