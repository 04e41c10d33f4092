"""A Data Set of a C-STORE request on its way to disk: written while it comes, beside its place, never held whole.

Nothing here raises while it comes. What is wrong is remembered, the rest of the Data Set is thrown away, and the
answer says it.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from pydicom.uid import UID
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from hsm_dicom.network.dimse.commands import AFFECTED_SOP_CLASS_UID, AFFECTED_SOP_INSTANCE_UID, CommandSet
from hsm_dicom.network.errors import NetworkError
from hsm_dicom.network.storage.leftovers import open_part
from hsm_dicom.network.storage.writeback import Writeback
from tokens.errors import fresh_copy

SUCCESS = 0x0000
INVALID_INSTANCE = 0x0117
SOP_CLASS_NOT_SUPPORTED = 0x0122
"""Statuses of PS3.7, Annex C.5, which a C-STORE may have (PS3.7, 9.1.1.1.9)."""

OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
NOT_ACCEPTED = 0xC001
"""A status of our own in the range "Cannot understand" (PS3.4, Table B.2-1): refused by the signature check."""
OTHER_CONTENT = 0xC002
"""Likewise: another object has this SOP Instance UID already."""
TOO_LARGE = 0xC003
"""Likewise: the Data Set is longer than this listener takes."""

_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*\Z")
_LOOK_BYTES = 8 << 20
"""Bytes after which the free space of the file system is looked at again."""

_BUFFER_BYTES = 1 << 16
"""Bytes that are collected for one write. What comes in longer parts is written without a copy."""


class RefusedInstanceError(NetworkError):
    """Why an instance is not stored: a status for the peer, and a sentence that may be sent as its Error Comment."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status


class Incoming:
    """One Data Set. `sop_class_uid` and `sop_instance_uid` are those of the request, or None where they are no UIDs."""

    def __init__(
        self,
        folder: Path,
        abstract_syntax: str,
        transfer_syntax: str,
        command: CommandSet,
        largest: int,
        minimum_free: int = 0,
    ) -> None:
        """Open nothing yet. The syntaxes are those of the presentation context.

        `largest` is the most bytes that the Data Set may have, `minimum_free` the bytes of the file system that it must
        leave.
        """
        self.transfer_syntax_uid = transfer_syntax
        self.sop_class_uid = uid_or_none(command.text(AFFECTED_SOP_CLASS_UID))
        self.sop_instance_uid = uid_or_none(command.text(AFFECTED_SOP_INSTANCE_UID))
        self._folder = folder
        self._largest, self._minimum_free = largest, minimum_free
        self._size = self._looked_at = 0
        self._file: BinaryIO | None = None
        self._writeback: Writeback | None = None
        self._path: Path | None = None
        self._lock: int | None = None
        self._failure: OSError | RefusedInstanceError | None = None
        if self.sop_instance_uid is None:
            self._failure = RefusedInstanceError(INVALID_INSTANCE, "The Affected SOP Instance UID is not a UID.")
        elif self.sop_class_uid != abstract_syntax:
            self._failure = RefusedInstanceError(
                SOP_CLASS_NOT_SUPPORTED, "The SOP Class is not that of the presentation context."
            )

    def write(self, data: bytes | memoryview) -> None:
        """Take a part of it."""
        if self._failure is not None:
            return
        self._size += len(data)
        try:
            if self._size > self._largest:
                raise RefusedInstanceError(TOO_LARGE, f"The Data Set has more than {self._largest >> 20} MiB.")
            if self._minimum_free and (self._file is None or self._size - self._looked_at > _LOOK_BYTES):
                self._require_room()
            if self._file is None or self._writeback is None:
                self._file = self._open()
                self._writeback = Writeback(self._file)
            self._file.write(data)
            self._writeback.add(len(data))
        except (OSError, RefusedInstanceError) as failure:
            self._failure = failure
            self.discard()

    def look(self) -> tuple[int, int] | None:
        """Return a descriptor to read the file as far as it came, and its size in bytes; None if it is not kept."""
        if self._file is None:
            return None
        try:
            self._file.flush()
        except OSError as failure:
            self._failure = failure
            self.discard()
            return None
        return self._file.fileno(), self._file.tell()

    def finish(self, *, synced: bool = True) -> Path:
        """Return the whole file; `discard` removes it. Raises `RefusedInstanceError` and `OSError`.

        It is forced to disk unless `synced` is False.
        """
        if self._failure is None and self._file is None:
            self._failure = RefusedInstanceError(CANNOT_UNDERSTAND, "There is no Data Set.")
        if self._failure is not None:
            raise fresh_copy(self._failure)
        if self._file is None or self._path is None:
            raise RuntimeError("This Data Set was discarded.")
        with self._file:
            self._file.flush()
            if synced:
                os.fsync(self._file.fileno())
        return self._path

    def discard(self) -> None:
        """Remove the file, if there is one. Harmless to repeat."""
        file, self._file = self._file, None
        path, self._path = self._path, None
        lock, self._lock = self._lock, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)

    def _require_room(self) -> None:
        self._looked_at = self._size
        there = os.statvfs(self._folder)
        if there.f_bavail * there.f_frsize < self._minimum_free:
            raise RefusedInstanceError(OUT_OF_RESOURCES, "This node has too little free disk space; send it again.")

    def _open(self) -> BinaryIO:
        meta = create_file_meta(
            sop_class_uid=UID(self.sop_class_uid or ""),
            sop_instance_uid=UID(self.sop_instance_uid or ""),
            transfer_syntax=UID(self.transfer_syntax_uid),
        )
        self._path, self._lock = open_part(self._folder, self.sop_instance_uid or "")
        file = os.fdopen(os.dup(self._lock), "wb", _BUFFER_BYTES)
        file.write(b"\0" * 128 + b"DICM" + encode_file_meta(meta))
        return file


def uid_or_none(text: str) -> str | None:
    """Return a UID (PS3.5, 9.1), or None if it is not one. Components with leading zeros are common, and allowed."""
    return text if _UID.match(text) else None
