"""What a listener's policy refuses or puts into quarantine, and what the sender learns of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hsm_dicom.events import SignatureValidated
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.receive import NOT_ACCEPTED, Receiver
from hsm_dicom.network.settings import Quarantine, StorageSettings
from hsm_dicom.network.storage.policy_check import make_policy_check, make_refusal
from hsm_dicom.network.store import FileOutcome
from hsm_dicom.transport.events import InstanceReceived
from hsm_dicom.trust import TrustStore
from hsm_dicom.trust.clock import current_time
from hsm_dicom.validation import PolicyValidator, PolicyVerdict, UnmetDemand, Verdict, VerificationPolicy
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import Node, node
from tests.hsm_dicom.network.test_store import send
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.hsm_dicom.validation.verdict_cases import CA, Desk


@contextmanager
def judging(hospital: Hospital, folder: Path, quarantine: Quarantine | None = None, **policy: Any) -> Iterator[Node]:
    """A listener with a policy that trusts the CA of the signers."""
    store = TrustStore([CA.certificate])
    validator = PolicyValidator.from_stores(VerificationPolicy(**policy), store, name="archive")
    settings = StorageSettings(folder=folder, policy="archive", quarantine=quarantine)
    receiver = Receiver("main", settings, make_policy_check(lambda: validator))
    with node(hospital, receiver=receiver) as running:
        yield running


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_an_object_that_does_not_meet_the_policy_is_refused_with_the_reasons(
    hospital: Hospital, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)
    files = desk.sign(ct_image(tmp_path)), ct_image(tmp_path, "unsigned.dcm")
    with judging(hospital, tmp_path / "received") as running:
        signed, unsigned = send(running, hospital, *files)
        accepted, refused = running.nth(InstanceReceived, 0), running.nth(InstanceReceived, 1)
        validated = running.only(SignatureValidated)
    assert (signed.status, unsigned.status) == (0, NOT_ACCEPTED)
    assert "Policy archive: unsigned, no-valid-signature" in unsigned.text
    assert (accepted.unmet, refused.unmet) == ((), ("unsigned", "no-valid-signature"))
    assert (refused.file, refused.status) == ("", NOT_ACCEPTED)
    assert "refused: It is not signed. There is no valid signature over the main Data Set." in refused.text
    assert validated.file == signed.sop_instance_uid
    assert kept(tmp_path / "received") == [f"{signed.sop_instance_uid}.dcm"]


def test_a_rule_for_a_calling_ae_title_applies_to_who_calls_so(hospital: Hospital, tmp_path: Path) -> None:
    rules = [{"when": {"calling_ae_titles": ["CT1"]}, "unsigned": "accept"}]
    with judging(hospital, tmp_path / "received", rules=rules) as running:
        (outcome,) = send(running, hospital, ct_image(tmp_path))
    assert outcome.status == 0
    rules = [{"when": {"calling_ae_titles": ["CT2"]}, "unsigned": "accept"}]
    with judging(hospital, tmp_path / "other", rules=rules) as running:
        (outcome,) = send(running, hospital, ct_image(tmp_path))
    assert outcome.status == NOT_ACCEPTED
    assert "no-rule" in outcome.text


def quarantined(hospital: Hospital, tmp_path: Path, *, answers_success: bool) -> tuple[list[FileOutcome], Node]:
    uid = "1.2.3.4"
    files = [ct_image(tmp_path, f"{value}.dcm", uid=uid, value=value) for value in (1, 1, 2)]
    place = Quarantine(folder=tmp_path / "received/quarantine", answers_success=answers_success)
    with judging(hospital, tmp_path / "received", place) as running:
        outcomes = list(send(running, hospital, *files))
        running.nth(InstanceReceived, 2)
    return outcomes, running


def test_quarantine_keeps_the_object_with_the_reasons_and_answers_a_failure(hospital: Hospital, tmp_path: Path) -> None:
    outcomes, running = quarantined(hospital, tmp_path, answers_success=False)
    assert [one.status for one in outcomes] == [NOT_ACCEPTED] * 3
    folder = tmp_path / "received/quarantine"
    assert kept(folder) == ["1.2.3.4-2.dcm", "1.2.3.4-2.json", "1.2.3.4.dcm", "1.2.3.4.json"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.iterdir())
    reasons = json.loads((folder / "1.2.3.4.json").read_text())
    assert (reasons["file"], reasons["policy"], reasons["outcome"]) == ("1.2.3.4", "archive", "no-signature")
    assert [one["code"] for one in reasons["unmet"]] == ["unsigned", "no-valid-signature"]
    assert kept(tmp_path / "received") == []
    event = running.of(InstanceReceived)[0]
    assert event.file == str(folder / "1.2.3.4.dcm")
    assert "put into quarantine as" in event.text


def test_quarantine_answers_success_only_where_the_settings_say_so(hospital: Hospital, tmp_path: Path) -> None:
    outcomes, _ = quarantined(hospital, tmp_path, answers_success=True)
    assert [one.status for one in outcomes] == [0, 0, 0]


def test_a_quarantine_on_another_file_system_is_refused_at_the_start(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / tmp_path.name
    try:
        with pytest.raises(SettingsError, match="is on another file system"):
            Receiver("main", StorageSettings(folder=tmp_path, quarantine=Quarantine(folder=elsewhere)))
    finally:
        elsewhere.rmdir()


@pytest.mark.parametrize(
    ("policy", "unmet", "comment"),
    [
        ("p", [("altered", "The signature is invalid.")], "Policy p: The signature is invalid."),
        ("p", [("a" * 20, "x" * 60)], f"Policy p: {'a' * 20}"),
        ("p", [(c * 20, "x" * 60) for c in "abc"], f"Policy p: {'a' * 20}, {'b' * 20} and 1 more"),
        ("p" * 80, [("altered", "x" * 60)], f"Policy {'p' * 25}altered"),
        ("p", [("z" * 70, "ü" * 60)], "Policy p: not met"),
        ("pü\\", [("altered", "x")], "Policy p?/: x"),
    ],
)
def test_the_error_comment_has_what_fits(policy: str, unmet: list[tuple[str, str]], comment: str) -> None:
    demands = tuple(UnmetDemand(*one) for one in unmet)
    refusal = make_refusal(PolicyVerdict(Verdict("x", current_time(), policy=policy), demands))
    assert refusal.comment == comment
    assert len(refusal.comment) <= 64
