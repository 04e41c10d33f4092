"""Contexts with a token key, handed unchanged to libraries that know nothing of tokens."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from hsm_dicom.tls import client_context, server_context
from tests import pki
from tests.hsm_dicom.tls.fixtures import Hospital

BOTH_KEYS = pytest.mark.parametrize("kind", ["rsa", "ec"])


@BOTH_KEYS
def test_pynetdicom_takes_the_contexts_on_both_sides(hospital: Hospital, kind: str) -> None:
    node = getattr(hospital, kind)
    scp, scu = AE("NODE"), AE("CT1")
    scp.add_supported_context(Verification)
    scu.add_requested_context(Verification)
    for ae in (scp, scu):
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 10
    server = scp.start_server(("127.0.0.1", 0), block=False, ssl_context=server_context([node], hospital.validator()))
    assert server is not None
    try:
        context = client_context(node, hospital.validator())
        association = scu.associate(
            "127.0.0.1", server.server_address[1], ae_title="NODE", tls_args=(context, "localhost")
        )
        assert association.is_established
        assert association.send_c_echo().Status == 0x0000
        association.release()
    finally:
        server.shutdown()


@BOTH_KEYS
def test_asyncio_takes_the_contexts_on_both_sides(hospital: Hospital, kind: str) -> None:
    node = getattr(hospital, kind)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    async def conversation() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_context([node], hospital.validator()))
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(node, hospital.validator()), server_hostname="localhost"
            )
            writer.write(b"DICOM")
            received = await reader.readexactly(5)
            writer.close()
            await writer.wait_closed()
            return received

    assert asyncio.run(asyncio.wait_for(conversation(), 10)) == b"DICOM"


@BOTH_KEYS
def test_http_server_and_client_take_the_contexts(hospital: Hospital, kind: str) -> None:
    node = getattr(hospital, kind)
    with served(server_context([node], hospital.validator())) as port:
        context = client_context(node, hospital.validator())
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
        assert get(connection) == b"DICOM"
        connection.close()


def test_a_library_that_asks_for_no_more_still_refuses_a_revoked_client(hospital: Hospital) -> None:
    peer = hospital.peer("stolen CT")
    crl = hospital.ca.crl([pki.Identity(peer.certificate, peer.key)])
    with served(server_context([hospital.rsa], hospital.validator(crl=crl))) as port:
        context = client_context(peer, hospital.validator())
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
        # With luck the alert is read; http.server closes so fast that the reset may overtake it.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(connection)
        connection.close()


def get(connection: http.client.HTTPSConnection) -> bytes:
    connection.request("GET", "/")
    return connection.getresponse().read()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"DICOM")

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the test says what matters."""


class _Server(http.server.HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: the test says what matters."""


@contextmanager
def served(context: ssl.SSLContext) -> Iterator[int]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)
