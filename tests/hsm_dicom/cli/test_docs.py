"""The page on smart cards does what it says: its commands are run, with the cards that it speaks of in the readers."""

from __future__ import annotations

from pathlib import Path

from hsm_dicom.signatures import verify
from tests.cards.fixtures import PIN, PutIn, pcscd, put_in
from tests.hsm_dicom.cli.conftest import image
from tests.test_docs import blocks, run_shell
from tokens.des_keys import check_value

__all__ = ["pcscd", "put_in"]

KEY = bytearray.fromhex("133457799bbcdff1")


def test_the_page_on_smart_cards(put_in: PutIn, tmp_path: Path) -> None:
    put_in("Rig A 00 00", "piv")
    put_in("Rig B 00 00", "authentication", keys={"81": KEY.hex(), "82": "7ca110454a1a6e57"})
    (tmp_path / "card.pin").write_text(f"{PIN}\n")
    (tmp_path / "card.pin").chmod(0o600)
    (tmp_path / "image.dcm").write_bytes(image().read_bytes())
    said = " ".join(run_shell(tmp_path, ["umask 077", *blocks("cards.md", "sh")]).split())
    assert "80: 3 tries are left" in said
    assert "describe it in [cards.NAME]" in said
    assert "card:serial=" in said.split("describe it")[1].split("profile=hospital")[0]
    assert said.count("This card does DICOM signatures") == 2
    assert "ISCL authentication" in said
    assert check_value(KEY).hex().upper() in said
    [signature] = verify(tmp_path / "signed.dcm").signatures
    assert signature.intact
