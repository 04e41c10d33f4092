"""One SoftHSM token for all tests of ISCL, opened by two parties."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hsm_dicom.iscl.lines import Ends
from tests.tokens.secrets.devices import Device, softhsm_device


@pytest.fixture(scope="session")
def iscl_device(softhsm: Path) -> Device:
    """The device: authentication keys 1 and 2, encryption keys 1 and 2."""
    return softhsm_device()


@pytest.fixture(scope="session")
def ends(iscl_device: Device) -> Iterator[Ends]:
    """Two parties with the same secrets, whose session keys stay on the device."""
    with iscl_device.open() as ours, iscl_device.open() as theirs:
        yield Ends(ours, theirs)
