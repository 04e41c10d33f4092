"""The metrics of a gateway in the text format of Prometheus, made from one status.

Labels are names of the configuration, or words of fixed sets: what the network sends changes values, and adds no
series. A label that a status has beyond its set counts as "other".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import groupby

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from hsm_dicom.gateway.holding.outcomes import HeldOutcome
from hsm_dicom.gateway.inspect import Outcome
from hsm_dicom.gateway.pages.status_json import encodable
from hsm_dicom.gateway.status import (
    REFUSAL_KINDS,
    CertificateStatus,
    ExceptionStatus,
    GatewayStatus,
    ListenerStatus,
    RouteState,
    RouteStatus,
    TokenStatus,
)
from hsm_dicom.network.unidentified.pending import REFUSAL_REASONS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The format that every version of Prometheus reads."""

PREFIX = "hsm_dicom"

ACCEPTED, OTHER = "accepted", "other"

INSTANCE_OUTCOMES = tuple(Outcome)
HELD_OUTCOMES = tuple(HeldOutcome)

_CRL = "crl"


class StatusCollector(Collector):
    """Reads one status when Prometheus asks, and keeps nothing between two scrapes."""

    def __init__(self, snapshot: Callable[[], GatewayStatus]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that no status is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, also those without a sample."""
        status = self._snapshot()
        yield from _describe_gateway(status)
        yield from _describe_routes(status.routes)
        yield from _describe_listeners(status.listeners)
        yield from _describe_tokens(status.tokens)
        yield from _describe_certificates(status.certificates)
        yield _describe_exceptions(status.exceptions)


def metrics_text(status: GatewayStatus) -> bytes:
    """Return what Prometheus reads, for one status."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(lambda: status))
    return generate_latest(registry)


def _describe_gateway(status: GatewayStatus) -> Iterator[Metric]:
    yield _gauge("ready", "Whether the gateway is ready (1) or not (0), as /readyz answers.", status.is_ready)
    yield _gauge("draining", "Whether the gateway accepts no more associations, because it stops.", status.is_draining)
    yield _gauge("start_timestamp", "When the gateway started, in Unix time (seconds).", status.started.timestamp())
    conditions = GaugeMetricFamily(
        f"{PREFIX}_conditions", "Conditions that need a person, by whether they are urgent.", labels=("urgent",)
    )
    for urgent in (True, False):
        count = sum(condition.is_urgent == urgent for condition in status.conditions)
        conditions.add_metric([str(urgent).lower()], count)
    yield conditions
    yield CounterMetricFamily(
        f"{PREFIX}_events_lost", "Events that were not written to the event file.", value=status.events_lost
    )
    yield _gauge(
        "clock_synchronised",
        "Whether the kernel considers its clock synchronised (1) or not (0); NaN if it does not say.",
        math.nan if status.clock is None or status.clock.is_synchronised is None else status.clock.is_synchronised,
    )
    yield InfoMetricFamily(
        f"{PREFIX}_gateway", "The version of hsm-dicom.", value={"version": encodable(status.version)}
    )


def _describe_routes(routes: Iterable[RouteStatus]) -> Iterator[Metric]:
    up = GaugeMetricFamily(f"{PREFIX}_route_up", "Whether the route can be used: its state is open.", labels=("route",))
    emergency = GaugeMetricFamily(
        f"{PREFIX}_route_emergency", "Whether an emergency setting is active on the route.", labels=("route",)
    )
    open_now = GaugeMetricFamily(f"{PREFIX}_associations_open", "Associations that are open now.", labels=("route",))
    associations = CounterMetricFamily(
        f"{PREFIX}_associations",
        "Associations by outcome: accepted by the target, or the kind of the reason why it was not relayed.",
        labels=("route", "outcome"),
    )
    aborted = CounterMetricFamily(
        f"{PREFIX}_associations_aborted", "Accepted associations that ended with an abort.", labels=("route",)
    )
    octets = CounterMetricFamily(
        f"{PREFIX}_bytes",
        'Bytes of PDUs that were relayed: "forth" from the source, "back" from the target.',
        labels=("route", "direction"),
    )
    instances = CounterMetricFamily(
        f"{PREFIX}_instances",
        "Instances by the outcome of their C-STORE. Only routes that inspect count them.",
        labels=("route", "outcome"),
    )
    held = CounterMetricFamily(
        f"{PREFIX}_objects_held",
        "Objects that a route judged or signed, by what became of them.",
        labels=("route", "outcome"),
    )
    last_used = GaugeMetricFamily(
        f"{PREFIX}_route_last_used_timestamp",
        "When the route was used last, in Unix time (seconds); 0 if it was not used since the start.",
        labels=("route",),
    )
    for route in routes:
        name = encodable(route.name)
        up.add_metric([name], route.state is RouteState.OPEN)
        emergency.add_metric([name], route.emergency is not None)
        open_now.add_metric([name], route.associations)
        associations.add_metric([name, ACCEPTED], route.accepted)
        for kind, count in _within(REFUSAL_KINDS, route.refused):
            associations.add_metric([name, kind], count)
        aborted.add_metric([name], route.aborted)
        octets.add_metric([name, "forth"], route.octets_forth)
        octets.add_metric([name, "back"], route.octets_back)
        for outcome, count in _within(INSTANCE_OUTCOMES, route.instances):
            instances.add_metric([name, outcome], count)
        for outcome, count in _within(HELD_OUTCOMES, route.held):
            held.add_metric([name, outcome], count)
        last_used.add_metric([name], _seconds(route.last_used))
    yield from (up, emergency, open_now, associations, aborted, octets, instances, held, last_used)


def _describe_listeners(listeners: Iterable[ListenerStatus]) -> Iterator[Metric]:
    connections = CounterMetricFamily(
        f"{PREFIX}_connections",
        "Connections by outcome: identified, rejected, left, or the reason why they were refused before that.",
        labels=("listener", "outcome"),
    )
    for listener in listeners:
        name = encodable(listener.name)
        for outcome, count in (
            ("identified", listener.identified),
            ("rejected", listener.rejected),
            ("left", listener.left),
            *_within(REFUSAL_REASONS, listener.refused),
        ):
            connections.add_metric([name, outcome], count)
    yield connections


def _describe_tokens(tokens: Iterable[TokenStatus]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        f"{PREFIX}_token_up",
        "Whether the token can be used: it is logged in, and not left out because it failed.",
        labels=("token",),
    )
    uses = SummaryMetricFamily(
        f"{PREFIX}_key_use_seconds", "Uses of the token's keys, and their duration in seconds.", labels=("token",)
    )
    failures = CounterMetricFamily(
        f"{PREFIX}_key_use_failures", "Uses of the token's keys that failed.", labels=("token",)
    )
    for token in tokens:
        name = encodable(token.name)
        up.add_metric([name], token.logged_in and token.breaker in ("", "closed"))
        uses.add_metric([name], count_value=token.uses, sum_value=token.seconds)
        failures.add_metric([name], token.failures)
    yield from (up, uses, failures)


def _describe_certificates(certificates: Iterable[CertificateStatus]) -> Iterator[Metric]:
    expires = GaugeMetricFamily(
        f"{PREFIX}_certificate_expires_timestamp",
        "When the certificate ends, in Unix time (seconds); of a file with several, the first one to end.",
        labels=("kind", "name"),
    )
    next_update = GaugeMetricFamily(
        f"{PREFIX}_crl_next_update_timestamp",
        "When the next issue of the CRL is due, in Unix time (seconds).",
        labels=("name",),
    )
    # Two samples with the same labels would make Prometheus reject the whole scrape.
    for (kind, name), alike in groupby(sorted(certificates, key=_labels), key=_labels):
        ends = min(one.ends for one in alike).timestamp()
        if kind == _CRL:
            next_update.add_metric([encodable(name)], ends)
        else:
            expires.add_metric([encodable(kind), encodable(name)], ends)
    yield from (expires, next_update)


def _describe_exceptions(exceptions: Iterable[ExceptionStatus]) -> Metric:
    expires = GaugeMetricFamily(
        f"{PREFIX}_exception_expires_timestamp",
        "When an exception ends, in Unix time (seconds): a retired profile, or an emergency setting.",
        labels=("kind", "name"),
    )
    for one in exceptions:
        expires.add_metric([encodable(one.kind), encodable(one.name)], one.ends.timestamp())
    return expires


def _labels(one: CertificateStatus) -> tuple[str, str]:
    return one.kind, one.name


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)


def _within(names: Iterable[str], counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the count of each name, 0 if it has none, and the sum of all further ones as "other"."""
    known = tuple(names)
    yield from ((name, counts.get(name, 0)) for name in known)
    yield OTHER, sum(count for name, count in counts.items() if name not in known)


def _seconds(time: datetime | None) -> float:
    return 0 if time is None else time.timestamp()
