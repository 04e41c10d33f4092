"""Conversations between programs that were not written here, recorded and passed to an inspector in any pieces."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ModalityPerformedProcedureStep,
    StorageCommitmentPushModel,
)

from tests.hsm_dicom.gateway.inspect.conversations import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Reported, inspect
from tests.hsm_dicom.network.images import ct_image
from tests.interop.gateway.recording import Conversation, recording
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2"
FIND, MOVE, GET = STUDY_ROOT + ".1", STUDY_ROOT + ".2", STUDY_ROOT + ".3"
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
PATIENT = "Recorded^Patient"


def follow(conversation: Conversation) -> Reported:
    """What is reported of a conversation, which is the same however it is cut into pieces."""
    whole = inspect(conversation.values, contexts=conversation.contexts)
    lengths = [random.Random(7).randint(1, 400) for _ in range(50)]
    for cuts in ([1], [13], lengths):
        parts = inspect(conversation.values, contexts=conversation.contexts, cuts=cuts)
        assert (parts.events, parts.counts) == (whole.events, whole.counts)
    assert not any(PATIENT in repr(event) for event in whole.events)
    return whole


def images(folder: Path, count: int = 2) -> list[Path]:
    """CT images of one study, with a sequence of undefined length and a private element before its UID."""
    paths = []
    for number in range(count):
        path = ct_image(folder, f"{number}.dcm", uid=f"1.2.3.6.{number + 1}", pixels=20_000)
        image = dcmread(path)
        image.PatientName, image.PatientID = PATIENT, "1"
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, "1.2.9"
        reference.is_undefined_length_sequence_item = True
        image.ReferencedImageSequence = [reference]
        image["ReferencedImageSequence"].is_undefined_length = True
        image.private_block(0x0009, "TEST", create=True).add_new(1, "OB", bytes(5000))
        image.StudyInstanceUID = "1.2.3.4"
        image.StudyDate, image.StudyTime, image.AccessionNumber, image.StudyID = "20260101", "120000", "1", "1"
        image.SeriesNumber, image.InstanceNumber = "1", str(number + 1)
        image.save_as(path)
        paths.append(path)
    return paths


@pytest.mark.parametrize(
    ("sender", "receiver", "syntax"),
    [
        ("-xi", "+xi", IMPLICIT),
        ("-xe", "+xe", EXPLICIT),
        ("-xb", "+xb", BIG_ENDIAN),
        ("-xd", "+xd", DEFLATED),
    ],
)
def test_storescu_and_storescp(tmp_path: Path, sender: str, receiver: str, syntax: str) -> None:
    sent = images(tmp_path)
    received = tmp_path / "received"
    received.mkdir()
    port = free_port()
    with (
        serving(port, ["storescp", receiver, "-pdu", 4096, "-od", received, port]),
        recording(port) as recorder,
    ):
        status, printed = run("storescu", sender, "127.0.0.1", recorder.port, *sent)
        assert status == 0, printed
        (conversation,) = recorder.conversations()
    assert {context.transfer_syntax for context in conversation.contexts.values()} >= {syntax}
    reported = follow(conversation)
    assert [(one.sop_class_uid, one.sop_instance_uid, one.study_instance_uid) for one in reported.instances] == [
        (CT, "1.2.3.6.1", "1.2.3.4"),
        (CT, "1.2.3.6.2", "1.2.3.4"),
    ]
    assert all(one.direction == "forth" and one.status == 0 for one in reported.instances)
    assert reported.counts == {"stored": 2}


@contextmanager
def archive(folder: Path, destination: int) -> Iterator[int]:
    """DCMTK's dcmqrscp with an empty archive, on the port that is yielded."""
    storage, port = folder / "archive", free_port()
    storage.mkdir()
    settings = folder / "dcmqrscp.cfg"
    settings.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ndest = (DEST, 127.0.0.1, {destination})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {storage} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with serving(port, ["dcmqrscp", "-c", settings], folder):
        yield port


