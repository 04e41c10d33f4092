"""DCMTK, Orthanc and pynetdicom at the ends of routes."""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.uid import UID
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from hsm_dicom.gateway.events import RelayEnded, RelayOpened, RouteChanged
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.targets import PeerTarget
from hsm_dicom.identity import Identity
from hsm_dicom.network.settings import Peer
from tests import pki
from tests.hsm_dicom.gateway.routes import LOOPBACK, abort_pdu, gateway, plain_target, scripted_target
from tests.hsm_dicom.gateway.test_relay import FIND
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import transport_to
from tests.hsm_dicom.network.pdus import CT, associate_rq, command, context, element, p_data, read_pdu
from tests.hsm_dicom.tls.fixtures import Hospital, RemoteSoftHSM
from tests.interop.tls.programs import run, serving
from tests.ports import free_port
from tests.softhsm import TestToken
from tokens import open_key
from tokens.uri import Pkcs11Uri

pytestmark = pytest.mark.interop


@contextmanager
def storescp(hospital: Hospital, folder: Path) -> Iterator[Peer]:
    """DCMTK's storescp over TLS, as a peer."""
    port = free_port()
    certificate, key = hospital.files(hospital.peer("PACS"))
    tls = ["+tls", key, certificate, "+cf", hospital.ca_file]
    with serving(port, ["storescp", *tls, "-aet", "PACS", "-od", folder, port], folder):
        yield Peer(name="pacs", ae_titles=("PACS",), host=LOOPBACK, port=port)


def test_storescu_reaches_storescp_over_tls(hospital: Hospital, tmp_path: Path) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    image = ct_image(tmp_path)
    with storescp(hospital, folder) as peer:
        target = PeerTarget(peer, transport_to(peer, hospital, hospital.rsa))
        with gateway(peer, target=target) as running:
            titles = ["-aet", "CT1", "-aec", "PACS"]
            status, printed = run("echoscu", *titles, LOOPBACK, running.port)
            assert status == 0, printed
            status, printed = run("storescu", *titles, LOOPBACK, running.port, image)
            assert status == 0, printed
            assert len(running.of(RelayOpened)) == 2
    assert [ended.outcome for ended in running.of(RelayEnded)] == ["released", "released"]
    (received,) = folder.iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Orthanc, which answers everybody; its port."""
    port = free_port()
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "PACS",
        "DicomPort": port,
        "HttpServerEnabled": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with serving(port, ["Orthanc", folder / "orthanc.json"], folder):
        yield port


def query_in_a_context_for_storage(port: int) -> bytes:
    """What comes back for a C-FIND that is sent in a context for CT images."""
    with socket.create_connection((LOOPBACK, port), timeout=10) as caller:
        caller.sendall(associate_rq(context(1, CT), called=b"PACS"))
        assert read_pdu(caller)[0] == 2
        request = command(
            element(2, FIND), element(0x100, 0x0020), element(0x110, 1), element(0x700, 0), element(0x800, 1)
        )
        keys = element(0x00080052, "STUDY ") + element(0x00100010, "") + element(0x0020000D, "")
        caller.sendall(p_data(1, request, is_command=True) + p_data(1, keys))
        came = b""
        with contextlib.suppress(EOFError, ConnectionError):
            for _ in range(2):
                came += read_pdu(caller)[1]
        return came


def test_orthanc_gives_no_patient_away_to_a_caller_that_may_only_store(tmp_path: Path) -> None:
    """Orthanc 1.10 looks at the command and not at its context: asked directly, it gives the patient's name."""
    image = ct_image(tmp_path)
    with orthanc(tmp_path) as port:
        with gateway(plain_target(port)) as running:
            status, printed = run("storescu", "-aet", "CT1", "-aec", "PACS", LOOPBACK, running.port, image)
            assert status == 0, printed
            assert b"Test^Image" not in query_in_a_context_for_storage(running.port)
        assert b"Test^Image" in query_in_a_context_for_storage(port)


def test_findscu_is_refused_by_default_and_served_where_the_route_admits_queries(tmp_path: Path) -> None:
    query = ["findscu", "-aet", "CT1", "-aec", "PACS", "-S", "-k", "0008,0052=STUDY", "-k", "PatientName"]
    with orthanc(tmp_path) as port:
        assert run("storescu", "-aec", "PACS", LOOPBACK, port, ct_image(tmp_path))[0] == 0
        with gateway(plain_target(port)) as running:
            status, printed = run(*query, LOOPBACK, running.port)
            assert status != 0 or "No Acceptable Presentation Contexts" in printed
            assert "Test^Image" not in printed
        with gateway(plain_target(port), services=frozenset({Service.QUERY_RETRIEVE})) as running:
            status, printed = run(*query, LOOPBACK, running.port)
            assert status == 0, printed
            assert "Test^Image" in printed


