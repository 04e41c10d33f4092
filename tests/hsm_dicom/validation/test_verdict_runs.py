"""Verdicts on many files: in one run, in other processes and threads, told as events."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.dataset.errors import NotDicomError
from hsm_dicom.events import DicomEvent, SignatureValidated, subscribe
from hsm_dicom.signatures import check_integrity
from hsm_dicom.trust.clock import set_mark
from hsm_dicom.validation.validator import (
    Outcome,
    Validator,
    Verdict,
    emit_events,
    make_unreadable_verdict,
    worst_exit_status,
)
from tests.hsm_dicom.validation.verdict_cases import SIGNER, STAMPER, Desk, image, validator
from tests.pki import DAY, NOW


def test_the_worst_file_decides_the_exit_status() -> None:
    def status(*outcomes: Outcome) -> int:
        return worst_exit_status(outcomes)

    assert status() == 1
    assert status(Outcome.GOOD) == 0
    assert status(Outcome.GOOD, Outcome.POLICY_NOT_MET) == 102
    assert status(Outcome.POLICY_NOT_MET, Outcome.NO_SIGNATURE) == 100
    assert status(Outcome.NO_SIGNATURE, Outcome.UNREADABLE) == 1
    assert status(*Outcome) == 101


def test_a_file_that_cannot_be_read_is_part_of_the_run(tmp_path: Path) -> None:
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"no image")
    with pytest.raises(NotDicomError) as refused:
        check_integrity(bad)
    verdict = make_unreadable_verdict(str(bad), refused.value)
    assert verdict.outcome is Outcome.UNREADABLE
    assert verdict.text == "Could not be read: not a DICOM file: the prefix DICM of PS3.10 is missing."


def test_an_unreadable_file_has_the_validation_time_of_the_others() -> None:
    try:
        set_mark(NOW + 9 * DAY)
        assert make_unreadable_verdict("bad.dcm", OSError("gone")).validated_at == NOW + 9 * DAY
    finally:
        set_mark(None)


def test_an_unsigned_file_is_neither_good_nor_bad() -> None:
    verdict = validator().validate(check_integrity(image()))
    assert verdict.outcome is Outcome.NO_SIGNATURE
    assert verdict.text == "Not signed: nothing in it is protected by a signature."


def _judged(validator: Validator, paths: Sequence[str], now: datetime) -> list[Verdict]:
    return [validator.validate(check_integrity(path), now=now) for path in paths]


@pytest.mark.interop
def test_validators_work_in_other_processes_and_threads_and_verdicts_come_back(desk: Desk) -> None:
    paths = [str(desk.sign(stamper=STAMPER)), str(desk.sign()), str(image())]
    later = NOW + DAY
    here = _judged(validator(), paths, later)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        assert processes.submit(_judged, validator(), paths, later).result(timeout=60) == here
    shared = validator()
    with ThreadPoolExecutor(4) as threads:
        assert all(found == here for found in threads.map(lambda _: _judged(shared, paths, later), range(8)))
    assert pickle.loads(pickle.dumps(here)) == here


def test_judging_one_more_file_of_a_known_signer_takes_no_time_to_speak_of(desk: Desk) -> None:
    found, every = desk.verified(), validator()
    every.validate(found)
    began = time.perf_counter()
    for _ in range(200):
        every.validate(found)
    assert (time.perf_counter() - began) / 200 < 0.001


def test_each_verdict_is_an_event(desk: Desk) -> None:
    verdict = validator(revoked=[SIGNER]).validate(desk.verified())
    events: list[Any] = []
    with subscribe(events.append):
        emit_events(verdict)
    (event,) = [event for event in events if isinstance(event, DicomEvent)]
    assert isinstance(event, SignatureValidated)
    assert (event.verdict, event.signer) == ("invalid", "CN=CT room")
    assert event.reason == "invalid, because a certificate of the chain is revoked"
