"""The page for people: complete, most urgent first, readable by everybody, and deaf to hostile texts."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from hsm_dicom.gateway.pages import StatusServer
from hsm_dicom.gateway.pages.page import content_security_policy, render_page
from hsm_dicom.gateway.pages.wording import describe_end, describe_span, format_bytes, format_duration
from hsm_dicom.gateway.settings import StatusSettings
from hsm_dicom.gateway.status import ClockStatus, Condition, ConditionKind, GatewayStatus
from tests.hsm_dicom.gateway.pages.examples import (
    NOW,
    SCRIPT,
    ago,
    certificate,
    gateway,
    hostile,
    route,
    token,
    troubled,
)
from tests.hsm_dicom.report.chromium import look_at, rendered
from tests.hsm_dicom.report.outline import Outline


def outline(status: GatewayStatus) -> Outline:
    return Outline(render_page(status))


# --- What it says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (gateway(), "Ready"),
        (gateway(is_ready=False, problem="Token hsm-a is lost."), "Not ready"),
        (gateway(is_ready=False, is_draining=True), "Draining"),
    ],
)
def test_the_head_says_whether_the_gateway_is_ready(status: GatewayStatus, title: str) -> None:
    page = outline(status)
    assert page.text.startswith(f"{title} · gateway-radiology · hsm-dicom gateway")
    assert page.text.partition("2026-11-27 09:30 UTC ")[2].startswith(f"{title} {status.problem}".strip())


@pytest.mark.parametrize(("urgent", "title"), [(True, "a person is needed now"), (False, "a person is needed")])
def test_a_condition_is_in_the_title_of_a_gateway_that_is_ready(urgent: bool, title: str) -> None:
    one = Condition(key="x", kind=ConditionKind.CLOCK, text="Set the clock.", since=ago(hours=1), is_urgent=urgent)
    assert outline(gateway(conditions=(one,))).text.startswith(f"Ready, but {title} ·")


def test_conditions_come_first_and_urgent_ones_before_others() -> None:
    text = outline(troubled()).text
    order = [
        "2 of 4 routes cannot be used",
        "Needs a person",
        "urgent Token hsm-a is lost",
        "since 2026-11-27 07:30 UTC (2 hours ago)",
        "urgent Route mr-to-archive is down",
        "soon The certificate of the identity node ends in 12 days",
        "soon Route ct2-to-pacs has the emergency setting",
        "Routes to-pacs",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "Needs a person" not in outline(gateway()).text


def test_a_route_has_its_way_its_numbers_and_its_last_error() -> None:
    text = outline(troubled()).text
    assert (
        "to-pacs open ct1 → pacs · TLS · objects inspected Open now 3 Accepted 1,204 Refused 12 address 8, calling 4"
        in text
    )
    assert "Stored 24,118 Stored, warning 2 Not stored 0 From source 12.4 GiB From target 8.50 MiB" in text
    assert "mr-to-archive down mr1 , mr2 , mr3 → archive · ISCL in TLS" in text
    assert "Last error 2026-11-27 09:27 UTC (3 minutes ago) : archive.hospital.example:2762 did not answer" in text
    assert "to-ct1 closed pacs → ct1" in text
    assert "Not used since the start" in text


def test_outcomes_that_are_rare_are_shown_when_there_are_any() -> None:
    rare = gateway(routes=(route(instances={"unanswered": 2, "not-followed": 5}),))
    assert "Stored 0 Stored, warning 0 Not stored 0 No answer 2 Not followed 5" in outline(rare).text
    assert "Not stored 0 From source" in outline(gateway(routes=(route(instances={}),))).text
    assert "Aborted 1 From source" in outline(gateway(routes=(route(instances={}, objects="pass"),))).text


def test_an_emergency_setting_has_its_reason_its_operator_and_its_end() -> None:
    page = outline(troubled())
    assert "ct2-to-pacs open, emergency setting" in page.text
    assert "Emergency setting: objects = pass , until 2026-12-01 Reason: CT scanner 2 sends" in page.text
    assert "Set by: m.huber" in page.text
    assert [attributes["class"] for attributes in page.all("div") if attributes.get("class") == "emergency"] == [
        "emergency"
    ]
    assert "which ended on 2026-12-01" in outline(gateway(routes=troubled().routes, at=NOW + timedelta(days=6))).text


def test_a_token_has_its_state_its_uses_and_its_problem() -> None:
    text = outline(troubled()).text
    assert (
        "hsm-a not logged in for node Uses 1,311 Failures 9 Mean of a use 4.5 ms Breaker open token 'hsm-a' is not"
        in text
    )
    assert "hsm-b logged in, being probed for node Uses 40 Failures 2 Mean of a use 1.52 s Breaker half-open" in text
    assert "iscl-card logged in for iscl Uses 86 Failures 0 Mean of a use 144.2 ms Certificates" in text
    assert "Mean of a use none yet" in outline(gateway(tokens=(token(uses=0),))).text


def test_certificates_are_in_the_order_of_their_ends() -> None:
    text = outline(troubled()).text
    lefts = re.findall(r"(ended [\w ]+ ago|[\d,]+ \w+ left) 20", text)
    assert lefts == ["ended 3 days ago", "7 hours left", "12 days left", "400 days left", "2,900 days left"]
    assert "node certificate CN=CT gateway, OU=Radiology, O=Hospital" in text
    assert "First to end ended 3 days ago /etc/hsm-dicom/maker-chain.pem" in text


def test_a_certificate_that_is_named_by_its_subject_is_named_once() -> None:
    page = outline(gateway(certificates=(certificate("anchor", "CN=Hospital CA", 90, "CN=Hospital CA"),)))
    assert "90 days left 2027-02-25 09:30 UTC trust anchor CN=Hospital CA Version" in page.text


def test_the_end_of_the_page_has_version_configuration_clock_and_lost_events() -> None:
    text = outline(troubled()).text
    assert "Version hsm-dicom 0.1.0 Host gateway-radiology Started 2026-11-15 06:30 UTC (12 days ago)" in text
    assert f"Configuration {troubled().configuration} (SHA-256)" in text
    assert "Clock not synchronised, set back by 1 hour at 2026-11-27 04:30 UTC, 1 minute behind a time that" in text
    assert "Events lost 3" in text
    assert "Clock synchronised Events lost 0" in outline(gateway()).text


@pytest.mark.parametrize(
    ("status", "lacks"),
    [
        (gateway(routes=()), "The configuration has no routes."),
        (gateway(tokens=()), "The configuration has no tokens."),
        (gateway(certificates=()), "The configuration has no certificates."),
        (gateway(clock=None), "Events lost 0"),
        (gateway(clock=ClockStatus(is_synchronised=None)), "Clock not known to be synchronised"),
        (gateway(routes=(route(objects="spool"),)), "objects: spool"),
    ],
)
def test_what_is_missing_or_new_is_said(status: GatewayStatus, lacks: str) -> None:
    assert lacks in outline(status).text


def test_the_page_loads_again_every_half_minute() -> None:
    assert {"http-equiv": "refresh", "content": "30"} in outline(gateway()).all("meta")


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.00 KiB"), (10_240, "10.0 KiB"), (1_048_000, "1023 KiB"),
     (1_048_570, "1.00 MiB"), (5 * 2**60, "5120 PiB")],
)  # fmt: skip
def test_bytes_have_a_unit(number: int, text: str) -> None:
    assert format_bytes(number) == text


def test_spans_have_their_largest_unit() -> None:
    spans = [describe_span(seconds) for seconds in (-5, 0.4, 1, 59.9, 60, 3600, 86_399, 86_400, 86_400_000)]
    assert spans == [
        "0 seconds", "0 seconds", "1 second", "59 seconds", "1 minute", "1 hour", "23 hours", "1 day", "1,000 days"
    ]  # fmt: skip
    assert describe_end(NOW, NOW) == "ended 0 seconds ago"
    assert [format_duration(seconds) for seconds in (0.00002, 0.0152, 1)] == ["0.0 ms", "15.2 ms", "1.00 s"]


# --- Hostile texts -----------------------------------------------------------------------------------------------


def test_hostile_texts_are_texts() -> None:
    page = outline(hostile())
    assert page.text.count(SCRIPT) > 15
    assert "{{ 7*7 }}" in page.text
    assert "49" not in page.text
    assert page.all("script") == page.all("img") == []
    assert page.text.isprintable()
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [tag for tag, attributes in page.elements if "style" in attributes], "the policy forbids it"
    assert {attributes.get("class", "").isascii() for _, attributes in page.elements if attributes.get("class")} == {
        True
    }


def test_the_page_loads_nothing_and_links_to_itself_only() -> None:
    page = outline(hostile())
    links = [
        value or ""
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset")
    ]
    assert set(links) - {link for link in links if link.startswith("#")} == {
        "data:,",
        "status.json",
        "metrics",
        "readyz",
    }


def test_the_policy_has_the_hash_of_the_style_sheet_and_admits_nothing_else() -> None:
    [style] = re.findall(r"<style>(.*?)</style>", render_page(hostile()), re.DOTALL)
    assert "url(" not in style
    assert "@import" not in style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert content_security_policy().split("; ") == [
        "default-src 'none'", f"style-src 'sha256-{digest}'", "img-src data:", "base-uri 'none'",
        "form-action 'none'", "frame-ancestors 'none'",
    ]  # fmt: skip


def test_the_page_can_be_heard() -> None:
    page = outline(troubled())
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(drawing.get("aria-hidden") == "true" for drawing in page.all("svg"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["aria-labelledby"] for attributes in page.all("section")} <= set(ids)
    assert {(use["href"] or "")[1:] for use in page.all("use")} <= set(ids)
    assert all(time["datetime"] for time in page.all("time"))


# --- In a browser ------------------------------------------------------------------------------------------------

_MEASURE = """<!DOCTYPE html><meta charset="utf-8"><title>measure</title><pre id="found"></pre>%s
<script>
onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, all = [...page.body.querySelectorAll("*")];
    found[frame.id] = {
      width: page.documentElement.scrollWidth,
      outside: all.filter(one => one.checkVisibility() && one.getBoundingClientRect().right > frame.clientWidth + 1)
        .map(one => one.outerHTML.slice(0, 80)),
      active: page.querySelectorAll("script, img, iframe, object").length,
    };
  }
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>"""


@pytest.mark.browser
def test_nothing_is_wider_than_the_window_of_a_phone_or_a_desk(tmp_path: Path) -> None:
    statuses = {"good": gateway(), "troubled": troubled(), "hostile": hostile()}
    frames = [
        f'<iframe id="{name} {width}" width="{width}" height="600" frameborder="0" '
        f'srcdoc="{html.escape(render_page(status))}"></iframe>'
        for name, status in statuses.items()
        for width in (320, 400, 700, 1200)
    ]
    target = tmp_path / "measure.html"
    target.write_text(_MEASURE % "".join(frames))
    [text] = re.findall(r'<pre id="found">(.*?)</pre>', rendered(target, tmp_path / "profile"), re.DOTALL)
    found = json.loads(html.unescape(text))
    assert len(found) == 12
    for name, measured in found.items():
        assert measured == {"width": int(name.split()[1]), "outside": [], "active": 0}, name


@pytest.mark.browser
@pytest.mark.parametrize(
    ("dark", "paper", "red"),
    [(False, (0xF3, 0xF5, 0xF8), (0xB4, 0x26, 0x1F)), (True, (0x0F, 0x14, 0x1B), (0xFF, 0x8A, 0x80))],
)
def test_a_browser_applies_the_style_sheet_under_the_policy(
    tmp_path: Path, dark: bool, paper: tuple[int, ...], red: tuple[int, ...]
) -> None:
    with StatusServer(StatusSettings(listen=("127.0.0.1", 0)), troubled) as server:
        host, port = server.address  # type: ignore[misc]
        picture = look_at(f"http://{host}:{port}/", tmp_path / "profile", dark=dark, width=400, height=200)
    colours = {colour[:3] for colour in picture.colours}
    assert picture.at(0, 0)[:3] == paper
    assert red in colours, "the sign of a gateway that is not ready"
