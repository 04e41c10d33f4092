"""Peers that are wrong in one way each, in both directions: refused, by name and reason, and never a hang."""

from __future__ import annotations

import ssl
import time
from datetime import timedelta
from typing import Any

import pytest

from hsm_dicom.errors import DicomError
from hsm_dicom.identity import Identity
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationLostError, AssociationRejectedError
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.events import AssociationAccepted, AssociationRejected, HandshakeFailed
from hsm_dicom.trust import Reason
from tests import pki
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital, names
from tests.interop.tls.programs import run, serving
from tests.interop.tls.test_pynetdicom import application_entity, plain_context, scp
from tests.ports import free_port

DAY = timedelta(days=1)
NEVER_LONGER_THAN = 8.0

CERTIFICATES: dict[str, tuple[dict[str, Any], Reason]] = {
    "expired": ({"begins": pki.NOW - 9 * DAY, "ends": pki.NOW - DAY}, Reason.EXPIRED),
    "not yet valid": ({"begins": pki.NOW + DAY, "ends": pki.NOW + 9 * DAY}, Reason.NOT_YET_VALID),
    "of another CA": ({"issuer": pki.Authority("Foreign CA")}, Reason.NO_PATH),
    "with a weak key": ({"key": pki.new_key("rsa1024")}, Reason.WEAK_KEY),
    "signed with SHA-1": ({}, Reason.WEAK_HASH),
    "revoked": ({}, Reason.REVOKED),
}
EVERY_CERTIFICATE = pytest.mark.parametrize("wrong", CERTIFICATES)


def bad_peer(hospital: Hospital, wrong: str) -> Identity:
    if wrong == "signed with SHA-1":
        return hospital.sha1_peer("bad peer")
    return hospital.peer("bad peer", **CERTIFICATES[wrong][0])


def careless(hospital: Hospital, side: int, identity: Identity) -> ssl.SSLContext:
    """A peer that does not mind what it shows."""
    context = ssl.SSLContext(side)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(*hospital.files(identity))
    context.load_verify_locations(hospital.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def crl(hospital: Hospital, identity: Identity, wrong: str) -> bytes | None:
    return hospital.ca.crl([pki.Identity(identity.certificate, identity.key)]) if wrong == "revoked" else None


@EVERY_CERTIFICATE
def test_a_client_whose_certificate_is(hospital: Hospital, wrong: str) -> None:
    bad = bad_peer(hospital, wrong)
    started = time.monotonic()
    with node(hospital, validator=hospital.validator(crl=crl(hospital, bad, wrong))) as running:
        context = careless(hospital, ssl.PROTOCOL_TLS_CLIENT, bad)
        association = application_entity("CT1").associate(
            "127.0.0.1", running.port, ae_title="NODE", tls_args=(context, "localhost")
        )
        assert not association.is_established
        event = running.only(HandshakeFailed)
        assert not running.of(AssociationAccepted)
    assert event.certificate_reason == CERTIFICATES[wrong][1]
    assert "'CN=bad peer' is refused" in event.text
    assert "127.0.0.1:" in event.text
    assert time.monotonic() - started < NEVER_LONGER_THAN


@EVERY_CERTIFICATE
def test_a_server_whose_certificate_is(hospital: Hospital, wrong: str) -> None:
    bad = bad_peer(hospital, wrong)
    with scp("PACS", careless(hospital, ssl.PROTOCOL_TLS_SERVER, bad)) as port:
        failed = refused(hospital, port, crl(hospital, bad, wrong))
    assert isinstance(failed, HandshakeError)
    assert failed.verdict is not None
    assert failed.verdict.reason is CERTIFICATES[wrong][1]
    assert "'PACS' at 127.0.0.1:" in str(failed)
    assert "'CN=bad peer' is refused" in str(failed)


def refused(hospital: Hospital, port: int, crl: bytes | None = None) -> DicomError:
    """The error of an echo to a server that is wrong."""
    peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port)
    started = time.monotonic()
    with pytest.raises(DicomError) as caught:
        echo(peer, make_peer_transport(peer, hospital.rsa, hospital.validator(crl=crl)), "NODE", TIMEOUTS)
    assert time.monotonic() - started < NEVER_LONGER_THAN
    return caught.value


