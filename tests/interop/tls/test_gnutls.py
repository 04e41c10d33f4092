"""GnuTLS's client and server under the current profiles, the token on our side."""

from __future__ import annotations

import pytest

from hsm_dicom.network.requestor import secure
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import get_profile
from hsm_dicom.transport.events import HandshakeSucceeded
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

VERSIONS = {"TLSv1.2": "NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLSv1.3": "NORMAL:-VERS-ALL:+VERS-TLS1.3"}
EVERY_CASE = pytest.mark.parametrize(
    ("profile", "version", "kind"),
    [
        (profile, version, kind)
        for profile in ("bcp195-rfc9325", "modified-bcp195-rfc9325")
        for version in VERSIONS
        for kind in ("rsa", "ec")
    ],
)


@EVERY_CASE
def test_gnutls_cli_connects_to_the_listener(hospital: Hospital, profile: str, version: str, kind: str) -> None:
    certificate, key = hospital.files(hospital.peer("CT 1"))
    with node(hospital, identities=[getattr(hospital, kind)], profile=get_profile(profile)) as running:
        _, printed = run(
            *("gnutls-cli", "127.0.0.1", "--port", running.port, "--priority", VERSIONS[version]),
            *("--x509cafile", hospital.ca_file, "--x509certfile", certificate, "--x509keyfile", key),
        )
        assert "Handshake was completed" in printed, printed
        event = running.only(HandshakeSucceeded)
    assert (event.version, event.subject) == (version, "CN=CT 1")


@EVERY_CASE
def test_we_connect_to_gnutls_serv(hospital: Hospital, profile: str, version: str, kind: str) -> None:
    certificate, key = hospital.files(hospital.peer("PACS"))
    port = free_port()
    command = ["gnutls-serv", "--echo", "--port", port, "--priority", VERSIONS[version], "--require-client-cert"]
    files = ["--x509cafile", hospital.ca_file, "--x509certfile", certificate, "--x509keyfile", key]
    with serving(port, [*command, "--verify-client-cert", *files]):
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port, profile=get_profile(profile))
        secured = secure(peer, transport_to(peer, hospital, getattr(hospital, kind)), TIMEOUTS)
        secured.socket.send(b"DICOM\n")
        assert secured.socket.recv(6) == b"DICOM\n"
        secured.socket.close()
    assert secured.facts.version == version
