"""Content of the status page: texts, looks and order, so that the template needs no logic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from hsm_dicom.gateway.holding.outcomes import TROUBLES
from hsm_dicom.gateway.inspect import Outcome
from hsm_dicom.gateway.pages.wording import (
    certificate_look,
    describe_certificate_kind,
    describe_clock,
    describe_counts,
    describe_end,
    describe_held,
    describe_objects,
    describe_span,
    describe_token,
    format_bytes,
    format_count,
    format_duration,
    format_time,
    is_clock_right,
)
from hsm_dicom.gateway.settings import Objects
from hsm_dicom.gateway.status import (
    CertificateStatus,
    Condition,
    EmergencyStatus,
    GatewayStatus,
    ListenerStatus,
    RouteState,
    RouteStatus,
    TokenStatus,
)

_INSTANCE_TILES = (
    (Outcome.STORED, "Stored", ""),
    (Outcome.WARNING, "Stored, warning", "question"),
    (Outcome.FAILED, "Not stored", "bad"),
    (Outcome.UNANSWERED, "No answer", "question"),
    (Outcome.NOT_FOLLOWED, "Not followed", "question"),
)
"""Outcomes of instances, with their name and their look if there are any."""

_ALWAYS = {Outcome.STORED, Outcome.WARNING, Outcome.FAILED}
"""Outcomes that are shown also if there are none."""

_ROUTE_LOOKS = {RouteState.OPEN: "good", RouteState.DOWN: "bad", RouteState.CLOSED: "historic"}


@dataclass(frozen=True)
class TimeView:
    """A time: for programs, for people, and how long ago it was."""

    machine: str
    text: str
    age: str


@dataclass(frozen=True)
class Tile:
    """A number with its unit or detail, under its name. `look` marks one that needs attention."""

    name: str
    value: str
    detail: str = ""
    look: str = ""


@dataclass(frozen=True)
class ConditionView:
    """A condition that needs a person."""

    look: str
    label: str
    text: str
    since: TimeView


@dataclass(frozen=True)
class EmergencyView:
    """An emergency setting, with the time that is left."""

    setting: str
    reason: str
    operator: str
    until: str
    is_over: bool


@dataclass(frozen=True)
class RouteView:
    """One route as the page shows it."""

    name: str
    look: str
    state: str
    sources: tuple[str, ...]
    target: str
    facts: tuple[str, ...]
    tiles: tuple[Tile, ...]
    emergency: EmergencyView | None
    last_used: TimeView | None
    last_error: str
    last_error_at: TimeView | None


@dataclass(frozen=True)
class ListenerView:
    """One listener as the page shows it."""

    name: str
    transport: str
    routes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    last_refused: TimeView | None


@dataclass(frozen=True)
class TokenView:
    """One token as the page shows it."""

    name: str
    look: str
    state: str
    identities: str
    tiles: tuple[Tile, ...]
    problem: str


@dataclass(frozen=True)
class CertificateView:
    """One certificate or CRL as the page shows it."""

    look: str
    left: str
    ends: TimeView
    kind: str
    name: str
    """Empty if the subject is all there is to name it by."""
    subject: str


@dataclass(frozen=True)
class PageView:
    """The whole page."""

    look: str
    title: str
    problem: str
    host: str
    at: TimeView
    started: TimeView
    version: str
    configuration: str
    clock: str
    clock_look: str
    events_lost: int
    tiles: tuple[Tile, ...]
    conditions: tuple[ConditionView, ...]
    routes: tuple[RouteView, ...]
    listeners: tuple[ListenerView, ...]
    tokens: tuple[TokenView, ...]
    certificates: tuple[CertificateView, ...]


def page_view(status: GatewayStatus) -> PageView:
    """Return the content of the page: urgent conditions and certificates that end soon come first."""
    look, title = _headline(status)
    conditions = sorted(status.conditions, key=lambda one: (not one.is_urgent, one.since))
    certificates = sorted(status.certificates, key=lambda one: (one.ends, one.kind, one.name))
    return PageView(
        look=look,
        title=title,
        problem=status.problem,
        host=status.host,
        at=_time_view(status.at, status.at),
        started=_time_view(status.started, status.at),
        version=status.version,
        configuration=status.configuration,
        clock="" if status.clock is None else describe_clock(status.clock),
        clock_look="bad" if status.clock is not None and not is_clock_right(status.clock) else "",
        events_lost=status.events_lost,
        tiles=tuple(_summary(status, certificates)),
        conditions=tuple(_condition_view(one, status.at) for one in conditions),
        routes=tuple(_route_view(one, status.at) for one in status.routes),
        listeners=tuple(_listener_view(one, status.at) for one in status.listeners),
        tokens=tuple(_token_view(one) for one in status.tokens),
        certificates=tuple(_certificate_view(one, status.at) for one in certificates),
    )


def _headline(status: GatewayStatus) -> tuple[str, str]:
    if status.is_draining:
        return "historic", "Draining"
    if not status.is_ready:
        return "bad", "Not ready"
    if any(condition.is_urgent for condition in status.conditions):
        return "question", "Ready, but a person is needed now"
    if status.conditions:
        return "question", "Ready, but a person is needed"
    return "good", "Ready"


def _summary(status: GatewayStatus, certificates: Iterable[CertificateStatus]) -> Iterable[Tile]:
    is_open = sum(route.state is RouteState.OPEN for route in status.routes)
    yield Tile(
        "Routes open",
        f"{is_open} of {len(status.routes)}",
        look="" if is_open == len(status.routes) else "bad",
    )
    yield Tile("Associations now", format_count(sum(route.associations for route in status.routes)))
    usable = sum(describe_token(token)[0] == "good" for token in status.tokens)
    yield Tile("Tokens in use", f"{usable} of {len(status.tokens)}", look="" if usable == len(status.tokens) else "bad")
    first = next(iter(certificates), None)
    if first is not None:
        look = certificate_look(first, status.at)
        yield Tile(
            "First to end",
            describe_end(first.ends, status.at),
            first.name,
            look="" if look == "good" else look,
        )


def _condition_view(condition: Condition, now: datetime) -> ConditionView:
    look, label = ("bad", "urgent") if condition.is_urgent else ("question", "soon")
    return ConditionView(look, label, condition.text, _time_view(condition.since, now))


def _route_view(route: RouteStatus, now: datetime) -> RouteView:
    return RouteView(
        name=route.name,
        look="bad" if route.emergency is not None else _ROUTE_LOOKS[route.state],
        state=route.state.value,
        sources=route.sources,
        target=route.target,
        facts=(route.transport, describe_objects(route.objects)),
        tiles=tuple(_route_tiles(route)),
        emergency=None if route.emergency is None else _emergency_view(route.emergency, now),
        last_used=None if route.last_used is None else _time_view(route.last_used, now),
        last_error=route.last_error,
        last_error_at=None if route.last_error_at is None else _time_view(route.last_error_at, now),
    )


def _route_tiles(route: RouteStatus) -> Iterable[Tile]:
    yield Tile("Open now", format_count(route.associations))
    yield Tile("Accepted", format_count(route.accepted))
    refused = sum(route.refused.values())
    yield Tile("Refused", format_count(refused), describe_counts(route.refused), look="question" if refused else "")
    yield Tile("Aborted", format_count(route.aborted), look="question" if route.aborted else "")
    if route.instances or route.objects != Objects.PASS:
        for outcome, name, look in _INSTANCE_TILES:
            count = route.instances.get(outcome, 0)
            if count or outcome in _ALWAYS:
                yield Tile(name, format_count(count), look=look if count else "")
    for word, count in sorted(route.held.items()):
        yield Tile(describe_held(word), format_count(count), look="bad" if count and word in TROUBLES else "")
    yield Tile("From source", format_bytes(route.octets_forth))
    yield Tile("From target", format_bytes(route.octets_back))


def _emergency_view(emergency: EmergencyStatus, now: datetime) -> EmergencyView:
    return EmergencyView(
        setting=emergency.setting,
        reason=emergency.reason,
        operator=emergency.operator,
        until=emergency.until.isoformat(),
        is_over=emergency.until < now.astimezone(UTC).date(),
    )


def _listener_view(listener: ListenerStatus, now: datetime) -> ListenerView:
    refused = sum(listener.refused.values())
    tiles = (
        Tile("Connections", format_count(listener.accepted)),
        Tile("Identified", format_count(listener.identified)),
        Tile("Rejected", format_count(listener.rejected), look="question" if listener.rejected else ""),
        Tile("Refused", format_count(refused), describe_counts(listener.refused), look="question" if refused else ""),
        Tile("Left", format_count(listener.left)),
    )
    last = None if listener.last_refused is None else _time_view(listener.last_refused, now)
    return ListenerView(listener.name, listener.transport, listener.routes, tiles, last)


def _token_view(token: TokenStatus) -> TokenView:
    look, state = describe_token(token)
    tiles = [
        Tile("Uses", format_count(token.uses)),
        Tile("Failures", format_count(token.failures), look="question" if token.failures else ""),
        Tile("Mean of a use", format_duration(token.seconds / token.uses) if token.uses else "none yet"),
    ]
    if token.breaker:
        tiles.append(Tile("Breaker", token.breaker, look="" if token.breaker == "closed" else look))
    return TokenView(
        name=token.name,
        look="question" if look == "good" and token.problem else look,
        state=state,
        identities=", ".join(token.identities),
        tiles=tuple(tiles),
        problem=token.problem,
    )


def _certificate_view(certificate: CertificateStatus, now: datetime) -> CertificateView:
    return CertificateView(
        look=certificate_look(certificate, now),
        left=describe_end(certificate.ends, now),
        ends=_time_view(certificate.ends, now),
        kind=describe_certificate_kind(certificate.kind),
        name="" if certificate.name == certificate.subject else certificate.name,
        subject=certificate.subject,
    )


def _time_view(time: datetime, now: datetime) -> TimeView:
    return TimeView(
        machine=time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        text=format_time(time),
        age=f"{describe_span((now - time).total_seconds())} ago",
    )
