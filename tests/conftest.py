"""What every test may use: a SoftHSM of its own run, tokens on it, and a state folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import softhsm as hsm
from tests.softhsm import TestToken


@pytest.fixture(scope="session", autouse=True)
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SoftHSM for the whole run: the module reads SOFTHSM2_CONF once in each process."""
    folder = tmp_path_factory.mktemp("softhsm")
    hsm.provision(folder)
    os.environ["HSM_DICOM_STATE"] = str(folder / "state")
    os.environ.pop("HSM_DICOM_CONFIG", None)
    return folder


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder for one test."""
    monkeypatch.setenv("HSM_DICOM_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def token(softhsm: Path) -> TestToken:
    """An empty token for one test."""
    return hsm.new_token()


@pytest.fixture(scope="session")
def node(softhsm: Path) -> TestToken:
    """A token shared by all tests that only use keys: `rsa`, `ec256`, `ec384`, `decrypt`."""
    shared = hsm.new_token("node")
    for label, kind, usage in (
        ("rsa", "rsa-2048", "sign"),
        ("ec256", "p256", "sign"),
        ("ec384", "p384", "sign"),
        ("decrypt", "rsa-2048", "decrypt"),
    ):
        shared.generate(label, kind, usage)
    return shared
