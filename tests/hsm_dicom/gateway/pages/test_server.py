"""The status page over HTTP: on this host only, read only, and undisturbed by clients that hang or hammer."""

from __future__ import annotations

import http.client
import logging
import os
import resource
import select
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hsm_dicom.gateway.pages import StatusServer, fetch_status
from hsm_dicom.gateway.pages.connections import CONNECTION_SECONDS, MOST_CONNECTIONS, REQUEST_BYTES
from hsm_dicom.gateway.pages.doors import StatusPageError
from hsm_dicom.gateway.settings import StatusSettings
from hsm_dicom.gateway.status import GatewayStatus
from tests.hsm_dicom.gateway.pages.examples import gateway, route, troubled

LOOPBACK = StatusSettings(listen=("127.0.0.1", 0))
HANG = 30.0
"""Seconds after which a test counts as hung."""


class Source:
    """A status that a test changes, and the number of times that it was read."""

    def __init__(self, status: GatewayStatus | None = None) -> None:
        self.status = status or gateway()
        self.reads = 0

    def __call__(self) -> GatewayStatus:
        self.reads += 1
        return self.status


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def server(source: Source) -> Iterator[StatusServer]:
    with StatusServer(LOOPBACK, source, snapshot_seconds=0) as server:
        yield server


def connect(server: StatusServer) -> socket.socket:
    assert not isinstance(server.address, Path)
    return socket.create_connection(server.address, timeout=HANG)


def ask(server: StatusServer, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    assert not isinstance(server.address, Path)
    connection = http.client.HTTPConnection(*server.address, timeout=HANG)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def exchange(server: StatusServer, octets: bytes) -> bytes:
    """Send octets, and return all that comes until the connection ends."""
    with connect(server) as client:
        client.sendall(octets)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := client.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    return answer


# --- What is answered --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "begins"),
    [
        ("/", "text/html; charset=utf-8", b"<!DOCTYPE html>"),
        ("/status.json", "application/json", b'{"schema": "hsm-dicom/gateway-status/1", '),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", b"# HELP hsm_dicom_ready "),
        ("/healthz", "text/plain; charset=utf-8", b"ok\n"),
        ("/readyz", "text/plain; charset=utf-8", b"ready\n"),
    ],
)
def test_each_path_answers_with_its_type_and_with_security_headers(
    server: StatusServer, path: str, kind: str, begins: bytes
) -> None:
    response, body = ask(server, path)
    assert response.status == 200
    assert response.headers["Content-Type"] == kind
    assert body.startswith(begins)
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Server"] == "hsm-dicom"
    head, nothing = ask(server, path, "HEAD")
    assert (head.status, nothing, head.headers["Content-Length"]) == (200, b"", str(len(body)))


def test_a_gateway_that_is_not_ready_says_why(server: StatusServer, source: Source) -> None:
    source.status = troubled()
    response, body = ask(server, "/readyz")
    assert (response.status, body.decode()) == (503, f"{troubled().problem}\n")
    assert ask(server, "/healthz")[0].status == 200
    source.status = gateway(is_draining=True)
    response, body = ask(server, "/readyz")
    assert (response.status, body) == (503, b"The gateway drains.\n")


def test_many_requests_in_a_short_time_read_the_status_once(source: Source) -> None:
    with StatusServer(LOOPBACK, source, snapshot_seconds=HANG) as server:
        for _ in range(3):
            for path in ("/", "/metrics", "/status.json", "/readyz", "/healthz"):
                assert ask(server, path)[0].status == 200
    assert source.reads == 1


def test_a_status_that_cannot_be_read_is_an_error_that_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> GatewayStatus:
        raise RuntimeError("no status today")

    with StatusServer(LOOPBACK, fail, snapshot_seconds=0) as server:
        for path in ("/", "/metrics", "/status.json", "/readyz"):
            response, body = ask(server, path)
            assert response.status == 500
            assert b"could not be read" in body
            assert b"today" not in body
        assert ask(server, "/healthz")[0].status == 200
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(server: StatusServer, source: Source, method: str) -> None:
    response, _ = ask(server, "/status.json", method)
    assert response.status == 405
    assert response.headers["Allow"] == "GET,HEAD"
    assert source.reads == 0


