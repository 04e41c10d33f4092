"""Statuses of gateways: one of everything that goes wrong, one of a good day, and one whose texts are hostile."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hsm_dicom.gateway.status import (
    CertificateStatus,
    ClockStatus,
    Condition,
    ConditionKind,
    EmergencyStatus,
    GatewayStatus,
    ListenerStatus,
    RouteState,
    RouteStatus,
    TokenStatus,
)

NOW = datetime(2026, 11, 27, 9, 30, 12, tzinfo=UTC)

SCRIPT = "<script>alert('x')</script>"
HOSTILE = f"{SCRIPT}\"'&amp;<img src=x onerror=alert(1)>\x1b[2J\u202etxt\x00\udcff{{{{ 7*7 }}}}"


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def certificate(kind: str, name: str, days: float, subject: str) -> CertificateStatus:
    ends = NOW + timedelta(days=days)
    return CertificateStatus(kind=kind, name=name, subject=subject, ends=ends, days_left=int(days // 1))


def route(name: str = "to-pacs", **changes: object) -> RouteStatus:
    values: dict[str, object] = {
        "name": name,
        "sources": ("ct1",),
        "target": "pacs",
        "transport": "TLS",
        "objects": "inspect",
        "state": RouteState.OPEN,
        "associations": 3,
        "accepted": 1204,
        "refused": {"address": 8, "calling": 4},
        "aborted": 1,
        "octets_forth": 13_314_398_617,
        "octets_back": 8_912_044,
        "instances": {"stored": 24_118, "warning": 2},
        "last_used": ago(seconds=42),
    }
    return RouteStatus(**{**values, **changes})  # type: ignore[arg-type]


def listener(name: str = "main", **changes: object) -> ListenerStatus:
    values: dict[str, object] = {
        "name": name,
        "transport": "TLS",
        "routes": ("to-ct1",),
        "accepted": 5_310,
        "identified": 5_204,
        "rejected": 12,
        "left": 91,
        "refused": {},
    }
    return ListenerStatus(**{**values, **changes})  # type: ignore[arg-type]


def token(name: str = "hsm-a", **changes: object) -> TokenStatus:
    values: dict[str, object] = {
        "name": name,
        "identities": ("node",),
        "logged_in": True,
        "breaker": "closed",
        "uses": 1311,
        "failures": 0,
        "seconds": 5.9,
    }
    return TokenStatus(**{**values, **changes})  # type: ignore[arg-type]


def gateway(**changes: object) -> GatewayStatus:
    """A gateway on a good day."""
    values: dict[str, object] = {
        "version": "0.1.0",
        "host": "gateway-radiology",
        "started": ago(days=12, hours=3),
        "at": NOW,
        "is_ready": True,
        "is_draining": False,
        "problem": "",
        "configuration": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "routes": (route(), route("to-ct1", sources=("pacs",), target="ct1", refused={}, aborted=0)),
        "listeners": (listener("192.168.10.1:104", transport="plain DICOM", routes=("to-pacs",)), listener()),
        "tokens": (token(), token("hsm-b", uses=0, seconds=0.0)),
        "certificates": (
            certificate("identity", "node", 412, "CN=CT gateway,OU=Radiology,O=Hospital"),
            certificate("anchor", "/etc/hsm-dicom/ca.pem", 2900, "CN=Hospital CA"),
            certificate("crl", "/etc/hsm-dicom/hospital.crl", 6.5, "CN=Hospital CA"),
        ),
        "conditions": (),
        "clock": ClockStatus(is_synchronised=True),
    }
    return GatewayStatus(**{**values, **changes})  # type: ignore[arg-type]


def troubled() -> GatewayStatus:
    """A gateway that needs people: a route down, an emergency setting, a token lost, an expired certificate."""
    emergency = EmergencyStatus(
        setting="objects = pass",
        reason="CT scanner 2 sends objects that the inspection rejects; ticket 4711 with the maker",
        operator="m.huber",
        until=date(2026, 12, 1),
    )
    routes = (
        route(),
        route(
            "mr-to-archive",
            sources=("mr1", "mr2", "mr3"),
            target="archive",
            transport="ISCL in TLS",
            state=RouteState.DOWN,
            associations=0,
            refused={"target-down": 118},
            instances={"stored": 911, "warning": 4, "failed": 7},
            last_used=ago(hours=2),
            last_error="archive.hospital.example:2762 did not answer within 15 seconds",
            last_error_at=ago(minutes=3),
        ),
        route("ct2-to-pacs", sources=("ct2",), objects="pass", instances={}, emergency=emergency, refused={}),
        route(
            "to-ct1",
            sources=("pacs",),
            target="ct1",
            state=RouteState.CLOSED,
            associations=0,
            accepted=0,
            refused={},
            aborted=0,
            octets_forth=0,
            octets_back=0,
            instances={},
            last_used=None,
            last_error="192.168.10.1:104 cannot be used: Cannot assign requested address",
            last_error_at=ago(days=12, hours=3),
        ),
    )
    listeners = (
        listener(
            "192.168.10.1:104", transport="plain DICOM", routes=("to-pacs", "mr-to-archive", "ct2-to-pacs"), left=0
        ),
        listener(
            refused={"certificate-refused": 31, "not-tls": 4, "too-many-connections": 2}, last_refused=ago(minutes=1)
        ),
    )
    tokens = (
        token("hsm-a", logged_in=False, breaker="open", failures=9, problem="token 'hsm-a' is not in its slot"),
        token("hsm-b", breaker="half-open", uses=40, seconds=61.0, failures=2),
        token("iscl-card", identities=("iscl",), breaker="", uses=86, seconds=12.4),
    )
    certificates = (
        certificate("anchor", "/etc/hsm-dicom/ca.pem", 2900, "CN=Hospital CA"),
        certificate("identity", "node", 12.4, "CN=CT gateway,OU=Radiology,O=Hospital"),
        certificate("chain", "node", 400, "CN=Hospital Issuing CA 2,O=Hospital"),
        certificate("intermediate", "/etc/hsm-dicom/maker-chain.pem", -3.2, "CN=Device CA,O=Maker of the archive"),
        certificate("crl", "/var/lib/hsm-dicom/crl/hospital-issuing-ca-2.crl", 0.3, "CN=Hospital Issuing CA 2"),
    )
    conditions = (
        Condition(
            key="certificate:node", kind=ConditionKind.CERTIFICATE_ENDING, since=ago(days=18),
            text="The certificate of the identity node ends in 12 days. Request the next one with hsm-dicom key csr.",
        ),
        Condition(
            key="route:mr-to-archive", kind=ConditionKind.ROUTE_DOWN, since=ago(minutes=22), is_urgent=True,
            text="Route mr-to-archive is down: archive.hospital.example:2762 did not answer within 15 seconds.",
        ),
        Condition(
            key="token:hsm-a", kind=ConditionKind.TOKEN_LOST, since=ago(hours=2), is_urgent=True,
            text="Token hsm-a is lost: token 'hsm-a' is not in its slot. Insert it, or check the way to the HSM.",
        ),
        Condition(
            key="emergency:ct2-to-pacs", kind=ConditionKind.EMERGENCY, since=ago(days=1),
            text="Route ct2-to-pacs has the emergency setting objects = pass until 2026-12-01.",
        ),
    )  # fmt: skip
    return gateway(
        is_ready=False,
        problem="2 of 4 routes cannot be used: mr-to-archive is down, to-ct1 is closed.",
        routes=routes,
        listeners=listeners,
        tokens=tokens,
        certificates=certificates,
        conditions=conditions,
        clock=ClockStatus(is_synchronised=False, stepped_seconds=-3720, stepped_at=ago(hours=5), behind_seconds=61),
        events_lost=3,
    )


def hostile() -> GatewayStatus:
    """A gateway each of whose texts is hostile, and long."""
    long = "x" * 300
    emergency = EmergencyStatus(setting=HOSTILE, reason=HOSTILE + long, operator=HOSTILE, until=date(2026, 11, 1))
    return gateway(
        version=HOSTILE,
        host=HOSTILE,
        problem=HOSTILE + long,
        is_ready=False,
        configuration=HOSTILE,
        routes=(
            route(
                HOSTILE,
                sources=(HOSTILE, long),
                target=HOSTILE + long,
                transport=HOSTILE,
                objects=HOSTILE,
                refused={HOSTILE: 3},
                instances={HOSTILE: 2},
                last_error=HOSTILE + long,
                last_error_at=NOW,
                emergency=emergency,
            ),
        ),
        listeners=(
            listener(HOSTILE, transport=HOSTILE, routes=(HOSTILE, long), refused={HOSTILE: 4}, last_refused=NOW),
        ),
        tokens=(token(HOSTILE, identities=(HOSTILE, long), breaker=HOSTILE, problem=HOSTILE + long),),
        certificates=(certificate(HOSTILE, HOSTILE + long, -1, HOSTILE + long),),
        conditions=(Condition(key=HOSTILE, kind=ConditionKind.CLOCK, text=HOSTILE + long, since=NOW, is_urgent=True),),
    )
