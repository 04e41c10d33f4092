"""A status as JSON: the same status again, and nothing else is taken for one."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hsm_dicom.gateway.inspect import Outcome
from hsm_dicom.gateway.pages.status_json import SCHEMA, StatusDocumentError, parse_status, status_document
from hsm_dicom.gateway.status import REFUSAL_KINDS, GatewayStatus, RouteState
from hsm_dicom.network.unidentified.pending import REFUSAL_REASONS
from tests.hsm_dicom.gateway.pages.examples import gateway, hostile, troubled


@pytest.mark.parametrize("status", [gateway(), troubled()], ids=["good", "troubled"])
def test_a_document_is_the_same_status_again(status: GatewayStatus) -> None:
    text = json.dumps(status_document(status))
    assert text.isascii()
    assert parse_status(text) == status


def test_a_hostile_text_is_kept_but_for_what_utf_8_cannot_hold() -> None:
    status = parse_status(json.dumps(status_document(hostile())))
    assert status.host == hostile().host.replace("\udcff", "\\udcff")


def test_names_and_times_are_those_of_other_documents() -> None:
    document = status_document(troubled())
    assert document["schema"] == SCHEMA
    assert (document["ready"], document["draining"], document["at"]) == (False, False, "2026-11-27T09:30:12Z")
    assert document["conditions"][0]["urgent"] is False
    assert document["routes"][2]["emergency"]["until"] == "2026-12-01"
    assert document["routes"][3]["last_used"] is None
    assert "is_" not in json.dumps(document)


def test_a_fraction_of_a_second_is_left_out() -> None:
    document = status_document(gateway(at=datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC)))
    assert document["at"] == "2026-01-02T03:04:05Z"


def test_members_of_a_later_version_are_ignored() -> None:
    document = status_document(gateway())
    document["routes"][0]["colour"] = "blue"
    assert parse_status(json.dumps({**document, "moons": 2})) == gateway()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        ("[]", "has the schema None instead of"),
        ('{"schema": "hsm-dicom/gateway-status/2"}', "has the schema 'hsm-dicom/gateway-status/2' instead of"),
        (json.dumps({"schema": SCHEMA}), "version: Field required"),
        (json.dumps({**status_document(gateway()), "routes": 3}), "routes: "),
        (json.dumps({**status_document(gateway()), "conditions": [3]}), "conditions.0: "),
        (json.dumps({**status_document(gateway()), "at": "yesterday"}), "at: "),
    ],
)
def test_anything_else_is_refused(text: str | bytes, reason: str) -> None:
    with pytest.raises(StatusDocumentError) as caught:
        parse_status(text)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300


def test_every_member_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs/reference/json.md").read_text()
    chapter = page.partition("## gateway status\n")[2].partition("\n## ")[0]
    status = troubled()
    parts = [status, status.routes[2], status.routes[2].emergency, status.listeners[0], status.tokens[0]]
    parts += [status.certificates[0], status.conditions[0], status.clock]
    from hsm_dicom.gateway.pages.status_json import _plain

    missing = {name for part in parts for name in _plain(part) if f"`{name}`" not in chapter}
    assert missing == set()
    assert {
        word for word in (*REFUSAL_KINDS, *Outcome, *RouteState, *REFUSAL_REASONS) if f"`{word}`" not in chapter
    } == set()
