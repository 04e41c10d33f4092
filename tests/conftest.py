"""What every test may use: a SoftHSM of its own run, tokens on it, and a state folder of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import softhsm as hsm
from tests.soak import RUNS
from tests.softhsm import TestToken

# Time says nothing on a shared machine; the number of examples grows under `make soak`.
settings.register_profile(
    "here", deadline=None, max_examples=100 * RUNS, suppress_health_check=[HealthCheck.too_slow], derandomize=RUNS == 1
)
settings.load_profile("here")


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
