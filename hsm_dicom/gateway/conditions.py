"""The conditions that need a person, found in parts of the status. Each text ends with what to do.

Pure functions. A condition's key stays the same for as long as it lasts; `keep_since` gives it the time at which it
began. Conditions that are seen in counts alone are found by `hsm_dicom.gateway.recent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from hsm_dicom.gateway.status import (
    CertificateStatus,
    ClockStatus,
    Condition,
    ConditionKind,
    GatewayStatus,
    RouteState,
    RouteStatus,
    TokenStatus,
)

ENDING_DAYS = (60, 30, 14, 7, 1)
"""Days before its end at which a certificate or a CRL is reported."""

_URGENT_DAYS = 7
_PART_OF_LIFE = 4
"""An end is reported in the last quarter of a validity period at most: many CRLs are valid for a week."""

_EMERGENCY_DAYS = (7, 1)
"""Days before an emergency setting lapses at which it is reported again."""

UNUSED_MEMBER_STATES = ("open", "half-open", "excluded")
"""States of a group's member that is not used."""


def find_conditions(status: GatewayStatus) -> list[Condition]:
    """Return the conditions in a status, except those of counts, the urgent ones first."""
    at = status.at
    found = [
        *find_token_conditions(status.tokens, at),
        *find_certificate_conditions(status.certificates, at),
        *(() if status.is_draining else find_route_conditions(status.routes, at)),
        *find_emergency_conditions(status.routes, at),
        *find_clock_conditions(status.clock, at),
        *find_event_conditions(status.events_lost, at),
    ]
    return sorted(found, key=lambda one: not one.is_urgent)


def keep_since(earlier: Iterable[Condition], found: Iterable[Condition]) -> tuple[Condition, ...]:
    """Return the conditions found, those that are among the earlier ones with the time at which they began."""
    begun = {one.key: one.since for one in earlier}
    return tuple(replace(one, since=begun.get(one.key, one.since)) for one in found)


def find_token_conditions(tokens: Iterable[TokenStatus], at: datetime) -> Iterator[Condition]:
    """Yield a condition for each token that cannot be used now."""
    for token in tokens:
        why = f": {token.problem.rstrip('.')}" if token.problem else ""
        if token.breaker in UNUSED_MEMBER_STATES:
            text = f"Token '{token.name}' is not used by {_identities(token)}{why}. "
            text += (
                f"Run hsm-dicom token info {token.name}, and reload the gateway when it is right."
                if token.breaker == "excluded"
                else "It is used again when a test signature succeeds; see that it has power, network and its service."
            )
        elif token.problem or not token.logged_in:
            text = (
                f"Token '{token.name}' cannot be used by {_identities(token)}{why or ': it is not logged in'}. See "
                f"that it has power, network and its service, then run hsm-dicom token info {token.name}."
            )
        else:
            continue
        yield Condition(
            key=f"token-lost/{token.name}", kind=ConditionKind.TOKEN_LOST, text=text, since=at, is_urgent=True
        )


def find_certificate_conditions(certificates: Iterable[CertificateStatus], at: datetime) -> list[Condition]:
    """Return a condition for each certificate and CRL that has ended, or ends soon.

    It begins `ENDING_DAYS[0]` days before the end, or in the last quarter of the validity period if that is shorter,
    and its stage rises at each of the days.
    """
    found: dict[str, Condition] = {}
    for one in certificates:
        condition = _find_ending(one, at)
        if condition is None:
            continue
        earlier = found.get(condition.key)
        if earlier is None or earlier.stage < condition.stage:
            found[condition.key] = condition
    return list(found.values())


def _find_ending(certificate: CertificateStatus, at: datetime) -> Condition | None:
    left = certificate.ends - at
    warned = timedelta(days=ENDING_DAYS[0])
    if certificate.begins is not None:
        warned = min(warned, (certificate.ends - certificate.begins) / _PART_OF_LIFE)
    if left > warned:
        return None
    is_crl = certificate.kind == "crl"
    has_ended = left <= timedelta(0)
    stage = sum(left <= timedelta(days=days) for days in ENDING_DAYS) + has_ended
    when = f"{certificate.ends:%Y-%m-%d %H:%M} UTC"
    what = _name_certificate(certificate)
    if has_ended:
        text = f"{what} is out of date since {when}." if is_crl else f"{what} expired on {when}."
    else:
        text = f"{what} ends in {_in_words(left)}, on {when}."
    return Condition(
        key=f"{certificate.kind}-ending/{certificate.name}/{certificate.subject}",
        kind=ConditionKind.CRL_ENDING if is_crl else ConditionKind.CERTIFICATE_ENDING,
        text=f"{text} {_CERTIFICATE_REMEDIES.get(certificate.kind, _CERTIFICATE_REMEDIES['anchor'])}",
        since=at,
        is_urgent=has_ended or left <= timedelta(days=1 if is_crl else _URGENT_DAYS),
        stage=stage,
    )


