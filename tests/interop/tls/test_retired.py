"""Retired profiles with programs that still speak them: NSS, GnuTLS, DCMTK. The RSA operation is on the token."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from hsm_dicom.identity import Identity
from hsm_dicom.network.assembly import make_peer_transport
from hsm_dicom.network.echo import echo
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.requestor import secure
from hsm_dicom.network.settings import Peer, StorageSettings
from hsm_dicom.network.store import store
from hsm_dicom.tls import FailureReason
from hsm_dicom.tls.legacy import PROFILES
from hsm_dicom.tls.legacy.profiles import KeyExchange
from hsm_dicom.tls.settings import LegacyExemption
from hsm_dicom.transport.events import AssociationAccepted, HandshakeFailed, HandshakeSucceeded, LegacyProfileUsed
from tests import pki
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import TIMEOUTS, Node, node
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

TOMORROW = date.today() + timedelta(days=2)
VERSIONS = ("tls1.0", "tls1.1", "tls1.2")
SUITES = {
    "basic-tls": "000A",
    "des-tls": "0009",
    "aes-tls": "002F",
    "dhe-aes": "0039",
    "dhe-3des": "0016",
    "dhe-des": "0015",
}
CASES = [
    pytest.param(profile, version, id=f"{profile}-{version}")
    for profile in SUITES
    for version in VERSIONS
    if not (profile in ("des-tls", "dhe-des") and version == "tls1.2")
]


def opening(profile: str) -> LegacyExemption:
    return LegacyExemption(profile=profile, reason="an old film digitiser", until=TOMORROW)


@contextmanager
def retired_node(hospital: Hospital, profile: str, **wishes: object) -> Iterator[Node]:
    exchange = PROFILES[profile].key_exchange
    identity = hospital.decrypting if exchange is KeyExchange.RSA else hospital.rsa
    with node(hospital, identities=[identity], legacy=opening(profile), **wishes) as running:  # type: ignore[arg-type]
        yield running


def old_machine(hospital: Hospital, common_name: str) -> Identity:
    """A machine of the time: one RSA key for everything."""
    return hospital.peer(
        common_name,
        key=pki.new_key("rsa2048", 11),
        usages=("digital_signature", "key_encipherment"),
        extended=BOTH_SIDES,
    )


@dataclass(frozen=True)
class NSS:
    """A certificate database of NSS, with an old machine's key and the CA in it."""

    folder: str
    nickname: str


@pytest.fixture(scope="module")
def nss(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> NSS:
    folder = tmp_path_factory.mktemp("nss")
    machine = old_machine(hospital, "CT 1")
    bundle = folder / "machine.p12"
    bundle.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"machine", machine.key, machine.certificate, [hospital.ca.certificate], BestAvailableEncryption(b"p12")
        )
    )
    database = f"sql:{folder}"
    for command in (
        ["certutil", "-N", "-d", database, "--empty-password"],
        ["pk12util", "-i", bundle, "-d", database, "-W", "p12", "-K", ""],
        ["certutil", "-A", "-d", database, "-n", "ca", "-t", "CT,C,C", "-i", hospital.ca_file],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    return NSS(database, "machine")


@pytest.mark.parametrize(("profile", "version"), CASES)
def test_tstclnt_connects_to_us(hospital: Hospital, nss: NSS, profile: str, version: str) -> None:
    with retired_node(hospital, profile) as running:
        _, printed = run(
            *("tstclnt", "-h", "127.0.0.1", "-a", "localhost", "-p", running.port, "-d", nss.folder),
            *("-n", nss.nickname, "-V", f"{version}:{version}", "-c", f":{SUITES[profile]}", "-w", "", "-Q"),
            # NSS wants keyEncipherment of every RSA server, also of one whose key signs a Diffie-Hellman exchange.
            *(("-o",) if profile.startswith("dhe") else ()),
        )
        secured = running.only(HandshakeSucceeded)
        used = running.only(LegacyProfileUsed)
    assert secured.suite == PROFILES[profile].suites[0].name, printed
    assert secured.version == version.replace("tls", "TLSv")
    assert secured.subject == "CN=CT 1"
    assert (used.profile, used.reason, used.until) == (profile, "an old film digitiser", TOMORROW.isoformat())


@pytest.mark.parametrize(("profile", "version"), CASES)
def test_we_connect_to_selfserv(hospital: Hospital, nss: NSS, profile: str, version: str) -> None:
    port = free_port()
    command = ["selfserv", "-d", nss.folder, "-n", nss.nickname, "-p", port, "-w", "", "-r", "-r"]
    with serving(port, [*command, "-V", f"{version}:{version}", "-c", f":{SUITES[profile]}"]):
        peer = Peer(name="old", ae_titles=("OLD",), host="127.0.0.1", port=port, legacy=opening(profile))
        secured = secure(peer, make_peer_transport(peer, hospital.rsa, hospital.validator()), TIMEOUTS)
        secured.socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while chunk := secured.socket.recv(4096):
            answer += chunk
        secured.socket.close()
    assert answer.startswith(b"HTTP/1.0 200 OK")
    assert secured.facts.version == version.replace("tls", "TLSv")


GNUTLS = pytest.mark.parametrize(
    ("profile", "exchange", "cipher"),
    [("basic-tls", "RSA", "3DES-CBC"), ("dhe-3des", "DHE-RSA", "3DES-CBC"), ("dhe-aes", "DHE-RSA", "AES-256-CBC")],
    ids=["basic-tls", "dhe-3des", "dhe-aes"],
)


def gnutls_priority(version: str, exchange: str, cipher: str) -> str:
    return f"NORMAL:-VERS-ALL:+VERS-TLS{version}:-CIPHER-ALL:+{cipher}:-KX-ALL:+{exchange}:-MAC-ALL:+SHA1"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@GNUTLS
def test_gnutls_cli_connects_to_us(hospital: Hospital, version: str, profile: str, exchange: str, cipher: str) -> None:
    certificate, key = hospital.files(old_machine(hospital, "CT 1"))
    priority = gnutls_priority(version, exchange, cipher)
    with retired_node(hospital, profile) as running:
        _, printed = run(
            *("gnutls-cli", "127.0.0.1", "--port", running.port, "--priority", priority),
            *("--x509cafile", hospital.ca_file, "--x509certfile", certificate, "--x509keyfile", key),
        )
        assert "Handshake was completed" in printed, printed
        assert running.only(HandshakeSucceeded).version == f"TLSv{version}"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
@GNUTLS
def test_we_connect_to_gnutls_serv(hospital: Hospital, version: str, profile: str, exchange: str, cipher: str) -> None:
    certificate, key = hospital.files(old_machine(hospital, "old"))
    priority = gnutls_priority(version, exchange, cipher)
    port = free_port()
    command = ["gnutls-serv", "--echo", "--port", port, "--priority", priority, "--require-client-cert"]
    files = ["--x509cafile", hospital.ca_file, "--x509certfile", certificate, "--x509keyfile", key]
    with serving(port, [*command, "--verify-client-cert", *files]):
        peer = Peer(name="old", ae_titles=("OLD",), host="127.0.0.1", port=port, legacy=opening(profile))
        secured = secure(peer, make_peer_transport(peer, hospital.rsa, hospital.validator()), TIMEOUTS)
        secured.socket.sendall(b"DICOM\n")
        assert secured.socket.recv(100) == b"DICOM\n"
        secured.socket.close()


def test_dcmtk_stores_to_us_under_its_aes_profile(hospital: Hospital, tmp_path: Path) -> None:
    certificate, key = hospital.files(old_machine(hospital, "CT 1"))
    receiver = Receiver("main", StorageSettings(folder=tmp_path / "received"))
    image = ct_image(tmp_path, pixels=1 << 20)
    with retired_node(hospital, "aes-tls", receiver=receiver) as running:
        options = ["+tls", key, certificate, "+cf", hospital.ca_file, "+pa", "-aet", "CT1", "-aec", "NODE"]
        status, printed = run("storescu", *options, "127.0.0.1", running.port, image)
        assert status == 0, printed
        assert running.only(AssociationAccepted).profile == "aes-tls"
    (received,) = (tmp_path / "received").iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)


