"""A card whose PIN would not be presented is no card that works: check-config and the inventory say so."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from hsm_dicom.node import check_configuration
from hsm_dicom.node.inventory import Kind, Urgency, take_inventory
from tests.cards.fixtures import PutIn, pcscd, pin, put_in
from tests.softhsm import set_pin
from tokens import open_key
from tokens.errors import PinRefusedError

__all__ = ["pcscd", "pin", "put_in"]


@pytest.fixture
def uri(put_in: PutIn, state_folder: Path) -> str:
    return f"card:profile=piv;serial={put_in(card='piv').description['serial']};key=9c"


def write(folder: Path, uri: str, source: str) -> Path:
    file = folder / "hsm-dicom.toml"
    file.write_text(f'[identities.card]\nkey = "{uri}?pin-source={source}"\n')
    file.chmod(0o600)
    return file


def refuse(uri: str, source: str) -> None:
    with pytest.raises(PinRefusedError), open_key(uri, pin=source) as key:
        key.sign(b"", padding.PKCS1v15(), hashes.SHA256())  # type: ignore[call-arg, arg-type]


def test_a_pin_that_the_card_refused_is_a_problem_and_is_not_presented(uri: str, pin: str, tmp_path: Path) -> None:
    right = write(tmp_path, uri, pin)
    assert find_card_problem(right) == ""
    refuse(uri, set_pin("111111"))
    for _ in range(2):
        assert "(2 retries left), so no PIN is presented unattended" in find_card_problem(right)
        assert "(2 retries left), so no PIN is presented unattended" in str(check_configuration(right).problems)


def find_card_problem(file: Path) -> str:
    [card] = [one for one in take_inventory(file).entries if one.kind is Kind.CARD]
    assert (card.urgency is Urgency.PROBLEM) == bool(card.problem)
    assert bool(card.remedy) == bool(card.problem)
    return card.problem
