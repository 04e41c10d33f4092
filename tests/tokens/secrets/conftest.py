"""Each test of the shared suite runs on each device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cards.fixtures import pcscd
from tests.tokens.secrets.devices import Device, card_device, nss_device, softhsm_device
from tokens.secrets import Secrets

__all__ = ["device", "nss", "pcscd", "peer", "secrets"]


@pytest.fixture(scope="session")
def nss(softhsm: Path) -> Device:
    """NSS softokn."""
    return nss_device()


@pytest.fixture(scope="session", params=["softhsm", "isolated", "nss", pytest.param("card", marks=pytest.mark.cards)])
def device(request: pytest.FixtureRequest, softhsm: Path) -> Device:
    """A device with the suite's keys on it."""
    if request.param == "softhsm":
        return softhsm_device()
    if request.param == "isolated":
        return softhsm_device("process")
    if request.param == "card":
        return card_device(request.getfixturevalue("pcscd"))
    nss: Device = request.getfixturevalue("nss")
    return nss


@pytest.fixture
def secrets(device: Device) -> Iterator[Secrets]:
    """The device's secrets, opened."""
    with device.open() as opened:
        yield opened


@pytest.fixture
def peer(device: Device) -> Iterator[Secrets]:
    """The same secrets in the hands of the other party."""
    with device.open_peer() as opened:
        yield opened
