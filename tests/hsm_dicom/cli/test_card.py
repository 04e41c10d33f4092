"""Keys on smart cards, named like any other: a PIV card in a virtual reader signs an image."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from hsm_dicom.cli import exits
from hsm_dicom.signatures import verify
from tests.cards.fixtures import PutIn, pcscd, pin, put_in
from tests.hsm_dicom.cli.conftest import Run, image

__all__ = ["pcscd", "pin", "put_in"]

URI = "card:reader=Rig%20A%2000%2000;profile=piv;key=9c"


def test_a_card_signs_an_image(run: Run, put_in: PutIn, pin: str, tmp_path: Path) -> None:
    put_in(card="piv")
    result = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", URI, "--pin", pin)
    assert result.status == exits.OK, result.err
    [signature] = verify(tmp_path / "s.dcm").signatures
    assert signature.intact
    assert "CN=PIV 9C" in result.said


def test_an_identity_on_a_card_is_checked_and_asks_for_its_certificate(
    run: Run, put_in: PutIn, pin: str, tmp_path: Path
) -> None:
    put_in(card="piv")
    config = tmp_path / "hsm-dicom.toml"
    config.write_text(f'[identities.card]\nkey = "{URI}?pin-source={pin}"\n')
    config.chmod(0o600)
    checked = run("check-config", "--config", config)
    assert checked.status == exits.OK, checked.said
    assert "Identity card is CN=PIV 9C" in checked.said
    request = run("key", "csr", "card", "--config", config, "--subject", "CN=x")
    assert x509.load_pem_x509_csr(request.out.encode()).is_signature_valid


def test_a_card_that_is_not_there_is_a_sentence(run: Run, pcscd: object, pin: str, tmp_path: Path) -> None:
    result = run("sign", image(), "-o", tmp_path / "s.dcm", "--key", URI, "--pin", pin)
    assert result.status == exits.FAILED
    assert "Rig A 00 00" in result.err
    assert not (tmp_path / "s.dcm").exists()


def test_what_only_tokens_can_do_is_said_of_a_card(run: Run, put_in: PutIn, pin: str) -> None:
    put_in(card="piv")
    result = run("key", "delete", URI, "--pin", pin, "--yes", "9c")
    assert result.status == exits.FAILED
    assert "is on a smart card" in result.err
