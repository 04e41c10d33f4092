"""The report on a gateway on the terminal: complete, at two widths, and not moved by hostile texts."""

from __future__ import annotations

import json
import re

import pytest

from hsm_dicom.cli.render import output
from hsm_dicom.cli.render.gateway_report import gateway_json, print_gateway
from hsm_dicom.gateway.pages import SCHEMA, parse_status
from hsm_dicom.gateway.status import GatewayStatus
from tests.hsm_dicom.gateway.pages.examples import gateway, hostile, token, troubled


def on_terminal(
    status: GatewayStatus, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Return the lines that a terminal of this width shows, without colours."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_gateway(status)
    out = capsys.readouterr().out
    left = re.sub(r"\x1b\[[0-9;]*m", "", out)
    assert "\x1b" not in left
    return left.splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for status in (gateway(), troubled()):
        lines = on_terminal(status, width, capsys, monkeypatch)
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("✓ Ready" if status.is_ready else "✗ Not ready: 2 of 4 routes cannot be used")


def test_a_gateway_in_trouble(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(" ".join(on_terminal(troubled(), 80, capsys, monkeypatch)).split())
    order = [
        "gateway-radiology, hsm-dicom 0.1.0, started 12 days ago; 2026-11-27 09:30 UTC",
        "clock not synchronised, set back by 1 hour at 2026-11-27 04:30 UTC",
        "events lost: 3",
        "urgent Token hsm-a is lost",
        "urgent Route mr-to-archive is down",
        "soon The certificate of the identity node ends in 12 days",
        "to-pacs open ct1 to pacs, TLS, objects inspected 3 associations now, last used 42 seconds ago",
        "accepted 1,204, refused 12 (address 8, calling 4), aborted 1",
        "instances: stored 24,118, warning 2; 12.4 GiB from source, 8.50 MiB from target",
        "mr-to-archive down mr1, mr2, mr3 to archive, ISCL in TLS",
        "last error 3 minutes ago: archive.hospital.example:2762 did not answer within 15 seconds",
        "EMERGENCY SETTING objects = pass until 2026-12-01, set by m.huber: CT scanner 2 sends",
        "to-ct1 closed pacs to ct1",
        "not used since the start",
        "hsm-a not logged in uses 1,311, failures 9, 4.5 ms a use for node problem: token 'hsm-a' is not in its slot",
        "hsm-b logged in, being probed",
        "ended 3 days ago 2026-11-24 intermediate certificate /etc/hsm-dicom/maker-chain.pem",
        "7 hours left 2026-11-27 CRL",
        "12 days left 2026-12-09 certificate node",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_a_gateway_that_drains_is_not_marked_as_good(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_terminal(gateway(is_draining=True), 80, capsys, monkeypatch)[0] == "✗ Draining"


def test_a_gateway_of_nothing_has_no_empty_headings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_terminal(gateway(routes=(), listeners=(), tokens=(), certificates=()), 80, capsys, monkeypatch)
    assert len(lines) == 4
    unused = on_terminal(gateway(tokens=(token(uses=0),)), 80, capsys, monkeypatch)
    assert "  hsm-a  logged in  uses 0, failures 0" in unused


def test_hostile_texts_neither_move_the_cursor_nor_begin_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = on_terminal(hostile(), 80, capsys, monkeypatch)
    assert all(line.isprintable() for line in lines)
    assert any("\\x1b[2J\\u202etxt\\x00\\udcff" in line for line in lines)


def test_the_json_is_the_document_of_the_status_page(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_json("gateway-status", gateway_json(troubled()))
    out = capsys.readouterr().out
    assert json.loads(out)["schema"] == SCHEMA
    assert parse_status(out) == troubled()
