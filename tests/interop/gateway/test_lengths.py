"""The maximum lengths of PDUs that both sides negotiate pass the gateway, and hold on both sides (PS3.8, D.1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from tests.hsm_dicom.gateway.routes import LOOPBACK, gateway, plain_target
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

LENGTHS = [("4096", "131072"), ("131072", "4096"), ("16384", "16384")]


@pytest.mark.parametrize(("sender", "receiver"), LENGTHS)
def test_storescu_and_storescp_with_different_lengths(tmp_path: Path, sender: str, receiver: str) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    image = ct_image(tmp_path, pixels=512 * 512 * 2)
    port = free_port()
    with (
        serving(port, ["storescp", "-pdu", receiver, "-aet", "PACS", "-od", folder, port]),
        gateway(plain_target(port)) as running,
    ):
        options = ["-pdu", sender, "-aet", "CT1", "-aec", "PACS"]
        status, printed = run("storescu", *options, LOOPBACK, running.port, image)
        assert status == 0, printed
    (received,) = folder.iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)


def test_a_sender_without_a_maximum_length(tmp_path: Path) -> None:
    """0 means no limit; it is the receiver's business, and the gateway announces no length of its own."""
    folder = tmp_path / "received"
    folder.mkdir()
    image = ct_image(tmp_path, pixels=512 * 512 * 2)
    port = free_port()
    with serving(port, ["storescp", "-aet", "PACS", "-od", folder, port]), gateway(plain_target(port)) as running:
        ae = AE("CT1")
        ae.add_requested_context(CTImageStorage)
        ae.maximum_pdu_size = 0
        association = ae.associate(LOOPBACK, running.port, ae_title="PACS", max_pdu=0)
        assert association.is_established
        assert association.requestor.maximum_length == 0
        assert association.send_c_store(image).Status == 0
        association.release()
    (received,) = folder.iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)
