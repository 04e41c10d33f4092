"""Settings of the gateway: frozen data classes, filled from the configuration or by a program.

ct = PlainDevice(name="ct1", ae_titles=("CT1",), addresses=("192.168.10.21",), reason="cannot be changed")
pacs = Peer(name="pacs", host="pacs.example", ae_titles=("PACS",))
route = RouteSettings(name="to-pacs", sources=(ct,), target=pacs, listen=("192.168.10.1", 104))
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from hsm_dicom.gateway.holding.settings import HoldingSettings
from hsm_dicom.gateway.services import DEFAULT_SERVICES, READING_SERVICES, Service
from hsm_dicom.gateway.status import ConditionKind
from hsm_dicom.network.addresses import Address
from hsm_dicom.network.errors import Mistake, raise_mistakes
from hsm_dicom.network.settings import Peer, find_bad_ae_title, find_bad_host

_SOCKET_NAME = re.compile(r"[ -9;-~]{1,255}")
"""What sd_listen_fds_with_names(3) can pass: printable ASCII without a colon."""

_MAPPED_BITS = 96
"""Bits before an IPv4 address that is written as IPv6."""

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

DICOM_PORT = 104
"""Registered port of DICOM without transport security (PS3.8, 9.1.1)."""


class Objects(StrEnum):
    """What a route does with the objects that pass it."""

    PASS = "pass"  # noqa: S105
    """Relay the octets."""
    INSPECT = "inspect"
    """Relay the octets, and report each instance: SOP Class, SOP Instance, study, status and size."""
    VERIFY = "verify"
    """Likewise, and relay only objects that meet a policy."""
    SIGN = "sign"
    """Likewise, and sign the objects that callers send."""
    VERIFY_AND_SIGN = "verify-and-sign"

    @property
    def inspects(self) -> bool:
        """Whether each instance is reported."""
        return self is not Objects.PASS

    @property
    def judges(self) -> bool:
        """Whether objects must meet a policy."""
        return self in (Objects.VERIFY, Objects.VERIFY_AND_SIGN)

    @property
    def signs(self) -> bool:
        """Whether objects are signed."""
        return self in (Objects.SIGN, Objects.VERIFY_AND_SIGN)

    @property
    def holds(self) -> bool:
        """Whether each object is held until it was judged or signed."""
        return self.judges or self.signs


@dataclass(frozen=True, kw_only=True)
class PlainDevice:
    """A device that speaks plain DICOM. Its AE title and its source address are all that identifies it.

    `addresses` are IP addresses or networks in CIDR notation that it may call from; without any, it may not
    call. `host` and `port` are where it accepts associations, if it does. `reason` is why it has no transport security;
    it is reported with each use.
    """

    name: str
    ae_titles: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    host: str | None = None
    port: int = DICOM_PORT
    reason: str

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        who = f"Plain device '{self.name}'"
        if not self.ae_titles:
            yield Mistake("ae_titles", f"{who} has no AE title.", "Name at least one.")
        for title in self.ae_titles:
            yield from find_bad_ae_title("ae_titles", title)
        for address in self.addresses:
            yield from _find_bad_network(address)
        if self.host is not None:
            yield from find_bad_host("host", who, self.host)
        if not self.reason.strip():
            what = f"{who} has no transport security, and no reason is given."
            yield Mistake("reason", what, 'Write it like reason = "cannot be changed, ticket 4711".')

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """`addresses` as networks. IPv4 addresses that are written as IPv6 are IPv4 (RFC 4291, 2.5.5.2)."""
        return tuple(_parse_network(address) for address in self.addresses)

    @property
    def ae_title(self) -> str:
        """The called AE title when this node connects to the device."""
        return self.ae_titles[0]


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
    `holding` is for a route that judges or signs objects.

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
    holding: HoldingSettings | None = None
    called_ae_title: str | None = None
    calling_ae_title: str | None = None
    limits: SourceLimits = field(default_factory=SourceLimits)
    associations: int = 64
    connect_seconds: float = 15.0
    request_seconds: float = 30.0
    idle_seconds: float = 3600.0

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        yield from self._find_bad_sides()
        bad_titles = tuple(self._find_bad_ae_titles())
        yield from bad_titles or self._find_strange_ae_titles()
        if self.objects.holds and self.holding is None:
            what = f'The route has objects = "{self.objects}", and no settings for the objects that it holds.'
            yield Mistake("objects", what, "Set holding.")
        if not self.services:
            yield Mistake("services", "The route admits no service.", 'Write it like services = ["echo", "storage"].')

    def _find_bad_ae_titles(self) -> Iterator[Mistake]:
        for title in self.called:
            yield from find_bad_ae_title("called", title)
        if self.called_ae_title is not None:
            yield from find_bad_ae_title("called_ae_title", self.called_ae_title)
        if self.calling_ae_title is not None:
            yield from find_bad_ae_title("calling_ae_title", self.calling_ae_title)

    def _find_strange_ae_titles(self) -> Iterator[Mistake]:
        """Yield the first called AE title that is not one of the target's, where the target would receive it."""
        sent = self.called_ae_titles if self.called_ae_title is None else (self.called_ae_title,)
        strange = [one for one in sent if one not in self.target.ae_titles]
        if strange:
            yield Mistake(
                "called" if self.called_ae_title is None else "called_ae_title",
                f"'{self.target.name}' would be called by the AE title {strange[0]}, which is not one of its own "
                f"({', '.join(self.target.ae_titles)}).",
                f'Write called_ae_title = "{self.target.ae_title}", or add {strange[0]} to the ae_titles of '
                f"'{self.target.name}'.",
            )

    def _find_bad_sides(self) -> Iterator[Mistake]:
        if not self.sources:
            yield Mistake("from", "No device or peer may use the route.", 'Write from = ["NAME"].')
        if sum(one is not None for one in (self.listen, self.socket, self.listener)) != 1:
            yield Mistake(
                "",
                "The route does not have exactly one entrance.",
                'Write one of: listen = "ADDRESS:PORT", socket = "NAME", listener = "NAME".',
            )
        if self.socket is not None and not _SOCKET_NAME.fullmatch(self.socket):
            yield Mistake(
                "socket",
                f"'{self.socket}' cannot be the name of a socket of systemd.",
                "Write what FileDescriptorName= in the socket unit has: ASCII characters without a colon.",
            )
        for source in self.sources:
            is_plain = isinstance(source, PlainDevice)
            if is_plain and self.listener is not None:
                yield Mistake(
                    "from",
                    f"'{source.name}' speaks plain DICOM, and the listener '{self.listener}' accepts secured "
                    "connections only.",
                    'Write listen = "ADDRESS:PORT" instead of listener, or name a peer.',
                )
            elif not is_plain and self.listener is None:
                yield Mistake(
                    "from",
                    f"'{source.name}' is a peer, which calls over a secured connection.",
                    'Write listener = "NAME" instead of listen or socket, or name a plain device.',
                )
        if self.target.host is None:
            yield Mistake(
                "to",
                f"This node cannot connect to '{self.target.name}': it has no host.",
                f"Write host = in [{'plain' if isinstance(self.target, PlainDevice) else 'peers'}.{self.target.name}].",
            )

    @property
    def plain_sources(self) -> tuple[PlainDevice, ...]:
        """The callers that speak plain DICOM."""
        return tuple(source for source in self.sources if isinstance(source, PlainDevice))

    @property
    def reading_services(self) -> frozenset[Service]:
        """The services by which plain callers, and anyone who imitates them, can read patients' data."""
        return frozenset(self.services & READING_SERVICES) if self.plain_sources else frozenset()

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
    """How an alarm is delivered."""

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

    def __post_init__(self) -> None:
        raise_mistakes(self._find_mistakes())

    def _find_mistakes(self) -> Iterator[Mistake]:
        if self.kind is AlarmKind.COMMAND and not self.command:
            what = f"The alarm '{self.name}' starts no command."
            yield Mistake("command", what, 'Write command = ["/PATH/OF/PROGRAM"].')
        elif self.kind is AlarmKind.COMMAND and not Path(self.command[0]).is_absolute():
            yield Mistake(
                "command",
                f"'{self.command[0]}' is not an absolute path.",
                "Write the whole path of the program, so that no other one of this name is started.",
            )


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Settings of the gateway as a whole. When it stops, associations may go on for `drain_seconds`."""

    drain_seconds: float = 60.0
    status: StatusSettings | None = None
    alarms: tuple[AlarmSettings, ...] = ()


def _find_bad_network(address: str) -> Iterator[Mistake]:
    try:
        ipaddress.ip_network(address)
    except ValueError:
        try:
            meant = f'Write "{ipaddress.ip_network(address, strict=False)}" for the network, or the address alone.'
        except ValueError:
            meant = "Write an IP address such as 192.168.10.21, or a network such as 192.168.10.0/24."
        yield Mistake("addresses", f"'{address}' is neither an IP address nor a network.", meant)


def _parse_network(text: str) -> IPNetwork:
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))
    return network
