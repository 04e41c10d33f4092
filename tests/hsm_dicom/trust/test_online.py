"""Fetching what is missing, from certomancer on loopback, and from servers that are slow, silent or hostile."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from cryptography import x509

from hsm_dicom.trust import (
    CertificatePurpose,
    CertificateValidator,
    Policy,
    Reason,
    Revocation,
    RevocationPolicy,
    Trust,
    TrustStore,
    TrustVerdict,
)
from hsm_dicom.trust.errors import FetchError
from hsm_dicom.trust.fetch import Exchange, fetch
from tests.pki import NOW, YEAR, Authority
from tests.pki.served import ServedPki


def validate(pki: ServedPki, label: str, *, online: bool = True, **policy: object) -> TrustVerdict:
    store = TrustStore([pki.certificate("root")])
    validator = CertificateValidator(store, Policy(**policy), online=online)  # type: ignore[arg-type]
    return validator.validate(pki.certificate(label), CertificatePurpose.SIGNING)


@pytest.mark.parametrize(("label", "source"), [("signer", "OCSP"), ("crl-signer", "CRL")])
def test_issuer_and_revocation_data_are_fetched(pki: ServedPki, label: str, source: str) -> None:
    verdict = validate(pki, label)
    assert verdict.trusted, verdict.text
    assert verdict.warnings == ()
    signer, middle, root = verdict.path
    assert signer.revocation.state is middle.revocation.state is Revocation.GOOD
    assert source in (signer.revocation.source or "")
    assert root.is_anchor


@pytest.mark.parametrize("label", ["revoked-by-ocsp", "revoked-by-crl"])
def test_the_revoked_are_found_out(pki: ServedPki, label: str) -> None:
    verdict = validate(pki, label)
    assert (verdict.trust, verdict.reason) == (Trust.UNTRUSTED, Reason.REVOKED)
    assert verdict.path[0].revocation.reason == "keyCompromise"


def test_nothing_is_fetched_unless_asked_for(pki: ServedPki) -> None:
    assert validate(pki, "revoked-by-ocsp", online=False).reason is Reason.NO_PATH


def test_a_judgement_may_fetch_while_an_event_loop_runs(pki: ServedPki) -> None:
    async def within_a_loop() -> TrustVerdict:
        return validate(pki, "signer")

    assert asyncio.run(within_a_loop()).trusted


Handler = Callable[[socket.socket], None]


@contextmanager
def server(handler: Handler) -> Iterator[str]:
    """A server on loopback that treats every connection with `handler`; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=_quietly, args=(handler, connection), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/x"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            connection.close()


def _quietly(handler: Handler, connection: socket.socket) -> None:
    try:
        handler(connection)
    except OSError:
        return


def silent(connection: socket.socket) -> None:
    connection.recv(65536)


def trickling(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        connection.sendall(b"0")
        time.sleep(0.02)


def trickling_headers(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: 0\r\n")
        time.sleep(0.02)


def endless(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


def garbage(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(bytes(range(256)) * 4)
    connection.close()


def circling(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    connection.close()


def elsewhere(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n")


def missing(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (silent, "no complete answer within 0.5 s"),
        (trickling, "no complete answer within 0.5 s"),
        (trickling_headers, "no complete answer within 0.5 s"),
        (endless, "larger than"),
        (garbage, "cannot be fetched"),
        (circling, "cannot be fetched"),
        (elsewhere, "cannot be fetched"),
        (missing, "404"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_whatever_a_server_does_the_fetch_ends_in_time_with_words(handler: Handler, words: str) -> None:
    with server(handler) as url:
        begun = time.monotonic()
        with pytest.raises(FetchError) as caught:
            fetch(Exchange(url, seconds=0.5, max_bytes=1_000_000))
        assert time.monotonic() - begun < 2
        assert words in str(caught.value)
        assert url in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "ldap://127.0.0.1/x", "http://[", "x"])
def test_only_http_is_fetched(url: str) -> None:
    with pytest.raises(FetchError):
        fetch(Exchange(url, seconds=1))


def signer_asking(url: str) -> tuple[Authority, x509.Certificate]:
    """A signer whose CRL lies at the address."""
    ca = Authority("Test CA")
    place = [x509.UniformResourceIdentifier(url)]
    points = x509.CRLDistributionPoints([x509.DistributionPoint(place, None, None, None)])
    return ca, ca.issue("Signer", extensions=[(points, False)]).certificate


def test_a_silent_server_costs_its_deadline_once_and_leaves_the_answer_open() -> None:
    with server(silent) as url:
        ca, signer = signer_asking(url)
        validator = CertificateValidator(TrustStore([ca.certificate]), Policy(online_seconds=0.5), online=True)
        begun = time.monotonic()
        verdicts = [
            validator.validate(signer, CertificatePurpose.SIGNING, validation_time=NOW - n * YEAR / 1000)
            for n in range(50)
        ]
        assert time.monotonic() - begun < 2
    assert {v.reason for v in verdicts} == {Reason.REVOCATION_UNKNOWN}
    assert "no complete answer within" in verdicts[0].text


def test_a_server_that_answers_with_something_else_leaves_the_answer_open() -> None:
    def web_page(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

    with server(web_page) as url:
        ca, signer = signer_asking(url)
        lenient = Policy(revocation=RevocationPolicy.IF_AVAILABLE)
        strict = CertificateValidator(TrustStore([ca.certificate]), online=True).validate(
            signer, CertificatePurpose.SIGNING
        )
        assert strict.trust is Trust.INDETERMINATE
        assert "cannot be read" in strict.text
        assert (
            CertificateValidator(TrustStore([ca.certificate]), lenient, online=True)
            .validate(signer, CertificatePurpose.SIGNING)
            .trusted
        )
