"""Tables of the gateway: plain devices, routes, and how the gateway reports about itself.

    [plain.ct1]
    ae_titles = ["CT1"]
    addresses = ["192.168.10.21"]
    host      = "192.168.10.21"
    reason    = "cannot be changed, ticket 4711"

    [routes.to-pacs]
    from   = ["ct1"]
    listen = "192.168.10.1:104"
    to     = "pacs"                 # [peers.pacs]

    [routes.to-ct1]                 # C-MOVE sub-operations, storage commitment reports
    from     = ["pacs"]
    listener = "main"               # [listeners.main]
    to       = "ct1"

Only their form is checked here; names, addresses and AE titles are checked where they are compiled
(`hsm_dicom.node.compiler`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from hsm_dicom.config.addresses import ListenAddress, parse_listen_address
from hsm_dicom.config.base import FilePath, Section, Text
from hsm_dicom.config.holding_section import HoldingKeys
from hsm_dicom.config.network_sections import Places, Port, Seconds

Listen = Annotated[ListenAddress, PlainValidator(parse_listen_address)]
Names = Annotated[tuple[Text, ...], Field(min_length=1)]
IdleSeconds = Annotated[float, Field(gt=0, le=86400)]

ServiceName = Literal["echo", "storage", "commitment", "query-retrieve", "worklist", "mpps", "print", "private", "any"]
"""The names of `hsm_dicom.gateway.services.Service`."""

ConditionName = Literal[
    "token-lost",
    "certificate-ending",
    "crl-ending",
    "route-down",
    "limit-reached",
    "objects-refused",
    "clock",
    "emergency",
    "events-lost",
    "alarm-failed",
]
"""The names of `hsm_dicom.gateway.status.ConditionKind`."""

FacilityName = Literal[
    "daemon", "user", "auth", "authpriv", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]


class PlainSection(Section):
    """`[plain.NAME]`: a device that supports neither TLS nor ISCL, identified by its AE titles and its address only."""

    ae_titles: Names
    """The AE titles that it uses as calling AE title. They are also the called AE titles of routes to it."""
    addresses: tuple[Text, ...] = ()
    """The IP addresses that it may call from, or networks such as 192.168.10.0/24. Required if it calls."""
    host: Text | None = None
    """Its host name or address; required if a route leads to it."""
    port: Port = 104
    """Its port."""
    reason: Text
    """Why it has no transport security. Logged with each use."""


class RouteSection(HoldingKeys):
    """`[routes.NAME]`: associations from some devices or peers, relayed to another one.

    At least one side is a peer, whose connection is secured with TLS or ISCL.
    """

    sources: Names = Field(alias="from")
    """Who may use the route: NAMEs of `[plain.NAME]` with `listen` or `socket`, of `[peers.NAME]` with `listener`."""
    listen: Listen | None = None
    """The address and port on which plain devices call, such as 192.168.10.1:104 or [2001:db8::1]:104. Several routes
    may have the same."""
    socket: Text | None = None
    """Instead of `listen`: the name of a socket that systemd passes (FileDescriptorName=)."""
    listener: Text | None = None
    """Instead of `listen`: the NAME of the `[listeners.NAME]` on which peers call."""
    to: Text
    """Where associations are relayed to: the NAME of a `[peers.NAME]` or `[plain.NAME]` with a host."""
    called: tuple[Text, ...] = ()
    """The called AE titles by which callers choose this route; by default those of the target."""
    services: Annotated[tuple[ServiceName, ...], Field(min_length=1)] = ("echo", "storage", "commitment")
    """The DICOM services that the route admits. query-retrieve, worklist, private and any let callers read patients'
    data."""
    objects: Literal["pass", "inspect", "verify", "sign", "verify-and-sign"] = "inspect"
    """pass: relay only. inspect: also report each instance (UIDs, status, size) as an event and in the metrics. verify:
    also relay only objects that meet `policy`. sign: also sign the objects that callers send. verify-and-sign: both."""
    called_ae_title: Text | None = None
    """The called AE title that the target receives, instead of the caller's."""
    calling_ae_title: Text | None = None
    """The calling AE title that the target receives, instead of the caller's. Breaks C-MOVE and storage commitment."""
    associations: Places = 64
    """The number of associations at the same time."""
    associations_per_source: Places = 16
    """The number of these from one address."""
    associations_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 600
    """The number of associations that one address may begin in a minute."""
    mib_per_second: Annotated[float | None, Field(gt=0, le=100_000, allow_inf_nan=False)] = None
    """What one address may send in a second, in MiB (1048576 bytes); by default without limit. More is delayed."""
    connect_seconds: Seconds = 15.0
    """Seconds for the connection to the target, with its handshake."""
    request_seconds: Seconds = 30.0
    """Seconds for the caller's association request, and for the target's answer to it."""
    idle_seconds: IdleSeconds = 3600.0
    """Seconds without data in either direction after which both associations are aborted."""

    @model_validator(mode="after")
    def _has_one_entrance(self) -> Self:
        given = [name for name in ("listen", "socket", "listener") if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError("entrance", "{given}", {"given": " and ".join(given)})
        return self


class GatewaySection(Section):
    """`[gateway]`: the gateway as a whole."""

    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 60.0
    """Seconds for open associations when the gateway stops, before both sides are aborted."""


class StatusSection(Section):
    """`[status]`: the status page of the gateway, with `/metrics`, `/healthz` and `/readyz`.

    Without this table, there is no status page.
    """

    listen: Listen | None = None
    """A loopback address and a port, such as 127.0.0.1:9762. For other machines, put a reverse proxy before it."""
    socket: FilePath | None = None
    """Instead of `listen`: the path of a Unix socket."""
    hosts: tuple[Text, ...] = ()
    """Names of the host by which a reverse proxy is reached; requests for other names than these and localhost are
    refused."""

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.listen is None) is (self.socket is None):
            raise PydanticCustomError("status_address", "")
        return self


class AlarmSection(Section):
    """`[alarms.NAME]`: a command or a syslog facility that is notified of conditions which need a person.

    Each condition is reported once when it begins, and once when it is resolved.
    """

    command: Annotated[tuple[Text, ...] | None, Field(min_length=1)] = None
    """A program and its arguments; it receives one JSON object on its standard input. The program is an absolute path.
    """
    syslog: FacilityName | None = None
    """Instead of `command`: a facility of the local syslog."""
    kinds: frozenset[ConditionName] = frozenset()
    """The kinds of conditions that are reported; by default all of them."""
    seconds: Seconds = 30.0
    """Seconds after which the command is ended."""

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if (self.command is None) is (self.syslog is None):
            raise PydanticCustomError("alarm_kind", "")
        return self
