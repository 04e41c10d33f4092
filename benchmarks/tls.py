"""DICOM over TLS with the key on SoftHSM: handshakes, memory over 10,000 of them, and C-STORE beside plain pynetdicom.

Handshakes are full and mutual, in memory, both ends in this process; beside them the same with the node's key in a
file, and the token's own rate of signatures. Where OpenSSL's pkcs11-provider is installed (Debian 12: from
bookworm-backports), `benchmarks.tls_provider` compares with the same key through it. C-STORE goes to a process of its
own that forces each file to disk, with pynetdicom at its default settings on both sides where TLS is left out; DCMTK's
storescu and storescp with TLS stand beside.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import CTImageStorage  # type: ignore[attr-defined]

from benchmarks import tls_provider
from benchmarks.rows import Row, in_turns
from hsm_dicom.identity import Identity
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.settings import ListenerSettings, Peer, StorageSettings
from hsm_dicom.network.store import store
from hsm_dicom.node.opening import OpenedListener, Resources
from hsm_dicom.node.service import Service
from hsm_dicom.tls import client_context, server_context
from tests import pki, softhsm
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, names
from tests.hsm_dicom.tls.handshakes import handshake
from tests.interop.tls.programs import serving
from tests.ports import free_port
from tokens import open_key

HANDSHAKES = 300
SOAK = 10_000
THREADS = 16
CTS = 500
LARGE = 200 << 20
ROUNDS = 3
PEER = "CT1"


def run() -> Iterator[Row]:
    """Handshakes, then transfers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        softhsm.provision(folder / "softhsm")
        os.environ["HSM_DICOM_STATE"] = str(folder / "state")
        token = softhsm.new_token("node")
        uri = token.generate("rsa", usage="tls")
        hospital = _hospital(folder, uri)
        yield from _handshakes(hospital)
        pin = os.environ[token.pin.removeprefix("env:")]
        yield from tls_provider.run(folder, hospital, uri, pin)
        yield _soak(hospital)
        yield from _transfers(folder, hospital, uri)


def _hospital(folder: Path, uri: Any) -> Hospital:
    ca = pki.Authority("Benchmark CA", key=pki.new_key("rsa2048"))
    key = open_key(uri)
    issued = ca.issue("node", key=key, extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()])
    node = Identity("node", key, issued.certificate)
    (folder / "pki").mkdir()
    return Hospital(ca, folder / "pki", node, node, node)


# -- handshakes -----------------------------------------------------------------------------------------------


def _handshakes(hospital: Hospital) -> Iterator[Row]:
    peer = hospital.peer("CT 1")
    in_file = hospital.peer("node", key=pki.new_key("rsa2048", 1))
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    plain.load_cert_chain(*hospital.files(in_file))
    plain.load_verify_locations(hospital.ca_file)
    plain.verify_mode = ssl.CERT_REQUIRED
    server = server_context([hospital.rsa], hospital.validator())
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        client = client_context(peer, hospital.validator())
        client.maximum_version = version
        seconds = in_turns(
            {
                "ours": _times(HANDSHAKES, lambda client=client: handshake(server, client)),
                "file": _times(HANDSHAKES, lambda client=client: handshake(plain, client)),
            },
            ROUNDS,
        )
        yield Row(
            f"mutual handshakes, {version.name.replace('_', '.', 1).replace('TLSv1.', 'TLS 1.')}, one thread",
            f"{HANDSHAKES / seconds['ours']:.0f} a second",
            f"{HANDSHAKES / seconds['file']:.0f} with a key file",
            seconds["file"] / seconds["ours"],
        )
    key = hospital.rsa.key
    signing = in_turns({"sign": _times(HANDSHAKES, lambda: key.sign(b"x", padding.PKCS1v15(), hashes.SHA256()))})
    yield Row("the token alone", f"{HANDSHAKES / signing['sign']:.0f} signatures a second", "")


def _times(count: int, job: Callable[[], object]) -> Callable[[], None]:
    def repeated() -> None:
        for _ in range(count):
            job()

    return repeated


def _soak(hospital: Hospital) -> Row:
    growth, errors, seconds = soak(hospital, SOAK, THREADS)
    return Row(
        f"{SOAK} handshakes from {THREADS} threads: memory, last fifth over first",
        f"{growth:.2f} MiB ({SOAK / seconds:.0f} a second)",
        f"{errors} errors",
        growth if not errors else float("inf"),
        "<= 2.0",
    )


