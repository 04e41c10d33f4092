"""`hsm-dicom gateway emergency`: one command, and the gateway relays with less protection, until it is ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.hsm_dicom.cli.conftest import Result, Run
from tests.hsm_dicom.gateway.site import LOOPBACK, Site
from tests.hsm_dicom.network.conftest import hospital
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import serving
from tests.ports import free_port
from tests.softhsm import TestToken

__all__ = ["hospital"]
pytestmark = pytest.mark.interop

WEEK = f"{datetime.now(UTC) + timedelta(days=7):%Y-%m-%d}"
WHY = ("--reason", "HSM broken, ticket 4711", "--until", WEEK, "--operator", "jkim")


@pytest.fixture
def site(hospital: Hospital, node: TestToken, tmp_path: Path, state_folder: Path) -> Site:
    page = tmp_path / "page"
    page.write_text(f"#!/bin/sh\nexec cat >> {tmp_path}/paged\n")
    page.chmod(0o700)
    more = f'[events]\nfile = "{tmp_path}/events.jsonl"\n[alarms.pager]\ncommand = ["{page}"]\n'
    return Site(tmp_path, hospital, node, more=more)


def read_alarms(site: Site) -> list[tuple[str, str]]:
    """State and kind of each report that the hospital's command has received."""
    file = site.folder / "paged"
    reports = map(json.loads, file.read_text().splitlines() if file.exists() else ())
    return [(one["state"], one["kind"]) for one in reports]


def read_events(site: Site) -> list[tuple[str, str, str]]:
    """Change, setting and operator of each event of an emergency setting, once each."""
    events = map(json.loads, (site.folder / "events.jsonl").read_text().splitlines())
    found = [one for one in events if one["event"] == "emergency-setting-changed"]
    return [(one["change"], one["setting"], one["operator"]) for one in found]


def emergency(run: Run, site: Site, *arguments: object) -> Result:
    return run("gateway", "emergency", *arguments, "--config", site.config)


@pytest.fixture
def plain_pacs(site: Site) -> Iterator[int]:
    """The PACS at another port, without TLS."""
    port, folder = free_port(), site.folder / "plain"
    folder.mkdir()
    with serving(port, ["storescp", "-aet", "PACS", "-od", folder, port], folder):
        yield port


def test_a_route_leaves_tls_and_returns_although_nothing_else_can_be_opened(
    site: Site, run: Run, plain_pacs: int
) -> None:
    """What an emergency is for: the identity of the gateway is broken, so that a reload fails."""
    image = ct_image(site.folder)
    with site.running() as running, site.storescp_of_pacs() as at_pacs:
        (site.folder / "node.pem").unlink()
        begun = emergency(run, site, "to-pacs", "--plain", f"{LOOPBACK}:{plain_pacs}", *WHY)
        assert begun.status == 0, begun.said
        assert "to-pacs: runs with the emergency setting plain DICOM to" in begun.said
        assert "The gateway that runs reads its settings again" in begun.said
        assert running.says("reloading failed, and only emergency settings were changed")
        assert site.call_as_ct("storescu", image)[0] == 0
        assert [len(list(one.iterdir())) for one in (site.folder / "plain", at_pacs)] == [1, 0]
        content = json.loads(run("gateway", "status", "--json", "--config", site.config).out)
        [route] = [one for one in content["routes"] if one["name"] == "to-pacs"]
        assert route["emergency"]["operator"] == "jkim"
        assert "emergency" in [one["kind"] for one in content["conditions"]]
        listed = json.loads(emergency(run, site, "--list", "--json").out)
        [setting] = listed["settings"]
        assert (setting["route"], setting["plain"]["port"], setting["until"]) == ("to-pacs", plain_pacs, WEEK)
        assert eventually(lambda: ("begun", "emergency") in read_alarms(site), 20)
        assert emergency(run, site, "to-pacs", "--end").status == 0
        assert eventually(lambda: str(running.printed).count("reloading failed") == 2, 20)
        assert site.call_as_ct("storescu", image)[0] == 0
        assert [len(list(one.iterdir())) for one in (site.folder / "plain", at_pacs)] == [1, 1]
    setting = f"plain DICOM to {LOOPBACK}:{plain_pacs}"
    assert read_events(site) == [(change, setting, "jkim") for change in ("begun", "active", "ended")]


def test_a_gateway_that_starts_reports_the_setting_that_holds(site: Site, run: Run) -> None:
    begun = emergency(run, site, "to-pacs", "--objects", "pass", *WHY[:4])
    assert begun.status == 0, begun.said
    assert "No gateway runs with this state folder" in begun.said
    with site.running():
        content = json.loads(run("gateway", "status", "--json", "--config", site.config).out)
        assert {one["name"]: one["objects"] for one in content["routes"]} == {"to-pacs": "pass", "to-ct1": "inspect"}
    (_, setting, operator), active = read_events(site)
    assert active == ("active", setting, operator)
    assert setting == "objects = pass"
    assert operator


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give --objects pass or --plain HOST:PORT"),
        (("to-pacs", "--objects", "sign", *WHY), "give pass"),
        (("--objects", "pass", *WHY), "Give the name of the route"),
        (("to-pacs", "--objects", "pass", "--until", WEEK), "Give the reason"),
        (("to-pacs", "--objects", "pass", "--reason", "x"), "Give the last day"),
        (("to-pacs", "--objects", "pass", "--end"), "or --end, or --list"),
        (("to-pacs", "--objects", "pass", "--reason", "x", "--until", "2020-01-01"), "is over"),
        (("to-pacs", "--plain", "10.1.2.3", *WHY), "'10.1.2.3' is not an address"),
        (
            ("to-mars", "--objects", "pass", *WHY),
            "has no route 'to-mars'; its routes: to-pacs, to-ct1",
        ),
        (("to-ct1", "--plain", "10.1.2.3:104", *WHY), "is configured as a plain device already"),
        (("to-pacs", "--end"), "has no emergency setting"),
    ],
)
def test_what_is_incomplete_or_does_not_fit_changes_nothing(
    site: Site, run: Run, arguments: tuple[str, ...], words: str
) -> None:
    answer = emergency(run, site, *arguments)
    assert answer.status in (1, 2)
    assert words in " ".join(answer.said.split())
    assert not (Path(os.environ["HSM_DICOM_STATE"]) / "emergency.json").exists()
