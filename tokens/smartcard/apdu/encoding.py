"""APDUs: a command as bytes, in each of the standard's forms, and a response as data and status.

ISO/IEC 7816-4:2005, 5.1 (short and extended fields), 5.1.1.1 (command chaining), 7.6.1 (GET RESPONSE). What a card can
take is in its historical bytes or its data; a profile says which form to use, since cards misstate it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tokens.errors import CardLostError
from tokens.smartcard.apdu.status import OK, StatusError

SHORT_DATA = 255
"""The longest data field, in bytes, of a short APDU."""

ANY = -1
"""Expected length: any; seldom over 256 bytes, so that a short Le will do, with GET RESPONSE where it does not."""

MANY = -2
"""Expected length: any; often over 256 bytes, so that an extended Le is sent to a card that takes one."""

_CHAINED = 0x10
_GET_RESPONSE = 0xC0
_LONGEST_RESPONSE = 1 << 20

Transmit = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Command:
    """A command APDU. `expected` is the length in bytes that must come back, or `ANY`, `MANY`, or 0 for none.

    `name` is the standard's, for messages. The data field is never shown: it may be a PIN.
    """

    name: str
    ins: int
    p1: int
    p2: int
    data: bytes | bytearray = b""
    expected: int = 0
    cla: int = 0x00

    def __repr__(self) -> str:
        return f"<{self.name} {self.cla:02X}{self.ins:02X}{self.p1:02X}{self.p2:02X}, {len(self.data)} bytes>"


def encode_apdus(command: Command, *, extended: bool) -> Iterator[bytearray]:
    """Return the APDUs to send one after the other: a single one, or a chain if the data is long and APDUs are short.

    Each is a `bytearray`, so that it can be wiped when it carried a PIN.
    """
    if extended and (len(command.data) > SHORT_DATA or command.expected > 256 or command.expected == MANY):
        yield _encode_extended(command)
        return
    data = memoryview(command.data)
    while len(data) > SHORT_DATA:
        yield _short(replace(command, cla=command.cla | _CHAINED, data=bytes(data[:SHORT_DATA]), expected=0))
        data = data[SHORT_DATA:]
    yield _short(command if len(data) == len(command.data) else replace(command, data=bytes(data)))


def exchange(transmit: Transmit, command: Command, *, extended: bool, accept: frozenset[int] = frozenset()) -> bytes:
    """Carry out a command and return its response data, collected with GET RESPONSE where the card hands out parts.

    Raises `StatusError` unless the status is 9000 or in `accept`, and `CardLostError` where the response is not as long
    as expected: a response that is too short is not used.
    """
    response, status = b"", OK
    chain = list(encode_apdus(command, extended=extended))
    for place, apdu in enumerate(chain):
        try:
            response, status = _split(transmit(bytes(apdu)))
        finally:
            _wipe(apdu)
        if place < len(chain) - 1 and status != OK:
            raise StatusError(command.name, status)
    if status >> 8 == 0x6C:
        again = replace(command, expected=status & 0xFF or 256)
        response, status = _split(transmit(bytes(_short(again))))
    while status >> 8 == 0x61:
        more = Command("GET RESPONSE", _GET_RESPONSE, 0, 0, expected=status & 0xFF or 256)
        part, status = _split(transmit(bytes(_short(more))))
        response += part
        if not part or len(response) > _LONGEST_RESPONSE:
            raise CardLostError(f"The card's answer to {command.name} has no end, so it is not used.")
    if status != OK and status not in accept:
        raise StatusError(command.name, status)
    if status == OK and command.expected >= 0 and len(response) != command.expected:
        raise CardLostError(
            f"The card answered {command.name} with {len(response)} bytes instead of {command.expected}: "
            "it was removed, or it is defective."
        )
    return response


def _split(response: bytes) -> tuple[bytes, int]:
    status = int.from_bytes(response[-2:], "big")
    if status >> 12 not in (0x6, 0x9):
        raise CardLostError(
            f"The card's answer ends in {status:04X}, which is no status word: it was removed during the command."
        )
    return response[:-2], status


def _short(command: Command) -> bytearray:
    apdu = bytearray((command.cla, command.ins, command.p1, command.p2))
    if command.data:
        apdu.append(len(command.data))
        apdu += command.data
    if command.expected:
        apdu.append(command.expected if 0 < command.expected < 256 else 0)
    return apdu


def _encode_extended(command: Command) -> bytearray:
    apdu = bytearray((command.cla, command.ins, command.p1, command.p2, 0))
    if command.data:
        apdu += len(command.data).to_bytes(2, "big")
        apdu += command.data
    if command.expected:
        apdu += max(command.expected, 0).to_bytes(2, "big")
    return apdu


def _wipe(apdu: bytearray) -> None:
    for place in range(len(apdu)):
        apdu[place] = 0
