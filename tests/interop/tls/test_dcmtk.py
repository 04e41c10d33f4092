"""DCMTK's echoscu, storescu and storescp under the profiles that its version has, the token on our side."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsm_dicom.network.echo import echo
from hsm_dicom.network.receive import Receiver
from hsm_dicom.network.settings import Peer, StorageSettings
from hsm_dicom.network.storage.policy_check import make_policy_check
from hsm_dicom.network.store import store
from hsm_dicom.tls import get_profile
from hsm_dicom.transport.events import AssociationAccepted, AssociationRejected
from hsm_dicom.trust import TrustStore
from hsm_dicom.validation import PolicyValidator, VerificationPolicy
from tests.hsm_dicom.network.images import ct_image, data_set_bytes
from tests.hsm_dicom.network.nodes import TIMEOUTS, node, transport_to
from tests.hsm_dicom.tls.fixtures import Hospital
from tests.hsm_dicom.validation.verdict_cases import CA, Desk
from tests.interop.tls.programs import run, serving
from tests.ports import free_port

PROFILES = {"+py": "bcp195-non-downgrading", "+px": "bcp195", "+pz": "bcp195-extended"}
EVERY_PROFILE = pytest.mark.parametrize("option", PROFILES)
# Each of ours that DCMTK's default profile shares suites with.
OURS = pytest.mark.parametrize("ours", ["bcp195-rfc9325", "modified-bcp195-rfc9325"])
BOTH_KEYS = pytest.mark.parametrize("kind", ["rsa", "ec"])


def tls_options(hospital: Hospital, name: str) -> list[object]:
    certificate, key = hospital.files(hospital.peer(name))
    return ["+tls", key, certificate, "+cf", hospital.ca_file]


@EVERY_PROFILE
def test_echoscu_reaches_an_rsa_key_under_each_of_its_profiles(hospital: Hospital, option: str) -> None:
    with node(hospital, profile=get_profile(PROFILES[option])) as running:
        options = [*tls_options(hospital, "CT 1"), option, "-aet", "CT1", "-aec", "NODE"]
        status, printed = run("echoscu", *options, "127.0.0.1", running.port)
        assert status == 0, printed
        assert running.of(AssociationAccepted)


@OURS
@BOTH_KEYS
def test_echoscu_reaches_both_kinds_of_key_under_the_current_profiles(hospital: Hospital, ours: str, kind: str) -> None:
    option = "+px" if kind == "ec" else "+py"
    with node(hospital, profile=get_profile(ours), identities=[getattr(hospital, kind)]) as running:
        options = [*tls_options(hospital, "CT 1"), option, "-aet", "CT1", "-aec", "NODE"]
        if kind == "ec":
            options += ["+cs", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]
        status, printed = run("echoscu", *options, "127.0.0.1", running.port)
        assert status == 0, printed


def test_echoscu_with_a_wrong_ae_title_is_rejected_with_the_reason_of_the_standard(hospital: Hospital) -> None:
    with node(hospital) as running:
        options = [*tls_options(hospital, "CT 1"), "-aet", "SOMEBODY", "-aec", "NODE"]
        status, printed = run("echoscu", *options, "127.0.0.1", running.port)
        assert status != 0
        assert "Calling AE Title Not Recognized" in printed
        assert running.of(AssociationRejected)


@EVERY_PROFILE
def test_storescu_sends_to_us(hospital: Hospital, option: str, tmp_path: Path) -> None:
    receiver = Receiver("main", StorageSettings(folder=tmp_path / "received"))
    image = ct_image(tmp_path)
    with node(hospital, profile=get_profile(PROFILES[option]), receiver=receiver) as running:
        options = [*tls_options(hospital, "CT 1"), option, "-aet", "CT1", "-aec", "NODE"]
        status, printed = run("storescu", *options, "127.0.0.1", running.port, image)
        assert status == 0, printed
    (received,) = (tmp_path / "received").iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)


def test_storescu_is_told_what_does_not_meet_the_policy(hospital: Hospital, tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    judge = PolicyValidator.from_stores(VerificationPolicy(), TrustStore([CA.certificate]), name="archive")
    settings = StorageSettings(folder=tmp_path / "received", policy="archive")
    receiver = Receiver("main", settings, make_policy_check(lambda: judge))
    with node(hospital, receiver=receiver) as running:
        options = [*tls_options(hospital, "CT 1"), "-v", "-aet", "CT1", "-aec", "NODE"]
        signed, unsigned = desk.sign(ct_image(tmp_path)), ct_image(tmp_path, "unsigned.dcm")
        status, printed = run("storescu", *options, "127.0.0.1", running.port, signed)
        assert status == 0, printed
        status, printed = run("storescu", *options, "127.0.0.1", running.port, unsigned)
        assert status != 0
        assert "Error: CannotUnderstand" in printed, printed
    assert len(list((tmp_path / "received").iterdir())) == 1


@EVERY_PROFILE
@BOTH_KEYS
def test_we_echo_and_store_to_storescp(hospital: Hospital, option: str, kind: str, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "received"
    folder.mkdir()
    image = ct_image(tmp_path)
    command = ["storescp", *tls_options(hospital, "PACS"), option, "-aet", "PACS", "-od", folder, port]
    with serving(port, command, tmp_path):
        peer = Peer(
            name="PACS", ae_titles=("PACS",), host="127.0.0.1", port=port, profile=get_profile(PROFILES[option])
        )
        transport = transport_to(peer, hospital, getattr(hospital, kind))
        assert echo(peer, transport, "NODE", TIMEOUTS).done
        result = store(peer, transport, "NODE", [image], timeouts=TIMEOUTS)
        assert result.done, result.outcomes
    (received,) = folder.iterdir()
    assert data_set_bytes(received) == data_set_bytes(image)
