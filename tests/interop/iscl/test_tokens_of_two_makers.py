"""SoftHSM at one end and NSS softokn at the other: every mode, both ways round, also inside TLS."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from hsm_dicom.iscl import ISCLContext, State
from tests import pki
from tests.hsm_dicom.iscl.lines import MODES, SECONDS, Ends, Mode, line, meanwhile, settings, sockets
from tests.hsm_dicom.tls.fixtures import names


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("softhsm_serves", [True, False], ids=["SoftHSM serves", "NSS serves"])
def test_two_tokens_understand_each_other(makers: Ends, mode: Mode, softhsm_serves: bool) -> None:
    ends = makers if softhsm_serves else Ends(makers.theirs, makers.ours)
    data = os.urandom(20_001)
    with line(ends, settings(mode)) as (server, client):

        def echo() -> None:
            got = b""
            while len(got) < len(data):
                got += server.recv(100_000)
            server.sendall(got[::-1])
            assert server.recv(1) == b""

        with meanwhile(echo) as echoed:
            client.sendall(data)
            got = b""
            while len(got) < len(data):
                got += client.recv(100_000)
            client.close()
            echoed.result(SECONDS)
        assert got[::-1] == data


def test_iscl_runs_inside_tls(makers: Ends, tmp_path: Path) -> None:
    """The recommended way: TLS keeps what ISCL no longer can."""
    server_tls, client_tls = tls_contexts(tmp_path)
    with sockets() as (a, b):

        def serve() -> bytes:
            with server_tls.wrap_socket(a, server_side=True) as secured:
                inner = ISCLContext(settings(), makers.ours).wrap_socket(secured, server_side=True)  # type: ignore[arg-type]
                got = inner.recv(100)
                inner.sendall(bytes(100_000))
                assert inner.recv(1) == b""
                inner.close()
            return got

        with meanwhile(serve) as served, client_tls.wrap_socket(b, server_hostname="localhost") as secured:
            inner = ISCLContext(settings(), makers.theirs).wrap_socket(secured)
            inner.sendall(b"twice wrapped")
            got = 0
            while got < 100_000:
                got += len(inner.recv(100_000))
            inner.close()
            assert served.result(SECONDS) == b"twice wrapped"
        assert inner.status is State.CLOSED


def tls_contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server with a certificate of a test CA, and a client that trusts it."""
    ca = pki.Authority("Test CA")
    identity = ca.issue("localhost", extensions=[names()])
    pem = folder / "server.pem"
    pem.write_bytes(identity.pem + identity.key_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=ca.pem.decode())
