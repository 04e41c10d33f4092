"""Report on a running gateway: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from hsm_dicom.cli.render import output
from hsm_dicom.gateway.pages.status_json import status_document
from hsm_dicom.gateway.pages.wording import (
    certificate_look,
    describe_certificate_kind,
    describe_clock,
    describe_counts,
    describe_end,
    describe_objects,
    describe_span,
    describe_token,
    format_bytes,
    format_count,
    format_duration,
    format_time,
    is_clock_right,
)
from hsm_dicom.gateway.status import (
    CertificateStatus,
    GatewayStatus,
    ListenerStatus,
    RouteState,
    RouteStatus,
    TokenStatus,
)

_STYLES = {"good": output.GOOD, "bad": output.BAD, "question": output.UNSURE}


def print_gateway(status: GatewayStatus) -> None:
    """Print whether the gateway is ready, what needs a person, and then each of its parts."""
    _print_head(status)
    _print_conditions(status)
    if status.routes:
        _print_heading("Routes")
    for route in status.routes:
        _print_route(route, status.at)
    if status.listeners:
        _print_heading("Listeners")
    for listener in status.listeners:
        _print_listener(listener, status.at)
    if status.tokens:
        _print_heading("Tokens")
    for token in status.tokens:
        _print_token(token)
    if status.certificates:
        _print_heading("Certificates and CRLs")
        _print_certificates(status.certificates, status.at)


def gateway_json(status: GatewayStatus) -> dict[str, Any]:
    """Return the members of the document of a status, for `output.write_json("gateway-status", …)`."""
    return {name: value for name, value in status_document(status).items() if name != "schema"}


def _print_head(status: GatewayStatus) -> None:
    ready = status.is_ready and not status.is_draining
    state = "Draining" if status.is_draining else "Ready" if status.is_ready else "Not ready"
    output.outcome(ready, (state, "bold"), f": {status.problem}" if status.problem else "")
    age = describe_span((status.at - status.started).total_seconds())
    output.say(f"{status.host}, hsm-dicom {status.version}, started {age} ago; {format_time(status.at)}", indent=2)
    output.say(f"configuration {status.configuration}", indent=2)
    if status.clock is not None:
        style = output.QUIET if is_clock_right(status.clock) else output.BAD
        output.say((f"clock {describe_clock(status.clock)}", style), indent=2)
    if status.events_lost:
        output.say((f"events lost: {format_count(status.events_lost)}", output.BAD), indent=2)


def _print_conditions(status: GatewayStatus) -> None:
    if status.conditions:
        _print_heading("Needs a person")
    for condition in sorted(status.conditions, key=lambda one: (not one.is_urgent, one.since)):
        label, style = ("urgent", output.BAD) if condition.is_urgent else ("soon", output.UNSURE)
        since = f" ({describe_span((status.at - condition.since).total_seconds())})"
        output.say((label, style), "  ", condition.text, (since, output.QUIET), indent=2, hang=len(label) + 2)


def _print_route(route: RouteStatus, now: datetime) -> None:
    style = output.GOOD if route.state is RouteState.OPEN else output.BAD
    way = f"{', '.join(route.sources)} to {route.target}, {route.transport}, {describe_objects(route.objects)}"
    output.say((route.name, "bold"), "  ", (route.state.value, style), f"  {way}", indent=2, hang=2)
    if route.emergency is not None:
        setting = route.emergency
        text = f"EMERGENCY SETTING {setting.setting} until {setting.until.isoformat()}, set by {setting.operator}: "
        output.say((text + setting.reason, output.BAD), indent=4, hang=2)
    for line in _route_lines(route, now):
        output.say(line, indent=4, hang=2)
    if route.last_error:
        at = "" if route.last_error_at is None else f" {_ago(route.last_error_at, now)}"
        output.say((f"last error{at}: ", output.UNSURE), route.last_error, indent=4, hang=2)


def _route_lines(route: RouteStatus, now: datetime) -> Iterator[str]:
    used = "not used since the start" if route.last_used is None else f"last used {_ago(route.last_used, now)}"
    yield f"{output.count(route.associations, 'association')} now, {used}"
    refused = sum(route.refused.values())
    reasons = f" ({describe_counts(route.refused)})" if refused else ""
    yield (
        f"accepted {format_count(route.accepted)}, refused {format_count(refused)}{reasons}, "
        f"aborted {format_count(route.aborted)}"
    )
    instances = f"instances: {describe_counts(route.instances) or 'none'}; " if route.instances else ""
    if route.held:
        yield f"objects: {describe_counts(route.held)}"
    yield f"{instances}{format_bytes(route.octets_forth)} from source, {format_bytes(route.octets_back)} from target"


def _print_listener(listener: ListenerStatus, now: datetime) -> None:
    way = f"{listener.transport}, for {', '.join(listener.routes)}"
    output.say((listener.name, "bold"), f"  {way}", indent=2, hang=2)
    refused = sum(listener.refused.values())
    reasons = f" ({describe_counts(listener.refused)})" if refused else ""
    output.say(
        f"connections {format_count(listener.accepted)}: identified {format_count(listener.identified)}, "
        f"rejected {format_count(listener.rejected)}, refused {format_count(refused)}{reasons}, "
        f"left {format_count(listener.left)}",
        indent=4,
        hang=2,
    )
    if listener.last_refused is not None:
        output.say(f"last refused {_ago(listener.last_refused, now)}", indent=4, hang=2)


def _print_token(token: TokenStatus) -> None:
    look, state = describe_token(token)
    uses = f"uses {format_count(token.uses)}, failures {format_count(token.failures)}"
    mean = f", {format_duration(token.seconds / token.uses)} a use" if token.uses else ""
    output.say((token.name, "bold"), "  ", (state, _STYLES[look]), f"  {uses}{mean}", indent=2, hang=2)
    if token.identities:
        output.say(f"for {', '.join(token.identities)}", indent=4, hang=2)
    if token.problem:
        output.say(("problem: ", output.UNSURE), token.problem, indent=4, hang=2)


def _print_certificates(certificates: tuple[CertificateStatus, ...], now: datetime) -> None:
    rows = [(describe_end(one.ends, now), one) for one in sorted(certificates, key=lambda one: (one.ends, one.name))]
    width = max(len(left) for left, _ in rows)
    for left, one in rows:
        ends = f"  {one.ends:%Y-%m-%d}  "
        parts = (f"{describe_certificate_kind(one.kind)} ", one.name)
        style = _STYLES[certificate_look(one, now)]
        output.say((left.ljust(width), style), ends, *parts, indent=2, hang=width + len(ends))


def _print_heading(text: str) -> None:
    output.say("")
    output.say((text, "bold"))


def _ago(time: datetime, now: datetime) -> str:
    return f"{describe_span((now - time).total_seconds())} ago"
