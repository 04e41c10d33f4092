"""The page on smart cards does what it says: its commands are run, with the virtual cards that it puts in itself."""

from __future__ import annotations

from pathlib import Path

from hsm_dicom.signatures import check_integrity
from tests.cards.daemon import Daemon
from tests.cards.fixtures import pcscd
from tests.test_docs import blocks, run_shell
from tokens.algorithms.des_keys import check_value

__all__ = ["pcscd"]

KEY = bytearray.fromhex("133457799bbcdff1")


def test_the_page_on_smart_cards(pcscd: Daemon, tmp_path: Path) -> None:
    assert pcscd.process.poll() is None, "virtual readers work on this machine, so they must work for the page"
    said = " ".join(run_shell(tmp_path, blocks("howto/smart-cards.md", "sh")).split())
    assert "80: 3 retries left" in said
    assert "describe it in [cards.NAME]" in said
    assert "card:serial=" in said.split("describe it")[1].split("profile=hospital")[0]
    assert said.count("This card can be used for DICOM signatures") == 2
    assert "ISCL authentication" in said
    assert check_value(KEY).hex().upper() in said
    [signature] = check_integrity(tmp_path / "signed.dcm").signatures
    assert signature.intact
