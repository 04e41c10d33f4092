"""Settings of the gateway: frozen data classes, filled from the configuration or by a program.

ct = PlainDevice(name="ct1", ae_titles=("CT1",), addresses=("192.168.10.21",), reason="cannot be changed")
pacs = Peer(name="pacs", host="pacs.example", ae_titles=("PACS",))
route = RouteSettings(name="to-pacs", sources=(ct,), target=pacs, listen=("192.168.10.1", 104))
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hsm_dicom.gateway.services import DEFAULT_SERVICES, Service
from hsm_dicom.gateway.status import ConditionKind
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.settings import Peer

DICOM_PORT = 104
"""Registered port of DICOM without transport security (PS3.8, 9.1.1)."""


class Objects(StrEnum):
    """What a route does with the objects that pass it."""

    PASS = "pass"  # noqa: S105
    """Relay the octets."""
    INSPECT = "inspect"
    """Relay the octets, and report each instance: SOP Class, SOP Instance, study, status and size."""


@dataclass(frozen=True, kw_only=True)
class PlainDevice:
    """A device that speaks plain DICOM. Its AE title and its source address are all that identifies it.

    `addresses` are IP addresses or networks in CIDR notation that it may call from. `host` and `port` are where it
    accepts associations, if it does. `reason` is why it has no transport security; it is reported with each use.
    """

    name: str
    ae_titles: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    host: str | None = None
    port: int = DICOM_PORT
    reason: str


@dataclass(frozen=True, kw_only=True)
class SourceLimits:
    """What one source address may use of a route at most.

    `associations` are open at the same time, `associations_per_minute` are begun. `bytes_per_second` delays what the
    source sends beyond it; None means no limit.
    """

    associations: int = 16
    associations_per_minute: int = 600
    bytes_per_second: int | None = None


@dataclass(frozen=True, kw_only=True)
class RouteSettings:
    """One route: the callers, where they connect, and the application entity to which the association is relayed.

    Exactly one of `listen` (an address of this node for plain DICOM), `socket` (the name of a socket that systemd
    passes) and `listener` (the name of a secured listener) is set. `called` are the called AE titles of the route, by
    default those of the target. `called_ae_title` and `calling_ae_title` replace the titles of the request, in place.

    Times are in seconds: `connect_seconds` for the connection to the target with its handshake, `request_seconds` for
    the answer to the A-ASSOCIATE-RQ, `idle_seconds` without an octet in either direction before both sides are aborted.
    """

    name: str
    sources: tuple[PlainDevice | Peer, ...]
    target: PlainDevice | Peer
    listen: Address | None = None
    socket: str | None = None
    listener: str | None = None
    called: tuple[str, ...] = ()
    services: Set[Service] = field(default=DEFAULT_SERVICES)
    objects: Objects = Objects.INSPECT
    called_ae_title: str | None = None
    calling_ae_title: str | None = None
    limits: SourceLimits = field(default_factory=SourceLimits)
    associations: int = 64
    connect_seconds: float = 15.0
    request_seconds: float = 30.0
    idle_seconds: float = 3600.0

    @property
    def called_ae_titles(self) -> tuple[str, ...]:
        """The called AE titles by which callers choose this route."""
        return self.called or self.target.ae_titles


@dataclass(frozen=True, kw_only=True)
class StatusSettings:
    """Where the status page, `/metrics`, `/healthz` and `/readyz` are: a loopback address, or a Unix socket.

    `hosts` are further names of the host that a request may be for, such as that of a reverse proxy. Requests for
    `localhost` and for loopback addresses are always answered, others never, so that no web site can have a browser
    read the page under a name of its own (DNS rebinding).
    """

    listen: Address | None = None
    socket: Path | None = None
    hosts: tuple[str, ...] = ()


class AlarmKind(StrEnum):
    """How an alarm reaches somebody."""

    COMMAND = "command"
    SYSLOG = "syslog"


@dataclass(frozen=True, kw_only=True)
class AlarmSettings:
    """One way by which conditions that need a person are reported, once when they begin and once when they end.

    A command is started with one JSON object on its standard input, and ended after `seconds`. With `kinds`, only
    conditions of these kinds are reported.
    """

    name: str
    kind: AlarmKind
    command: tuple[str, ...] = ()
    facility: str = "daemon"
    kinds: frozenset[ConditionKind] = frozenset()
    seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Settings of the gateway as a whole. When it stops, associations may go on for `drain_seconds`."""

    drain_seconds: float = 60.0
    status: StatusSettings | None = None
    alarms: tuple[AlarmSettings, ...] = ()
