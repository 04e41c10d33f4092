"""The status of a running gateway, made of what its parts report, and the conditions that need a person."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.metadata import version

from hsm_dicom.events import Event, subscribe, subscriptions
from hsm_dicom.gateway.conditions import find_conditions, keep_since
from hsm_dicom.gateway.recent import RecentWatch
from hsm_dicom.gateway.route import Route
from hsm_dicom.gateway.status import (
    ClockStatus,
    Condition,
    ExceptionStatus,
    GatewayStatus,
    ListenerStatus,
    RouteStatus,
)
from hsm_dicom.node.gateway.opening import OpenedGateway
from hsm_dicom.node.gateway.token_counts import TokenCounts, list_tokens
from hsm_dicom.node.validity.ends import list_certificates, list_exceptions
from hsm_dicom.trust.clock import current_time
from tokens.events import Subscription


class Reporter:
    """Makes the status of one gateway. Any thread may ask."""

    def __init__(self) -> None:
        self.started = current_time()
        self._counts = TokenCounts()
        self._recent = RecentWatch()
        self._conditions: tuple[Condition, ...] = ()
        self._reporting = threading.Lock()

    def subscribe(self) -> AbstractContextManager[Subscription]:
        """Return a context manager in which the events of tokens are counted."""
        return subscribe(self._counts.take, Event)

    def make_status(
        self,
        opened: OpenedGateway,
        routes: Mapping[str, Route],
        listeners: tuple[ListenerStatus, ...],
        *,
        problem: str,
        is_draining: bool,
        clock: ClockStatus | None,
    ) -> GatewayStatus:
        """Return the status now. `problem` is why a key cannot be used, or why the gateway does not serve."""
        at = current_time()
        status = GatewayStatus(
            version=version("hsm-dicom"),
            host=platform.node(),
            started=self.started,
            at=at,
            is_ready=not problem and not is_draining,
            is_draining=is_draining,
            problem=problem,
            configuration=opened.configuration.sha256,
            routes=tuple(_list_routes(opened, routes)),
            tokens=list_tokens(opened, self._counts),
            certificates=list_certificates(opened.identities, opened.validator, at, opened.timestamp_anchors),
            conditions=(),
            listeners=listeners,
            events_lost=sum(one.lost for one in subscriptions()),
            clock=clock,
            exceptions=list_open_exceptions(opened),
        )
        with self._reporting:
            found = [*find_conditions(status), *self._recent.find(status.routes, at)]
            self._conditions = keep_since(self._conditions, found)
            return replace(status, conditions=self._conditions)


def list_open_exceptions(opened: OpenedGateway) -> tuple[ExceptionStatus, ...]:
    """Return what is weaker than usual until a day: retired profiles and emergency settings."""
    emergencies = {name: one.emergency.status for name, one in opened.routes.items() if one.emergency is not None}
    return list_exceptions((one for one, _ in opened.endpoints), emergencies)


def _list_routes(opened: OpenedGateway, routes: Mapping[str, Route]) -> Iterable[RouteStatus]:
    for name, one in opened.routes.items():
        emergency = None if one.emergency is None else one.emergency.status
        yield replace(routes[name].status(), transport=one.transport, emergency=emergency)