REQUESTS: dict[str, list[object]] = {
    "storescu": ["storescu", "-aet", "CT1", "-aec", "PACS"],
    "getscu": ["getscu", "-aet", "CT1", "-aec", "PACS", "-k", "0008,0052=STUDY", "-k", "0020,000D=1.2.3"],
    "findscu": ["findscu", "-aet", "CT1", "-aec", "PACS", "-W", "-k", "PatientName"],
}


@pytest.mark.parametrize("program", REQUESTS)
def test_the_request_of_dcmtk_arrives_as_it_was_sent(program: str, tmp_path: Path) -> None:
    """Role selection of C-GET, 120 contexts of storescu: nothing is encoded anew."""
    files = [ct_image(tmp_path)] if program == "storescu" else []
    with scripted_target() as target, gateway(target.device) as running:
        requests = []
        for port in (target.device.port, running.port):
            command_line = [str(one) for one in [*REQUESTS[program], LOOPBACK, port, *files]]
            with subprocess.Popen(
                command_line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
            ) as scu:
                with target.accept() as far:
                    requests.append(read_pdu(far))
                    far.sendall(abort_pdu())
                scu.wait(10)
        assert requests[0] == requests[1]


def test_every_negotiation_item_of_pynetdicom_arrives_as_it_was_sent() -> None:
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 2, b"operator"
    identity.secondary_field, identity.positive_response_requested = b"password", True
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked, window.maximum_number_operations_performed = 5, 0
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = UID(CT), b"\1\0\2"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid, common.service_class_uid = UID(CT), UID("1.2.840.10008.4.2")
    items = [identity, window, extended, common, build_role(CT, scu_role=True, scp_role=True)]
    with scripted_target() as target, gateway(target.device) as running:
        requests = []
        for port in (target.device.port, running.port):
            ae = AE("CT1")
            ae.add_requested_context(CT)
            asking = threading.Thread(
                target=ae.associate,
                args=(LOOPBACK, port),
                kwargs={"ae_title": "PACS", "ext_neg": copy.deepcopy(items)},
            )
            asking.start()
            with target.accept() as far:
                requests.append(read_pdu(far))
                far.sendall(abort_pdu())
            asking.join(10)
        assert requests[0] == requests[1]
        assert all(bytes([kind, 0]) in requests[0][1] for kind in (0x53, 0x54, 0x56, 0x57, 0x58))


def test_a_token_that_was_lost_and_came_back_serves_the_next_association(
    hospital: Hospital, node: TestToken, remote: RemoteSoftHSM, tmp_path: Path
) -> None:
    uri = Pkcs11Uri(token=node.label, object="rsa", module_path=remote.module, pin_source=node.pin)
    with storescp(hospital, tmp_path) as peer, open_key(uri) as key:
        identity = Identity("node", key, hospital.rsa.certificate)
        target = PeerTarget(peer, transport_to(peer, hospital, identity))
        with gateway(peer, target=target) as running:
            echoscu = ["echoscu", "-aet", "CT1", "-aec", "PACS", LOOPBACK, running.port]
            assert run(*echoscu)[0] == 0
            remote.stop()
            try:
                status, printed = run(*echoscu)
                assert status != 0
                assert "Temporary Congestion" in printed
            finally:
                remote.start()
            status, printed = run(*echoscu)
            assert status == 0, printed
            assert [changed.is_up for changed in running.of(RouteChanged)] == [False, True]


def test_a_target_that_refuses_our_certificate_says_so_in_the_status(hospital: Hospital, tmp_path: Path) -> None:
    stranger = hospital.peer("node", issuer=pki.Authority("Another CA", key=pki.new_key("rsa2048")))
    with storescp(hospital, tmp_path) as peer:
        target = PeerTarget(peer, transport_to(peer, hospital, stranger))
        with gateway(peer, target=target) as running:
            status, printed = run("echoscu", "-aet", "CT1", "-aec", "PACS", LOOPBACK, running.port)
            assert status != 0
            assert "Temporary Congestion" in printed
            assert "it does not trust the CA of our certificate" in running.route.status().last_error
