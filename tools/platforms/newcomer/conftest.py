"""A bare machine of a Debian release: nothing but apt and systemd, with the package $DEB and its folder $ROOT.

The machine has no network. tools/test-deb has filled apt's cache with what the package depends on, and with the
programs that play the hospital.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "units")]

from machine import Machine  # noqa: E402
from page import Guide  # noqa: E402

PACKAGE = Path(os.environ["DEB"])


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine, for all tests."""
    packages, images = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("images")
    shutil.copy(PACKAGE, packages)
    shutil.copy(str(get_testdata_file("CT_small.dcm")), images)
    with Machine(Path(os.environ["ROOT"]), {"/packages": packages, "/images": images}) as made:
        yield made


@pytest.fixture(scope="session")
def install_page(machine: Machine) -> Guide:
    """The page on the package."""
    return Guide("howto/install-debian.md", machine, {"PACKAGE": f"/packages/{PACKAGE.name}"})


@pytest.fixture(scope="session")
def service_page(machine: Machine) -> Guide:
    """The page on services, from its section on the PIN on: the package has done what comes before."""
    return Guide("howto/service.md", machine, {})
