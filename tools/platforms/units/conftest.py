"""One machine of the release in $P for all tests, on which the guide was followed up to a sound configuration."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from hospital import PIN, prepare, start_peers  # noqa: E402
from machine import Machine  # noqa: E402
from page import ROOT, Guide  # noqa: E402

RELEASE = os.environ.get("P", "bookworm")
PYTHON = {"bookworm": "3.11", "trixie": "3.13"}[RELEASE]
PACKAGES = ("python3-venv", "softhsm2", "dcmtk", "openssl", "iproute2", "nftables", "tinyproxy-bin", "procps")
CARDS = ("pcscd", "vsmartcard-vpcd", "polkitd", "libpam-systemd", "gcc", "libc6-dev", "python3-dev", "libpcsclite-dev")
"""What cards need, with a compiler for pyscard. polkitd needs a logind, which libpam-systemd provides."""
TPM = ("swtpm", "tpm2-abrmd", "libtpm2-pkcs11-1", "libtss2-tcti-tabrmd0")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGES = ("CT_small.dcm", "MR_small.dcm")


def _make(tool: str, *arguments: str) -> Path:
    return Path(subprocess.check_output([HERE.parent / tool, *arguments], text=True).strip())


@pytest.fixture(scope="session")
def empty_machine() -> Iterator[Machine]:
    """A machine without hsm-dicom. It has the folders that the guide's reader has."""
    root, wheels = _make("make-root", RELEASE, *PACKAGES, *CARDS, *TPM), _make("make-wheels", PYTHON)
    images = ROOT / "build" / "images"
    images.mkdir(exist_ok=True)
    for name in IMAGES:
        shutil.copy(str(get_testdata_file(name)), images)
    shares = {"/clone/packaging": ROOT / "packaging", "/wheels": wheels, "/images": images, "/tests": HERE}
    shares["/clone/tests/cards"] = ROOT / "tests" / "cards"
    with Machine(root, shares) as made:
        made.write("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /wheels\n")
        yield made


@pytest.fixture(scope="session")
def guide(empty_machine: Machine) -> Guide:
    """The guide on services, for the machine: its commands are run there, and its files written."""
    variables = {"CLONE": "/clone", "WHEEL": "$(echo /wheels/hsm_dicom-*.whl)", "VERSION": VERSION}
    return Guide("howto/service.md", empty_machine, variables)


@pytest.fixture(scope="session")
def machine(empty_machine: Machine, guide: Guide) -> Machine:
    """The machine after sections 1 to 3 of the guide, with a token, its drop-in, and the CT and the PACS."""
    guide.run("Install")
    prepare(empty_machine)
    guide.write_files("If a module does not work in the unit")
    guide.run("Store the PIN", stdin=f"{PIN}\n")
    guide.add_configuration("Write the configuration")
    guide.run("Write the configuration")
    start_peers(empty_machine)
    return empty_machine


@pytest.fixture(scope="module")
def node(machine: Machine, guide: Guide) -> Machine:
    """The machine with the gateway of the guide, which test_units.py may have made before."""
    if "[routes.to-pacs]" not in machine.run("cat /etc/hsm-dicom/hsm-dicom.toml"):
        guide.add_configuration("Run a listener")
        guide.add_configuration("Run a gateway")
        guide.write_files("Run a gateway")
        guide.run("Run a gateway", only="enable --now")
    return machine
