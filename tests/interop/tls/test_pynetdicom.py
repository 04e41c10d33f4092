"""pynetdicom with a plain key file at the other end: every live profile, version and kind of key, both directions."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom.identity import Identity
from hsm_dicom.network.echo import echo
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import get_profile
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital

VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
EVERY_CASE = pytest.mark.parametrize(
    ("profile", "version", "kind"),
    [
        (profile, version, kind)
        for profile in ("bcp195-rfc9325", "modified-bcp195-rfc9325")
        for version in VERSIONS
        for kind in ("rsa", "ec")
    ],
)


def plain_context(hospital: Hospital, side: int, identity: Identity, version: str = "TLSv1.3") -> ssl.SSLContext:
    """What a developer would write who has no token and does not know of us."""
    context = ssl.SSLContext(side)
    context.load_cert_chain(*hospital.files(identity))
    context.load_verify_locations(hospital.ca_file)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = VERSIONS[version]
    return context


def application_entity(title: str) -> AE:
    ae = AE(title)
    ae.add_supported_context(Verification)
    ae.add_requested_context(Verification)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = 5
    return ae


@contextlib.contextmanager
def scp(title: str, context: ssl.SSLContext | None) -> Iterator[int]:
    server: Any = application_entity(title).start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@EVERY_CASE
def test_pynetdicom_calls_us(hospital: Hospital, profile: str, version: str, kind: str) -> None:
    context = plain_context(hospital, ssl.PROTOCOL_TLS_CLIENT, hospital.peer("CT 1"), version)
    with node(hospital, identities=[getattr(hospital, kind)], profile=get_profile(profile)) as running:
        association = application_entity("CT1").associate(
            "127.0.0.1", running.port, ae_title="NODE", tls_args=(context, "localhost")
        )
        assert association.is_established
        assert association.send_c_echo().Status == 0x0000
        association.release()


@EVERY_CASE
def test_we_call_pynetdicom(hospital: Hospital, profile: str, version: str, kind: str) -> None:
    with scp("PACS", plain_context(hospital, ssl.PROTOCOL_TLS_SERVER, hospital.peer("PACS"), version)) as port:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port, profile=get_profile(profile))
        result = echo(peer, transport_to(peer, hospital, getattr(hospital, kind)), "NODE", TIMEOUTS)
    assert result.done
    assert result.facts.version == version
