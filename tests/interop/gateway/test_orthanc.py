"""A plain CT and Orthanc over TLS: storing, asking, retrieving and storage commitment through the gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel  # type: ignore[attr-defined]

from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.listening import Listening
from tests.hsm_dicom.network.nodes import eventually
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.gateway.orthanc import Orthanc, list_uids, orthanc
from tests.interop.gateway.site import Site
from tests.interop.tls.programs import run, serving
from tests.softhsm import TestToken

COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of storage commitment (PS3.4, J.3.5)."""


@pytest.fixture(scope="module")
def site(node: TestToken, hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("gateway"), node, hospital)


@pytest.fixture(scope="module")
def gateway(site: Site) -> Iterator[Listening]:
    """The gateway of the site, which runs."""
    site.write()
    with site.gateway() as running:
        yield running


@pytest.fixture(scope="module")
def pacs(site: Site, gateway: Listening) -> Iterator[Orthanc]:
    """Orthanc, with a gateway before it that runs."""
    with orthanc(site) as running:
        yield running


@pytest.fixture(scope="module")
def stored(site: Site, pacs: Orthanc) -> list[Path]:
    """Three images of one study, which the CT has stored in the PACS through the gateway."""
    folder = site.folder / "images"
    folder.mkdir()
    files = [ct_image(folder, f"{number}.dcm", value=number) for number in range(3)]
    to_pacs = ["-aet", "CT1", "-aec", "PACS", "127.0.0.1", site.plain]
    status, said = run("storescu", "-xe", *to_pacs, *files)
    assert status == 0, said
    return files


def test_what_the_ct_stores_is_in_the_pacs(stored: list[Path], pacs: Orthanc) -> None:
    assert eventually(lambda: pacs.instances == list_uids(stored))


def test_the_ct_can_ask_the_pacs(site: Site, stored: list[Path], pacs: Orthanc) -> None:
    query = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientID=1"]
    status, said = run("findscu", "-S", "-aet", "CT1", "-aec", "PACS", *query, "127.0.0.1", site.plain)
    assert status == 0, said
    assert "UI [1.2.3" in said


def test_what_the_ct_retrieves_comes_by_a_new_association(site: Site, stored: list[Path], pacs: Orthanc) -> None:
    received = site.folder / "retrieved"
    received.mkdir()
    with serving(site.ct, ["storescp", "-aet", "CT1", "-od", received, site.ct]):
        command = ["movescu", "-S", "-aet", "CT1", "-aem", "CT1", "-aec", "PACS", "-k", "QueryRetrieveLevel=STUDY"]
        status, said = run(*command, "-k", "StudyInstanceUID=1.2.3", "127.0.0.1", site.plain)
        assert status == 0, said
    assert list_uids(list(received.iterdir())) == list_uids(stored)


def test_nothing_is_moved_to_an_ae_title_without_a_route_back(
    site: Site, gateway: Listening, stored: list[Path], pacs: Orthanc
) -> None:
    """Orthanc calls CT9 at the gateway, which rejects the association; the CT learns of the failure, the log why."""
    command = ["movescu", "-v", "-S", "-aet", "CT1", "-aem", "CT9", "-aec", "PACS", "-k", "QueryRetrieveLevel=STUDY"]
    _, said = run(*command, "-k", "StudyInstanceUID=1.2.3", "127.0.0.1", site.plain)
    assert "Received Final Move Response (Failed: UnableToProcess)" in said
    assert gateway.says("CT9")


def test_a_commitment_report_reaches_the_ct(site: Site, stored: list[Path], pacs: Orthanc) -> None:
    """Orthanc reports on a new association, on which it proposes to be the SCP of storage commitment."""
    reports: list[Dataset] = []
    reported = threading.Event()

    def take(event: evt.Event) -> int:
        reports.append(event.event_information)
        reported.set()
        return 0x0000

    transaction = generate_uid()
    asked = Dataset()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = []
    for uid in sorted(list_uids(stored)):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        asked.ReferencedSOPSequence.append(item)

    ct = AE("CT1")
    ct.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    ct.add_requested_context(StorageCommitmentPushModel)
    server = ct.start_server(
        ("127.0.0.1", site.ct), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)], ae_title="CT1"
    )
    try:
        role = build_role(StorageCommitmentPushModel, scu_role=True)
        association = ct.associate("127.0.0.1", site.plain, ae_title="PACS", ext_neg=[role])
        assert association.is_established
        status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        association.release()
        assert status.Status == 0x0000
        assert reported.wait(20)
    finally:
        server.shutdown()
    (report,) = reports
    assert report.TransactionUID == transaction
    assert {str(one.ReferencedSOPInstanceUID) for one in report.ReferencedSOPSequence} == list_uids(stored)


def test_a_service_that_the_route_does_not_name_is_refused(node: TestToken, hospital: Hospital, tmp_path: Path) -> None:
    site = Site(tmp_path, node, hospital)
    site.write(services=("echo", "storage"))
    with orthanc(site), site.gateway() as gateway:
        status, said = run(
            "findscu", "-S", "-aet", "CT1", "-aec", "PACS", "-k", "QueryRetrieveLevel=STUDY", "127.0.0.1", site.plain
        )
        assert status != 0
        assert "No Acceptable Presentation Contexts" in said
        assert run("echoscu", "-aet", "CT1", "-aec", "PACS", "127.0.0.1", site.plain)[0] == 0
        assert gateway.says("services that the route does not admit: query-retrieve")
