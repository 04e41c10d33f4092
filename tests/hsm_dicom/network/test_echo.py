"""C-ECHO through a listener with a token key, and who is let in."""

from __future__ import annotations

import pytest

from hsm_dicom.network.echo import echo
from hsm_dicom.network.errors import AssociationRejectedError, PeerNotAuthorisedError
from hsm_dicom.network.settings import CertificateMatch, Peer
from hsm_dicom.tls import spki_sha256
from hsm_dicom.transport.events import AssociationAccepted, AssociationRejected, HandshakeSucceeded
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital, names


@pytest.mark.parametrize("kind", ["rsa", "ec"])
def test_an_echo_is_answered_over_a_key_on_a_token(hospital: Hospital, kind: str) -> None:
    with node(hospital, identities=[getattr(hospital, kind)]) as running:
        peer = running.peer()
        result = echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)
    assert result.done
    assert result.facts.version == "TLSv1.3"
    accepted, made = running.of(HandshakeSucceeded)
    assert {accepted.subject, made.subject} == {"CN=CT 1", f"CN=node {'ec256' if kind == 'ec' else 'rsa'}"}
    assert len(running.of(AssociationAccepted)) == 2


def test_a_certificate_may_use_the_ae_titles_of_its_peer_and_no_others(hospital: Hospital) -> None:
    with node(hospital) as running:
        peer = running.peer()
        with pytest.raises(AssociationRejectedError, match="calling ae title not recognised") as caught:
            echo(peer, transport_to(peer, hospital), "CT2", TIMEOUTS)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 1, 3)
    here, there = running.of(AssociationRejected)
    assert "'CN=CT 1' may not use the AE title 'CT2'" in here.text
    assert "which may only use the AE title 'CT1'" in here.text
    assert there.reason == 3


def test_a_certificate_of_the_ca_that_belongs_to_no_peer_is_rejected(hospital: Hospital) -> None:
    stranger = hospital.peer("stranger", extensions=[names(dns=("elsewhere",), addresses=())])
    with node(hospital) as running:
        peer = running.peer()
        with pytest.raises(AssociationRejectedError):
            echo(peer, transport_to(peer, hospital, stranger), "CT1", TIMEOUTS)
    assert "no peer of this listener has this certificate" in running.nth(AssociationRejected).text


def test_a_wrong_called_ae_title_is_rejected_as_such(hospital: Hospital) -> None:
    with node(hospital) as running:
        peer = running.peer(ae_titles=("ARCHIVE",))
        with pytest.raises(AssociationRejectedError, match="called ae title not recognised") as caught:
            echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)
    assert caught.value.reason == 7


@pytest.mark.parametrize("known_by", ["pin", "subject", "both"])
def test_a_peer_is_known_by_a_pin_or_a_subject_on_both_sides(hospital: Hospital, known_by: str) -> None:
    ct = hospital.peer("CT 1", extensions=[])

    def match(certificate: object, subject: str) -> CertificateMatch:
        pins = frozenset({spki_sha256(certificate)}) if known_by != "subject" else frozenset()  # type: ignore[arg-type]
        return CertificateMatch(pins=pins, subject=subject if known_by != "pin" else None)

    caller = Peer(name="CT 1", ae_titles=("CT1",), certificate=match(ct.certificate, "CN=CT 1"))
    with node(hospital, peers=[caller]) as running:
        peer = running.peer(certificate=match(hospital.rsa.certificate, "CN=node rsa"))
        assert echo(peer, transport_to(peer, hospital, ct), "CT1", TIMEOUTS).done


@pytest.mark.parametrize(
    "other", [CertificateMatch(pins=frozenset({"0" * 64})), CertificateMatch(subject="CN=somebody else")]
)
def test_a_server_that_is_not_the_peer_hears_no_dicom(hospital: Hospital, other: CertificateMatch) -> None:
    with node(hospital) as running:
        peer = running.peer(certificate=other)
        with pytest.raises(PeerNotAuthorisedError, match="'CN=node rsa' answered for peer 'node'"):
            echo(peer, transport_to(peer, hospital), "CT1", TIMEOUTS)
        assert not running.of(AssociationAccepted)
