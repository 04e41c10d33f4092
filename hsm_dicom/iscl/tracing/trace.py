"""Explain a recorded exchange message by message, without any keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields

from hsm_dicom.iscl.errors import ISCLError
from hsm_dicom.iscl.protocol.connection import StateMachine
from hsm_dicom.iscl.protocol.states import State
from hsm_dicom.iscl.tracing.recording import Exchange
from hsm_dicom.iscl.wire.encoding import MessageReader
from hsm_dicom.iscl.wire.messages import (
    ACK,
    MAX_MESSAGE,
    NAK,
    AuthenticationMethod,
    DisconnectionRequest,
    DisconnectionResponse,
    Encryption,
    Mac,
    Message,
    OptionUse,
    describe,
    format_code,
    is_unique,
    key_index,
)
from hsm_dicom.iscl.wire.profile import Role, WireProfile


@dataclass
class Explained:
    """One message of an exchange.

    `state` is the receiver's state after it had arrived; `facts` are its fields, as text; `remark` is
    what was wrong with it, or None.
    """

    number: int
    sender: Role
    name: str
    facts: tuple[str, ...]
    state: State | None = None
    remark: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.number:4} {self.sender} {self.name}" + (f" -> {self.state}" if self.state else "")]
        lines += [f"            {fact}" for fact in self.facts]
        if self.remark:
            lines.append(f"       !!!  {self.remark}")
        return "\n".join(lines)


def explain(exchange: Exchange, profile: WireProfile | None = None) -> list[Explained]:
    """Explain every message of an exchange. A message that cannot be read ends the list with a remark."""
    return _Observer(profile or WireProfile()).observe(exchange)


class _Observer:
    """Replays an exchange between two ends that have no keys.

    Each end takes what was sent to it as late as it can, just before it sends something that it could not send
    otherwise: so requests that crossed on the line cross here.
    """

    def __init__(self, profile: WireProfile) -> None:
        self._profile = profile
        self._readers = {role: MessageReader(profile, keeps_octets=True) for role in Role}
        self._ends = {role: StateMachine(role, profile) for role in Role}
        self._waiting: dict[Role, deque[tuple[Explained, Message, bytes]]] = {role: deque() for role in Role}
        self._asked_to_disconnect: set[Role] = set()
        self._explained: list[Explained] = []

    def observe(self, exchange: Exchange) -> list[Explained]:
        for sender, octets in exchange:
            self._readers[sender].feed(octets)
            for message in self._messages(sender):
                self._see(sender, message, self._readers[sender].octets)
        for role in Role:
            self._deliver_all(role)
            if not self._readers[role].is_empty:
                self._add(role, "the recording ends within a message", ())
        return self._explained

    def _messages(self, sender: Role) -> Iterator[Message]:
        reader = self._readers[sender]
        try:
            while (message := reader.read(MAX_MESSAGE)) is not None:
                yield message
        except ISCLError as error:
            self._add(sender, "what follows cannot be read", ()).remark = _about(sender, error)
            self._readers[sender] = MessageReader(self._profile, keeps_octets=True)

    def _see(self, sender: Role, message: Message, octets: bytes) -> None:
        explained = self._add(sender, describe(type(message)), _facts(message))
        end = self._ends[sender]
        error = self._send(end, message)
        while error is not None and self._waiting[sender]:
            self._deliver(sender)
            error = self._send(end, message)
        if error is not None:
            explained.remark = _about(sender, error)
        if isinstance(message, DisconnectionRequest):
            self._asked_to_disconnect.add(sender)
        self._waiting[sender.peer].append((explained, message, octets))

    def _send(self, end: StateMachine, message: Message) -> ISCLError | None:
        try:
            end.send(message)
        except ISCLError as error:
            return error
        return None

    def _deliver_all(self, role: Role) -> None:
        while self._waiting[role]:
            self._deliver(role)

    def _deliver(self, role: Role) -> None:
        explained, message, octets = self._waiting[role].popleft()
        end = self._ends[role]
        if self._is_answered_elsewhere(role, message):
            explained.state = State.CLOSED
            return
        failed_before = end.error is not None
        end.receive_data(octets)
        try:
            end.next_event()
        except ISCLError as error:
            if not failed_before and explained.remark is None:
                explained.remark = _about(explained.sender, error)
        explained.state = end.state

    def _is_answered_elsewhere(self, role: Role, message: Message) -> bool:
        """Whether this answers a disconnection request that crossed the peer's, after which one end may close before
        it has seen, and recorded, the other one's answer."""
        awaited = role in self._asked_to_disconnect and self._ends[role].state is State.DISCONNECTING
        return isinstance(message, DisconnectionResponse) and awaited and self._ends[role].initiator is role.peer

    def _add(self, sender: Role, name: str, facts: tuple[str, ...]) -> Explained:
        explained = Explained(len(self._explained) + 1, sender, name, facts)
        self._explained.append(explained)
        return explained


def _about(sender: Role, error: ISCLError) -> str:
    """Describe an error of either end, with the sender of the message as the subject."""
    text = str(error)
    for subject in ("The peer ", "We "):
        text = text.replace(subject, f"The {sender} ")
    return text


def _facts(message: Message) -> tuple[str, ...]:
    facts = [_option(message)] if message.option != ACK or message.option_use is OptionUse.ANSWER else []
    for item in fields(message):
        if item.name != "option":
            facts.append(f"{item.name.replace('_', ' ')}: {_value(item.name, getattr(message, item.name))}")
    return tuple(facts)


def _option(message: Message) -> str:
    match message.option:
        case 0:
            return "ACK"
        case option if option == NAK:
            return "NAK"
        case option if message.option_use is OptionUse.DEVICE_RESULT:
            return f"the device failed: {option:#010x}"
        case option:
            return f"option: {option:#010x}"


def _value(name: str, value: int | bytes) -> str:
    match name, value:
        case (("version" | "authentication_data"), bytes()):
            return f"{value.decode('ascii', 'backslashreplace')!r}"
        case "data", bytes():
            return f"{len(value)} octets"
        case _, bytes():
            return value.hex()
        case "method", int():
            return format_code(AuthenticationMethod, value)
        case "encryption", int():
            return format_code(Encryption, value)
        case "mac", int():
            return format_code(Mac, value)
        case "encryption_key", int() if is_unique(value):
            index = key_index(value)
            return "a session key of this message, under " + (
                f"encryption key {index}" if index else "the key with the index of the authentication key"
            )
        case _:
            return str(value)
