"""A software HSM in a folder, set up by the same script that tests and rehearsals use (softhsm-config/provision)."""

from __future__ import annotations

import os
import shlex
import site
import subprocess
import sys
from pathlib import Path

from hsm_dicom.errors import DicomError

_MODULES = (
    "usr/lib/softhsm/libsofthsm2.so",
    "usr/lib/*/softhsm/libsofthsm2.so",
    "usr/lib*/pkcs11/libsofthsm2.so",
    "usr/lib*/softhsm/libsofthsm2.so",
    "usr/local/lib/softhsm/libsofthsm2.so",
    "opt/homebrew/lib/softhsm/libsofthsm2.so",
)
"""Paths of the module on Debian, Fedora, in source builds and Homebrew, below the root folder."""

_SETUP = Path("share/hsm-dicom/softhsm-config")


class NoSoftHsmError(DicomError):
    """SoftHSM, or the script that sets it up, is not installed."""


def provision(folder: Path) -> Path:
    """Set up an empty SoftHSM in a folder for this process and its children; return the path of its PKCS#11 module.

    Raises `NoSoftHsmError`.
    """
    module = _module()
    script = _script()
    done = subprocess.run(["sh", script, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoSoftHsmError(
            f"SoftHSM could not be set up in {folder}: {done.stderr.strip() or 'no reason was given'}."
        )
    _, assignment = shlex.split(done.stdout)  # export NAME=VALUE
    variable, _, value = assignment.partition("=")
    os.environ[variable] = value
    return module


def _module() -> Path:
    for pattern in _MODULES:
        for found in sorted(Path("/").glob(pattern)):
            return found
    raise NoSoftHsmError("SoftHSM 2 is not installed. On Debian and Ubuntu: apt-get install softhsm2")


def _script() -> Path:
    """Return the path of the script, in a source checkout or installed from a wheel."""
    checkout = Path(__file__).parents[4] / "softhsm-config"
    prefixes = (Path(sys.prefix), Path(sys.base_prefix) / "local", Path(site.getuserbase()))
    for folder in (checkout, *(prefix / _SETUP for prefix in prefixes)):
        if (folder / "provision").is_file():
            return folder / "provision"
    raise NoSoftHsmError("The folder softhsm-config of this distribution is missing; install hsm-dicom again.")
