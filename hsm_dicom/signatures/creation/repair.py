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
from hsm_dicom.dataset.octets.source import Content, ObjectSource
from hsm_dicom.dataset.repair.copy import CleanCopy, make_clean_copy
from hsm_dicom.dataset.repair.padding import trim_padding
from hsm_dicom.dataset.tags import Path
from hsm_dicom.signatures.anomalies.fragments import require_unambiguous_fragments
from hsm_dicom.signatures.anomalies.record import list_elements
from hsm_dicom.signatures.errors import AmbiguousPixelDataError, SignaturesLostError
from hsm_dicom.signatures.read import read_signature_items


@dataclass(frozen=True)
class RepairedContent:
    """That a copy takes the place of a file: each change as a clause, and the copy's SHA-256.

    ``is_repaired`` and ``is_trimmed`` say what was done to it.
    """

    changes: tuple[str, ...]
    digest: bytes
    is_repaired: bool
    is_trimmed: bool

    def make_again(self, path: ObjectSource) -> bytes:
        """Make the same copy once more. Raises FileChangedError if it is another one."""
        content = make_clean_copy(path).content if self.is_repaired else None
        if self.is_trimmed:
            content = _trim(path, content)[0]
        if content is None or hashlib.sha256(content).digest() != self.digest:
            raise FileChangedError(_name(path), "the file was changed since it was read; nothing was written.")
        return content


@contextmanager
def open_signable(
    path: ObjectSource, place: Path, *, repair: bool, trim: bool, note_padding: bool = False
) -> Iterator[tuple[DicomFile, RepairedContent | None]]:
    """Open a file as it would be signed: itself or, where it needs one, a copy of it.

    That is a clean copy with ``repair``, and one without surplus padding with ``trim``. Raises DicomFileError
    for a file that cannot be read, or of which no clean copy can be made.
    """
    copy = _make_needed_copy(path, place) if repair else None
    content, changes = (None, ()) if copy is None else (copy.content, copy.changes)
    trimmed, trimming = _trim(path, content) if trim else (None, "")
    if trimmed is not None:
        content, changes = trimmed, (*changes, trimming)
    repaired = None
    if content is not None:
        digest = hashlib.sha256(content).digest()
        repaired = RepairedContent(changes, digest, is_repaired=copy is not None, is_trimmed=trimmed is not None)
    with DicomFile.open(path, note_padding=note_padding, content=content) as file:
        yield file, repaired


def _trim(path: ObjectSource, content: bytes | None) -> tuple[bytes | None, str]:
    """The content without surplus padding and the clause about it; None where there is none, and the object is signed
    as it is. Raises SignaturesLostError if that would break signatures."""
    with DicomFile.open(path, note_padding=True, content=content) as file:
        trimmed = trim_padding(file)
        if trimmed is None:
            return None, ""
        if any(not item.historic for item in read_signature_items(file)):
            raise SignaturesLostError(
                f"{file.name}: it is signed already, and without its surplus padding ({list_elements(trimmed.places)}) "
                "these signatures would not hold."
            )
    strings = "1 string" if len(trimmed.places) == 1 else f"{len(trimmed.places)} strings"
    named = list_elements(trimmed.places)
    return trimmed.content, f"{trimmed.octets} octets of surplus padding were removed from {strings}: {named}"


def explain_repair(error: Exception, path: ObjectSource) -> Exception:
    """Return the error of a file that cannot be signed as it is, marked as repairable if a clean copy can be signed."""
    if isinstance(error, _REPAIRABLE):
        try:
            helps = _helps(error, path, make_clean_copy(path))
        except (DicomFileError, OSError):
            helps = False
        if helps:
            error.is_repairable = True
    return error


def _helps(error: Exception, path: ObjectSource, copy: CleanCopy) -> bool:
    """Whether the clean copy is without the fault."""
    if not isinstance(error, AmbiguousPixelDataError):
        return bool(copy.changes)
    with DicomFile.open(path, content=copy.content) as file:
        return not any(one.defects or one.hazard for one in file.encapsulated)


def _name(path: ObjectSource) -> str:
    return path.name if isinstance(path, Content) else os.fspath(path)


_REPAIRABLE = (NotDicomError, MalformedDataSetError, AmbiguousPixelDataError)


def _make_needed_copy(path: ObjectSource, place: Path) -> CleanCopy | None:
    """A clean copy of a file that is refused as it is; None if it is not, or if a copy would be the same."""
    try:
        with DicomFile.open(path) as file:
            if file.encapsulated_places:
                require_unambiguous_fragments(file, place, file.item(place).signable_tags)
    except (NotDicomError, MalformedDataSetError) as refusal:
        try:
            return make_clean_copy(path)
        except UnrepairableFileError as error:
            raise UnrepairableFileError(refusal.name, f"{refusal.reason} The file {error.reason}") from refusal
    except AmbiguousPixelDataError:
        copy = make_clean_copy(path)
        return copy if copy.changes else None
    except KeyError:  # there is no such Item, which is said where it is to be signed
        pass
    return None
