"""The metrics: read by Prometheus's own parser, documented, and as many series whatever the network sends."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hsm_dicom.gateway.inspect import Outcome
from hsm_dicom.gateway.pages.metrics import metrics_text
from hsm_dicom.gateway.pages.status_json import encodable, parse_status, status_document
from hsm_dicom.gateway.status import REFUSAL_KINDS, ClockStatus, EmergencyStatus, GatewayStatus
from hsm_dicom.network.settings import Peer
from hsm_dicom.node.plan import PeerPlan
from hsm_dicom.node.validity.ends import list_exceptions
from hsm_dicom.tls.settings import LegacyExemption
from tests.hsm_dicom.gateway.pages.examples import HOSTILE, NOW, certificate, gateway, hostile, route, token, troubled

Series = tuple[str, frozenset[tuple[str, str]]]


def series(status: GatewayStatus) -> dict[Series, float]:
    """The value of each series; two samples of one series would be refused by Prometheus."""
    found: dict[Series, float] = {}
    for family in text_string_to_metric_families(metrics_text(status).decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(status: GatewayStatus, name: str, /, **labels: str) -> float:
    return series(status)[name, frozenset(labels.items())]


def test_numbers_of_a_gateway_are_those_of_its_status() -> None:
    status = troubled()
    assert value(status, "hsm_dicom_ready") == 0
    assert value(status, "hsm_dicom_draining") == 0
    assert value(status, "hsm_dicom_conditions", urgent="true") == 2
    assert value(status, "hsm_dicom_events_lost_total") == 3
    assert value(status, "hsm_dicom_gateway_info", version="0.1.0") == 1
    assert value(status, "hsm_dicom_start_timestamp") == status.started.timestamp()


@pytest.mark.parametrize(("clock", "expected"), [(True, 1), (False, 0), (None, math.nan)])
def test_a_clock_of_which_nothing_is_known_is_no_number(clock: bool | None, expected: float) -> None:
    found = value(gateway(clock=ClockStatus(is_synchronised=clock)), "hsm_dicom_clock_synchronised")
    assert found == pytest.approx(expected, nan_ok=True)


def test_connections_are_counted_by_listener_and_outcome() -> None:
    status = troubled()
    name = "hsm_dicom_connections_total"
    assert value(status, name, listener="main", outcome="identified") == 5204
    assert value(status, name, listener="main", outcome="certificate-refused") == 31
    assert value(status, name, listener="main", outcome="timed-out") == 0
    assert value(status, name, listener="192.168.10.1:104", outcome="rejected") == 12
    assert value(hostile(), name, listener=encodable(HOSTILE), outcome="other") == 4


def test_numbers_of_routes_are_those_of_the_status() -> None:
    status = troubled()
    assert value(status, "hsm_dicom_route_up", route="to-pacs") == 1
    assert value(status, "hsm_dicom_route_up", route="mr-to-archive") == 0
    assert value(status, "hsm_dicom_route_up", route="to-ct1") == 0
    assert value(status, "hsm_dicom_route_emergency", route="ct2-to-pacs") == 1
    assert value(status, "hsm_dicom_associations_open", route="to-pacs") == 3
    assert value(status, "hsm_dicom_associations_total", route="to-pacs", outcome="accepted") == 1204
    assert value(status, "hsm_dicom_associations_total", route="to-pacs", outcome="address") == 8
    assert value(status, "hsm_dicom_associations_total", route="to-pacs", outcome="draining") == 0
    assert value(status, "hsm_dicom_bytes_total", route="to-pacs", direction="forth") == 13_314_398_617
    assert value(status, "hsm_dicom_instances_total", route="mr-to-archive", outcome="failed") == 7
    assert value(status, "hsm_dicom_route_last_used_timestamp", route="to-ct1") == 0


@pytest.mark.parametrize(
    ("changes", "up"),
    [
        ({}, 1),
        ({"breaker": ""}, 1),
        ({"breaker": "open"}, 0),
        ({"breaker": "half-open"}, 0),
        ({"breaker": "excluded"}, 0),
        ({"logged_in": False}, 0),
    ],
)
def test_a_token_is_up_if_it_is_logged_in_and_used(changes: dict[str, object], up: int) -> None:
    status = gateway(tokens=(token(**changes),))
    assert value(status, "hsm_dicom_token_up", token="hsm-a") == up
    assert value(status, "hsm_dicom_key_use_seconds_count", token="hsm-a") == 1311
    assert value(status, "hsm_dicom_key_use_seconds_sum", token="hsm-a") == 5.9


def test_of_a_file_with_several_certificates_the_first_end_counts() -> None:
    many = tuple(certificate("anchor", "ca.pem", days, f"CN={days}") for days in (40, 3, 900))
    status = gateway(
        certificates=(*many, certificate("crl", "ca.crl", 5, "CN=x"), certificate("crl", "ca.crl", 4, "CN=y"))
    )
    first = (NOW + timedelta(days=3)).timestamp()
    assert value(status, "hsm_dicom_certificate_expires_timestamp", kind="anchor", name="ca.pem") == first
    next_update = (NOW + timedelta(days=4)).timestamp()
    assert value(status, "hsm_dicom_crl_next_update_timestamp", name="ca.crl") == next_update


def test_the_ends_of_exceptions_are_a_metric() -> None:
    legacy = LegacyExemption(profile="basic-tls", reason="r", until=date(2099, 1, 1))
    plan = PeerPlan(peer=Peer(name="old", ae_titles=("OLD",), host="old.example", legacy=legacy))
    setting = EmergencyStatus(setting="unexamined", reason="r", operator="o", until=date(2099, 1, 2))
    status = gateway(exceptions=list_exceptions([plan, plan], {"to-pacs": setting}))
    found = {"peers.old": "retired-profile", "routes.to-pacs": "emergency"}
    for day, (name, kind) in enumerate(found.items(), 2):
        ends = datetime(2099, 1, day, tzinfo=UTC).timestamp()
        assert value(status, "hsm_dicom_exception_expires_timestamp", kind=kind, name=name) == ends
    assert parse_status(json.dumps(status_document(status))) == status


def test_what_the_network_sends_adds_no_series() -> None:
    quiet = gateway(routes=(route(refused={}, instances={}),))
    words = [f"word-{number}" for number in range(1000)]
    busy = replace(
        quiet,
        routes=(
            route(
                refused={**dict.fromkeys(REFUSAL_KINDS, 7), **dict.fromkeys(words, 1)},
                instances={**dict.fromkeys(words, 2), **dict.fromkeys(Outcome, 3)},
                last_error="\n".join(words),
            ),
        ),
        problem="x",
    )
    assert series(quiet).keys() == series(busy).keys()
    assert value(busy, "hsm_dicom_associations_total", route="to-pacs", outcome="other") == 1000
    assert value(busy, "hsm_dicom_instances_total", route="to-pacs", outcome="other") == 2000
    assert value(busy, "hsm_dicom_instances_total", route="to-pacs", outcome="unanswered") == 3


def test_each_metric_has_its_prefix_a_help_text_and_a_type() -> None:
    families = list(text_string_to_metric_families(metrics_text(troubled()).decode()))
    assert len(families) >= 18
    for family in families:
        assert family.name.startswith("hsm_dicom_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "summary")
    assert b"python_" not in metrics_text(gateway())
    assert b"process_" not in metrics_text(gateway())


def test_hostile_names_stay_one_label() -> None:
    text = metrics_text(hostile()).decode()
    names = {line.partition(" ")[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert all(name.startswith("hsm_dicom_") for name in names)
    assert hostile().routes[0].name.replace("\udcff", "\\udcff") in {
        labels["route"] for _, found in series(hostile()) if "route" in (labels := dict(found))
    }


def test_a_gateway_of_nothing_has_metrics() -> None:
    assert value(gateway(routes=(), listeners=(), tokens=(), certificates=()), "hsm_dicom_ready") == 1
