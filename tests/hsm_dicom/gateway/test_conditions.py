"""What needs a person, found in a status: one key for as long as it lasts, and a text that says what to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from hsm_dicom.gateway.conditions import find_conditions, keep_since
from hsm_dicom.gateway.recent import RECENT_SECONDS, RecentWatch
from hsm_dicom.gateway.status import ClockStatus, Condition, ConditionKind, RouteState
from tests.hsm_dicom.gateway.states import AT, make_certificate, make_emergency, make_route, make_status, make_token
from tests.pki import DAY

TOMORROW = (AT + DAY).date()


def test_a_gateway_that_works_has_no_conditions() -> None:
    clock = ClockStatus(is_synchronised=True)
    status = make_status(certificates=(make_certificate(AT + 61 * DAY),), clock=clock)
    assert find_conditions(status) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": "C_Sign did not return within 2 seconds."}, "C_Sign did not return within 2 seconds. See that it"),
        ({"logged_in": False}, "it is not logged in"),
        ({"breaker": "open", "problem": "the connection was lost"}, "is not used by identity 'node': the connection"),
        ({"breaker": "half-open"}, "used again when a test signature succeeds"),
        ({"breaker": "excluded", "problem": "it refused its PIN"}, "run hsm-dicom token info hsm-a"),
    ],
)
def test_a_token_that_cannot_be_used_is_one_condition(changes: dict[str, object], words: str) -> None:
    [condition] = find_conditions(make_status(tokens=(make_token(**changes), make_token("hsm-b", breaker="closed"))))
    assert (condition.key, condition.kind) == ("token-lost/hsm-a", ConditionKind.TOKEN_LOST)
    assert condition.is_urgent
    assert words.lower() in condition.text.lower()


@pytest.mark.parametrize(
    ("left", "stage", "urgent"),
    [(60, 1, False), (31, 1, False), (30, 2, False), (14, 3, False), (7, 4, True), (1, 5, True), (0, 6, True)],
)
def test_a_certificate_is_reported_again_as_its_end_comes_near(left: int, stage: int, urgent: bool) -> None:
    [condition] = find_conditions(make_status(certificates=(make_certificate(AT + left * DAY),)))
    assert condition.key == "identity-ending/node/CN=node"
    assert (condition.stage, condition.is_urgent) == (stage, urgent)
    assert condition.text.endswith("Renew it (docs/howto/renew-a-certificate.md), then reload the gateway.")


def test_a_crl_of_a_week_is_reported_in_its_last_quarter() -> None:
    def of(left: timedelta) -> list[Condition]:
        ends = AT + left
        crl = make_certificate(ends, kind="crl", name="ca.crl", subject="CN=CA", begins=ends - 7 * DAY)
        return find_conditions(make_status(certificates=(crl,)))

    assert of(2 * DAY) == []
    [soon] = of(timedelta(hours=30))
    assert (soon.kind, soon.is_urgent) == (ConditionKind.CRL_ENDING, False)
    assert soon.text.startswith("The CRL ca.crl of 'CN=CA' ends in 30 hours")
    [over] = of(-DAY)
    assert over.key == soon.key
    assert over.is_urgent
    assert over.stage > soon.stage
    assert "is out of date since" in over.text


def test_two_certificates_of_one_subject_are_one_condition_for_the_worse() -> None:
    status = make_status(certificates=(make_certificate(AT + DAY), make_certificate(AT + 20 * DAY)))
    [condition] = find_conditions(status)
    assert condition.stage == 5


@pytest.mark.parametrize("state", [RouteState.DOWN, RouteState.CLOSED])
def test_a_route_that_relays_nothing_is_a_condition_unless_the_gateway_drains(state: RouteState) -> None:
    routes = (make_route(state=state, last_error="pacs.example port 2762: connection refused."),)
    [condition] = find_conditions(make_status(routes=routes))
    assert condition.key == "route-down/to-pacs"
    assert "connection refused. Run hsm-dicom gateway check" in condition.text
    assert find_conditions(make_status(routes=routes, is_draining=True)) == []


def test_an_emergency_setting_is_urgent_and_reported_again_before_it_lapses() -> None:
    stages = []
    for days in (30, 7, 1, 0):
        emergency = make_emergency((AT + days * DAY).date())
        [condition] = find_conditions(make_status(routes=(make_route(emergency=emergency),)))
        assert condition.is_urgent
        assert "set by jkim (ticket 4711)" in condition.text
        assert "hsm-dicom gateway emergency to-pacs --end" in condition.text
        stages.append(condition.stage)
    assert stages == [0, 1, 2, 2]


def test_a_clock_that_cannot_be_relied_on_is_a_condition_for_each_reason() -> None:
    clock = ClockStatus(is_synchronised=False, stepped_seconds=-90.0, stepped_at=AT, behind_seconds=86400.0 * 400)
    conditions = {one.key: one for one in find_conditions(make_status(clock=clock))}
    assert set(conditions) == {"clock/behind", "clock/stepped", "clock/unsynchronised"}
    assert "is 400 days behind" in conditions["clock/behind"].text
    assert conditions["clock/behind"].is_urgent
    assert "set back by 90 seconds" in conditions["clock/stepped"].text
    assert find_conditions(make_status(clock=ClockStatus(is_synchronised=None))) == []


def test_lost_events_are_a_condition() -> None:
    [condition] = find_conditions(make_status(events_lost=3))
    assert condition.text.startswith("3 events were not recorded")


def test_a_limit_counts_as_reached_until_nothing_was_refused_for_a_while() -> None:
    time = [0.0]
    watch = RecentWatch(clock=lambda: time[0])

    def keys(**refused: int) -> list[str]:
        return [one.key for one in watch.find([make_route(refused=refused), make_route("other")], AT)]

    assert keys(address=5) == []
    assert keys(address=5, limit=1) == ["limit-reached/to-pacs"]
    time[0] = RECENT_SECONDS - 1
    assert keys(limit=2) == ["limit-reached/to-pacs"]
    time[0] += RECENT_SECONDS - 1
    assert keys(limit=2) == ["limit-reached/to-pacs"]
    time[0] += 2
    assert keys(limit=2) == []


def test_a_condition_keeps_the_time_at_which_it_began() -> None:
    [begun] = find_conditions(make_status(tokens=(make_token(logged_in=False),)))
    [later] = find_conditions(make_status(at=AT + DAY, tokens=(make_token(logged_in=False, problem="Lost."),)))
    [kept] = keep_since([begun], [later])
    assert kept.since == AT
    assert "Lost" in kept.text


def test_objects_that_were_not_relayed_as_configured_are_a_condition_for_a_while() -> None:
    time = [0.0]
    watch = RecentWatch(clock=lambda: time[0])
    held = {"signed": 5, "unmet": 1, "no-key": 2}
    (condition,) = watch.find([make_route(held=held)], AT)
    assert (condition.key, condition.kind, condition.is_urgent) == ("objects-refused/to-pacs", "objects-refused", True)
    assert "no-key 2, unmet 1" in condition.text
    time[0] = RECENT_SECONDS
    assert watch.find([make_route(held=held | {"signed": 9})], AT) == []