@pytest.mark.parametrize("path", ["/drain", "/..%2f..%2fetc/passwd", "//status.json", "/status.json/", "/metrics/x"])
def test_another_path_is_not_found(server: StatusServer, path: str) -> None:
    assert ask(server, path)[0].status == 404


# --- Whom it is for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9762", "127.0.0.1", "127.8.8.8:1", "[::1]:80", "[::1]"])
def test_requests_for_this_host_are_answered(server: StatusServer, host: str) -> None:
    assert ask(server, "/healthz", Host=host)[0].status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:9762", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost",
        "[::1].evil.example", "[::1", "10.0.0.1", "0.0.0.0", "[::]", "2130706433", "gateway.example", "", ":80",
    ],
)  # fmt: skip
def test_requests_for_another_host_are_refused(server: StatusServer, source: Source, host: str) -> None:
    for path in ("/", "/healthz", "/status.json"):
        response, body = ask(server, path, Host=host)
        assert response.status == 421
        assert b"hosts in [status]" in body
    assert source.reads == 0


def test_a_request_without_a_host_is_refused(server: StatusServer) -> None:
    assert exchange(server, b"GET /status.json HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 421 ")


def test_a_configured_host_is_answered(source: Source) -> None:
    with StatusServer(StatusSettings(listen=("127.0.0.1", 0), hosts=("Gateway.hospital.example",)), source) as server:
        assert ask(server, "/healthz", Host="gateway.hospital.example:443")[0].status == 200
        assert ask(server, "/healthz", Host="other.hospital.example")[0].status == 421


# --- Where it listens --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.10.1", "gateway.hospital.example", "::ffff:10.0.0.1"])
def test_an_address_that_others_reach_is_refused(source: Source, host: str) -> None:
    with pytest.raises(StatusPageError, match=r"has no login, so it is served on this host only") as caught:
        StatusServer(StatusSettings(listen=(host, 9762)), source).__enter__()
    assert 'listen = "127.0.0.1:9762" in [status]' in str(caught.value)


def test_a_loopback_address_of_ipv6_serves(source: Source) -> None:
    with StatusServer(StatusSettings(listen=("::1", 0)), source) as server:
        assert fetch_status(StatusSettings(listen=server.address)) == source.status  # type: ignore[arg-type]


def test_an_address_in_use_is_an_error(server: StatusServer, source: Source) -> None:
    with pytest.raises(StatusPageError, match=r"port \d+: Address already in use"):
        StatusServer(StatusSettings(listen=server.address), source).__enter__()  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [StatusSettings(), StatusSettings(listen=("127.0.0.1", 0), socket=Path("x"))])
def test_neither_and_both_are_errors(source: Source, settings: StatusSettings) -> None:
    with pytest.raises(StatusPageError, match="either listen or socket"):
        StatusServer(settings, source).__enter__()


def test_a_unix_socket_is_for_its_user_and_group_and_goes_when_the_server_closes(
    source: Source, tmp_path: Path
) -> None:
    settings = StatusSettings(socket=tmp_path / "status.sock")
    with StatusServer(settings, source) as server:
        assert server.address == settings.socket
        assert stat.S_IMODE((tmp_path / "status.sock").stat().st_mode) == 0o660
        assert fetch_status(settings) == source.status
    assert list(tmp_path.iterdir()) == []


def test_the_socket_of_a_process_that_was_killed_is_replaced(source: Source, tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "status.sock"))
    left.listen()
    left.close()
    with StatusServer(StatusSettings(socket=tmp_path / "status.sock"), source):
        assert fetch_status(StatusSettings(socket=tmp_path / "status.sock")) == source.status


@pytest.mark.parametrize("waiting", [0, 3])
def test_the_socket_of_a_process_that_listens_is_left_alone(source: Source, tmp_path: Path, waiting: int) -> None:
    path = tmp_path / "status.sock"
    with socket.socket(socket.AF_UNIX) as other, ExitStack() as clients:
        other.bind(str(path))
        other.listen(0)
        for _ in range(waiting):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect_ex(str(path))
        with pytest.raises(StatusPageError, match="Another process serves"):
            StatusServer(StatusSettings(socket=path), source).__enter__()
        assert path.is_socket()


def test_another_file_at_the_path_is_left_alone(source: Source, tmp_path: Path) -> None:
    for name, make in {"file": Path.touch, "folder": Path.mkdir, "link": lambda p: p.symlink_to("/dev/null")}.items():
        make(tmp_path / name)
        with pytest.raises(StatusPageError, match="exists and is no socket"):
            StatusServer(StatusSettings(socket=tmp_path / name), source).__enter__()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("path", ["missing/status.sock", "x" * 200])
