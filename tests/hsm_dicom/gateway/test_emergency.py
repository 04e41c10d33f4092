"""Emergency settings: within bounds, private to the node, over after their last day."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.events import subscribe
from hsm_dicom.gateway.emergency import (
    MOST_DAYS,
    EmergencySetting,
    EmergencySettingError,
    EmergencyStore,
    apply_emergency,
    parse_plain_address,
)
from hsm_dicom.gateway.emergency_watch import EmergencyWatch
from hsm_dicom.gateway.events import EmergencySettingChanged
from hsm_dicom.gateway.settings import Objects, PlainDevice, RouteSettings
from hsm_dicom.gateway.state_file import StateFileError
from hsm_dicom.network.settings import Peer
from tests.hsm_dicom.gateway.states import AT
from tests.hsm_dicom.network.nodes import eventually

TODAY = AT.date()
CT = PlainDevice(name="ct1", ae_titles=("CT1",), addresses=("192.168.10.21",), host="192.168.10.21", reason="old")
PACS = Peer(name="pacs", host="pacs.example", ae_titles=("PACS", "ARCHIVE"))
SETTING = (
    '{"route": "to-pacs", "objects": null, "plain": PLAIN, "reason": "r", "operator": "o", '
    '"since": "2026-11-01T00:00:00+00:00", "until": "2026-11-30"}'
)
ROUTE = RouteSettings(name="to-pacs", sources=(CT,), target=PACS, listen=("127.0.0.1", 104))


def make_setting(**changes: Any) -> EmergencySetting:
    usual: dict[str, Any] = {
        "route": "to-pacs",
        "passes_objects": True,
        "reason": "ticket 4711",
        "operator": "jkim",
        "since": AT,
        "until": TODAY + timedelta(days=7),
    }
    return EmergencySetting(**(usual | changes))


def test_objects_are_passed_and_nothing_else_changes() -> None:
    assert apply_emergency(ROUTE, make_setting()) == replace(ROUTE, objects=Objects.PASS)
    assert make_setting().setting == "objects = pass"


def test_a_route_leaves_tls_for_a_plain_address_of_the_same_target() -> None:
    setting = make_setting(passes_objects=False, plain=("10.1.2.3", 104))
    changed = apply_emergency(ROUTE, setting)
    assert changed.objects is ROUTE.objects
    assert isinstance(changed.target, PlainDevice)
    assert (changed.target.name, changed.target.host, changed.target.port) == ("pacs", "10.1.2.3", 104)
    assert changed.called_ae_titles == ROUTE.called_ae_titles == ("PACS", "ARCHIVE")
    assert changed.services == ROUTE.services
    assert "ticket 4711" in changed.target.reason
    assert replace(setting, passes_objects=True).setting == "objects = pass, plain DICOM to 10.1.2.3:104"


def test_a_route_to_a_plain_device_cannot_leave_tls() -> None:
    reverse = RouteSettings(name="to-ct1", sources=(PACS,), target=CT, listener="main")
    with pytest.raises(EmergencySettingError, match="is configured as a plain device already. Leave out --plain"):
        apply_emergency(reverse, make_setting(route="to-ct1", plain=("10.1.2.3", 104)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"passes_objects": False}, "Nothing is set. Give --objects pass, or --plain HOST:PORT"),
        ({"reason": "  "}, "The reason is empty"),
        ({"reason": "two\nlines"}, "not one line of text"),
        ({"operator": ""}, "The operator is empty"),
        ({"until": TODAY - timedelta(days=1)}, "is over"),
        (
            {"until": TODAY + timedelta(days=MOST_DAYS + 1)},
            f"90 days ahead. Give --until a day from {TODAY} to ",
        ),
    ],
)
def test_a_setting_without_bounds_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    store = EmergencyStore(tmp_path)
    with pytest.raises(EmergencySettingError, match=words):
        store.put(make_setting(**changes), TODAY)
    assert store.read() == {}


def test_a_setting_is_kept_for_its_owner_alone_and_survives_a_restart(tmp_path: Path) -> None:
    setting = make_setting(plain=("2001:db8::7", 104), until=TODAY + timedelta(days=MOST_DAYS))
    EmergencyStore(tmp_path / "state").put(setting, TODAY)
    store = EmergencyStore(tmp_path / "state")
    assert store.read() == {"to-pacs": setting}
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert store.remove("to-pacs") == setting
    assert store.remove("to-pacs") is None
    assert store.read() == {}


def test_a_setting_holds_on_its_last_day_and_not_after_it(tmp_path: Path) -> None:
    store = EmergencyStore(tmp_path)
    store.put(make_setting(until=TODAY), TODAY)
    assert set(store.read_active(TODAY)) == {"to-pacs"}
    assert store.read_active(TODAY + timedelta(days=1)) == {}
    store.put(make_setting(route="other", until=TODAY + timedelta(days=2)), TODAY + timedelta(days=1))
    assert set(store.read()) == {"other"}


def test_a_file_that_others_could_have_written_is_not_used(tmp_path: Path) -> None:
    store = EmergencyStore(tmp_path)
    store.put(make_setting(), TODAY)
    store.path.chmod(0o620)
    with pytest.raises(StateFileError, match="may be written by others, so it is not used"):
        store.read_active(TODAY)
    store.path.rename(tmp_path / "elsewhere")
    store.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateFileError, match="cannot be read"):
        store.read()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"schema": "hsm-dicom/emergency/2", "routes": []}',
        '{"schema": "hsm-dicom/emergency/1"}',
        '{"schema": "hsm-dicom/emergency/1", "routes": [{"route": "to-pacs"}]}',
        '{"schema": "hsm-dicom/emergency/1", "routes": "x"}',
        '{"schema": "hsm-dicom/emergency/1", "routes": [' + SETTING.replace("PLAIN", '["10.1.2.3"]') + "]}",
        '{"schema": "hsm-dicom/emergency/1", "routes": [' + SETTING.replace("PLAIN", '["10.1.2.3", 65536]') + "]}",
        "[" * 100_000,
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_and_no_setting(tmp_path: Path, content: str) -> None:
    store = EmergencyStore(tmp_path)
    store.path.write_text(content)
    store.path.chmod(0o600)
    with pytest.raises(StateFileError):
        store.read()


def test_a_setting_lapses_without_a_restart_and_only_when_its_last_day_is_over(tmp_path: Path) -> None:
    store, day = EmergencyStore(tmp_path), [TODAY]
    setting = make_setting(until=TODAY + timedelta(days=1))
    store.put(setting, TODAY)
    ended: list[EmergencySetting] = []
    changes: list[str] = []
    watch = EmergencyWatch(store, ended.append, today=lambda: day[0], look_seconds=0.01)
    with subscribe(lambda event: changes.append(event.change), EmergencySettingChanged):
        assert watch.load() == {"to-pacs": setting}
        assert watch.load() == {"to-pacs": setting}
        with watch:
            day[0] += timedelta(days=1)
            time.sleep(0.1)
            assert watch.active["to-pacs"].status == setting.status
            day[0] += timedelta(days=1)
            assert eventually(lambda: changes == ["active", "lapsed"])
    assert ended == [setting]
    assert watch.active == {}
    assert "to-pacs" not in watch.active


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_what_root_makes_belongs_to_the_user_of_the_gateway(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 4711, 4712)
    EmergencyStore(folder).put(make_setting(), TODAY)
    owners = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in folder.iterdir()}
    assert owners == {"emergency.json": (4711, 4712), "emergency.lock": (4711, 4712)}


def test_a_setting_that_seemed_to_hold_before_the_clock_was_known_to_be_behind_ends_at_once(tmp_path: Path) -> None:
    store, day = EmergencyStore(tmp_path), [TODAY]
    store.put(make_setting(), TODAY)
    ended: list[EmergencySetting] = []
    watch = EmergencyWatch(store, ended.append, today=lambda: day[0], look_seconds=3600.0)
    watch.load()
    day[0] += timedelta(days=30)
    with watch:
        assert eventually(lambda: ended == [make_setting()])


def test_a_setting_that_still_is_used_lapses_although_it_was_removed(tmp_path: Path) -> None:
    ended: list[EmergencySetting] = []
    watch = EmergencyWatch(EmergencyStore(tmp_path), ended.append, today=lambda: TODAY + timedelta(days=30))
    assert watch.load() == {}
    watch.keep([make_setting()])
    watch.look()
    assert ended == [make_setting()]


def test_a_setting_that_cannot_be_ended_is_tried_again_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmergencyStore(tmp_path)
    store.put(make_setting(until=TODAY), TODAY)
    tries: list[str] = []

    def fail(setting: EmergencySetting) -> None:
        tries.append(setting.route)
        raise EmergencySettingError("no route")

    day = [TODAY]
    watch = EmergencyWatch(store, fail, today=lambda: day[0])
    watch.load()
    day[0] += timedelta(days=1)
    with caplog.at_level(logging.ERROR, "hsm_dicom.gateway"):
        watch.look()
        watch.look()
    assert tries == ["to-pacs", "to-pacs"]
    assert caplog.text.count("was not ended, which is tried again: no route") == 1
    assert "to-pacs" in watch.active


def test_a_file_that_cannot_be_used_leaves_the_routes_as_configured(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmergencyStore(tmp_path)
    store.put(make_setting(), TODAY)
    store.path.chmod(0o666)
    with caplog.at_level(logging.ERROR, "hsm_dicom.gateway"):
        assert EmergencyWatch(store, lambda _: None, today=lambda: TODAY).load() == {}
    assert "all routes run as configured" in caplog.text


def test_commands_at_the_same_time_lose_no_setting(tmp_path: Path) -> None:
    store = EmergencyStore(tmp_path)
    threads = [
        threading.Thread(target=store.put, args=(make_setting(route=f"route-{number}"), TODAY)) for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.read()) == 16


def test_an_event_tells_who_why_and_until_when() -> None:
    event = make_setting().make_event("begun")
    assert event.text == (
        "to-pacs: runs with the emergency setting objects = pass until 2026-12-04 (ticket 4711; jkim)."
    )
    assert (event.change, event.until) == ("begun", "2026-12-04")
    assert "runs as configured again" in make_setting().make_event("lapsed").text


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.1.2.3:104", ("10.1.2.3", 104)), ("[2001:DB8::7]:104", ("2001:db8::7", 104)), ("pacs:11112", ("pacs", 11112))],
)
def test_an_address_is_parsed(text: str, address: tuple[str, int]) -> None:
    assert parse_plain_address(text) == address


@pytest.mark.parametrize("text", ["10.1.2.3", "2001:db8::7:104", ":104", "pacs:0", "pacs:65536", "pacs:١٠٤", "pacs:x"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(EmergencySettingError, match="is not an address"):
        parse_plain_address(text)
