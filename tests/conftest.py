"""What every test may use: a SoftHSM of its own process, tokens on it, and a state folder of its own.

A test says what it needs by the fixtures that it asks for, and gets its markers from them. A test without such a
marker is *pure*: it runs with nothing but Python (`make test-fast`), and `_pure` holds it to that.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hsm_dicom import product
from tests import softhsm as hsm
from tests.soak import RUNS
from tests.softhsm import TestToken

# Time says nothing on a shared machine; the number of examples grows under `make soak`.
settings.register_profile(
    "here", deadline=None, max_examples=100 * RUNS, suppress_health_check=[HealthCheck.too_slow], derandomize=RUNS == 1
)
settings.load_profile("here")

FIXTURE_MARKERS = {"softhsm": "softhsm", "pcscd": "cards"}
"""The marker of each test that uses a fixture, itself or through another one."""

FOLDER_MARKERS = {"interop": "interop"}
"""The marker of each test below a folder of this name."""

NEEDS_PACKAGES = ("softhsm", "cards", "interop", "browser")
"""The markers of tests that need Debian packages (tools/debian-test.txt)."""

_PROGRAMS_OF_PURE_TESTS = ("sh", "mkdir", "dirname", "env")
"""What every POSIX system has, and a test may start without a marker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures that it uses and by the folder in which it is."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        markers = {marker for fixture, marker in FIXTURE_MARKERS.items() if fixture in used}
        markers |= {marker for folder, marker in FOLDER_MARKERS.items() if folder in item.path.parts}
        for marker in sorted(markers):
            item.add_marker(marker)


def needs_packages(item: pytest.Item) -> bool:
    """Whether a test may use what is not Python's."""
    return any(item.get_closest_marker(marker) for marker in NEEDS_PACKAGES)


STATE_VARIABLES = (product.STATE_FOLDER.variable, "TOKENS_STATE")
"""Where a process keeps its state: one that imports `hsm_dicom`, and one that imports `tokens` alone."""


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the tests' state and configuration apart from the user's."""
    folder = str(tmp_path_factory.mktemp("state"))
    for variable in STATE_VARIABLES:
        os.environ[variable] = folder
    os.environ.pop("HSM_DICOM_CONFIG", None)


@pytest.fixture(scope="session")
def python_only(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with this Python, and the few programs that every POSIX system has."""
    folder = tmp_path_factory.mktemp("bin")
    for name in _PROGRAMS_OF_PURE_TESTS:
        for place in os.defpath.split(os.pathsep):
            if (Path(place) / name).exists():
                (folder / name).symlink_to(Path(place) / name)
                break
    return os.pathsep.join([str(Path(sys.executable).parent), str(folder)])


@pytest.fixture(autouse=True)
def _pure(request: pytest.FixtureRequest, python_only: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all programs and tokens from a test that has no marker, so that `make test-fast` holds what it promises."""
    if not needs_packages(request.node):
        monkeypatch.setenv("PATH", python_only)
        monkeypatch.delenv("SOFTHSM2_CONF", raising=False)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SoftHSM for the whole process: the module reads SOFTHSM2_CONF once."""
    folder = tmp_path_factory.mktemp("softhsm")
    hsm.provision(folder)
    return folder


@pytest.fixture
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty state folder for one test."""
    for variable in STATE_VARIABLES:
        monkeypatch.setenv(variable, str(tmp_path / "state"))
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
