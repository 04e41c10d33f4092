"""A program that calls again and again from an address that may call: the limit holds, and there is one alarm."""

from __future__ import annotations

import json
import logging
import resource
import socket
import sys
from functools import partial
from pathlib import Path

import pytest

from hsm_dicom.node.gateway import GatewayService, open_gateway
from tests.hsm_dicom.gateway.site import LOOPBACK, Site
from tests.hsm_dicom.network import pdus
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.soak import RUNS
from tests.softhsm import TestToken

pytestmark = pytest.mark.interop

SCANNER = "127.0.0.66"
CALLS = 300 if RUNS == 1 else 10_000
A_MINUTE = 20
"""Associations that one address may begin in a minute."""

NOTE = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read().strip() + chr(10))"


def call_as_scanner(port: int, *, says_something: bool) -> int:
    """Call from the scanner's address, and return the type of the PDU that answers a request, or 0 without one."""
    with socket.create_connection((LOOPBACK, port), 20, source_address=(SCANNER, 0)) as connection:
        if not says_something:
            return 0
        connection.sendall(pdus.associate_rq(called=b"PACS"))
        return pdus.read_pdu(connection)[0]


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def test_a_scanner_causes_one_alarm_and_the_device_is_served(
    node: TestToken, hospital: Hospital, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "hsm_dicom")  # otherwise the memory of the test would hold each line
    site, reports = Site(tmp_path, hospital, node), tmp_path / "reports"
    site.entrance += f"\nassociations_per_minute = {A_MINUTE}"
    site.more = f"[alarms.hook]\ncommand = {json.dumps([sys.executable, '-c', NOTE, str(reports)])}\n"
    site.write()
    with site.storescp_of_pacs(), GatewayService(partial(open_gateway, site.config), tmp_path / "state") as service:
        answers = [call_as_scanner(site.plain, says_something=number % 2 == 0) for number in range(CALLS // 10)]
        before = resident_kib()
        answers += [
            call_as_scanner(site.plain, says_something=number % 2 == 0) for number in range(CALLS - len(answers))
        ]
        assert answers.count(3) >= CALLS // 2 - A_MINUTE - CALLS // 1000, "beyond the limit it is rejected"
        assert resident_kib() - before < 4 << 10
        assert site.call_as_ct("echoscu") == (0, "")
        route = next(one for one in service.status().routes if one.name == "to-pacs")
        assert sum(count for word, count in route.refused.items() if word.startswith("limit")) == answers.count(3)
        assert eventually(lambda: reports.exists() and "limit-reached" in reports.read_text(), 20)
    begun = [json.loads(line) for line in reports.read_text().splitlines()]
    assert [(one["state"], one["key"]) for one in begun if "limit" in one["key"]] == [
        ("begun", "limit-reached/to-pacs")
    ]