def test_we_store_to_dcmtk_under_its_aes_profile(hospital: Hospital, tmp_path: Path) -> None:
    certificate, key = hospital.files(old_machine(hospital, "old"))
    port, folder = free_port(), tmp_path / "received"
    folder.mkdir()
    image = ct_image(tmp_path, pixels=1 << 20)
    command = ["storescp", "+tls", key, certificate, "+cf", hospital.ca_file, "+pa", "-od", folder, port]
    with serving(port, command, tmp_path):
        peer = Peer(name="old", ae_titles=("OLD",), host="127.0.0.1", port=port, legacy=opening("aes-tls"))
        transport = make_peer_transport(peer, hospital.rsa, hospital.validator())
        assert echo(peer, transport, "NODE", TIMEOUTS).done
        assert store(peer, transport, "NODE", [image], timeouts=TIMEOUTS).done
    (received,) = folder.iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)


def test_dcmtk_stores_to_us_by_diffie_hellman_and_aes(hospital: Hospital, tmp_path: Path) -> None:
    certificate, key = hospital.files(old_machine(hospital, "CT 1"))
    receiver = Receiver("main", StorageSettings(folder=tmp_path / "received"))
    image = ct_image(tmp_path, pixels=1 << 20)
    with retired_node(hospital, "dhe-aes", receiver=receiver) as running:
        options = ["+tls", key, certificate, "+cf", hospital.ca_file, "+pa", "+cs", "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"]
        status, printed = run("storescu", *options, "-aet", "CT1", "-aec", "NODE", "127.0.0.1", running.port, image)
        assert status == 0, printed
        assert running.only(AssociationAccepted).profile == "dhe-aes"
        assert running.only(HandshakeSucceeded).suite == "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"
    (received,) = (tmp_path / "received").iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)


def test_a_current_client_finds_nothing_on_a_retired_listener(hospital: Hospital) -> None:
    certificate, key = hospital.files(hospital.peer("CT 1"))
    with retired_node(hospital, "basic-tls") as running:
        options = ["+tls", key, certificate, "+cf", hospital.ca_file, "-aet", "CT1", "-aec", "NODE"]
        status, _ = run("echoscu", *options, "127.0.0.1", running.port)
        assert status != 0
        event = running.only(HandshakeFailed)
    assert event.reason == FailureReason.NO_COMMON_PARAMETERS
    assert "use a current profile" in event.text


def test_an_old_client_finds_nothing_on_a_current_listener(hospital: Hospital, nss: NSS) -> None:
    with node(hospital) as running:
        run(
            *("tstclnt", "-h", "127.0.0.1", "-a", "localhost", "-p", running.port, "-d", nss.folder, "-Q"),
            *("-n", nss.nickname, "-V", "tls1.0:tls1.2", "-c", ":000A:0009", "-w", ""),
        )
        assert running.only(HandshakeFailed).reason == FailureReason.NO_COMMON_PARAMETERS
