"""Parts of a status, for tests of what is made of it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from hsm_dicom.gateway.status import (
    CertificateStatus,
    Condition,
    ConditionKind,
    EmergencyStatus,
    GatewayStatus,
    RouteState,
    RouteStatus,
    TokenStatus,
)
from tests.pki import YEAR

AT = datetime(2026, 11, 27, 9, 0, tzinfo=UTC)


def make_route(name: str = "to-pacs", **changes: Any) -> RouteStatus:
    usual: dict[str, Any] = {
        "sources": ("ct1",),
        "target": "pacs",
        "transport": "TLS",
        "objects": "inspect",
        "state": RouteState.OPEN,
        "associations": 0,
        "accepted": 0,
        "refused": {},
        "aborted": 0,
        "octets_forth": 0,
        "octets_back": 0,
    }
    return RouteStatus(name=name, **(usual | changes))


def make_token(name: str = "hsm-a", **changes: Any) -> TokenStatus:
    usual = {"identities": ("node",), "logged_in": True, "breaker": "", "uses": 1, "failures": 0, "seconds": 0.1}
    return TokenStatus(name=name, **(usual | changes))


def make_certificate(ends: datetime, **changes: Any) -> CertificateStatus:
    usual = {"kind": "identity", "name": "node", "subject": "CN=node", "begins": ends - YEAR}
    return CertificateStatus(ends=ends, days_left=(ends - AT).days, **(usual | changes))


def make_emergency(until: date) -> EmergencyStatus:
    return EmergencyStatus(setting="objects = pass", reason="ticket 4711", operator="jkim", until=until)


def make_status(**changes: Any) -> GatewayStatus:
    usual: dict[str, Any] = {
        "version": "0.1.0",
        "host": "ct-room",
        "started": AT,
        "at": AT,
        "is_ready": True,
        "is_draining": False,
        "problem": "",
        "configuration": "00" * 32,
        "routes": (make_route(),),
        "tokens": (make_token(),),
        "certificates": (),
        "conditions": (),
    }
    return GatewayStatus(**(usual | changes))


def make_condition(key: str = "route-down/to-pacs", **changes: Any) -> Condition:
    usual = {"kind": ConditionKind.ROUTE_DOWN, "text": "Route 'to-pacs' is down.", "since": AT, "is_urgent": True}
    return Condition(key=key, **(usual | changes))
