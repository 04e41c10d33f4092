"""Signing a clean copy of a file that cannot be signed as it is, if the request allows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hsm_dicom.dataset.dicom_file import DicomFile
from hsm_dicom.dataset.errors import (
    DicomFileError,
    FileChangedError,
    MalformedDataSetError,
    NotDicomError,
    UnrepairableFileError,
)
from hsm_dicom.dataset.repair import CleanCopy, make_clean_copy
from hsm_dicom.dataset.tags import Path
from hsm_dicom.signatures.errors import AmbiguousPixelDataError
from hsm_dicom.signatures.fragments import require_unambiguous_fragments


@dataclass(frozen=True)
class RepairedContent:
    """That a clean copy takes the place of a file: each change as a clause, and the copy's SHA-256."""

    changes: tuple[str, ...]
    digest: bytes

    def make_again(self, path: str) -> bytes:
        """Make the same copy once more. Raises FileChangedError if it is another one."""
        copy = make_clean_copy(path)
        if hashlib.sha256(copy.content).digest() != self.digest:
            raise FileChangedError(path, "the file was changed since it was read; nothing was written.")
        return copy.content


@contextmanager
def open_signable(
    path: str | os.PathLike[str], place: Path, *, repair: bool, note_padding: bool = False
) -> Iterator[tuple[DicomFile, RepairedContent | None]]:
    """Open a file as it would be signed: itself or, with ``repair`` and where it needs it, a clean copy of it.

    Raises DicomFileError for a file that cannot be read, or of which no clean copy can be made.
    """
    copy = _needed_copy(os.fspath(path), place) if repair else None
    content = None if copy is None else copy.content
    repaired = None if copy is None else RepairedContent(copy.changes, hashlib.sha256(copy.content).digest())
    with DicomFile.open(path, note_padding=note_padding, content=content) as file:
        yield file, repaired


def explain_repair(error: Exception, path: str) -> Exception:
    """The error of a file that cannot be signed as it is, with the remedy --repair where that would help."""
    if isinstance(error, _REPAIRABLE):
        try:
            helps = _helps(error, path, make_clean_copy(path))
        except (DicomFileError, OSError):
            helps = False
        if helps:
            error.args = (f"{error} To sign a clean copy of it, add --repair.",)
    return error


def _helps(error: Exception, path: str, copy: CleanCopy) -> bool:
    """Whether the clean copy is without the fault."""
    if not isinstance(error, AmbiguousPixelDataError):
        return bool(copy.changes)
    with DicomFile.open(path, content=copy.content) as file:
        return not any(one.defects or one.hazard for one in file.encapsulated)


_REPAIRABLE = (NotDicomError, MalformedDataSetError, AmbiguousPixelDataError)


def _needed_copy(path: str, place: Path) -> CleanCopy | None:
    """A clean copy of a file that is refused as it is; None if it is not, or if a copy would be the same."""
    try:
        with DicomFile.open(path) as file:
            if file.encapsulated_places:
                require_unambiguous_fragments(file, place, file.item(place).signable_tags)
    except (NotDicomError, MalformedDataSetError) as refusal:
        try:
            return make_clean_copy(path)
        except UnrepairableFileError as error:
            raise UnrepairableFileError(path, f"{refusal.reason} The file {error.reason}") from refusal
    except AmbiguousPixelDataError:
        copy = make_clean_copy(path)
        return copy if copy.changes else None
    except KeyError:  # there is no such Item, which is said where it is to be signed
        pass
    return None
