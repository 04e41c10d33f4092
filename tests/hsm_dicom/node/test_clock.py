"""The system clock: set back, set forward, not synchronised; and what is valid then."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.events import subscribe
from hsm_dicom.gateway.events import ClockChanged
from hsm_dicom.identity.validity import find_expiry_remark
from hsm_dicom.node.clock import ClockWatch, is_clock_synchronised, measure_boot_time
from hsm_dicom.tls.settings import today
from hsm_dicom.trust import CertificatePurpose, CertificateValidator, Reason, TrustStore
from hsm_dicom.trust.clock import TOLERANCE, choose_time, current_time, set_mark
from tests.pki import DAY, NOW, YEAR, Authority


class Clocks:
    """A wall clock that can be set, and one that measures what passes."""

    def __init__(self) -> None:
        self.now, self.measured, self.synchronised = NOW, 1000.0, True
        self.changes: list[tuple[str, int]] = []

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.measured += seconds

    def watch(self, folder: Path, **changes: Any) -> ClockWatch:
        return ClockWatch(
            folder,
            look_seconds=3600.0,
            read_clock=lambda: self.now,
            measure=lambda: self.measured,
            is_synchronised=lambda: self.synchronised,
            **changes,
        )

    def note(self, event: ClockChanged) -> None:
        self.changes.append((event.change, round(event.seconds)))


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks()
    with subscribe(clocks.note, ClockChanged):
        yield clocks
    set_mark(None)


def read_mark(folder: Path) -> datetime:
    return datetime.fromisoformat(json.loads((folder / "clock.json").read_text())["latest"])


def test_the_later_of_the_clock_and_the_mark_counts_beyond_a_tolerance() -> None:
    assert choose_time(NOW, None) == NOW
    assert choose_time(NOW, NOW - YEAR) == NOW
    assert choose_time(NOW, NOW + TOLERANCE) == NOW
    assert choose_time(NOW, NOW + TOLERANCE + timedelta(seconds=1)) == NOW + TOLERANCE + timedelta(seconds=1)


def test_a_clock_that_was_set_back_does_not_make_an_expired_certificate_valid(tmp_path: Path, clocks: Clocks) -> None:
    """The machine's own clock stands for the one that was set back: the node has seen a time two years later."""
    ca = Authority("CA", ends=NOW + 10 * YEAR)
    expired = ca.issue("ct", begins=NOW - YEAR, ends=NOW + YEAR)
    validator = CertificateValidator(TrustStore([ca.certificate]))
    assert validator.validate(expired.certificate, CertificatePurpose.SIGNING).trusted
    clocks.now += 2 * YEAR
    with clocks.watch(tmp_path):
        verdict = validator.validate(expired.certificate, CertificatePurpose.SIGNING)
        assert (verdict.trusted, verdict.reason) == (False, Reason.EXPIRED)
        assert current_time() == clocks.now
        assert today() == clocks.now.date()
        remark = find_expiry_remark(expired.certificate)
        assert remark is not None
        assert remark.expired
    assert validator.validate(expired.certificate, CertificatePurpose.SIGNING).trusted


def test_a_clock_that_is_behind_at_a_start_is_noticed_until_it_is_right(tmp_path: Path, clocks: Clocks) -> None:
    with clocks.watch(tmp_path):
        pass
    clocks.now -= 400 * DAY
    with clocks.watch(tmp_path) as watch:
        assert watch.status.behind_seconds == 400 * 86400
        clocks.now += 400 * DAY
        watch.look()
        assert watch.status.behind_seconds == 0
    assert clocks.changes == [("behind", -400 * 86400), ("stepped", 400 * 86400), ("right", 0)]


def test_a_correction_within_the_tolerance_is_a_step_and_no_more(tmp_path: Path, clocks: Clocks) -> None:
    with clocks.watch(tmp_path) as watch:
        clocks.pass_time(60)
        clocks.now -= timedelta(hours=1)
        watch.look()
        assert (watch.status.stepped_seconds, watch.status.stepped_at) == (-3600.0, clocks.now)
        assert watch.status.behind_seconds == 0
        clocks.pass_time(86400)
        watch.look()
        assert watch.status.stepped_at is None
    assert clocks.changes == [("stepped", -3600)]


def test_a_clock_that_is_slewed_was_not_set(tmp_path: Path, clocks: Clocks) -> None:
    with clocks.watch(tmp_path) as watch:
        for _ in range(100):
            clocks.pass_time(60)
            clocks.now += timedelta(seconds=2)
            watch.look()
    assert clocks.changes == []


def test_a_wrong_future_of_a_clock_without_time_service_does_not_become_the_mark(
    tmp_path: Path, clocks: Clocks
) -> None:
    clocks.synchronised = False
    with clocks.watch(tmp_path) as watch:
        assert watch.status.is_synchronised is False
        clocks.pass_time(60)
        clocks.now += 20 * YEAR
        watch.look()
        clocks.now -= 20 * YEAR
        watch.look()
        assert watch.status.behind_seconds == 0
    assert read_mark(tmp_path) == NOW + timedelta(seconds=60)


def test_removing_the_file_is_the_way_out_of_a_wrong_mark(tmp_path: Path, clocks: Clocks) -> None:
    clocks.now += 20 * YEAR
    with clocks.watch(tmp_path) as watch:
        clocks.now = NOW
        watch.look()
        assert watch.status.behind_seconds > 0
        (tmp_path / "clock.json").unlink()
        watch.look()
        assert watch.status.behind_seconds == 0
        assert read_mark(tmp_path) == NOW


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "hsm-dicom/clock/1", "latest": "soon"}'])
def test_a_file_that_cannot_be_read_is_replaced(
    tmp_path: Path, clocks: Clocks, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "clock.json").write_text(content)
    with caplog.at_level(logging.ERROR, "hsm_dicom.node"), clocks.watch(tmp_path):
        assert read_mark(tmp_path) == NOW
    assert "will not be noticed" in caplog.text


def test_without_a_file_the_mark_is_kept_in_memory(
    tmp_path: Path, clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("not a folder")
    with caplog.at_level(logging.ERROR, "hsm_dicom.node"), clocks.watch(tmp_path / "state") as watch:
        clocks.now -= 30 * DAY
        watch.look()
        assert watch.status.behind_seconds == 30 * 86400
        watch.look()
    assert caplog.text.count("will not be noticed") == 1


def test_the_kernel_is_asked() -> None:
    assert is_clock_synchronised() in (True, False, None)
    assert 0 < measure_boot_time() <= measure_boot_time()
