"""C-STORE over TLS with the key on SoftHSM: beside pynetdicom without TLS, and beside DCMTK's programs with TLS.

Objects go from files to files. Our listener runs in a process of its own. It forces each file to disk before it
answers, and so does pynetdicom's here, with default settings on both sides. DCMTK's storescp does not, so its time is
compared with that of a second listener of ours, whose process has no `os.fsync`: no setting of the product does that.
The time of storescu includes the start of its process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from benchmarks.hospital import new_hospital
from benchmarks.rows import Row, in_turns
from hsm_dicom.identity import Identity, read_certificates
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.settings import ListenerSettings, Peer, StorageSettings
from hsm_dicom.network.store import store
from hsm_dicom.node.opening import OpenedListener, Resources
from hsm_dicom.node.service import Service
from hsm_dicom.trust import CertificateValidator, TrustStore
from tests import pki
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import serving
from tests.ports import free_port
from tokens import open_key
from tokens.uri import Pkcs11Uri

CTS = 500
LARGE = 200 << 20
ROUNDS = 3
LARGE_ROUNDS = 9
PEER = "CT1"


def run() -> Iterator[Row]:
    """Many small objects, then one large one."""
    with new_hospital() as (folder, hospital, uri, _):
        small, large = folder / "small", folder / "large"
        small.mkdir()
        large.mkdir()
        for number in range(CTS):
            ct_image(small, f"{number}.dcm", pixels=512 * 512 * 2, value=number)
        ct_image(large, pixels=LARGE)
        sender = _Sender(folder / "received", hospital)
        with (
            _process(_serve_tls, sender.place("durable"), hospital, uri) as durable,
            _process(_serve_tls_without_fsync, sender.place("tls"), hospital, uri) as tls,
            _process(_serve_plain, sender.place("plain")) as plain,
            _dcmtk(sender.place("dcmtk"), hospital) as dcmtk,
        ):
            yield _beside_pynetdicom(sender, f"C-STORE of {CTS} CTs of 512 KiB", small, durable, plain)
            yield _beside_pynetdicom(sender, "C-STORE of 200 MB", large, durable, plain)
            yield from _beside_dcmtk(sender, large, durable, tls, dcmtk)


def _beside_pynetdicom(sender: _Sender, what: str, files: Path, durable: int, plain: int) -> Row:
    seconds = in_turns(
        {"ours": lambda: sender.send_tls(durable, files), "plain": lambda: sender.send_plain(plain, files)},
        ROUNDS,
        sender.empty,
    )
    return Row(
        f"{what}, forced to disk",
        f"{seconds['ours']:.2f} s with TLS",
        f"{seconds['plain']:.2f} s pynetdicom without TLS",
        seconds["plain"] / seconds["ours"],
        ">= 0.9",
    )


def _beside_dcmtk(sender: _Sender, files: Path, durable: int, tls: int, dcmtk: int) -> Iterator[Row]:
    seconds = in_turns(
        {
            "ours": lambda: sender.send_tls(tls, files),
            "dcmtk": lambda: sender.send_dcmtk(dcmtk, files),
            "durable": lambda: sender.send_tls(durable, files),
        },
        LARGE_ROUNDS,
        sender.empty,
    )
    peer = f"{seconds['dcmtk']:.2f} s DCMTK, not forced to disk"
    for what, side, wanted in (("not forced to disk", "ours", ">= 0.9"), ("forced to disk", "durable", "")):
        yield Row(
            f"C-STORE of 200 MB over TLS, {what}",
            f"{seconds[side]:.2f} s",
            peer,
            seconds["dcmtk"] / seconds[side],
            wanted,
        )


class _Sender:
    """Sends files to each side, and removes what was received."""

    def __init__(self, received: Path, hospital: Hospital) -> None:
        self._received = received
        self._hospital = hospital
        self._identity = hospital.peer("CT 1")

    def place(self, name: str) -> Path:
        """A folder for what one side receives."""
        place = self._received / name
        place.mkdir(parents=True)
        return place

    def empty(self) -> None:
        """Remove what was received, and let earlier writes end."""
        for path in self._received.glob("*/*"):
            path.unlink()
        os.sync()

    def send_tls(self, port: int, files: Path) -> None:
        peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=port)
        result = store(peer, make_peer_transport(peer, self._identity, self._hospital.validator()), PEER, [files])
        if not result.done:
            raise RuntimeError(next(outcome.text for outcome in result.outcomes if not outcome.done))

    def send_plain(self, port: int, files: Path) -> None:
        ae = AE(PEER)
        ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        _config.STORE_SEND_CHUNKED_DATASET = True
        association = ae.associate("127.0.0.1", port, ae_title="NODE")
        for path in sorted(files.iterdir()):
            status = association.send_c_store(path).get("Status")
            if status != 0:
                raise RuntimeError(f"pynetdicom did not store {path}: status {status}.")
        association.release()

    def send_dcmtk(self, port: int, files: Path) -> None:
        certificate, key = self._hospital.files(self._identity)
        tls = ["+tls", str(key), str(certificate), "+cf", str(self._hospital.ca_file)]
        command = ["storescu", *tls, "-aet", PEER, "-aec", "NODE", "+sd", "127.0.0.1", str(port), str(files)]
        subprocess.run(command, check=True, capture_output=True)


def _serve_tls(received: Path, ready: Any, certificate: Path, ca_file: Path, uri: Pkcs11Uri) -> None:
    settings = ListenerSettings(
        name="main",
        ae_title="NODE",
        peers=(Peer(name="CT 1", ae_titles=(PEER,), host="127.0.0.1"),),
        port=0,
        storage=StorageSettings(folder=received),
    )

    def load() -> OpenedListener:
        identity = Identity("node", open_key(uri), read_certificates(certificate)[0])
        return OpenedListener(
            settings, Resources([identity], CertificateValidator(TrustStore.from_files(anchors=[ca_file])))
        )

    with Service(load) as service:
        ready.send(service.address[1])
        ready.recv()


def _serve_tls_without_fsync(received: Path, ready: Any, certificate: Path, ca_file: Path, uri: Pkcs11Uri) -> None:
    os.fsync = lambda _: None
    _serve_tls(received, ready, certificate, ca_file, uri)


def _serve_plain(received: Path, ready: Any) -> None:
    def keep(event: evt.Event) -> int:
        with (received / f"{event.request.AffectedSOPInstanceUID}.dcm").open("wb") as file:
            file.write(event.encoded_dataset())
            file.flush()
            os.fsync(file.fileno())
        return 0x0000

    ae = AE("NODE")
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    ready.send(server.server_address[1])
    ready.recv()
    server.shutdown()


@contextlib.contextmanager
def _process(
    serve: Callable[..., None], received: Path, hospital: Hospital | None = None, uri: Pkcs11Uri | None = None
) -> Iterator[int]:
    """A server in a process of its own; its port."""
    here, there = multiprocessing.Pipe()
    arguments: list[Any] = [received, there]
    if hospital is not None:
        certificate = hospital.folder / "node.pem"
        certificate.write_bytes(pki.Identity(hospital.rsa.certificate, None).pem)
        arguments += [certificate, hospital.ca_file, uri]
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments)
    process.start()
    try:
        yield int(here.recv())
    finally:
        here.send(None)
        process.join(30)
        if process.is_alive():
            process.kill()


@contextlib.contextmanager
def _dcmtk(received: Path, hospital: Hospital) -> Iterator[int]:
    if shutil.which("storescp") is None:
        raise RuntimeError("DCMTK is needed: apt-get install dcmtk")
    port = free_port()
    certificate, key = hospital.files(hospital.peer("DCMTK"))
    tls = ["+tls", key, certificate, "+cf", hospital.ca_file]
    with serving(port, ["storescp", *tls, "-aet", "NODE", "-od", received, port], hospital.folder):
        yield port
