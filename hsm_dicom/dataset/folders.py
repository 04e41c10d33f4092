"""The files below a folder, and the folders below it that could not be read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from hsm_dicom.errors import DicomError

_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)
"""What a process that was killed may leave behind; see `hsm_dicom.dataset.rewrite`."""


class FolderError(DicomError):
    """A folder whose files were left out. ``path`` is its path, ``reason`` the sentence without it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True)
class FolderContent:
    """The files below a folder, sorted, and the folders among them that were left out."""

    files: tuple[Path, ...]
    left_out: tuple[FolderError, ...]


def is_folder(path: Path) -> bool:
    """Whether the path is a folder, or a link to one. Unlike ``Path.is_dir``, never raises."""
    return os.path.isdir(path)  # noqa: PTH112


def list_folder(folder: Path) -> FolderContent:
    """List every file below a folder, at any depth: whatever is not a folder, broken links among it.

    Folders that cannot be read are in ``left_out``, and so are links to folders, which could lead out of the folder or
    round in a circle. Files that an interrupted write left behind (``.NAME.XXXXXXXX.part``) are not listed.
    """
    files: list[Path] = []
    left_out: list[FolderError] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    path = place / entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif entry.is_symlink() and path.is_dir():
                        left_out.append(FolderError(path, _LINK))
                    elif not _PART.fullmatch(entry.name):
                        files.append(path)
        except OSError as error:
            left_out.append(
                FolderError(place, f"the folder cannot be read ({error.strerror}), so its files are left out.")
            )
    return FolderContent(tuple(sorted(files)), tuple(sorted(left_out, key=lambda error: error.path)))


_LINK = "is a link to a folder, which is not followed, so the files there are left out; name the folder itself as well."
