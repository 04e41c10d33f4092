"""A system clock that is behind the time that a node has seen: certificates that ended meanwhile are not accepted."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.gateway.site import Site
from tests.hsm_dicom.network.conftest import hospital
from tests.hsm_dicom.network.listening import listening
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run as run_program
from tests.pki import NOW, YEAR
from tests.softhsm import TestToken

__all__ = ["hospital"]
pytestmark = pytest.mark.interop


@pytest.fixture
def site(hospital: Hospital, node: TestToken, tmp_path: Path, state_folder: Path) -> Site:
    """A node whose state folder has a time after the end of every certificate."""
    state_folder.mkdir()
    latest = json.dumps({"schema": "hsm-dicom/clock/1", "latest": (NOW + 50 * YEAR).isoformat()})
    (state_folder / "clock.json").write_text(latest)
    return Site(tmp_path, hospital, node)


def test_a_gateway_accepts_no_certificate_that_has_ended_and_says_why(site: Site, run: Run) -> None:
    with site.running() as running, site.storescp_of_pacs():
        assert site.call_as_ct("echoscu")[0] != 0
        assert running.says("expired"), running.printed
        content = json.loads(run("gateway", "status", "--json", "--config", site.config).out)
    conditions = {one["key"]: one["text"] for one in content["conditions"]}
    assert re.search(r"is 182\d\d days behind .* remove clock.json", conditions["clock/behind"])
    assert timedelta(seconds=content["clock"]["behind_seconds"]) > 49 * YEAR


def test_a_listener_accepts_no_certificate_that_has_ended(site: Site) -> None:
    certificate, key = site.hospital.files(site.hospital.peer("PACS"))
    tls = ["+tls", key, certificate, "+cf", site.hospital.ca_file, "-aet", "PACS", "-aec", "NODE"]
    with listening(site.config) as running:
        assert run_program("echoscu", *tls, "127.0.0.1", site.secured)[0] != 0
        assert running.says("expired"), running.printed
