"""Dates that refuse peers are told by check-config, at the start, at a reload, and before they come."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from hsm_dicom import events
from hsm_dicom.events import Event
from hsm_dicom.gateway.status import ExceptionStatus
from hsm_dicom.identity import Identity
from hsm_dicom.network.settings import ListenerSettings
from hsm_dicom.node.opening import OpenedListener, Resources
from hsm_dicom.node.service import Service
from hsm_dicom.node.validity.watch import ValidityWatch, Watched
from hsm_dicom.transport.events import EndApproaching, ValidityWarning
from hsm_dicom.transport.periodic import look_until
from hsm_dicom.trust import CertificateValidator
from tests.hsm_dicom.cli.conftest import Run
from tests.hsm_dicom.network.nodes import CT1, QUICK, eventually
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.pki import DAY, NOW
from tests.softhsm import TestToken
from tokens import open_key


@contextmanager
def hearing() -> Iterator[list[ValidityWarning]]:
    told: list[ValidityWarning] = []

    def hear(event: Event) -> None:
        if isinstance(event, ValidityWarning):
            told.append(event)

    with events.subscribe(hear):
        yield told


def outdated(hospital: Hospital) -> bytes:
    return hospital.ca.crl(issued=NOW - 8 * DAY, until=NOW - DAY)


def test_check_config_reports_a_crl_that_refuses_every_peer(run: Run, tmp_path: Path, hospital: Hospital) -> None:
    (tmp_path / "ca.pem").write_bytes(hospital.ca.pem)
    config = tmp_path / "hsm-dicom.toml"
    config.write_text('[trust]\nanchors = ["ca.pem"]\ncrls = ["ca.crl"]\n')
    config.chmod(0o600)
    (tmp_path / "ca.crl").write_bytes(outdated(hospital))
    result = run("check-config", "--config", config)
    assert result.status == 1
    assert "trust.crls" in result.said
    assert "is out of date since" in result.said
    assert "Fetch the CA's new CRL" in result.said
    (tmp_path / "ca.crl").write_bytes(hospital.ca.crl(issued=NOW - 6 * DAY, until=NOW + DAY))
    result = run("check-config", "--config", config)
    assert result.status == 0
    assert "will be out of date in" in result.said
    (tmp_path / "ca.crl").write_bytes(hospital.ca.crl())
    assert "no errors, no warnings" in run("check-config", "--config", config).said


def test_a_service_tells_at_its_start_and_at_each_reload(hospital: Hospital, node: TestToken) -> None:
    crl = outdated(hospital)
    expired = hospital.ca.issue("node", key=hospital.rsa.key, begins=NOW - 9 * DAY, ends=NOW - DAY)

    def load() -> OpenedListener:
        settings = ListenerSettings(name="main", ae_title="NODE", peers=(CT1,), port=0, limits=QUICK)
        identity = Identity("node", open_key(node.uri("rsa")), expired.certificate)
        return OpenedListener(settings, Resources([identity], hospital.validator(crl=crl)))

    with hearing() as told, Service(load) as service:
        sentences = [event.text for event in told]
        assert len(sentences) == 2
        assert sentences[0].startswith("main: identity 'node': The certificate of 'CN=node' expired on")
        assert sentences[1].startswith("main: The CRL the CA's CRL of 'CN=Test CA' is out of date since")
        assert all(event.blocks_connections for event in told)
        crl = hospital.ca.crl()
        service.reload()
        assert [event.text for event in told[2:]] == sentences[:1]


def test_what_comes_near_is_reported_once_for_each_day_and_each_hour(hospital: Hospital) -> None:
    moment = NOW
    validator: CertificateValidator = hospital.validator(
        crl=hospital.ca.crl(issued=NOW - 6 * DAY, until=NOW + 12 * DAY)
    )
    watch = ValidityWatch("main", "127.0.0.1:2762", lambda: Watched(validator=validator), now=lambda: moment)
    with hearing() as told:
        for hour in range(14 * 24):
            moment = NOW + timedelta(hours=hour, seconds=30)
            watch.check()
    before = [event for event in told if not event.blocks_connections]
    assert len(before) == 3 + 48  # days, then hours
    assert len([event for event in told if event.blocks_connections]) == 1


def test_the_clock_alone_leads_to_a_remark(hospital: Hospital) -> None:
    moment = NOW
    watch = ValidityWatch(
        "main",
        "127.0.0.1:2762",
        lambda: Watched(validator=hospital.validator(crl=hospital.ca.crl())),
        now=lambda: moment,
        interval=0.02,
    )
    with hearing() as told:
        watch.start()
        try:
            assert not told
            moment = NOW + 8 * DAY
            assert eventually(lambda: told)
        finally:
            watch.stop()
    assert "is out of date since" in told[0].text


def test_a_thread_that_looks_goes_on_after_an_unexpected_error(caplog: pytest.LogCaptureFixture) -> None:
    stopping, looks = threading.Event(), 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        stopping.set()

    look_until(stopping, look, 0.0)
    assert looks == 2
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize(
    ("issued", "until", "numbers"), [(90, 97, [1]), (0, 40, [14, 7, 1]), (-60, 90, [60, 30, 14, 7, 1])]
)
def test_each_end_is_an_event_at_60_30_14_7_and_1_days_but_not_above_half_of_the_validity(
    hospital: Hospital, issued: int, until: int, numbers: list[int]
) -> None:
    moment = NOW
    ends = NOW + 100 * DAY
    identity = hospital.ca.issue("node", key=hospital.rsa.key, begins=NOW - 300 * DAY, ends=ends)
    node = Identity("node", hospital.rsa.key, identity.certificate)
    validator = hospital.validator(crl=hospital.ca.crl(issued=NOW + issued * DAY, until=NOW + until * DAY))
    watch = ValidityWatch("main", "127.0.0.1:2762", lambda: Watched((node,), validator), now=lambda: moment)
    told: list[EndApproaching] = []
    with events.subscribe(lambda event: told.append(event) if isinstance(event, EndApproaching) else None):
        for hour in range(0, 101 * 24, 6):
            moment = NOW + timedelta(hours=hour)
            watch.check(repeat=hour % 48 == 0)
    assert [one.days for one in told if one.kind == "identity"] == [60, 30, 14, 7, 1]
    assert [one.days for one in told if one.kind == "crl"] == numbers
    assert {one.ends for one in told if one.kind == "identity"} == {f"{ends:%Y-%m-%dT%H:%M:%SZ}"}
    assert any("main: identity node: the certificate ends in 60 days or less" in one.text for one in told)


def test_a_watch_that_starts_late_reports_the_smallest_number_once(hospital: Hospital) -> None:
    crl = hospital.ca.crl(issued=NOW - 90 * DAY, until=NOW + 10 * DAY)
    watch = ValidityWatch(
        "main", "127.0.0.1:2762", lambda: Watched(validator=hospital.validator(crl=crl)), now=lambda: NOW
    )
    told: list[EndApproaching] = []
    with events.subscribe(lambda event: told.append(event) if isinstance(event, EndApproaching) else None):
        watch.check(repeat=True)
        watch.check(repeat=True)
    assert [(one.kind, one.days) for one in told] == [("crl", 14)]


def test_the_ends_of_exceptions_and_of_anchors_of_time_stamps_are_events_too(hospital: Hospital) -> None:
    moment = NOW
    ends = (NOW + 90 * DAY).replace(microsecond=0)
    anchor = hospital.ca.issue("TSA", key=hospital.rsa.key, begins=NOW - 300 * DAY, ends=ends).certificate
    exceptions = [ExceptionStatus(kind=kind, name=f"{kind} 1", ends=ends) for kind in ("retired-profile", "emergency")]
    watched = Watched(timestamp_anchors=[anchor], exceptions=exceptions)
    watch = ValidityWatch("main", "", lambda: watched, now=lambda: moment)
    told: list[EndApproaching] = []
    with events.subscribe(lambda event: told.append(event) if isinstance(event, EndApproaching) else None):
        for day in range(92):
            moment = NOW + day * DAY
            watch.check()
    for kind, what in (
        ("timestamp-anchor", "certificate"),
        ("retired-profile", "exception"),
        ("emergency", "exception"),
    ):
        assert [one.days for one in told if one.kind == kind] == [60, 30, 14, 7, 1]
        assert all(f"the {what} ends in" in one.text for one in told if one.kind == kind)
