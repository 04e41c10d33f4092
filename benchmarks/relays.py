"""Plumbing of `gateway`: relays to measure, in processes of their own, and the octets that go through them."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsm_dicom.gateway.entrance import Entrance
from hsm_dicom.gateway.hold import MakeHolder
from hsm_dicom.gateway.holding.holder import open_holding
from hsm_dicom.gateway.holding.settings import HoldingSettings
from hsm_dicom.gateway.inspect import Inspector
from hsm_dicom.gateway.route import Route
from hsm_dicom.gateway.services import Service
from hsm_dicom.gateway.settings import PlainDevice, RouteSettings, SourceLimits
from hsm_dicom.gateway.tap import MakeTap
from hsm_dicom.gateway.targets import PeerTarget, PlainTarget
from hsm_dicom.identity import Identity, read_certificates
from hsm_dicom.network.assembly import make_listener_transport, make_peer_transport
from hsm_dicom.network.listener import Listener
from hsm_dicom.network.settings import Limits, ListenerSettings, Peer
from hsm_dicom.transport.plain import PlainTransport
from hsm_dicom.trust import CertificateValidator, TrustStore
from hsm_dicom.validation import PolicyValidator, VerificationPolicy
from tests import pki
from tests.hsm_dicom.gateway.routes import associate_ac, release_rp, release_rq
from tests.hsm_dicom.network.pdus import associate_rq, context, p_data, read_exactly, read_pdu
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import serving
from tests.ports import free_port
from tokens import open_key
from tokens.uri import Pkcs11Uri

LOOPBACK = "127.0.0.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
_MANY = 1024
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Relay:
    """A relay that runs: the port that it accepts on, and its process."""

    name: str
    port: int
    process: int

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the process and its children that run."""
        return sum(_read_cpu_seconds(process) for process in (self.process, *_list_children(self.process)))

    @property
    def memory_mib(self) -> float:
        """Memory that the process has in RAM (RssAnon and RssFile)."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


def _read_cpu_seconds(process: int) -> float:
    """Return the processor time of a process from its clock; /proc counts it in ticks of 10 milliseconds only."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(process, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def _list_children(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in children.split()]


@dataclass(frozen=True)
class Site:
    """What relays need: the hospital, the node's key on the token, and files of the same node for other programs."""

    hospital: Hospital
    uri: Pkcs11Uri
    certificate: Path
    key: Path
    on_token: Path
    """Certificate of the key on the token."""

    @classmethod
    def make(cls, hospital: Hospital, uri: Pkcs11Uri) -> Site:
        certificate, key = hospital.files(hospital.peer("node", key=pki.new_key("rsa2048")))
        on_token = hospital.folder / "node.pem"
        on_token.write_bytes(pki.Identity(hospital.rsa.certificate, None).pem)
        return cls(hospital, uri, certificate, key, on_token)

    def make_context(self, purpose: ssl.Purpose) -> ssl.SSLContext:
        """TLS of a peer whose key is in a file."""
        context = ssl.create_default_context(purpose, cafile=str(self.hospital.ca_file))
        context.load_cert_chain(*self.hospital.files(self.hospital.peer("CT 1")))
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        return context


# -- relays ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def run_ours(
    site: Site, *, is_secured_in: bool, target: int, inspects: bool = False, holding: HoldingSettings | None = None
) -> Iterator[Relay]:
    """Our gateway, its key on the token: TLS in and plain out, or plain in and TLS out.

    With `holding`, it signs objects with the same key, or judges them by a policy that trusts the hospital's CA.
    """
    here, there = multiprocessing.Pipe()
    arguments = (there, site.on_token, site.hospital.ca_file, site.uri, is_secured_in, target, inspects, holding)
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=arguments)
    process.start()
    there.close()
    try:
        yield Relay("ours", int(here.recv()), process.pid or 0)
    finally:
        here.send(None)
        process.join(30)
        if process.is_alive():
            process.kill()


