"""Two devices of different makers with the same secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cards.daemon import Daemon
from tests.cards.fixtures import pcscd
from tests.hsm_dicom.iscl.lines import Ends
from tests.tokens.secrets.devices import card_device, nss_device, softhsm_device
from tokens.secrets import Secrets

__all__ = ["card", "makers", "pcscd"]


@pytest.fixture(scope="session")
def makers(softhsm: Path) -> Iterator[Ends]:
    """SoftHSM, which holds K‖K, and NSS softokn, which has DES and DES-MAC of its own."""
    with softhsm_device().open() as ours, nss_device().open() as theirs:
        yield Ends(ours, theirs)


@pytest.fixture(scope="module")
def card(pcscd: Daemon) -> Iterator[Secrets]:
    """A smart card with the authentication keys, behind pcscd and PC/SC."""
    with card_device(pcscd).open() as opened:
        yield opened
