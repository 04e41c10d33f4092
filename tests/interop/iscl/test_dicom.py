"""pynetdicom over ISCL at both ends, with the secrets on SoftHSM at one and on NSS softokn at the other."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom import events
from hsm_dicom.iscl import ErrorCode, ISCLContext, IsclFailed, IsclReady, ISCLSettings
from hsm_dicom.network.acceptor import Acceptor
from hsm_dicom.network.errors import AssociationLostError
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import ISCLExemption, Peer, StorageSettings
from hsm_dicom.network.store import store
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.events import AssociationAborted, AssociationAccepted, HandshakeFailed
from hsm_dicom.transport.iscl import ISCLTransport
from tests.hsm_dicom.iscl.independent import BLOCK
from tests.hsm_dicom.iscl.lines import MODES, Ends, Mode, settings
from tests.hsm_dicom.network.images import data_set_bytes
from tests.hsm_dicom.network.nodes import QUICK, TIMEOUTS, Node, eventually

IMAGES = [
    Path(str(get_testdata_file(name, download=False)))
    for name in ("CT_small.dcm", "JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_rle_2frame.dcm")
]
"""Real images that come with pydicom, in four transfer syntaxes."""

CT1 = Peer(name="CT1", ae_titles=("CT1",), host="127.0.0.1", iscl=ISCLExemption(settings=settings()))


@contextlib.contextmanager
def node(ends: Ends, folder: Path, options: ISCLSettings) -> Iterator[Node]:
    """A node that does C-ECHO and C-STORE over ISCL; the association's peer is known by its authentication data."""
    receiver = Receiver("main", StorageSettings(folder=folder))
    ae = AE("NODE")
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    told: list[events.Event] = []
    acceptor = Acceptor("main", ae, lambda: (CT1,), receiver.handlers, QUICK, receiver.start_storing)
    transport = ISCLTransport(ISCLContext(options, ends.ours), read_seconds=QUICK.read_seconds)
    with (
        events.subscribe(told.append),
        Listener("main", ("127.0.0.1", 0), transport, acceptor.begin, QUICK) as listener,
    ):
        try:
            yield Node(listener, acceptor, told)
        finally:
            acceptor.stop()


def named(name: str, mode: Mode | None = None) -> ISCLSettings:
    return settings(mode, authentication_data=name.encode())


def peer_at(port: int) -> Peer:
    """The node, as its peers know it: by its authentication data, which is the peer's name."""
    return Peer(name="NODE", ae_titles=("NODE",), host="127.0.0.1", port=port, iscl=ISCLExemption(settings=settings()))


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_echo_and_real_images_in_every_mode(makers: Ends, mode: Mode, tmp_path: Path) -> None:
    asking = ISCLTransport(ISCLContext(named("CT1", mode), makers.theirs))
    with node(makers, tmp_path / "received", named("NODE", mode)) as running:
        peer = peer_at(running.port)
        with associate(peer, asking, "CT1", [build_context(Verification)], TIMEOUTS) as opened:
            assert opened.association.send_c_echo().Status == 0
            assert opened.facts.entity == "NODE"
        result = store(peer, asking, "CT1", IMAGES, pause=0.05, timeouts=TIMEOUTS)
    assert result.done, [outcome.text for outcome in result.outcomes]
    for image, outcome in zip(IMAGES, result.outcomes, strict=True):
        received = tmp_path / "received" / f"{outcome.sop_instance_uid}.dcm"
        assert data_set_bytes(received) == data_set_bytes(image)
    assert {event.profile for event in running.of(AssociationAccepted)} == {"ISCL V1.00 (retired)"}
    assert {event.peer_authentication_data for event in running.of(IsclReady)} == {"CT1", "NODE"}


@contextlib.contextmanager
def in_the_middle(port: int, spoil_after: int) -> Iterator[int]:
    """Somebody on the line, who changes one octet of the data block after so many; gives the port to connect to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def carry() -> None:
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                near = stack.enter_context(listener.accept()[0])
                far = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                back = threading.Thread(target=forward, args=(far, near))
                back.start()
                seen = 0
                while octets := near.recv(65536):
                    place = octets.find(BLOCK.to_bytes(4, "big"))
                    seen += place >= 0
                    if place >= 0 and seen == spoil_after:
                        octets = octets[: place + 40] + bytes([octets[place + 40] ^ 1]) + octets[place + 41 :]
                    far.sendall(octets)
                far.shutdown(socket.SHUT_WR)
                back.join()

        thread = threading.Thread(target=carry)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while octets := source.recv(65536):
            sink.sendall(octets)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def echo_twice(peer: Peer, transport: ISCLTransport) -> None:
    with associate(peer, transport, "CT1", [build_context(Verification)], TIMEOUTS) as opened:
        assert opened.association.send_c_echo().Status == 0
        opened.association.send_c_echo()
        assert eventually(lambda: opened.association.is_aborted)


def test_a_changed_octet_becomes_an_abort_at_both_ends(makers: Ends, tmp_path: Path) -> None:
    """PS3.15-2008 B.2: the connection is dropped, and both upper layers issue A-P-ABORT."""
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    asking = ISCLTransport(ISCLContext(named("CT1"), makers.theirs))
    with node(makers, tmp_path, named("NODE")) as running, in_the_middle(running.port, spoil_after=3) as port:
        with pytest.raises(AssociationLostError):
            echo_twice(peer_at(port), asking)
        assert "does not match its MAC" in running.only(AssociationAborted).text
        assert ErrorCode.WRONG_MAC in {event.code for event in running.of(IsclFailed)}


def test_a_holder_of_another_key_gets_no_association(makers: Ends, tmp_path: Path) -> None:
    """The listener goes on, and says why it refused."""
    other = settings(authentication_key=2, authentication_data=b"CT1")
    with node(makers, tmp_path, named("NODE")) as running:
        with pytest.raises(HandshakeError) as caught:
            ISCLTransport(ISCLContext(other, makers.theirs)).connect(
                socket.create_connection(("127.0.0.1", running.port)), "the node", 5
            )
        assert caught.value.reason is FailureReason.NO_COMMON_PARAMETERS
        assert eventually(lambda: running.of(HandshakeFailed))
        good = ISCLTransport(ISCLContext(named("CT1"), makers.theirs))
        with associate(peer_at(running.port), good, "CT1", [build_context(Verification)], TIMEOUTS) as opened:
            assert opened.association.send_c_echo().Status == 0


def test_a_peer_that_says_nothing_is_dropped_and_the_listener_lives(makers: Ends, tmp_path: Path) -> None:
    with node(makers, tmp_path, named("NODE")) as running:
        silent = [
            socket.create_connection(("127.0.0.1", running.port), source_address=(f"127.0.1.{1 + n // 4}", 0))
            for n in range(20)
        ]
        asking = ISCLTransport(ISCLContext(named("CT1"), makers.theirs))
        with associate(peer_at(running.port), asking, "CT1", [build_context(Verification)], TIMEOUTS) as opened:
            assert opened.association.send_c_echo().Status == 0
        assert eventually(lambda: len(running.of(HandshakeFailed)) == 20)
        for connection in silent:
            connection.close()