_CERTIFICATE_REMEDIES = {
    "identity": "Renew it (docs/howto/renew-a-certificate.md), then reload the gateway.",
    "chain": "Have the CA's new certificate put into the chain of the identity, then reload the gateway.",
    "anchor": "Have the CA's new certificate added to anchors in [trust], then reload the gateway.",
    "timestamp-anchor": "Have the CA's new certificate added to timestamp_anchors in [trust], then reload the gateway.",
    "intermediate": "Have the CA's new certificate added to intermediates in [trust], then reload the gateway.",
    "crl": "Fetch the CA's new CRL, then reload the gateway.",
}


def find_route_conditions(routes: Iterable[RouteStatus], at: datetime) -> Iterator[Condition]:
    """Yield a condition for each route that is down or closed."""
    for route in routes:
        why = f": {route.last_error.rstrip('.')}" if route.last_error else ""
        if route.state is RouteState.DOWN:
            down = why or f": its target '{route.target}' was not reached"
            text = f"Route '{route.name}' is down{down}."
        elif route.state is RouteState.CLOSED:
            text = f"Route '{route.name}' accepts no associations{why}."
        else:
            continue
        yield Condition(
            key=f"route-down/{route.name}",
            kind=ConditionKind.ROUTE_DOWN,
            text=f"{text} Run hsm-dicom gateway check, which says which side fails.",
            since=at,
            is_urgent=True,
        )


def find_emergency_conditions(routes: Iterable[RouteStatus], at: datetime) -> Iterator[Condition]:
    """Yield a condition for each route with an emergency setting; its stage rises before the setting lapses."""
    for route in routes:
        emergency = route.emergency
        if emergency is None:
            continue
        days = (emergency.until - at.date()).days
        last = "today is its last day" if days <= 0 else f"until {emergency.until:%Y-%m-%d}"
        yield Condition(
            key=f"emergency/{route.name}/{emergency.setting}",
            kind=ConditionKind.EMERGENCY,
            text=f"Route '{route.name}' runs with the emergency setting {emergency.setting}, {last}, set by "
            f"{emergency.operator} ({emergency.reason}). Remove the cause, then run hsm-dicom gateway emergency "
            f"{route.name} --end.",
            since=at,
            is_urgent=True,
            stage=sum(days <= limit for limit in _EMERGENCY_DAYS),
        )


def find_clock_conditions(clock: ClockStatus | None, at: datetime) -> Iterator[Condition]:
    """Yield a condition for a clock that is behind, was set, or is not synchronised."""
    if clock is None:
        return
    if clock.behind_seconds > 0:
        by = _in_words(_seconds(clock.behind_seconds))
        yield Condition(
            key="clock/behind",
            kind=ConditionKind.CLOCK,
            text=f"The system clock is {by} behind a time that it has shown before. Certificates are validated at "
            "the later time, so that none that has expired is accepted. Correct the clock; if the later time is wrong, "
            "remove clock.json from the state folder.",
            since=at,
            is_urgent=True,
        )
    if clock.stepped_at is not None:
        way = "forward" if clock.stepped_seconds > 0 else "back"
        yield Condition(
            key="clock/stepped",
            kind=ConditionKind.CLOCK,
            text=f"The system clock was set {way} by {_in_words(_seconds(clock.stepped_seconds))} at "
            f"{clock.stepped_at:%Y-%m-%d %H:%M} UTC. Times in records before and after cannot be compared; find out "
            "who or what set it.",
            since=at,
        )
    if clock.is_synchronised is False:
        yield Condition(
            key="clock/unsynchronised",
            kind=ConditionKind.CLOCK,
            text="The system clock is not synchronised. Start a time service (chrony, systemd-timesyncd) and see that "
            "it reaches its servers: timedatectl shows the state.",
            since=at,
        )


def find_event_conditions(lost: int, at: datetime) -> Iterator[Condition]:
    """Yield a condition if events were not recorded."""
    if lost:
        yield Condition(
            key="events-lost",
            kind=ConditionKind.EVENTS_LOST,
            text=f"{lost} events were not recorded since the gateway started. See the log for the reason, free space "
            "or correct [events], then restart the gateway.",
            since=at,
            is_urgent=True,
        )


def _identities(token: TokenStatus) -> str:
    names = ", ".join(f"'{name}'" for name in token.identities)
    return f"identity {names}" if len(token.identities) == 1 else f"identities {names}" if names else "any identity"


def _name_certificate(certificate: CertificateStatus) -> str:
    if certificate.kind == "identity":
        return f"The certificate '{certificate.subject}' of identity '{certificate.name}'"
    if certificate.kind == "chain":
        return f"The certificate '{certificate.subject}' in the chain of identity '{certificate.name}'"
    if certificate.kind == "crl":
        return f"The CRL {certificate.name} of '{certificate.subject}'"
    return f"The CA certificate '{certificate.subject}' ({certificate.name})"


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=abs(seconds))


def _in_words(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span.days} days"
    hours = span // timedelta(hours=1)
    if hours >= 2:
        return f"{hours} hours"
    minutes = span // timedelta(minutes=1)
    return f"{minutes} minutes" if minutes >= 2 else f"{span.total_seconds():.0f} seconds"
