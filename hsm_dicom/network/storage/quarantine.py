"""Keeping objects that were not accepted, with the reasons, for a person to look at."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from hsm_dicom.network.errors import SettingsError
from hsm_dicom.network.storage.comparison import same_data_set
from hsm_dicom.network.storage.folders import make_folder, sync_folder
from hsm_dicom.network.storage.policy_check import Refusal


def make_quarantine(folder: Path, store: Path) -> None:
    """Make the folder of a quarantine. Raises `SettingsError` if it is on another file system than `store`.

    Files are linked into it from there. Raises as `make_folder` does.
    """
    make_folder(folder)
    if folder.stat().st_dev != store.stat().st_dev:
        raise SettingsError(
            f"{folder} is on another file system than {store}.",
            remedy=f"Name a folder for quarantine on the file system of {store}, or remove the key.",
        )


def put_into_quarantine(beside: Path, uid: str, refusal: Refusal, folder: Path) -> Path:
    """Keep a file that was not accepted, with the reasons beside it as JSON; an equal one that is there is kept."""
    for number in itertools.count(1):
        place = folder / (f"{uid}.dcm" if number == 1 else f"{uid}-{number}.dcm")
        try:
            os.link(beside, place)
        except FileExistsError:
            if not same_data_set(beside, place):
                continue
        break
    _write_reasons(place.with_suffix(".json"), refusal)
    sync_folder(folder)
    return place


def _write_reasons(place: Path, refusal: Refusal) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{refusal.report}\n")
        file.flush()
        os.fsync(file.fileno())