def test_a_path_that_cannot_be_used_is_an_error(source: Source, tmp_path: Path, path: str) -> None:
    with pytest.raises(StatusPageError, match="its folder must exist and be writable"):
        StatusServer(StatusSettings(socket=tmp_path / path), source).__enter__()


def test_a_server_that_closes_leaves_the_socket_of_its_successor(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    with StatusServer(StatusSettings(socket=path), source):
        path.unlink()
        with StatusServer(StatusSettings(socket=path), source):
            pass
        assert not path.exists()
        successor = StatusServer(StatusSettings(socket=path), source).__enter__()
    assert path.is_socket()
    successor.close()
    assert not path.exists()


# --- Clients that hang or hammer ---------------------------------------------------------------------------------


def test_a_connection_is_for_one_request(server: StatusServer) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n"
    answer = exchange(server, request * 3)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"Connection: close" in answer


def test_clients_that_send_nothing_do_not_keep_others_out(server: StatusServer) -> None:
    with ExitStack() as silent:
        for _ in range(2 * MOST_CONNECTIONS):
            silent.enter_context(connect(server))
        response, body = ask(server, "/healthz")
        assert (response.status, body) == (200, b"ok\n")


def test_a_connection_that_lasts_too_long_is_ended(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONNECTION_SECONDS <= HANG
    monkeypatch.setattr("hsm_dicom.gateway.pages.connections.CONNECTION_SECONDS", 0.2)
    with StatusServer(LOOPBACK, source) as server, connect(server) as silent, connect(server) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert read_all(slow) == b""
        assert read_all(silent) == b""


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Long: " + b"x" * (REQUEST_BYTES // 2) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (REQUEST_BYTES // 4),
        b"GET /" + b"x" * REQUEST_BYTES + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + b"x" * (4 * REQUEST_BYTES),
        b"\x01\x00\x00\x00\x00\xd0\x00\x01\x00\x00" + b"PACS".ljust(16) + b"CT1".ljust(16),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        b"\x00" * 100 + b"\r\n\r\n",
    ],
    ids=["long header", "many headers", "long path", "long body", "A-ASSOCIATE-RQ", "TLS", "smuggling", "zeros"],
)  # fmt: skip
def test_a_request_that_is_too_long_or_malformed_ends_its_connection_and_nothing_else(
    server: StatusServer, source: Source, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(server) as client:
        try:
            client.sendall(octets)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = read_all(client)
    assert b" 200 OK" not in answer
    assert len(answer) < 1000
    assert source.reads == 0
    assert caplog.records == [], "whoever sends many of them would fill the log"
    assert ask(server, "/healthz")[0].status == 200


def test_clients_that_hammer_get_what_the_pace_allows(source: Source) -> None:
    answered = []
    stop = threading.Event()

    def hammer(server: StatusServer) -> None:
        while not stop.is_set():
            try:
                answered.append(exchange(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            except OSError:
                continue

    with StatusServer(LOOPBACK, source) as server:
        clients = [threading.Thread(target=hammer, args=(server,)) for _ in range(8)]
        for client in clients:
            client.start()
        began = time.monotonic()
        time.sleep(1.5)
        assert ask(server, "/healthz")[0].status == 200
        seconds = time.monotonic() - began
        stop.set()
        for client in clients:
            client.join(HANG)
    assert len(answered) <= 20 + 50 * (seconds + 1)
    assert source.reads <= seconds + 2


def test_a_connection_waits_while_no_file_can_be_opened(server: StatusServer) -> None:
    assert ask(server, "/healthz")[0].status == 200
    # A thread that an earlier test left may close a file just then.
    assert any(waits_without_descriptors(server) for _ in range(3))


def waits_without_descriptors(server: StatusServer) -> bool:
    """Return whether a request was not answered before this process could open files again. It is then answered."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connect(server) as client, socket.socket() as first:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(8) == b"HTTP/1.1"
        try:
            # Each descriptor up to that of a socket is taken, or not above the limit.
            with ExitStack() as taken:
                while (number := taken.enter_context(Path(os.devnull).open()).fileno()) < first.fileno():
                    pass
                resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, before[1]))
                first.connect(server.address)
                first.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                waited = not select.select([first], [], [], 0.3)[0]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        first.settimeout(HANG)
        assert read_all(first).startswith(b"HTTP/1.1 200 OK")
    return waited


def test_closing_does_not_wait_for_a_client(source: Source) -> None:
    with ExitStack() as clients:
        with StatusServer(LOOPBACK, source) as server:
            silent = clients.enter_context(connect(server))
            half = clients.enter_context(connect(server))
            half.sendall(b"GET / HTTP/1.1\r\nHost: loc")
            assert ask(server, "/healthz")[0].status == 200
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert read_all(silent) == read_all(half) == b""
        server.close()
    assert not any(thread.name == "status page" for thread in threading.enumerate())


def test_a_client_that_reads_nothing_does_not_keep_the_server(source: Source) -> None:
    source.status = gateway(routes=tuple(route(last_error="x" * 100_000) for _ in range(40)))
    with ExitStack() as clients, StatusServer(LOOPBACK, source) as server:
        for _ in range(3):
            slow = clients.enter_context(socket.socket())
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(server.address)
            slow.sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert ask(server, "/healthz")[0].status == 200


def test_a_snapshot_that_hangs_does_not_keep_the_gateway_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.gateway.pages.server._STOP_SECONDS", 0.2)
    release = threading.Event()

    def hang() -> GatewayStatus:
        release.wait(HANG)
        return gateway()

    try:
        with StatusServer(LOOPBACK, hang) as server, connect(server) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.1)
            began = time.monotonic()
            server.close()
            assert time.monotonic() - began < HANG / 2
    finally:
        release.set()


Serve = Callable[[socket.socket], None]


def serve_once(path: Path, serve: Serve) -> threading.Thread:
    """Serve one connection to a Unix socket."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def run() -> None:
        with listening, listening.accept()[0] as client:
            client.settimeout(HANG)
            client.recv(65536)
            serve(client)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


# --- The client --------------------------------------------------------------------------------------------------


def test_without_a_gateway_there_is_one_sentence_and_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        StatusPageError, match=r"^No gateway serves its status at 127\.0\.0\.1:1 \(Connection refused\)\."
    ):
        fetch_status(StatusSettings(listen=("127.0.0.1", 1)))
    with pytest.raises(StatusPageError, match=r"status\.sock \(No such file or directory\)\. Start it with hsm-dicom"):
        fetch_status(StatusSettings(socket=tmp_path / "status.sock"))
    with pytest.raises(StatusPageError, match=r"has no status page\. Add a table \[status\]"):
        fetch_status(StatusSettings())


def test_a_user_who_may_not_open_the_socket_learns_who_may(source: Source, tmp_path: Path) -> None:
    settings = StatusSettings(socket=tmp_path / "status.sock")
    with StatusServer(settings, source):
        (tmp_path / "status.sock").chmod(0)
        if is_root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(StatusPageError, match=r"^This user may not open .*status\.sock\. Run the command as"):
                fetch_status(settings)
        finally:
            if is_root:
                os.seteuid(0)


def test_an_answer_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsm_dicom.gateway.pages.client.MOST_BYTES", 1000)
    thread = serve_once(
        tmp_path / "status.sock", lambda client: client.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 5000)
    )
    with pytest.raises(StatusPageError, match="longer than 1000 bytes"):
        fetch_status(StatusSettings(socket=tmp_path / "status.sock"))
    thread.join(HANG)


def test_a_server_that_drips_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    def drip(client: socket.socket) -> None:
        try:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
            while True:
                client.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass

    thread = serve_once(tmp_path / "status.sock", drip)
    with pytest.raises(StatusPageError, match=r"did not answer within 0\.5 seconds"):
        fetch_status(StatusSettings(socket=tmp_path / "status.sock"), seconds=0.5)
    thread.join(HANG)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "is not JSON"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "has the status 404"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n", "has the status 302"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "No gateway serves its status at"),
        (b"", "No gateway serves its status at"),
    ],
)
def test_what_is_no_gateway_is_reported(tmp_path: Path, answer: bytes, reason: str) -> None:
    thread = serve_once(tmp_path / "status.sock", lambda client: client.sendall(answer))
    with pytest.raises(StatusPageError) as caught:
        fetch_status(StatusSettings(socket=tmp_path / "status.sock"))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    thread.join(HANG)
