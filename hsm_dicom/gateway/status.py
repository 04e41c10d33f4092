"""What a running gateway reports about itself: frozen values, made on request.

The status page, `/metrics`, `gateway status` and the alarms read the same snapshot. It names routes, peers and tokens
by their names in the configuration, and holds no AE title, no address and no data of a patient that the network sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Literal, get_args


class RouteState(StrEnum):
    """Whether a route can be used."""

    OPEN = "open"
    DOWN = "down"
    """The last association could not be relayed, because the target was not reached."""
    CLOSED = "closed"
    """The route accepts no associations: it drains, or its address cannot be listened on."""


RefusalKind = Literal[
    "calling",
    "called",
    "address",
    "version",
    "limit",
    "target-down",
    "target-refused",
    "caller-left",
    "draining",
]
"""The kind of reason why an association was not relayed, as in the event `relay-refused`."""

REFUSAL_KINDS: tuple[RefusalKind, ...] = get_args(RefusalKind)
"""All of them."""


@dataclass(frozen=True, kw_only=True)
class EmergencyStatus:
    """An emergency setting of a route that replaces a configured one: by whom, why, and until when."""

    setting: str
    """Such as "objects = pass", or "plain"."""
    reason: str
    operator: str
    until: date


@dataclass(frozen=True, kw_only=True)
class RouteStatus:
    """One route. `octets_forth` came from its source, `octets_back` from its target."""

    name: str
    sources: tuple[str, ...]
    target: str
    transport: str
    """How the secured side is secured: "TLS", "ISCL", "ISCL in TLS"."""
    objects: str
    state: RouteState
    associations: int
    """Open now."""
    accepted: int
    """Associations since the start that the target accepted."""
    refused: Mapping[str, int]
    """Associations and connections that were not relayed, by the kind of reason (`REFUSAL_KINDS`)."""
    aborted: int
    octets_forth: int
    octets_back: int
    instances: Mapping[str, int] = field(default_factory=dict)
    """Instances by outcome (`hsm_dicom.gateway.inspect.Outcome`): "stored", "warning", "failed", "unanswered"; with
    them the messages that were "not-followed". Empty if the route does not inspect."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Objects that were held, by what became of them (`hsm_dicom.gateway.holding.outcomes.HeldOutcome`). Empty if the
    route holds none."""
    last_used: datetime | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    emergency: EmergencyStatus | None = None


@dataclass(frozen=True, kw_only=True)
class ListenerStatus:
    """An address at which callers arrive. Each connection is counted in one of the others when it is known what it is.

    `identified` requested an association that a route, or this node itself, served; `rejected` got an A-ASSOCIATE-RJ;
    `left` closed before they requested anything.
    """

    name: str
    """The name of a secured listener or of a socket, or host and port."""
    transport: str
    """How callers secure the connection: "TLS", "ISCL", "ISCL in TLS", or "plain DICOM"."""
    routes: tuple[str, ...]
    accepted: int
    identified: int
    rejected: int
    left: int
    refused: Mapping[str, int]
    """Connections that were refused before they requested an association, by the reason in their events."""
    last_refused: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class TokenStatus:
    """One token, or one member of a group of tokens."""

    name: str
    identities: tuple[str, ...]
    logged_in: bool
    breaker: str
    """"closed", "open" or "half-open" for a member of a group; empty for a token without one."""
    uses: int
    failures: int
    seconds: float
    """Sum of the seconds of all uses of its keys."""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class CertificateStatus:
    """A certificate or a CRL that the node works with, and when it ends."""

    kind: str
    """"identity", "chain", "anchor", "intermediate", "timestamp-anchor" or "crl"."""
    name: str
    """The identity's name, or the file."""
    subject: str
    ends: datetime
    days_left: int
    begins: datetime | None = None
    """Begin of the validity period, or the time at which a CRL was issued; None if it is not known."""


@dataclass(frozen=True, kw_only=True)
class ExceptionStatus:
    """Something weaker than usual that a person allowed until a day."""

    kind: str
    """"retired-profile" or "emergency"."""
    name: str
    """The table that it is for, such as "peers.pacs"."""
    ends: datetime


@dataclass(frozen=True, kw_only=True)
class ClockStatus:
    """The system clock of this machine, and whether validity can be checked by it."""

    is_synchronised: bool | None
    """Whether the kernel considers its clock synchronised (adjtimex(2)); None if it does not say."""
    stepped_seconds: float = 0.0
    """By how many seconds the clock was last set forward, or back if negative, while the gateway ran."""
    stepped_at: datetime | None = None
    """When that was noticed, if it was within the last day."""
    behind_seconds: float = 0.0
    """By how many seconds the clock is behind a time that it has shown before, if by more than is tolerated."""


class ConditionKind(StrEnum):
    """Kinds of conditions, by the names that the configuration of alarms uses."""

    TOKEN_LOST = "token-lost"  # noqa: S105
    """A token hangs, is not logged in, or is not used by its group."""
    CERTIFICATE_ENDING = "certificate-ending"
    CRL_ENDING = "crl-ending"
    ROUTE_DOWN = "route-down"
    LIMIT_REACHED = "limit-reached"
    OBJECTS_REFUSED = "objects-refused"
    """A route has refused an object, or relayed one in spite of a problem."""
    CLOCK = "clock"
    """The system clock is not synchronised, was set, or is behind a time that it has shown before."""
    EMERGENCY = "emergency"
    """An emergency setting is active."""
    EVENTS_LOST = "events-lost"
    """Events were not recorded."""
    ALARM_FAILED = "alarm-failed"
    """Another alarm could not be delivered."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Something that needs a person: `key` is the same for the same condition, until it is resolved."""

    key: str
    kind: ConditionKind
    text: str
    since: datetime
    is_urgent: bool = False
    stage: int = 0
    """Rises as the condition becomes more pressing, as when fewer days are left; it is then reported again."""


@dataclass(frozen=True, kw_only=True)
class GatewayStatus:
    """The whole gateway at one time."""

    version: str
    host: str
    started: datetime
    at: datetime
    is_ready: bool
    is_draining: bool
    problem: str
    configuration: str
    """SHA-256 of the configuration file that is active, in hexadecimal."""
    routes: tuple[RouteStatus, ...]
    tokens: tuple[TokenStatus, ...]
    certificates: tuple[CertificateStatus, ...]
    conditions: tuple[Condition, ...]
    listeners: tuple[ListenerStatus, ...] = ()
    events_lost: int = 0
    clock: ClockStatus | None = None
    exceptions: tuple[ExceptionStatus, ...] = ()