def _serve(
    ready: Any,
    certificate: Path,
    ca_file: Path,
    uri: Pkcs11Uri,
    is_secured_in: bool,
    target: int,
    inspects: bool,
    holding: HoldingSettings | None,
) -> None:
    logging.disable(logging.CRITICAL)  # an association that fails on purpose would be a line
    validator = CertificateValidator(TrustStore.from_files(anchors=[ca_file]))
    node = Identity("node", open_key(uri), read_certificates(certificate)[0])
    peer = Peer(name="pacs", ae_titles=("PACS", "CT1"), host=LOOPBACK, port=target)
    device = PlainDevice(
        name="ct1", ae_titles=("CT1", "PACS"), addresses=(LOOPBACK,), host=LOOPBACK, port=target, reason="a measurement"
    )
    limits = Limits(
        unidentified=_MANY, unidentified_per_address=_MANY, associations=_MANY, handshake_seconds=60, request_seconds=60
    )
    settings = RouteSettings(
        name="measured",
        sources=(peer,) if is_secured_in else (device,),
        target=device if is_secured_in else peer,
        listener="main" if is_secured_in else None,
        listen=None if is_secured_in else (LOOPBACK, 0),
        services=frozenset({Service.ECHO, Service.STORAGE}),
        associations=_MANY,
        limits=SourceLimits(associations=_MANY, associations_per_minute=1_000_000),
    )
    make_tap: MakeTap | None = (lambda at, count: Inspector("measured", at, count)) if inspects else None
    with contextlib.ExitStack() as stack:
        make_holder: MakeHolder | None = None
        if holding is not None:
            judge = PolicyValidator.from_stores(VerificationPolicy(), TrustStore.from_files(anchors=[ca_file]))
            signer = None if holding.signing is None else node
            opening = open_holding("measured", holding, signer, None if holding.policy is None else lambda: judge)
            make_holder = stack.enter_context(opening).make_holder
        _relay(ready, settings, (node, validator), (peer, device), make_tap, make_holder, limits)


def _relay(
    ready: Any,
    settings: RouteSettings,
    secured: tuple[Identity, CertificateValidator],
    sides: tuple[Peer, PlainDevice],
    make_tap: MakeTap | None,
    make_holder: MakeHolder | None,
    limits: Limits,
) -> None:
    """Run the route until the other process says that it is over."""
    node, validator = secured
    peer, device = sides
    if settings.listener is not None:
        route = Route(settings, PlainTarget(device), make_tap, make_holder)
        listens = ListenerSettings(name="main", ae_title="NODE", peers=(peer,), port=0, limits=limits)
        transport: Any = make_listener_transport(listens, [node], validator)
    else:
        route = Route(settings, PeerTarget(peer, make_peer_transport(peer, node, validator)), make_tap, make_holder)
        transport = PlainTransport()
    with Listener("main", (LOOPBACK, 0), transport, Entrance("main", [route]).serve, limits) as listener:
        ready.send(listener.address[1])
        ready.recv()
        route.close()
        route.drain(0)


@contextlib.contextmanager
def run_stunnel(
    site: Site, *, is_secured_in: bool, target: int, pin: str | None = None, module: str = ""
) -> Iterator[Relay]:
    """stunnel; with a PIN, its key is on the token, through libp11's engine."""
    port = free_port()
    name = f"stunnel-{port}.conf"
    lines = ["foreground = yes", "pid =", "syslog = no", "debug = err"]
    if pin is not None:
        lines += ["engine = pkcs11", f"engineCtrl = MODULE_PATH:{module}", f"engineCtrl = PIN:{pin}"]
    lines += ["[relay]", f"accept = {LOOPBACK}:{port}", f"connect = {LOOPBACK}:{target}"]
    lines += [f"CAfile = {site.hospital.ca_file}", "verifyChain = yes", f"client = {'no' if is_secured_in else 'yes'}"]
    if pin is None:
        lines += [f"cert = {site.certificate}", f"key = {site.key}"]
    else:
        uri = f"pkcs11:token={site.uri.token};object={site.uri.object}"
        lines += [f"cert = {site.on_token}", f"key = {uri}", "engineId = pkcs11"]
    configuration = site.hospital.folder / name
    configuration.write_text("\n".join(lines) + "\n")
    with serving(port, ["stunnel4", configuration], site.hospital.folder) as server:
        yield Relay("stunnel", port, server.process.pid)


