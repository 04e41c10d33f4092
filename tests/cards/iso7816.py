"""What every card of our own does: read APDUs, chain them, hand long answers out in parts, guard a PIN.

ISO/IEC 7816-4:2005, 5.1 (APDUs, chaining), 7.5.6 (VERIFY), 7.6.1 (GET RESPONSE).
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

OK = 0x9000


class Refusal(Exception):
    """A status word other than 9000."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


@dataclass(frozen=True)
class Command:
    """A command APDU. `le` is the length asked for; 0 where none was."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    le: int
    extended: bool

    @classmethod
    def read(cls, apdu: bytes) -> Command:
        """Decode one of the seven cases of 5.1."""
        cla, ins, p1, p2, *_ = apdu
        body = apdu[4:]
        if not body:
            return cls(cla, ins, p1, p2, b"", 0, False)
        if len(body) == 1:
            return cls(cla, ins, p1, p2, b"", body[0] or 256, False)
        if body[0]:
            data, rest = body[1 : 1 + body[0]], body[1 + body[0] :]
            if len(data) != body[0] or len(rest) > 1:
                raise Refusal(0x6700)
            return cls(cla, ins, p1, p2, data, (rest[0] or 256) if rest else 0, False)
        if len(body) == 3:
            return cls(cla, ins, p1, p2, b"", int.from_bytes(body[1:], "big") or 65536, True)
        length = int.from_bytes(body[1:3], "big")
        data, rest = body[3 : 3 + length], body[3 + length :]
        if len(data) != length or len(rest) not in (0, 2):
            raise Refusal(0x6700)
        return cls(cla, ins, p1, p2, data, (int.from_bytes(rest, "big") or 65536) if rest else 0, True)


@dataclass
class PinObject:
    """A PIN and its try counter."""

    value: bytes
    limit: int = 3
    verified: bool = False
    tries: int = field(init=False)

    def __post_init__(self) -> None:
        self.tries = self.limit

    def present(self, octets: bytes) -> None:
        """Raises 63CX for a wrong one, 6983 from the last one on."""
        if not self.tries:
            raise Refusal(0x6983)
        self.verified = hmac.compare_digest(octets, self.value)
        self.tries = self.limit if self.verified else self.tries - 1
        if not self.verified:
            raise Refusal(0x63C0 | self.tries if self.tries else 0x6983)

    def ask(self) -> None:
        """VERIFY without data: 63CX tells the tries left."""
        if self.verified:
            return
        raise Refusal(0x63C0 | self.tries if self.tries else 0x6983)


Handler = Callable[[Command], bytes]


class Iso7816Card:
    """APDUs in and out. A subclass fills `handlers` (by INS) and names its AIDs."""

    atr: bytes
    aids: tuple[bytes, ...]

    def __init__(self, *, extended: bool) -> None:
        self.extended = extended
        self.handlers: dict[int, Handler] = {0xA4: self.select, 0xC0: self.get_response}
        self.pins: dict[int, PinObject] = {}
        self.calls: Counter[str] = Counter()
        self.selected = False
        self.previous = 0
        self._chained = b""
        self._rest = b""

    def power(self, on: bool) -> None:
        """Forget everything volatile."""
        self.selected = False
        self._chained = self._rest = b""
        self.clear_security_status()

    def clear_security_status(self) -> None:
        """No PIN is verified any more. A subclass adds its own."""
        for pin in self.pins.values():
            pin.verified = False

    def answer(self, apdu: bytes) -> bytes:
        """One command, one response."""
        try:
            command = Command.read(apdu)
            self.calls[f"{command.ins:02X}"] += 1
            return self._carry_out(command) + OK.to_bytes(2, "big")
        except Refusal as refusal:
            return refusal.status.to_bytes(2, "big")
        except MoreToCome as more:
            return more.part + bytes([0x61, more.left])

    def _carry_out(self, command: Command) -> bytes:
        if command.cla & ~0x10:
            raise Refusal(0x6E00)
        if command.extended and not self.extended:
            raise Refusal(0x6700)
        if command.ins != 0xC0:
            self._rest = b""
        if command.cla & 0x10:
            self._chained += command.data
            return b""
        data, self._chained = self._chained + command.data, b""
        handler = self.handlers.get(command.ins)
        if handler is None:
            raise Refusal(0x6D00)
        if not self.selected and self.aids and command.ins != 0xA4:
            raise Refusal(0x6985)
        result = handler(Command(0, command.ins, command.p1, command.p2, data, command.le, command.extended))
        self.previous = command.ins
        return self._hand_out(result, command.le)

    def _hand_out(self, result: bytes, le: int) -> bytes:
        if len(result) <= le:
            return result
        part, self._rest = result[:le], result[le:]
        raise MoreToCome(part, min(len(self._rest), 256) % 256)

    def get_response(self, command: Command) -> bytes:
        """The next part of a long answer."""
        if not self._rest:
            raise Refusal(0x6985)
        rest, self._rest = self._rest, b""
        return rest

    def select(self, command: Command) -> bytes:
        """SELECT by AID, a right-truncated one too; loses the security status."""
        if command.p1 != 0x04:
            raise Refusal(0x6A86)
        if not any(aid.startswith(command.data) and len(command.data) >= 5 for aid in self.aids):
            raise Refusal(0x6A82)
        self.clear_security_status()
        self.selected = True
        return self.selection()

    def selection(self) -> bytes:
        """What SELECT answers."""
        return b""

    def verify(self, command: Command) -> bytes:
        """VERIFY."""
        pin = self.pins.get(command.p2)
        if pin is None:
            raise Refusal(0x6A88)
        if command.data:
            pin.present(command.data)
        else:
            pin.ask()
        return b""


class MoreToCome(Exception):
    """61XX."""

    def __init__(self, part: bytes, left: int) -> None:
        super().__init__()
        self.part = part
        self.left = left


def tlv(tag: int, value: bytes) -> bytes:
    """BER-TLV with one of the definite lengths."""
    head = tag.to_bytes((tag.bit_length() + 7) // 8, "big")
    if len(value) < 0x80:
        return head + bytes([len(value)]) + value
    length = len(value).to_bytes((len(value).bit_length() + 7) // 8, "big")
    return head + bytes([0x80 | len(length)]) + length + value


def read_tlvs(data: bytes) -> dict[int, bytes]:
    """The data objects side by side in a template, one-byte tags only."""
    found: dict[int, bytes] = {}
    while data:
        tag, first, data = data[0], data[1], data[2:]
        if first & 0x80:
            size = first & 0x7F
            first, data = int.from_bytes(data[:size], "big"), data[size:]
        found[tag], data = data[:first], data[first:]
    return found


def atr(historical: bytes) -> bytes:
    """An ATR that offers T=0 and T=1, with up to 15 historical bytes."""
    body = bytes([0x80 | len(historical), 0x80, 0x01]) + historical
    check = 0
    for octet in body:
        check ^= octet
    return b"\x3b" + body + bytes([check])
