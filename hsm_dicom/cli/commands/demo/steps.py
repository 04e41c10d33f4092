"""What the demonstrations share: a token with its configuration, sample images, and the error of a step."""

from __future__ import annotations

import secrets
from pathlib import Path

from pydicom.data import get_testdata_file

from hsm_dicom.cli.commands.demo.narrator import Narrator
from hsm_dicom.cli.commands.demo.softhsm import provision
from hsm_dicom.errors import DicomError
from tokens.manager import default_manager
from tokens.pins.refusals import RefusalMemory
from tokens.pins.sources import FromFile
from tokens.pkcs11.officer import initialise_token

LABEL = "demonstration"


class DemonstrationError(DicomError):
    """A step of the demonstration had an unexpected result."""


def make_token(tale: Narrator, folder: Path) -> Path:
    """Initialise a token, and write a configuration with it. Returns the path of the PKCS#11 module."""
    tale.step("A token", "SoftHSM plays the HSM. Yours takes its place by the name of its .so file.")
    path = provision(folder)
    for name in ("user.pin", "so.pin"):
        pin = folder / name
        pin.touch(mode=0o600)
        pin.write_text(secrets.token_urlsafe(9))
    with tale.time_step("initialise the token"):
        token = initialise_token(
            default_manager().tokens.module(path),
            LABEL,
            FromFile(folder / "so.pin"),
            FromFile(folder / "user.pin"),
            memory=RefusalMemory(folder / "state"),
        )
    tale.facts(
        ("token", token.label),
        ("serial", token.serial),
        ("module", str(path)),
        ("PIN", "random, in a file that only its owner may read"),
    )
    tale.command(f"hsm-dicom token init --module {path} --label {LABEL}")
    config = folder / "hsm-dicom.toml"
    config.touch(mode=0o600)
    config.write_text(
        f'[tokens.{LABEL}]\nmodule = "{path}"\nserial = "{token.serial}"\npin = "file:user.pin"\n\n'
        f'[identities.{LABEL}]\ntoken = "{LABEL}"\nobject = "node"\ncertificate = "token"\n\n'
        '[state]\nfolder = "state"\n\n[events]\nfile = "events.jsonl"\n'
    )
    return path


def find_test_file(name: str) -> Path:
    """Return the path of a sample object. Raises `DemonstrationError`."""
    found = get_testdata_file(name, download=False)
    if found is None:
        raise DemonstrationError(f"This pydicom does not ship {name}; install pydicom 3 from PyPI.")
    return Path(str(found))