@contextlib.contextmanager
def run_nginx(site: Site, *, is_secured_in: bool, target: int) -> Iterator[Relay]:
    """nginx with its stream module; its key is in a file."""
    port = free_port()
    if is_secured_in:
        inner = f"""listen {LOOPBACK}:{port} ssl; ssl_certificate {site.certificate};
          ssl_certificate_key {site.key}; ssl_client_certificate {site.hospital.ca_file}; ssl_verify_client on;"""
    else:
        inner = f"""listen {LOOPBACK}:{port}; proxy_ssl on; proxy_ssl_certificate {site.certificate};
          proxy_ssl_certificate_key {site.key}; proxy_ssl_trusted_certificate {site.hospital.ca_file};
          proxy_ssl_verify on; proxy_ssl_name localhost;"""
    configuration = site.hospital.folder / f"nginx-{port}.conf"
    configuration.write_text(
        f"""load_module /usr/lib/nginx/modules/ngx_stream_module.so;
        daemon off; worker_processes 1; pid {site.hospital.folder}/nginx-{port}.pid; error_log stderr crit;
        events {{ worker_connections 1024; }}
        stream {{ server {{ {inner} proxy_pass {LOOPBACK}:{target}; }} }}"""
    )
    with serving(port, ["nginx", "-c", configuration], site.hospital.folder) as server:
        yield Relay("nginx", port, server.process.pid)


# -- octets ---------------------------------------------------------------------------------------------------


class Sink:
    """Targets, in a process of its own: one without TLS, and one with it. They accept, take data, and release."""

    def __init__(self, site: Site) -> None:
        self._here, self._there = multiprocessing.Pipe()
        files = [str(file) for file in site.hospital.files(site.hospital.peer("PACS"))]
        self._process = multiprocessing.get_context("spawn").Process(
            target=_sink, args=(self._there, files, str(site.hospital.ca_file)), daemon=True
        )

    def __enter__(self) -> tuple[int, int]:
        self._process.start()
        self._there.close()
        plain, secured = self._here.recv()
        return plain, secured

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the targets."""
        return _read_cpu_seconds(self._process.pid or 0)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def _sink(ready: Any, files: list[str], ca_file: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca_file)
    context.load_cert_chain(*files)
    context.verify_mode = ssl.CERT_REQUIRED
    ports = []
    for secured in (None, context):
        server = socket.create_server((LOOPBACK, 0), backlog=512)
        ports.append(server.getsockname()[1])
        threading.Thread(target=_accept, args=(server, secured), daemon=True).start()
    ready.send(ports)
    threading.Event().wait()


def _accept(server: socket.socket, secured: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_take, args=(connection, secured), daemon=True).start()


def _take(connection: socket.socket, secured: ssl.SSLContext | None) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError, EOFError):
        if secured is not None:
            connection = secured.wrap_socket(connection, server_side=True)
        with connection:
            read_pdu(connection)
            connection.sendall(ANSWER)
            memory = bytearray(_BUFFER)
            end = b""
            while end != release_rq():
                count = connection.recv_into(memory)
                if not count:
                    return
                end = (end + memory[max(0, count - 10) : count])[-10:]
            connection.sendall(release_rp())
            connection.recv(1)


REQUEST = associate_rq(context(1, CT), called=b"PACS")
ANSWER = associate_ac()


def open_association(port: int, secured: ssl.SSLContext | None) -> socket.socket:
    """Connect, and have an association accepted."""
    connection = socket.create_connection((LOOPBACK, port), timeout=120)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if secured is not None:
        connection = secured.wrap_socket(connection)
    connection.sendall(REQUEST)
    kind, _ = read_pdu(connection)
    if kind != 2:
        raise RuntimeError(f"The association was not accepted: a PDU of type {kind} came.")
    return connection


def release(connection: socket.socket) -> None:
    """Release an association, and close its connection."""
    connection.sendall(release_rq())
    read_exactly(connection, 10)
    connection.close()


def send_stream(port: int, secured: ssl.SSLContext | None, octets: int, pdu_octets: int = 1 << 17) -> None:
    """Send so many octets in one association, in PDUs of DCMTK's longest length."""
    piece = p_data(1, bytes(pdu_octets - 12), last=False) * max(1, _BUFFER // pdu_octets)
    with open_association(port, secured) as connection:
        for _ in range(octets // len(piece)):
            connection.sendall(piece)
        release(connection)


def together(job: Callable[[], object], number: int) -> float:
    """Do a job in so many threads, and return the seconds until all are done."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(number)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return time.perf_counter() - started


def require_programs() -> None:
    """Raise `RuntimeError` unless the programs that are compared with are installed."""
    for program, package in (("stunnel4", "stunnel4"), ("nginx", "nginx libnginx-mod-stream"), ("storescp", "dcmtk")):
        if subprocess.run(["which", program], capture_output=True, check=False).returncode:
            raise RuntimeError(f"{program} is needed: apt-get install {package}")