def soak(hospital: Hospital, count: int, threads: int) -> tuple[float, int, float]:
    """So many handshakes from so many threads: growth of memory in MiB, errors, seconds."""
    server = server_context([hospital.rsa], hospital.validator())
    client = client_context(hospital.peer("CT 1"), hospital.validator())
    remaining, lock = [count], threading.Lock()
    memory: list[tuple[int, float]] = []
    errors: list[Exception] = []

    def work() -> None:
        while True:
            with lock:
                if not remaining[0]:
                    return
                remaining[0] -= 1
                done = count - remaining[0]
                if done % max(1, count // 50) == 0:
                    gc.collect()
                    memory.append((done, _resident_mebibytes()))
            try:
                handshake(server, client)
            except Exception as error:
                errors.append(error)

    started = time.monotonic()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    first = [mebibytes for done, mebibytes in memory if done <= count * 0.4 and done > count * 0.2]
    last = [mebibytes for done, mebibytes in memory if done > count * 0.8]
    return sum(last) / len(last) - sum(first) / len(first), len(errors), time.monotonic() - started


def _resident_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


# -- transfers ------------------------------------------------------------------------------------------------


def _transfers(folder: Path, hospital: Hospital, uri: Any) -> Iterator[Row]:
    small, large = folder / "small", folder / "large"
    small.mkdir()
    large.mkdir()
    for number in range(CTS):
        ct_image(small, f"{number}.dcm", pixels=512 * 512 * 2, value=number)
    ct_image(large, pixels=LARGE)
    peer = hospital.peer("CT 1")
    with (
        _process(_serve_tls, folder, hospital, uri) as tls_port,
        _process(_serve_plain, folder) as plain_port,
        _dcmtk(folder, hospital) as dcmtk_port,
    ):
        for what, files in ((f"C-STORE of {CTS} CTs of 512 KiB", small), ("C-STORE of one object of 200 MB", large)):
            seconds = in_turns(
                {
                    "tls": lambda files=files: _send_tls(folder, hospital, peer, tls_port, files),
                    "plain": lambda files=files: _send_plain(folder, plain_port, files),
                    "dcmtk": lambda files=files: _send_dcmtk(folder, hospital, peer, dcmtk_port, files),
                },
                ROUNDS,
            )
            yield Row(
                what,
                f"{seconds['tls']:.2f} s with TLS",
                f"{seconds['plain']:.2f} s pynetdicom without TLS, {seconds['dcmtk']:.2f} s DCMTK with TLS",
                seconds["plain"] / seconds["tls"],
                ">= 0.9",
            )


def _send_tls(folder: Path, hospital: Hospital, identity: Identity, port: int, files: Path) -> None:
    _empty(folder / "received-tls")
    peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=port)
    result = store(peer, make_peer_transport(peer, identity, hospital.validator()), PEER, [files])
    if not result.done:
        raise RuntimeError(next(outcome.text for outcome in result.outcomes if not outcome.done))


def _send_plain(folder: Path, port: int, files: Path) -> None:
    _empty(folder / "received-plain")
    ae = AE(PEER)
    ae.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    _config.STORE_SEND_CHUNKED_DATASET = True
    association = ae.associate("127.0.0.1", port, ae_title="NODE")
    for path in sorted(files.iterdir()):
        if association.send_c_store(path).Status != 0:
            raise RuntimeError(f"{path} was not stored")
    association.release()


def _send_dcmtk(folder: Path, hospital: Hospital, identity: Identity, port: int, files: Path) -> None:
    _empty(folder / "received-dcmtk")
    certificate, key = hospital.files(identity)
    tls = ["+tls", str(key), str(certificate), "+cf", str(hospital.ca_file)]
    command = ["storescu", *tls, "-aet", PEER, "-aec", "NODE", "+sd", "127.0.0.1", str(port), str(files)]
    subprocess.run(command, check=True, capture_output=True)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _serve_tls(folder: Path, ready: Any, hospital_files: tuple[Path, Path, Path], uri: Any) -> None:
    from hsm_dicom.identity import read_certificates
    from hsm_dicom.trust import CertificateValidator, TrustStore

    certificate, _, ca_file = hospital_files
    settings = ListenerSettings(
        name="main",
        ae_title="NODE",
        peers=(Peer(name="CT 1", ae_titles=(PEER,), host="127.0.0.1"),),
        port=0,
        storage=StorageSettings(folder=folder / "received-tls"),
    )

    def load() -> OpenedListener:
        identity = Identity("node", open_key(uri), read_certificates(certificate)[0])
        return OpenedListener(
            settings, Resources([identity], CertificateValidator(TrustStore.from_files(anchors=[ca_file])))
        )

    with Service(load) as service:
        ready.send(service.address[1])
        ready.recv()


def _serve_plain(folder: Path, ready: Any) -> None:
    received = folder / "received-plain"

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
    serve: Callable[..., None], folder: Path, hospital: Hospital | None = None, uri: Any = None
) -> Iterator[int]:
    """A server in a process of its own; its port."""
    name = "received-tls" if hospital else "received-plain"
    (folder / name).mkdir()
    here, there = multiprocessing.Pipe()
    arguments: list[Any] = [folder, there]
    if hospital is not None:
        certificate = folder / "node.pem"
        certificate.write_bytes(pki.Identity(hospital.rsa.certificate, None).pem)
        arguments += [(certificate, certificate, hospital.ca_file), uri]
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
def _dcmtk(folder: Path, hospital: Hospital) -> Iterator[int]:
    if shutil.which("storescp") is None:
        raise RuntimeError("DCMTK is needed: apt-get install dcmtk")
    received, port = folder / "received-dcmtk", free_port()
    received.mkdir()
    certificate, key = hospital.files(hospital.peer("DCMTK"))
    tls = ["+tls", key, certificate, "+cf", hospital.ca_file]
    with serving(port, ["storescp", *tls, "-aet", "NODE", "-od", received, port], folder):
        yield port