def test_a_query_and_retrieval_with_dcmqrscp(tmp_path: Path) -> None:
    sent = images(tmp_path, 3)
    moved, got = tmp_path / "moved", tmp_path / "got"
    moved.mkdir()
    got.mkdir()
    destination = free_port()
    study = ["-S", "-aec", "PACS", "-k", "StudyInstanceUID=1.2.3.4", "-k", "QueryRetrieveLevel=STUDY"]
    each = ["-S", "-aec", "PACS", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID=1.2.3.4"]
    with (
        serving(destination, ["storescp", "-aet", "DEST", "-od", moved, destination]),
        recording(destination) as moving,
        archive(tmp_path, moving.port) as port,
        recording(port) as recorder,
    ):
        address = ["127.0.0.1", recorder.port]
        for command in (
            ["storescu", "-aec", "PACS", *address, *sent],
            ["findscu", *each, "-k", "SeriesInstanceUID=1.2.3", "-k", "SOPInstanceUID", *address],
            ["findscu", "--cancel", 1, *each, "-k", "SeriesInstanceUID=1.2.3", "-k", "SOPInstanceUID", *address],
            ["getscu", *study, "-od", got, *address],
            ["movescu", "-aem", "DEST", *study, *address],
        ):
            status, printed = run(*command)
            assert status == 0, printed
        stored, found, cancelled, retrieved, ordered = map(follow, recorder.conversations())
        (delivered,) = map(follow, moving.conversations())
    assert stored.counts == {"stored": 3}
    assert [(one.command, one.sop_class_uid, one.status, one.responses) for one in found.requests] == [
        ("C-FIND", FIND, 0x0000, 3)
    ]
    assert [one.command for one in cancelled.requests].count("C-CANCEL") == 1
    assert {one.command for one in cancelled.requests} == {"C-CANCEL", "C-FIND"}
    assert [(one.direction, one.study_instance_uid) for one in retrieved.instances] == [("back", "1.2.3.4")] * 3
    assert [(one.command, one.direction, one.status) for one in retrieved.requests] == [("C-GET", "forth", 0x0000)]
    assert [(one.command, one.sop_class_uid, one.status) for one in ordered.requests] == [("C-MOVE", MOVE, 0x0000)]
    assert delivered.counts == {"stored": 3}
    assert len(list(got.iterdir())) == len(list(moved.iterdir())) == 3


def test_pynetdicom_with_a_performed_procedure_step_and_storage_commitment() -> None:
    def commit(event: evt.Event) -> tuple[int, None]:
        return 0x0000, None

    def update(event: evt.Event) -> tuple[int, Dataset]:
        return 0x0000, Dataset()

    node = AE("PACS")
    for sop_class in (ModalityPerformedProcedureStep, StorageCommitmentPushModel):
        node.add_supported_context(sop_class)
    handlers = [(evt.EVT_N_CREATE, update), (evt.EVT_N_SET, update), (evt.EVT_N_ACTION, commit)]
    server = node.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        with recording(server.server_address[1]) as recorder:
            attributes = Dataset()
            attributes.PatientName = PATIENT
            caller = AE("CT1")
            caller.add_requested_context(ModalityPerformedProcedureStep)
            caller.add_requested_context(StorageCommitmentPushModel)
            association = caller.associate("127.0.0.1", recorder.port)
            assert association.is_established
            association.send_n_create(attributes, ModalityPerformedProcedureStep, "1.2.3.9")
            association.send_n_set(attributes, ModalityPerformedProcedureStep, "1.2.3.9")
            association.send_n_action(attributes, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
            association.release()
            (conversation,) = recorder.conversations()
    finally:
        server.shutdown()
    reported = follow(conversation)
    assert [(one.command, one.direction, one.sop_class_uid, one.status) for one in reported.requests] == [
        ("N-CREATE", "forth", ModalityPerformedProcedureStep, 0x0000),
        ("N-SET", "forth", ModalityPerformedProcedureStep, 0x0000),
        ("N-ACTION", "forth", StorageCommitmentPushModel, 0x0000),
    ]
    assert reported.counts == {}
