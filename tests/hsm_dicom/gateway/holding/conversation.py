"""A route that signs, with both ends of an association whose every octet the test decides."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsm_dicom.gateway.events import ObjectHeld, ObjectRefused
from hsm_dicom.gateway.holding.holder import HoldingResources, open_holding
from hsm_dicom.gateway.holding.settings import HoldingSettings, SigningSettings
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.identity import Identity
from hsm_dicom.signatures.integrity import check_integrity
from hsm_dicom.validation import PolicyValidator
from tests.hsm_dicom.gateway.routes import (
    Gateway,
    Scripted,
    answered,
    associate_ac,
    gateway,
    scripted_target,
)
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import (
    CT,
    EXPLICIT,
    associate_rq,
    command,
    context,
    element,
    p_data,
    read_pdu,
    store_rq,
)

P_DATA, ABORT = 4, 7
_IS_COMMAND, _IS_LAST = 1, 2
REQUEST = associate_rq(context(1, CT, [EXPLICIT]), context(3), called=b"PACS")
ACCEPTED = associate_ac(answered(1, syntax=EXPLICIT), answered(3))


@dataclass
class Message:
    """One DIMSE message as a side received it. `longest` is the length of its longest PDU."""

    command: dict[int, bytes]
    data_set: bytes = b""
    longest: int = 0

    @property
    def field(self) -> int:
        return self.number(0x0100)

    @property
    def status(self) -> int:
        return self.number(0x0900)

    @property
    def comment(self) -> str:
        return self.command.get(0x0902, b"").decode().rstrip()

    def number(self, tag: int) -> int:
        return int.from_bytes(self.command[tag], "little")


def read_message(connection: socket.socket, *before: tuple[int, bytes]) -> Message:
    """The next message, some PDUs of which were read `before`. Raises EOFError at the end."""
    encoded, data_set, longest = b"", b"", 0
    came = list(before)
    while True:
        kind, body = came.pop(0) if came else read_pdu(connection)
        assert kind == P_DATA, kind
        longest = max(longest, len(body))
        at = 0
        while at < len(body):
            length = int.from_bytes(body[at : at + 4], "big")
            control, content = body[at + 5], body[at + 6 : at + 4 + length]
            at += 4 + length
            if not control & _IS_COMMAND:
                data_set += content
            else:
                encoded += content
            if control & _IS_LAST and not (control & _IS_COMMAND and _has_data_set(encoded)):
                return Message(_read_command(encoded), data_set, longest)


def _read_command(data: bytes) -> dict[int, bytes]:
    elements, at = {}, 0
    while at < len(data):
        number, length = (
            int.from_bytes(data[at + 2 : at + 4], "little"),
            int.from_bytes(data[at + 4 : at + 8], "little"),
        )
        elements[number] = data[at + 8 : at + 8 + length]
        at += 8 + length
    return elements


def _has_data_set(encoded: bytes) -> bool:
    return _read_command(encoded)[0x0800] != b"\1\1"


def store(uid: str, data: bytes, *, message_id: int = 1, fragment: int = 16000) -> bytes:
    """A C-STORE-RQ with its Data Set in context 1."""
    pieces = [data[at : at + fragment] for at in range(0, len(data), fragment)]
    return p_data(1, store_rq(uid, message_id=message_id), is_command=True) + b"".join(
        p_data(1, piece, last=number == len(pieces)) for number, piece in enumerate(pieces, 1)
    )


def store_rsp(status: int = 0, *, message_id: int = 1) -> bytes:
    """The response of a target."""
    return p_data(
        1,
        command(
            element(0x00000002, CT),
            element(0x00000100, 0x8001),
            element(0x00000120, message_id),
            element(0x00000800, 0x0101),
            element(0x00000900, status),
        ),
        is_command=True,
    )


@dataclass
class Image:
    """A CT image, and its Data Set as it is sent."""

    uid: str
    data: bytes = field(repr=False)

    @classmethod
    def make(cls, folder: Path, uid: str = "1.2.3.4", **wishes: Any) -> Image:
        return cls(uid, data_set_bytes(ct_image(folder, f"{uid}.dcm", uid=uid, **wishes)))


@dataclass
class Holding:
    """A route that holds objects, and the scripted target behind it."""

    running: Gateway
    target: Scripted
    folder: Path

    @property
    def held(self) -> list[ObjectHeld | ObjectRefused]:
        return [*self.running.of(ObjectHeld), *self.running.of(ObjectRefused)]

    @property
    def outcomes(self) -> list[str]:
        return [one.outcome for one in self.running.events if isinstance(one, ObjectHeld | ObjectRefused)]

    @property
    def parts(self) -> list[Path]:
        """The files of objects that are held now."""
        return list(self.folder.glob(".*.part"))

    @contextmanager
    def associated(self, request: bytes = REQUEST, answer: bytes = ACCEPTED) -> Iterator[tuple[socket.socket, Any]]:
        """Both ends of an association: the caller's and the target's."""
        with self.running.call() as caller:
            caller.sendall(request)
            with self.accept(request, answer) as far:
                assert read_pdu(caller)[0] == 2
                yield caller, far
        assert eventually(lambda: not self.parts), self.parts

    @contextmanager
    def accept(self, request: bytes = REQUEST, answer: bytes = ACCEPTED) -> Iterator[socket.socket]:
        """The target's end of the next connection, on which it has accepted the association."""
        with self.target.accept() as far:
            assert read_pdu(far)[1] == request[6:]
            far.sendall(answer)
            yield far


@contextmanager
def holding(
    folder: Path,
    identity: Identity | None,
    *,
    validator: PolicyValidator | None = None,
    signing: dict[str, Any] | None = None,
    **wishes: Any,
) -> Iterator[Holding]:
    """A route that signs with an identity, judges with a validator, or both."""
    settings = HoldingSettings(
        folder=folder / "held",
        policy=None if validator is None else "test",
        signing=None if identity is None else SigningSettings(identity="node", **(signing or {})),
        **{"minimum_free_mib": 0, "answer_seconds": 5.0} | wishes,
    )
    opening = open_holding("to-pacs", settings, identity, None if validator is None else lambda: validator)
    with opening as resources, scripted_target() as target:
        with running(target, resources) as found:
            yield Holding(found, target, settings.folder)
        assert not list(settings.folder.glob(".*.part"))


@contextmanager
def running(target: Scripted, resources: HoldingResources) -> Iterator[Gateway]:
    """The route alone, in front of a target."""
    with gateway(
        target.device,
        make_holder=resources.make_holder,
        make_tap=lambda address, count: Inspector("to-pacs", address, count),
    ) as found:
        yield found


def intact_signatures(folder: Path, data_set: bytes, like: Path) -> list[bool]:
    """Whether each signature in a Data Set is intact; its File Meta Information is that of another file."""
    head = like.read_bytes()[: -len(data_set_bytes(like))]
    path = folder / "received.dcm"
    path.write_bytes(head + data_set)
    return [one.intact for one in check_integrity(path).signatures]
