"""Which SOP Classes and Transfer Syntaxes are stored: the standard's, retired ones, private ones if asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1
from pynetdicom import build_context

from hsm_dicom import events
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import Peer, StorageSettings
from hsm_dicom.network.storage.sop_classes import SopClasses, list_transfer_syntaxes, storage_sop_classes
from hsm_dicom.network.store import store
from hsm_dicom.node.service import Service
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import TIMEOUTS, transport_to
from tests.hsm_dicom.node.test_service import Desk, desk
from tests.hsm_dicom.tls.fixtures import Hospital

__all__ = ["desk"]

RETIRED = {
    "Ultrasound": "1.2.840.10008.5.1.4.1.1.6",
    "Ultrasound Multi-frame": "1.2.840.10008.5.1.4.1.1.3",
    "Nuclear Medicine": "1.2.840.10008.5.1.4.1.1.5",
    "X-Ray Angiographic Bi-Plane": "1.2.840.10008.5.1.4.1.1.12.3",
}
CT, PRIVATE, OTHER_PRIVATE = "1.2.840.10008.5.1.4.1.1.2", "1.3.12.2.1107.5.9.1", "1.2.840.113543.6.6.1.3.10002"
FIND, COMMITMENT, MEDIA = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.1.20.1", "1.2.840.10008.1.3.10"
NEWER = "1.2.840.10008.5.1.4.1.1.99999"


@pytest.mark.parametrize(
    ("written", "accepted", "refused"),
    [
        ("storage", [CT, *RETIRED.values()], [PRIVATE, NEWER, FIND, COMMITMENT, MEDIA]),
        ("any", [CT, *RETIRED.values(), PRIVATE, NEWER], [FIND, COMMITMENT, MEDIA]),
        ([PRIVATE], [PRIVATE], [CT, OTHER_PRIVATE]),
        (["storage", PRIVATE], [CT, PRIVATE, *RETIRED.values()], [OTHER_PRIVATE, FIND]),
        (["CTImageStorage"], [CT], [RETIRED["Ultrasound"]]),
    ],
)
def test_what_is_written_is_what_is_accepted(written: str | list[str], accepted: list[str], refused: list[str]) -> None:
    classes = SopClasses.of(written)
    assert [uid for uid in accepted if not classes.accept(uid)] == []
    assert [uid for uid in refused if classes.accept(uid)] == []


def test_what_is_no_sop_class_is_reported() -> None:
    for wrong in ("CTImage", "1..2", "Any", ""):
        with pytest.raises(SettingsError, match="is not a SOP Class"):
            SopClasses.of([wrong])


def images(folder: Path, *sop_classes: str) -> list[Path]:
    paths = []
    for number, sop_class in enumerate(sop_classes):
        path = ct_image(folder, f"{number}.dcm")
        image = dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = sop_class
        image.save_as(path)
        paths.append(path)
    return paths


def test_retired_and_private_instances_are_stored_byte_for_byte(desk: Desk, hospital: Hospital, tmp_path: Path) -> None:
    sent = images(tmp_path, *RETIRED.values(), PRIVATE)
    desk.storage = StorageSettings(folder=tmp_path / "received", sop_classes=SopClasses.of("any"))
    with events.subscribe(lambda event: None), Service(desk.load) as service:
        peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=service.address[1])
        result = store(peer, transport_to(peer, hospital), "CT1", sent, timeouts=TIMEOUTS)
        assert result.done, result.outcomes
        assert echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS).done
    for path, outcome in zip(sent, result.outcomes, strict=True):
        assert data_set_bytes(tmp_path / "received" / f"{outcome.sop_instance_uid}.dcm") == data_set_bytes(path)


def test_a_private_sop_class_is_not_stored_unless_it_is_asked_for(
    desk: Desk, hospital: Hospital, tmp_path: Path
) -> None:
    sent = images(tmp_path, PRIVATE, RETIRED["Ultrasound"])
    desk.storage = StorageSettings(folder=tmp_path / "received")
    with Service(desk.load) as service:
        peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=service.address[1])
        outcomes = store(peer, transport_to(peer, hospital), "CT1", sent, attempts=1, timeouts=TIMEOUTS).outcomes
    assert sorted(outcome.done for outcome in outcomes) == [False, True]


def test_the_transfer_syntax_is_the_first_of_the_peer_s(desk: Desk, hospital: Hospital, tmp_path: Path) -> None:
    desk.storage = StorageSettings(folder=tmp_path / "received")
    proposed = [
        ["1.2.3.4", JPEGLosslessSV1, ExplicitVRLittleEndian, ImplicitVRLittleEndian],
        [ExplicitVRLittleEndian, ImplicitVRLittleEndian],
        ["1.2.3.4"],
    ]
    with Service(desk.load) as service:
        peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=service.address[1])
        contexts = [build_context(CT, syntaxes) for syntaxes in proposed]
        with associate(peer, transport_to(peer, hospital), "CT1", contexts, TIMEOUTS) as opened:
            accepted = [one.transfer_syntax[0] for one in opened.association.accepted_contexts]
            rejected = [one.result for one in opened.association.rejected_contexts]
    assert accepted == [JPEGLosslessSV1, ExplicitVRLittleEndian]
    assert rejected == [4]  # Transfer Syntaxes not supported (PS3.8, 9.3.3.2)


def test_the_conformance_statement_lists_what_is_accepted() -> None:
    page = (Path(__file__).parents[3] / "docs" / "explanation/conformance-storage.md").read_text()
    listed = dict(re.findall(r"^\| ([0-9.]+) \| (.+) \|$", page, re.M))
    assert listed == storage_sop_classes() | list_transfer_syntaxes()