def test_a_server_with_another_name(hospital: Hospital) -> None:
    elsewhere = hospital.peer("elsewhere", extensions=[names(("pacs.example",), ())])
    with scp("PACS", careless(hospital, ssl.PROTOCOL_TLS_SERVER, elsewhere)) as port:
        failed = refused(hospital, port)
    assert isinstance(failed, HandshakeError)
    assert failed.reason is FailureReason.WRONG_NAME
    assert "certificate is for another name" in str(failed)


def test_a_server_that_speaks_no_tls(hospital: Hospital) -> None:
    with scp("PACS", None) as port:
        failed = refused(hospital, port)
    assert isinstance(failed, HandshakeError)
    assert failed.reason in (FailureReason.NOT_TLS, FailureReason.TIMED_OUT, FailureReason.CLOSED)
    assert "'PACS' at 127.0.0.1:" in str(failed)


def test_a_server_with_tls_1_1_only(hospital: Hospital) -> None:
    certificate, key = hospital.files(hospital.peer("PACS", key=pki.new_key("rsa2048")))
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key]
    with serving(port, [*command, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]):
        failed = refused(hospital, port)
    assert isinstance(failed, HandshakeError)
    assert failed.reason in (FailureReason.PROTOCOL_VERSION, FailureReason.REFUSED_BY_PEER)
    assert "no TLS version that our profile allows" in str(failed)


def test_a_server_that_wants_another_ae_title(hospital: Hospital) -> None:
    ae = application_entity("ARCHIVE")
    ae.require_called_aet = True
    context = plain_context(hospital, ssl.PROTOCOL_TLS_SERVER, hospital.peer("PACS"))
    server: Any = ae.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    try:
        failed = refused(hospital, server.server_address[1])
    finally:
        server.shutdown()
    assert isinstance(failed, AssociationRejectedError)
    assert failed.reason == 7
    assert "called ae title not recognised" in str(failed)


def test_a_server_that_does_not_trust_us(hospital: Hospital) -> None:
    context = plain_context(hospital, ssl.PROTOCOL_TLS_SERVER, hospital.peer("PACS"))
    stranger = hospital.peer("stranger", issuer=pki.Authority("Foreign CA"))
    with scp("PACS", context) as port:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port)
        with pytest.raises((HandshakeError, AssociationLostError)) as caught:
            echo(peer, transport_to(peer, hospital, stranger), "NODE", TIMEOUTS)
    assert "'PACS' at 127.0.0.1:" in str(caught.value)


def test_a_client_without_a_certificate(hospital: Hospital) -> None:
    with node(hospital) as running:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{running.port}", "-ign_eof"]
        _, printed = run(*command, "-CAfile", hospital.ca_file)
        assert "certificate required" in printed
        event = running.only(HandshakeFailed)
    assert event.reason == FailureReason.NO_CERTIFICATE
    assert "sent no certificate" in event.text


def test_a_client_with_tls_1_1_only(hospital: Hospital) -> None:
    certificate, key = hospital.files(hospital.peer("CT 1", key=pki.new_key("rsa2048")))
    with node(hospital) as running:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{running.port}", "-tls1_1"]
        _, printed = run(*command, "-cipher", "ALL:@SECLEVEL=0", "-cert", certificate, "-key", key)
        assert "alert protocol version" in printed
        event = running.only(HandshakeFailed)
    assert event.reason == FailureReason.PROTOCOL_VERSION
    assert "enable TLS 1.2 or 1.3 there" in event.text


def test_a_client_that_speaks_dicom_without_tls(hospital: Hospital) -> None:
    with node(hospital) as running:
        status, _ = run("echoscu", "-to", "5", "-aet", "CT1", "-aec", "NODE", "127.0.0.1", running.port)
        assert status != 0
        event = running.only(HandshakeFailed)
    assert event.reason == FailureReason.NOT_TLS
    assert "It may use DICOM without TLS" in event.text


def test_a_client_with_another_ae_title(hospital: Hospital) -> None:
    context = plain_context(hospital, ssl.PROTOCOL_TLS_CLIENT, hospital.peer("CT 1"))
    with node(hospital) as running:
        association = application_entity("SOMEBODY").associate(
            "127.0.0.1", running.port, ae_title="NODE", tls_args=(context, "localhost")
        )
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert answer is not None
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)
        event = running.only(AssociationRejected)
    assert "'CN=CT 1' may not use the AE title 'SOMEBODY'" in event.text
