"""A peer that refuses our certificate: the alert that it sends is read, and its meaning is reported."""

from __future__ import annotations

import contextlib
import json
import ssl
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.echo import echo
from hsm_dicom.network.settings import Peer
from hsm_dicom.tls import FailureReason, HandshakeError
from tests import pki
from tests.hsm_dicom.network.nodes import TIMEOUTS
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.interop.tls.programs import serving
from tests.interop.tls.test_pynetdicom import plain_context, scp
from tests.ports import free_port

DAY = timedelta(days=1)
Peers = Callable[[Hospital], contextlib.AbstractContextManager[int]]


@contextlib.contextmanager
def dcmtk(hospital: Hospital) -> Iterator[int]:
    certificate, key = hospital.files(hospital.peer("PACS"))
    port = free_port()
    with serving(port, ["storescp", "+tls", key, certificate, "+cf", hospital.ca_file, "-rc", port], hospital.folder):
        yield port


@contextlib.contextmanager
def gnutls(hospital: Hospital) -> Iterator[int]:
    certificate, key = hospital.files(hospital.peer("PACS"))
    port = free_port()
    command = ["gnutls-serv", "--echo", "--port", port, "--require-client-cert", "--verify-client-cert"]
    files = ["--x509cafile", hospital.ca_file, "--x509certfile", certificate, "--x509keyfile", key]
    with serving(port, [*command, *files]):
        yield port


@contextlib.contextmanager
def openssl(hospital: Hospital) -> Iterator[int]:
    certificate, key = hospital.files(hospital.peer("PACS"))
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", certificate, "-key", key]
    with serving(port, [*command, "-CAfile", hospital.ca_file, "-Verify", "2", "-verify_return_error"]):
        yield port


@contextlib.contextmanager
def orthanc(hospital: Hospital) -> Iterator[int]:
    certificate, key = hospital.files(hospital.peer("PACS"))
    port, folder = free_port(), Path(tempfile.mkdtemp(dir=hospital.folder))
    settings = {
        "DicomAet": "PACS",
        "DicomPort": port,
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(hospital.ca_file),
        "DicomTlsRemoteCertificateRequired": True,
        "HttpServerEnabled": False,
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with serving(port, ["Orthanc", folder / "orthanc.json"], folder):
        yield port


@contextlib.contextmanager
def pynetdicom(hospital: Hospital) -> Iterator[int]:
    with scp("PACS", plain_context(hospital, ssl.PROTOCOL_TLS_SERVER, hospital.peer("PACS"))) as port:
        yield port


GNUTLS_SAYS_NO_MORE = "it denies us access"
MEANINGS = {
    "of another CA": "it does not trust the CA of our certificate",
    "expired": "our certificate is expired, or not yet valid, by its clock",
}


@pytest.mark.parametrize("wrong", MEANINGS)
@pytest.mark.parametrize("serve", [dcmtk, orthanc, gnutls, openssl, pynetdicom], ids=lambda serve: serve.__name__)
def test_a_server_that_refuses_our_certificate_is_understood(hospital: Hospital, serve: Peers, wrong: str) -> None:
    if wrong == "expired":
        ours = hospital.peer("us", begins=pki.NOW - 9 * DAY, ends=pki.NOW - DAY)
    else:
        ours = hospital.peer("us", issuer=pki.Authority("Foreign CA"))
    with serve(hospital) as port:
        peer = Peer(name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port)
        for _ in range(3):
            with pytest.raises(HandshakeError) as caught:
                echo(peer, make_peer_transport(peer, ours, hospital.validator()), "NODE", TIMEOUTS)
            assert caught.value.reason is FailureReason.REFUSED_BY_PEER
            assert str(caught.value).startswith(f"'PACS' at 127.0.0.1:{port} refused us: ")
            assert (GNUTLS_SAYS_NO_MORE if serve is gnutls else MEANINGS[wrong]) in str(caught.value)
