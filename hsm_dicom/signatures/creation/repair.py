"""Clean copies of files that cannot be signed as they are, for requests that allow them."""

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
from hsm_dicom.dataset.tags import ItemPath
from hsm_dicom.signatures.anomalies.fragments import require_unambiguous_fragments
from hsm_dicom.signatures.anomalies.record import list_elements
from hsm_dicom.signatures.errors import AmbiguousPixelDataError, SignaturesLostError
from hsm_dicom.signatures.read import read_signature_items


@dataclass(frozen=True)
class RepairedContent:
    """Record of a copy that replaces a file: each change as a clause, and the copy's SHA-256.

    ``is_repaired`` and ``is_trimmed`` tell which changes were made.
    """

    changes: tuple[str, ...]
    digest: bytes
    is_repaired: bool
    is_trimmed: bool

    def make_again(self, path: ObjectSource) -> bytes:
        """Make the same copy again. Raises FileChangedError if the result differs."""
        content = make_clean_copy(path).content if self.is_repaired else None
        if self.is_trimmed:
            content = _trim(path, content)[0]
        if content is None or hashlib.sha256(content).digest() != self.digest:
            raise FileChangedError(_name(path), "the file was changed since it was read; nothing was written.")
        return content


@contextmanager
def open_signable(
    path: ObjectSource, place: ItemPath, *, repair: bool, trim: bool, note_padding: bool = False
) -> Iterator[tuple[DicomFile, RepairedContent | None]]:
    """Open a file in the form to sign: the file itself or, if needed, a copy of it.

    ``repair`` allows a clean copy, and ``trim`` a copy without surplus padding. Raises DicomFileError
    if the file cannot be read, or if no clean copy of it can be made.
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
    """Return the content without surplus padding, and a clause about it; None and "" if there is no such padding.

    Raises SignaturesLostError if trimming would break signatures.
    """
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
    """Return the error of a file that cannot be signed, marked as repairable if a clean copy can be signed."""
    if isinstance(error, _REPAIRABLE):
        try:
            helps = _helps(error, path, make_clean_copy(path))
        except (DicomFileError, OSError):
            helps = False
        if helps:
            error.is_repairable = True
    return error


def _helps(error: Exception, path: ObjectSource, copy: CleanCopy) -> bool:
    """Return whether the clean copy lacks the defect."""
    if not isinstance(error, AmbiguousPixelDataError):
        return bool(copy.changes)
    with DicomFile.open(path, content=copy.content) as file:
        return not any(one.defects or one.hazard for one in file.encapsulated)


def _name(path: ObjectSource) -> str:
    return path.name if isinstance(path, Content) else os.fspath(path)


_REPAIRABLE = (NotDicomError, MalformedDataSetError, AmbiguousPixelDataError)


def _make_needed_copy(path: ObjectSource, place: ItemPath) -> CleanCopy | None:
    """Return a clean copy of a file that cannot be signed; None if it can, or if the copy is the same."""
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
    except KeyError:  # there is no such Item; the signing step reports it
        pass
    return None
