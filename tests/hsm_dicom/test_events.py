"""Events: what goes to the file, and that a failing disk never stops the work."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hsm_dicom.events import EventFile, SignatureValidated, as_json, emit, subscribe
from tests.softhsm import TestToken
from tokens import open_key
from tokens.events import KeyUse, OperationOutcome
from tokens.events import emit as emit_device

VERDICT = SignatureValidated(
    file="a.dcm", sop_instance_uid="1.2", signature_uid="2.25.1", verdict="valid", reason="", signer="CN=x"
)
FULL = Path("/dev/full")


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_use_of_a_key_is_one_line(token: TestToken, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    path = tmp_path / "events.jsonl"
    uri = token.generate("rsa")
    with EventFile(path).record(), open_key(uri) as key:
        key.sign(b"the data itself", padding.PKCS1v15(), hashes.SHA256())
    login, use = lines(path)
    assert (login["event"], login["outcome"], login["presented"]) == ("login", "succeeded", True)
    assert use["schema"] == "hsm-dicom/event/2"
    assert (use["event"], use["operation"], use["key_label"]) == ("key-use", "sign", "rsa")
    assert use["process"] == os.getpid()
    assert abs(datetime.now(UTC) - datetime.fromisoformat(str(use["time"]))).total_seconds() < 60
    pin = os.environ[token.pin.removeprefix("env:")]
    assert pin not in path.read_text()
    assert "the data itself" not in path.read_text()


def test_the_file_is_for_its_owner_only_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with EventFile(path).record():
            emit(VERDICT)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [line["event"] for line in lines(path)] == ["signature-validated", "signature-validated"]


def test_a_line_holds_no_line_break_of_a_file_name() -> None:
    event = SignatureValidated(
        file="a\nb\u2028", sop_instance_uid="", signature_uid="", verdict="", reason="", signer=""
    )
    assert len(as_json(event, datetime.now(UTC)).splitlines()) == 1


def test_a_file_moved_away_is_made_again(tmp_path: Path) -> None:
    path, moved = tmp_path / "events.jsonl", tmp_path / "events.jsonl.1"
    with EventFile(path).record():
        emit(VERDICT)
        path.rename(moved)
        emit(VERDICT)
    assert len(lines(path)) == len(lines(moved)) == 1


def test_a_line_cut_off_stays_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"schema": "hsm-dic')
    with EventFile(path).record():
        emit(VERDICT)
    torn, whole = path.read_text().splitlines()
    assert json.loads(whole)["event"] == "signature-validated"
    assert torn == '{"schema": "hsm-dic'


def test_a_disk_that_fails_is_reported_once_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "gone" / "events.jsonl"
    with EventFile(path).record() as subscription, caplog.at_level(logging.ERROR, "hsm_dicom"):
        for _ in range(3):
            emit(VERDICT)
        path.parent.mkdir()
        emit(VERDICT)
    assert subscription.lost == 3
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "not being recorded" in said[0]
    assert "being recorded again" in said[1]
    assert said[1].endswith("3 before this are missing.")
    assert len(lines(path)) == 1


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
def test_a_full_disk_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with EventFile(FULL).record() as subscription, caplog.at_level(logging.ERROR, "hsm_dicom"):
        emit(VERDICT)
        emit(VERDICT)
    assert len(caplog.records) == 1
    assert subscription.lost == 2


def test_a_symbolic_link_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    target = tmp_path / "target"
    (tmp_path / "events.jsonl").symlink_to(target)
    with EventFile(tmp_path / "events.jsonl").record(), caplog.at_level(logging.ERROR, "hsm_dicom"):
        emit(VERDICT)
    assert not target.exists()


def test_a_sink_that_fails_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("sink")

    with subscribe(broken):
        emit(VERDICT)
    assert "could not be delivered" in caplog.text


def test_device_events_reach_the_same_sink() -> None:
    heard: list[object] = []
    use = KeyUse(
        token_serial="1", token_label="t", outcome=OperationOutcome.SUCCEEDED, duration=0.1, key_label="k",
        operation="sign",
        mechanism="CKM_RSA_PKCS",
    )  # fmt: skip
    with subscribe(heard.append):
        emit_device(use)
        emit(VERDICT)
    emit(VERDICT)
    assert heard == [use, VERDICT]
