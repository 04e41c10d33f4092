"""A route that runs for a test, the caller's end of it, and a target whose every octet the test decides."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hsm_dicom import events
from hsm_dicom.events import Event
from hsm_dicom.gateway.entrance import Entrance
from hsm_dicom.gateway.hold import MakeHolder
from hsm_dicom.gateway.route import Route
from hsm_dicom.gateway.settings import PlainDevice, RouteSettings, SourceLimits
from hsm_dicom.gateway.tap import MakeTap
from hsm_dicom.gateway.targets import PlainTarget, Target
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.settings import Limits, Peer
from hsm_dicom.transport.plain import PlainTransport
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.network.pdus import APPLICATION_CONTEXT, IMPLICIT, USER_INFORMATION, item, pdu, read_exactly

LOOPBACK = "127.0.0.1"
LIMITS = Limits(
    unidentified=256, unidentified_per_address=256, yield_seconds=0.2, handshake_seconds=2.0, request_seconds=2.0
)
CT1 = PlainDevice(name="ct1", ae_titles=("CT1",), addresses=(LOOPBACK,), reason="cannot be changed")


@dataclass
class Gateway:
    """A route with its listener, and everything that was reported while it ran."""

    route: Route
    listener: Listener
    events: list[Event] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.listener.address[1]

    def call(self, origin: str = LOOPBACK) -> socket.socket:
        """A connection of a caller."""
        return socket.create_connection((LOOPBACK, self.port), timeout=10, source_address=(origin, 0))

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def only(self, kind: type[Event]) -> Any:
        """The one event of a kind, which may come a little later than what a side saw."""
        assert eventually(lambda: self.of(kind)), self.events
        (event,) = self.of(kind)
        return event


@contextmanager
def gateway(
    to: PlainDevice | Peer,
    *,
    target: Target | None = None,
    make_tap: MakeTap | None = None,
    make_holder: MakeHolder | None = None,
    source_limits: SourceLimits | None = None,
    limits: Limits = LIMITS,
    transform: Callable[[Route], Any] = lambda route: Entrance("plain", [route]).serve,
    **wishes: Any,
) -> Iterator[Gateway]:
    """A route from CT1 to a target, on a port of its own. At its end, nothing may be left open."""
    defaults: dict[str, Any] = {"name": "to-pacs", "sources": (CT1,), "listen": (LOOPBACK, 0), "connect_seconds": 5.0}
    settings = RouteSettings(target=to, limits=source_limits or SourceLimits(), **defaults | wishes)
    if target is None:
        assert isinstance(to, PlainDevice)
        target = PlainTarget(to, settings.connect_seconds)
    route = Route(settings, target, make_tap, make_holder)
    told: list[Event] = []
    with (
        events.subscribe(told.append),
        Listener("plain", (LOOPBACK, 0), PlainTransport(), transform(route), limits) as listener,
    ):
        try:
            yield Gateway(route, listener, told)
        finally:
            route.close()
            route.drain(0.0)
    assert route.is_idle


@dataclass
class Scripted:
    """A listening socket that stands for a target."""

    server: socket.socket
    device: PlainDevice

    def accept(self) -> socket.socket:
        """The next connection of the gateway."""
        connection, _ = self.server.accept()
        connection.settimeout(10)
        return connection


@contextmanager
def scripted_target() -> Iterator[Scripted]:
    """A target whose end of each connection belongs to the test."""
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(10)
        port = server.getsockname()[1]
        yield Scripted(server, plain_target(port))


def plain_target(port: int, ae_title: str = "PACS") -> PlainDevice:
    return PlainDevice(name="pacs", ae_titles=(ae_title,), host=LOOPBACK, port=port, reason="a test")


def answered(number: int, result: int = 0, syntax: str = IMPLICIT) -> bytes:
    """The answer to a presentation context in an A-ASSOCIATE-AC."""
    return item(0x21, bytes([number, 0, result, 0]) + item(0x40, syntax.encode()))


def associate_ac(*answers: bytes, calling: bytes = b"CT1", called: bytes = b"PACS") -> bytes:
    """An A-ASSOCIATE-AC; without answers, one for context 1."""
    return pdu(
        2,
        b"\0\1\0\0"
        + called.ljust(16)
        + calling.ljust(16)
        + bytes(32)
        + item(0x10, APPLICATION_CONTEXT)
        + b"".join(answers or [answered(1)])
        + item(0x50, USER_INFORMATION),
    )


def release_rq() -> bytes:
    return pdu(5, bytes(4))


def release_rp() -> bytes:
    return pdu(6, bytes(4))


def abort_pdu(source: int = 0, reason: int = 0) -> bytes:
    return pdu(7, bytes([0, 0, source, reason]))


@contextmanager
def established(
    running: Gateway, target: Scripted, request: bytes, answer: bytes
) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of an association that the target has accepted: the caller's and the target's."""
    with running.call() as caller:
        caller.sendall(request)
        with target.accept() as far:
            assert read_exactly(far, len(request))
            far.sendall(answer)
            assert read_exactly(caller, len(answer))
            yield caller, far
