"""OpenSSL's s_client and s_server against every profile, version and kind of key, the token on our side."""

from __future__ import annotations

import pytest

from hsm_dicom.network.requestor import secure
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import PROFILES, TLSProfile
from hsm_dicom.transport.events import HandshakeSucceeded
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

VERSIONS = {"TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
CASES = [
    pytest.param(profile, version, kind, id=f"{profile.name}-{version}-{kind}")
    for profile in PROFILES.values()
    for version in VERSIONS
    for kind in ("rsa", "ec")
    if profile.minimum_version.name.replace("v1_", "v1.")
    <= version
    <= profile.maximum_version.name.replace("v1_", "v1.")
]


@pytest.mark.parametrize(("profile", "version", "kind"), CASES)
def test_s_client_connects_to_the_listener(hospital: Hospital, profile: TLSProfile, version: str, kind: str) -> None:
    certificate, key = hospital.files(hospital.peer("CT 1"))
    with node(hospital, identities=[getattr(hospital, kind)], profile=profile) as running:
        address = f"127.0.0.1:{running.port}"
        status, printed = run(
            *("openssl", "s_client", "-connect", address, VERSIONS[version], "-verify_return_error", "-brief"),
            *("-cert", certificate, "-key", key, "-CAfile", hospital.ca_file),
        )
        assert status == 0, printed
        assert "Verification: OK" in printed
        event = running.only(HandshakeSucceeded)
    assert (event.version, event.profile, event.subject) == (version, profile.name, "CN=CT 1")


@pytest.mark.parametrize(("profile", "version", "kind"), CASES)
def test_we_connect_to_s_server(hospital: Hospital, profile: TLSProfile, version: str, kind: str) -> None:
    certificate, key = hospital.files(hospital.peer("PACS"))
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key]
    options = ["-CAfile", hospital.ca_file, "-Verify", "2", "-verify_return_error", VERSIONS[version]]
    with serving(port, command + options) as server:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port, profile=profile)
        secured = secure(peer, transport_to(peer, hospital, getattr(hospital, kind)), TIMEOUTS)
        secured.socket.send(b"DICOM\n")
        assert server.says("DICOM"), server.printed
        secured.socket.close()
        assert secured.facts.version == version
        # OpenSSL 3.5 writes no spaces around the sign.
        assert f"subject=CN=node {'rsa' if kind == 'rsa' else 'ec256'}" in server.printed.replace(" = ", "=")
