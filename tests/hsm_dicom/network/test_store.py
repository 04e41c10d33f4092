"""C-STORE both ways: byte for byte, whole or not at all, with an outcome for each file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.uid import generate_uid
from pynetdicom import evt

from hsm_dicom.network.receive import NOT_ACCEPTED, OTHER_CONTENT, Receiver
from hsm_dicom.network.settings import StorageSettings
from hsm_dicom.network.storage.policy_check import CheckFile, Refusal
from hsm_dicom.network.store import FileOutcome, store
from hsm_dicom.transport.events import InstanceReceived
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import TIMEOUTS, Node, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital


@contextmanager
def storing(hospital: Hospital, folder: Path, check: CheckFile | None = None, **wishes: Any) -> Iterator[Node]:
    receiver = Receiver("main", StorageSettings(folder=folder), check)
    with node(hospital, receiver=receiver, **wishes) as running:
        yield running


def send(running: Node, hospital: Hospital, *files: Path, **wishes: Any) -> tuple[FileOutcome, ...]:
    peer = running.peer()
    options = {"pause": 0.05, "timeouts": TIMEOUTS} | wishes
    return store(peer, transport_to(peer, hospital), "CT1", files, **options).outcomes


def test_a_file_arrives_byte_for_byte_under_its_sop_instance_uid(hospital: Hospital, tmp_path: Path) -> None:
    image = ct_image(tmp_path)
    with storing(hospital, tmp_path / "received") as running:
        (outcome,) = send(running, hospital, image)
    assert outcome.done
    (received,) = (tmp_path / "received").iterdir()
    assert received.name == f"{outcome.sop_instance_uid}.dcm"
    assert data_set_bytes(received) == data_set_bytes(image)
    event = running.only(InstanceReceived)
    assert (event.status, event.file, event.subject) == (0, str(received), "CN=CT 1")


def test_the_same_bytes_again_are_a_success_and_other_bytes_are_refused(hospital: Hospital, tmp_path: Path) -> None:
    uid = generate_uid()
    first, other = ct_image(tmp_path, "one.dcm", uid=uid), ct_image(tmp_path, "two.dcm", uid=uid, value=7)
    with storing(hospital, tmp_path / "received") as running:
        outcomes = send(running, hospital, first, first, other)
    assert [outcome.status for outcome in outcomes] == [0, 0, OTHER_CONTENT]
    assert "Another object has this SOP Instance UID already" in outcomes[2].text
    (received,) = (tmp_path / "received").iterdir()
    assert data_set_bytes(received) == data_set_bytes(first)


def test_what_the_check_refuses_is_not_stored_and_the_sender_learns_why(hospital: Hospital, tmp_path: Path) -> None:
    seen: list[Path] = []

    def check(path: Path, calling_ae_title: str) -> Refusal | None:
        seen.append(path)
        assert calling_ae_title == "CT1"
        assert dcmread(path).Modality == "CT"
        return Refusal("The signature does not hold.", "All reasons.") if len(seen) == 1 else None

    with storing(hospital, tmp_path / "received", check) as running:
        outcomes = send(running, hospital, ct_image(tmp_path, "1.dcm"), ct_image(tmp_path, "2.dcm"))
    assert [outcome.status for outcome in outcomes] == [NOT_ACCEPTED, 0]
    assert "The signature does not hold." in outcomes[0].text
    assert len(list((tmp_path / "received").iterdir())) == 1


def test_an_instance_under_a_false_name_is_refused(hospital: Hospital, tmp_path: Path) -> None:
    image = ct_image(tmp_path)
    changed = dcmread(image)
    changed.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    changed.save_as(tmp_path / "false.dcm", enforce_file_format=False)
    with storing(hospital, tmp_path / "received") as running:
        (outcome,) = send(running, hospital, tmp_path / "false.dcm")
    assert outcome.status == 0xA900
    assert not list((tmp_path / "received").iterdir())


def test_what_is_no_dicom_file_is_reported_and_the_others_go_on(hospital: Hospital, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with storing(hospital, tmp_path / "received") as running:
        outcomes = send(running, hospital, tmp_path / "notes.txt", tmp_path / "missing.dcm", ct_image(tmp_path))
    assert [outcome.done for outcome in outcomes] == [False, False, True]
    assert "is no DICOM file" in outcomes[0].text
    assert "No such file" in outcomes[1].text


def test_a_folder_stands_for_its_files_and_progress_is_reported_for_each(hospital: Hospital, tmp_path: Path) -> None:
    for number in range(5):
        ct_image(tmp_path, f"{number}.dcm")
    heard: list[FileOutcome] = []
    with storing(hospital, tmp_path.parent / f"{tmp_path.name}-received") as running:
        outcomes = send(running, hospital, tmp_path, progress=heard.append)
    assert len(outcomes) == 5
    assert tuple(heard) == outcomes


def test_what_is_left_out_of_a_folder_is_an_outcome_too(hospital: Hospital, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    ct_image(folder)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(elsewhere)
    with storing(hospital, tmp_path / "received") as running:
        outcomes = {outcome.path.name: outcome for outcome in send(running, hospital, folder)}
    assert [name for name, outcome in outcomes.items() if outcome.done] == ["ct.dcm"]
    assert "link to a folder, which is not followed" in outcomes["link"].text
    assert outcomes["pipe"].text == f"{folder / 'pipe'} is not a regular file."


def test_a_connection_that_is_lost_is_made_again_and_nothing_is_sent_twice(hospital: Hospital, tmp_path: Path) -> None:
    seen: list[str] = []

    def lose_the_second(event: evt.Event) -> int:
        seen.append(event.request.AffectedSOPInstanceUID)
        if len(seen) == 2:
            event.assoc.abort()
        return 0x0000

    images = [ct_image(tmp_path, f"{number}.dcm") for number in range(3)]
    with node(hospital, handlers=[(evt.EVT_C_STORE, lose_the_second)]) as running:
        outcomes = send(running, hospital, *images)
    assert all(outcome.done for outcome in outcomes)
    assert [outcome.attempts for outcome in outcomes] == [1, 1, 2]
    assert len(seen) == 4


def test_a_peer_whose_disk_is_full_is_tried_again_and_then_reported(hospital: Hospital, tmp_path: Path) -> None:
    with node(hospital, handlers=[(evt.EVT_C_STORE, lambda event: 0xA700)]) as running:
        (outcome,) = send(running, hospital, ct_image(tmp_path), attempts=2)
    assert (outcome.status, outcome.attempts, outcome.done) == (0xA700, 2, False)


def test_a_folder_that_cannot_be_written_to_answers_out_of_resources(hospital: Hospital, tmp_path: Path) -> None:
    folder = tmp_path / "received"
    with storing(hospital, folder) as running:
        folder.rmdir()
        (outcome,) = send(running, hospital, ct_image(tmp_path), attempts=1)
    assert outcome.status == 0xA700


def test_a_rejected_association_is_the_outcome_of_every_file_at_once(hospital: Hospital, tmp_path: Path) -> None:
    with storing(hospital, tmp_path / "received") as running:
        peer = running.peer()
        images = [ct_image(tmp_path, f"{number}.dcm") for number in range(2)]
        result = store(peer, transport_to(peer, hospital), "INTRUDER", images, timeouts=TIMEOUTS, pause=0)
    assert not result.done
    assert {outcome.attempts for outcome in result.outcomes} == {1}
    assert all("calling ae title not recognised" in outcome.text for outcome in result.outcomes)


def test_a_peer_that_does_not_listen_is_the_outcome_of_every_file(hospital: Hospital, tmp_path: Path) -> None:
    with storing(hospital, tmp_path / "received") as running:
        peer = running.peer()
    (outcome,) = store(
        replace(peer), transport_to(peer, hospital), "CT1", [ct_image(tmp_path)], pause=0, attempts=2
    ).outcomes
    assert "check that a program listens" in outcome.text
    assert outcome.attempts == 2


def test_a_received_file_is_readable_by_its_owner_only_and_leaves_nothing_beside(
    hospital: Hospital, tmp_path: Path
) -> None:
    with storing(hospital, tmp_path / "received") as running:
        send(running, hospital, ct_image(tmp_path))
    (received,) = (tmp_path / "received").iterdir()
    assert received.stat().st_mode & 0o777 == 0o600
