"""Two devices of different makers with the same secrets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hsm_dicom.iscl.lines import Ends
from tests.tokens.secrets.devices import nss_device, softhsm_device


@pytest.fixture(scope="session")
def makers(softhsm: Path) -> Iterator[Ends]:
    """SoftHSM, which holds K‖K, and NSS softokn, which has DES and DES-MAC of its own."""
    with softhsm_device().open() as ours, nss_device().open() as theirs:
        yield Ends(ours, theirs)
