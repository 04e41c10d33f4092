"""One machine of the release in $P, with what the package depends on but without the package.

The machine's /packages has the package $DEB, the same with a NEWER version, and a BROKEN one, the newest, whose program
refuses every configuration. $ROOT is the machine's folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "units"), str(HERE)]

from machine import Machine  # noqa: E402
from page import Guide  # noqa: E402

BUILT = Path(os.environ["DEB"])
VERSION = BUILT.name.split("_")[1]
NEWER = re.sub(r"^([^~+]*).*?(\+deb\d+)$", r"\1.1\2", VERSION)
SUFFIX = BUILT.name.rpartition("_")[2]
BROKEN = NEWER.replace(".1+deb", ".2+deb")
REFUSING = "#!/bin/sh\necho 'peers.pacs: this key was removed' >&2\nexit 1\n"


def repack(folder: Path, version: str, *, program: str = "") -> None:
    """Make a package of another version from the built one; `program` replaces /opt/hsm-dicom/bin/hsm-dicom."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", BUILT, tree], check=True)
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", f"Version: {version}", control.read_text(), flags=re.MULTILINE))
    if program:
        (tree / "opt/hsm-dicom/bin/hsm-dicom").write_text(program)
    out = folder / f"hsm-dicom_{version}_{SUFFIX}"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, out], check=True, capture_output=True)
    subprocess.run(["rm", "-r", tree], check=True)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The machine, for all tests."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / BUILT.name).write_bytes(BUILT.read_bytes())
    repack(packages, NEWER)
    repack(packages, BROKEN, program=REFUSING)
    images = tmp_path_factory.mktemp("images")
    shutil.copy(str(get_testdata_file("CT_small.dcm")), images)
    shares = {"/packages": packages, "/images": images, "/tests": HERE.parent / "units"}
    with Machine(Path(os.environ["ROOT"]), shares) as made:
        yield made


@pytest.fixture(scope="session")
def guide(machine: Machine) -> Guide:
    """The page on the package, whose commands are run in the machine."""
    return Guide(
        "howto/install-debian.md",
        machine,
        {"PACKAGE": f"/packages/{BUILT.name}", "NEWER": f"/packages/hsm-dicom_{NEWER}_{SUFFIX}"},
    )
