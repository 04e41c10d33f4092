"""Fixtures for every test, and the markers: a SoftHSM for each process, tokens on it, a state folder.

A test gets its markers from the fixtures that it uses and from its folder. A test without such a marker is *pure*: it
runs with Python alone (`make test-fast`), and the fixture `_pure` enforces that.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from hsm_dicom import product
from tests import softhsm as hsm
from tests.soak import RUNS
from tests.softhsm import TestToken
from tests.startup import sitecustomize

# No deadlines: the machine may be shared. The number of examples grows under `make soak`.
settings.register_profile(
    "here", deadline=None, max_examples=100 * RUNS, suppress_health_check=[HealthCheck.too_slow], derandomize=RUNS == 1
)
settings.load_profile("here")

# A shell starts a background job with SIGINT ignored, and nohup with SIGHUP; programs under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Each of the hundreds of Python processes that tests start uses what an earlier one compiled, and tests/startup.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
_paths = [str(Path(sitecustomize.__file__).parent), os.environ.get("PYTHONPATH", "")]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _paths))

FIXTURE_MARKERS = {"rehearsal": "softhsm", "softhsm": "softhsm", "pcscd": "cards"}
"""The marker of each test that uses a fixture, itself or through another one."""

FOLDER_MARKERS = {"interop": "interop"}
"""The marker of each test below a folder of this name."""

NEEDS_PACKAGES = ("softhsm", "cards", "interop", "browser")
"""The markers of tests that need Debian packages (tools/debian-test.txt); the others are pure."""

_PROGRAMS_OF_PURE_TESTS = ("sh", "mkdir", "dirname", "env")
"""Programs of every POSIX system, which a test may start without a marker."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the fixtures that it uses and by the folder in which it is."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        markers = {marker for fixture, marker in FIXTURE_MARKERS.items() if fixture in used}
        markers |= {marker for folder, marker in FOLDER_MARKERS.items() if folder in item.path.parts}
        for marker in sorted(markers):
            item.add_marker(marker)


def needs_packages(item: pytest.Item) -> bool:
    """Return whether a test may use programs and libraries of Debian packages."""
    return any(item.get_closest_marker(marker) for marker in NEEDS_PACKAGES)


STATE_VARIABLES = (product.STATE_FOLDER.variable, "TOKENS_STATE")
"""Where a process keeps its state: one that imports `hsm_dicom`, and one that imports `tokens` alone."""


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use a state folder of this run, and no configuration of the user."""
    folder = str(tmp_path_factory.mktemp("state"))
    for variable in STATE_VARIABLES:
        os.environ[variable] = folder
    os.environ.pop("HSM_DICOM_CONFIG", None)


@pytest.fixture(scope="session")
def python_only(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH with this Python and the few programs of every POSIX system."""
    folder = tmp_path_factory.mktemp("bin")
    for name in _PROGRAMS_OF_PURE_TESTS:
        for place in os.defpath.split(os.pathsep):
            if (Path(place) / name).exists():
                (folder / name).symlink_to(Path(place) / name)
                break
    return os.pathsep.join([str(Path(sys.executable).parent), str(folder)])


@pytest.fixture(autouse=True)
def _pure(request: pytest.FixtureRequest, python_only: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide programs and SoftHSM from a test without a marker, so that a forgotten marker fails in every run."""
    if not needs_packages(request.node):
        monkeypatch.setenv("PATH", python_only)
        monkeypatch.delenv("SOFTHSM2_CONF", raising=False)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SoftHSM for each process, because the module reads SOFTHSM2_CONF once."""
    folder = tmp_path_factory.mktemp("softhsm")
    hsm.provision(folder)
    return folder


@pytest.fixture(autouse=True)
def _tokens_of_one_test() -> Iterator[None]:
    """Remove the tokens of a test after it, but not those of the fixtures that several tests share."""
    with hsm.removing_tokens():
        yield


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
