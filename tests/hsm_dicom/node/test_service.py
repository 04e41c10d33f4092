"""A listening node that is reloaded while associations run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from pynetdicom import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from hsm_dicom import events
from hsm_dicom.events import Event
from hsm_dicom.identity import Identity
from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationRejectedError, ListenError
from hsm_dicom.network.requestor import associate
from hsm_dicom.network.settings import Limits, ListenerSettings, Peer, StorageSettings
from hsm_dicom.network.store import store
from hsm_dicom.node.opening import OpenedListener, Resources
from hsm_dicom.node.service import Service
from hsm_dicom.tls import FailureReason, HandshakeError
from hsm_dicom.transport.events import CertificatesReloaded, HandshakeFailed
from hsm_dicom.trust import TrustFileError
from tests import pki
from tests.hsm_dicom.network.images import ct_image
from tests.hsm_dicom.network.nodes import CT1, QUICK, TIMEOUTS, transport_to
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, RemoteSoftHSM, names
from tests.softhsm import TestToken
from tokens import open_key
from tokens.errors import TokenError
from tokens.uri import Pkcs11Uri


class Desk:
    """What an officer would change in files: the next load reads it."""

    def __init__(self, hospital: Hospital, token: TestToken) -> None:
        self.hospital, self.token = hospital, token
        self.crl: bytes | None = None
        self.peers: tuple[Peer, ...] = (CT1,)
        self.object, self.certificate = "rsa", hospital.rsa.certificate
        self.broken = False
        self.folder: Path | None = None
        self.storage: StorageSettings | None = None

    def load(self) -> OpenedListener:
        if self.broken:
            raise TrustFileError("ca.pem: cannot be read.")
        storage = StorageSettings(folder=self.folder) if self.folder else self.storage
        identity = Identity("node", open_key(self.token.uri(self.object)), self.certificate)
        settings = ListenerSettings(
            name="main", ae_title="NODE", peers=self.peers, port=0, limits=QUICK, storage=storage
        )
        return OpenedListener(settings, Resources([identity], self.hospital.validator(crl=self.crl)))


@pytest.fixture
def desk(hospital: Hospital, node: TestToken) -> Desk:
    return Desk(hospital, node)


@contextmanager
def serving(desk: Desk) -> Iterator[tuple[Service, Peer, list[Event]]]:
    told: list[Event] = []
    with events.subscribe(told.append), Service(desk.load) as service:
        yield service, Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=service.address[1]), told


def test_a_service_answers_echo_and_stores(desk: Desk, hospital: Hospital, tmp_path: Path) -> None:
    desk.folder = tmp_path / "received"
    with serving(desk) as (_, peer, _):
        assert echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS).done
        images = [ct_image(tmp_path)]
        assert store(peer, transport_to(peer, hospital), "CT1", images, timeouts=TIMEOUTS).done
    assert len(list(desk.folder.iterdir())) == 1


def test_a_new_crl_shuts_out_the_next_connection_and_not_the_one_that_runs(desk: Desk, hospital: Hospital) -> None:
    stolen = hospital.peer("CT 1")
    transport = transport_to(Peer(name="node", ae_titles=("NODE",), host="127.0.0.1"), hospital, stolen)
    with (
        serving(desk) as (service, peer, told),
        associate(peer, transport, "CT1", [build_context(Verification)], TIMEOUTS) as running,
    ):
        desk.crl = hospital.ca.crl([pki.Identity(stolen.certificate, stolen.key)])
        assert service.reload()
        assert running.association.send_c_echo().Status == 0x0000
        with pytest.raises(HandshakeError, match="our certificate is revoked"):
            echo(peer, transport, "CT1", TIMEOUTS)
        assert running.association.send_c_echo().Status == 0x0000
    assert [event.succeeded for event in told if isinstance(event, CertificatesReloaded)] == [True]


def test_a_renewed_certificate_on_another_key_is_shown_after_reloading(desk: Desk, hospital: Hospital) -> None:
    with serving(desk) as (service, peer, _):
        first = echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)
        with open_key(desk.token.uri("ec256")) as key:
            renewed = hospital.ca.issue("node renewed", key=key, extended=BOTH_SIDES, extensions=[names()])
        desk.object, desk.certificate = "ec256", renewed.certificate
        assert service.reload()
        second = echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)
    shown = [result.facts.certificate.subject for result in (first, second) if result.facts.certificate]
    assert shown == ["CN=node rsa", "CN=node renewed"]


def test_a_peer_that_was_removed_is_rejected_after_reloading(desk: Desk, hospital: Hospital) -> None:
    with serving(desk) as (service, peer, _):
        assert echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS).done
        desk.peers = ()
        assert service.reload()
        with pytest.raises(AssociationRejectedError):
            echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)


def test_what_cannot_be_loaded_leaves_everything_as_it_was(desk: Desk, hospital: Hospital) -> None:
    with serving(desk) as (service, peer, told):
        desk.broken = True
        assert not service.reload()
        assert echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS).done
    (event,) = (event for event in told if isinstance(event, CertificatesReloaded))
    assert not event.succeeded
    assert "ca.pem: cannot be read" in event.text


def test_a_service_that_stops_leaves_no_thread_and_no_device_of_an_earlier_reload(desk: Desk) -> None:
    before = set(threading.enumerate())
    opened: list[OpenedListener] = []

    def open_anew() -> OpenedListener:
        one = desk.load()
        opened.append(replace(one, settings=replace(one.settings, limits=Limits(handshake_seconds=60))))
        return opened[-1]

    with Service(open_anew) as service:
        assert service.reload()
        assert service.reload()
    assert not [thread.name for thread in set(threading.enumerate()) - before if "main" in thread.name]
    for one in opened:
        with pytest.raises(TokenError, match="closed"):
            one.resources.identities[0].key.sign(b"", padding.PKCS1v15(), hashes.SHA256())


def test_a_port_that_is_taken_is_one_sentence(desk: Desk) -> None:
    with serving(desk) as (service, _, _):
        taken = service.address[1]
        load = desk.load

        def on_the_same_port() -> OpenedListener:
            loaded = load()
            return replace(loaded, settings=replace(loaded.settings, port=taken))

        with pytest.raises(ListenError, match="Find the program that uses the port"):
            Service(on_the_same_port)


def test_a_token_that_was_pulled_and_put_back_serves_again_without_a_restart(
    hospital: Hospital, node: TestToken, remote: RemoteSoftHSM
) -> None:
    uri = Pkcs11Uri(token=node.label, object="rsa", module_path=remote.module, pin_source=node.pin)

    def load() -> OpenedListener:
        identity = Identity("node", open_key(uri), hospital.rsa.certificate)
        settings = ListenerSettings(name="main", ae_title="NODE", peers=(CT1,), port=0, limits=QUICK)
        return OpenedListener(settings, Resources([identity], hospital.validator()))

    told: list[Event] = []
    with events.subscribe(told.append), Service(load) as service:
        peer = Peer(name="node", ae_titles=("NODE",), host="127.0.0.1", port=service.address[1])
        transport = transport_to(peer, hospital)
        assert echo(peer, transport, "CT1", TIMEOUTS).done
        remote.stop()
        try:
            with pytest.raises(HandshakeError, match="it had an internal error"):
                echo(peer, transport, "CT1", TIMEOUTS)
        finally:
            remote.start()
        assert echo(peer, transport, "CT1", TIMEOUTS).done
    refused = [event.reason for event in told if isinstance(event, HandshakeFailed) and event.name == "main"]
    assert refused == [FailureReason.OWN_KEY]
