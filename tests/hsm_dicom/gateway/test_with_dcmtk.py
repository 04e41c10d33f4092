"""DCMTK's tools through routes: plain on one side, TLS with a key on a token on the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hsm_dicom.gateway.events import RelayEnded, RelayOpened
from hsm_dicom.gateway.targets import PeerTarget
from hsm_dicom.network.settings import Peer
from tests.hsm_dicom.gateway.routes import LOOPBACK, gateway
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

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
