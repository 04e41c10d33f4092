"""Folders for objects: made with their mode, and forced to disk."""

from __future__ import annotations

import os
from pathlib import Path

from hsm_dicom.network.errors import SettingsError


def make_folder(folder: Path) -> None:
    """Make a folder that only this user may enter, unless it exists. Raises `SettingsError` if it cannot be written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise SettingsError(
            f"{folder} cannot be written by this process.",
            remedy="Change its owner. In a unit of systemd, name the folder in ReadWritePaths=, too.",
        )


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
