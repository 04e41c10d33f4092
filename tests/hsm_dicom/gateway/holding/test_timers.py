"""A large object between a modality and an archive whose timers are short: neither waits longer than its own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from hsm_dicom.gateway.holding.holder import open_holding
from hsm_dicom.gateway.holding.settings import HoldingSettings, SigningSettings
from hsm_dicom.signatures.integrity import check_integrity
from tests.hsm_dicom.gateway.holding.conversation import REQUEST, read_message
from tests.hsm_dicom.gateway.routes import gateway, plain_target, release_rq
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.pdus import p_data, read_pdu, store_rq
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.ports import free_port
from tests.soak import RUNS

pytestmark = [pytest.mark.softhsm, pytest.mark.interop]

SIZE, RATE, TIMER = (8 << 20, 4_000_000, 1.0) if RUNS == 1 else (1 << 30, 20_000_000, 15.0)
"""Octets of the object, octets a second that the modality sends, and the timers of both sides in seconds."""

_FRAGMENT = 131_066


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[int, list[str]]]:
    """pynetdicom, which aborts an association on which nothing comes for a while; its port, and what it saw."""
    seen: list[str] = []

    def store(event: evt.Event) -> int:
        (tmp_path / "archive.dcm").write_bytes(event.encoded_dataset())
        seen.append("stored")
        return 0

    ae = AE("PACS")
    ae.network_timeout = TIMER
    ae.maximum_pdu_size = 131_072
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.add_supported_context(Verification)
    handlers = [(evt.EVT_C_STORE, store), (evt.EVT_ACCEPTED, lambda event: seen.append("accepted"))]
    port = free_port()
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    yield port, seen
    server.shutdown()


def test_neither_timer_runs_out_and_the_archive_is_connected_again(
    archive: tuple[int, list[str]], hospital: Hospital, tmp_path: Path
) -> None:
    port, seen = archive
    image = ct_image(tmp_path, uid="1.2.3.4", pixels=SIZE)
    settings = HoldingSettings(
        folder=tmp_path / "held", signing=SigningSettings(identity="node"), minimum_free_mib=0, answer_seconds=TIMER * 2
    )
    with (
        open_holding("to-pacs", settings, hospital.rsa) as resources,
        gateway(plain_target(port), make_holder=resources.make_holder) as running,
        running.call() as modality,
    ):
        modality.sendall(REQUEST)
        assert read_pdu(modality)[0] == 2
        send_slowly(modality, data_set_bytes(image))
        ended = time.monotonic()
        modality.settimeout(TIMER)
        assert read_message(modality).status == 0
        waited = time.monotonic() - ended
        modality.sendall(release_rq())
    print(f"{SIZE >> 20} MiB: the modality waited {waited:.2f} of {TIMER:g} s for the answer.")
    assert seen == ["accepted", "accepted", "stored"]
    (signature,) = check_integrity(tmp_path / "archive.dcm").signatures
    assert signature.intact, signature.reason


def send_slowly(modality: socket.socket, data: bytes) -> None:
    """Send a C-STORE at the rate of a slow network."""
    modality.settimeout(60)
    modality.sendall(p_data(1, store_rq("1.2.3.4"), is_command=True))
    pause, began = threading.Event(), time.monotonic()
    for at in range(0, len(data), _FRAGMENT):
        piece = data[at : at + _FRAGMENT]
        modality.sendall(p_data(1, piece, last=at + len(piece) == len(data)))
        pause.wait(max(0.0, began + at / RATE - time.monotonic()))
