"""DICOM with keys on cards: images signed by two kinds of cards, judged by dcmsign; TLS by openssl."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from hsm_dicom.identity import Identity
from hsm_dicom.tls import PROFILES
from hsm_dicom.transport.events import HandshakeSucceeded
from tests import pki
from tests.cards.daemon import Daemon
from tests.cards.fixtures import PIN, describe_card, insert_card, take_card_out
from tests.cards.foreign import foreign_card, make_openpgp_key
from tests.hsm_dicom.network.nodes import node
from tests.hsm_dicom.tls.fixtures import BOTH_SIDES, Hospital, hospital, names
from tests.interop.tls.programs import run
from tests.softhsm import set_pin
from tokens import open_key

__all__ = ["hospital"]

READER = "Rig B 00 01"
SIGNATURE_KEYS = {
    "piv": "card:reader=Rig%20B*01;profile=piv;key=9c",
    "openpgp": "card:reader=Rig%20B*01;profile=openpgp;key=sign",
}


@pytest.fixture(scope="module", params=list(SIGNATURE_KEYS))
def key_uri(request: pytest.FixtureRequest, pcscd: Daemon) -> Iterator[str]:
    """A card with a signature key: our PIV card, and an OpenPGP card that was not written here."""
    if request.param == "piv":
        card = pcscd.card(READER, **describe_card("piv", extended=False))
        insert_card(card)
        yield SIGNATURE_KEYS["piv"]
        take_card_out(card)
        return
    with foreign_card(pcscd, READER, "openpgp"):
        make_openpgp_key(READER, 0xB6, bytes.fromhex("010800002000"))
        yield SIGNATURE_KEYS["openpgp"]


def test_an_image_signed_by_a_card_is_good_to_dcmsign_and_not_after_a_change(
    key_uri: str, tmp_path: Path, state_folder: Path
) -> None:
    pin = set_pin(PIN)
    authority = pki.Authority("Cards CA", key=pki.new_key("rsa2048"))
    with open_key(key_uri, pin=pin) as key:
        certificate = authority.issue("card", key=key, usages=("digital_signature",))
    (tmp_path / "signer.pem").write_bytes(certificate.pem)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    signed, image = tmp_path / "signed.dcm", get_testdata_file("CT_small.dcm")
    command = ["sign", image, "-o", signed, "--key", key_uri, "--cert", tmp_path / "signer.pem", "--pin", pin]
    program = [sys.executable, "-c", "from hsm_dicom.cli import main; main()"]
    done = subprocess.run([*program, *map(str, command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert accepted_by_dcmsign(signed, tmp_path / "ca.pem")
    content = signed.read_bytes()
    signed.write_bytes(content.replace(b"CompressedSamples^CT1", b"CompressedSamples^CT2"))
    assert not accepted_by_dcmsign(signed, tmp_path / "ca.pem")


def accepted_by_dcmsign(path: Path, ca: Path) -> bool:
    command = ["dcmsign", "--verify", "+rg", "+cf", ca, path]
    return subprocess.run(command, capture_output=True, timeout=30).returncode == 0


@pytest.mark.parametrize(("slot", "version"), [("9a", "-tls1_3"), ("9a", "-tls1_2"), ("9c", "-tls1_3")])
def test_a_listener_whose_key_is_on_a_card_serves_tls(
    pcscd: Daemon, hospital: Hospital, slot: str, version: str
) -> None:
    """P-256 for both versions; RSA for TLS 1.3, whose PSS padding the host makes and the card signs as it is."""
    card = pcscd.card("Rig A 00 01", **describe_card("piv"))
    insert_card(card)
    try:
        with open_key(f"card:reader=Rig%20A*01;profile=piv;key={slot}", pin=set_pin(PIN)) as key:
            issued = hospital.ca.issue(
                "node card", key=key, extended=BOTH_SIDES, usages=("digital_signature",), extensions=[names()]
            )
            identity = Identity("node-card", key, issued.certificate)
            certificate, peer_key = hospital.files(hospital.peer("CT 1"))
            with node(hospital, identities=[identity], profile=next(iter(PROFILES.values()))) as running:
                status, printed = run(
                    *("openssl", "s_client", "-connect", f"127.0.0.1:{running.port}", version),
                    *("-verify_return_error", "-brief", "-cert", certificate, "-key", peer_key),
                    *("-CAfile", hospital.ca_file),
                )
                assert status == 0, printed
                assert "Verification: OK" in printed
                assert running.only(HandshakeSucceeded).subject == "CN=CT 1"
    finally:
        take_card_out(card)
