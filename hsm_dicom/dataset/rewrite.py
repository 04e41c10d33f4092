"""A file written from another one: some bytes inserted, replaced or left out, all others copied as they are.

The new file is written beside the target, flushed to the disk, and renamed over it; the folder is flushed as well.
Whatever fails, and whenever the process dies, the target is either what it was or what it was to become. A process
that is killed can leave a file ``.NAME.XXXXXXXX.part`` behind, which nothing ever reads.
"""

from __future__ import annotations

import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from hsm_dicom.dataset.dicom_file import EncodedFile
from hsm_dicom.dataset.errors import DicomFileError, WriteRefusedError
from hsm_dicom.dataset.source import CHUNK


class Edit(NamedTuple):
    """Bytes ``[start, end)`` of the source become ``data``; ``start == end`` inserts."""

    start: int
    end: int
    data: bytes


def write_edited(
    file: EncodedFile, edits: list[Edit], target: str | os.PathLike[str] | None, *, overwrite: bool = False
) -> None:
    """Write the file with its edits to ``target``, or in its own place where ``target`` is None.

    Edits must not overlap; they count in ``file.source``, and a deflated file is deflated again. An existing target
    is replaced only with ``overwrite``, and the source itself only where ``target`` is None.
    Raises WriteRefusedError, FileChangedError if the source was written to meanwhile, DicomFileError if the disk
    does not take it.
    """
    goal = Path(file.name if target is None else target).resolve()
    if target is not None:
        _refuse_overwriting(file, goal, overwrite)
    ordered = sorted(edits, key=attrgetter("start"))  # stable: insertions at one place keep their order
    with _beside(goal, file.status if target is None else None) as (fd, part):
        if file.syntax.deflated:
            _write_deflated(fd, file, ordered)
        else:
            _write_spans(fd, file, ordered)
        file.demand_unchanged()
        os.fsync(fd)
        if target is None or overwrite:
            part.replace(goal)
        else:
            _rename_to_new(part, goal)
    folder = os.open(goal.parent, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _refuse_overwriting(file: EncodedFile, goal: Path, overwrite: bool) -> None:
    try:
        there = goal.stat()
    except OSError:
        return
    if os.path.samestat(there, file.status):
        raise WriteRefusedError(str(goal), "is the source itself; sign in place if it is to be replaced.")
    if not stat.S_ISREG(there.st_mode):
        raise WriteRefusedError(str(goal), "exists and is not a regular file.")
    if not overwrite:
        raise WriteRefusedError(str(goal), "exists already; name another file or allow overwriting.")


@contextmanager
def _beside(goal: Path, like: os.stat_result | None) -> Iterator[tuple[int, Path]]:
    """A new file in the goal's folder, gone again unless it was renamed; OSErrors become DicomFileErrors."""
    part = goal.with_name(f".{goal.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if like is None else 0o600)
    except OSError as error:
        raise DicomFileError(str(goal), f"cannot be written: {error.strerror}; nothing was changed.") from error
    try:
        if like is not None:
            with suppress(PermissionError):
                os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, stat.S_IMODE(like.st_mode))
            _copy_attributes(goal, fd)
        yield fd, part
    except OSError as error:
        raise DicomFileError(str(goal), f"could not be written: {error.strerror}; nothing was changed.") from error
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            part.unlink()


def _copy_attributes(source: Path, target: int) -> None:
    """Extended attributes, access control lists among them, as far as this process may set them."""
    with suppress(OSError):
        for name in os.listxattr(source):
            with suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))


def _rename_to_new(part: Path, goal: Path) -> None:
    """Give the file its name unless the name was taken meanwhile."""
    try:
        goal.hardlink_to(part)
    except FileExistsError:
        raise WriteRefusedError(str(goal), "came into being meanwhile; it was left as it is.") from None
    except OSError:  # a file system without hard links
        if os.path.lexists(goal):
            raise WriteRefusedError(str(goal), "came into being meanwhile; it was left as it is.") from None
        part.rename(goal)


def _write_spans(fd: int, file: EncodedFile, edits: list[Edit]) -> None:
    source = file.source
    if source.held is not None:
        held = memoryview(source.held)
        parts: list[bytes | memoryview] = []
        at = 0
        for edit in edits:
            parts += (held[at : edit.start], edit.data)
            at = edit.end
        parts.append(held[at:])
        _write_all(fd, b"".join(parts))
        return
    at = 0
    for edit in edits:
        _copy(source.fd, fd, at, edit.start)
        _write_all(fd, edit.data)
        at = edit.end
    _copy(source.fd, fd, at, source.size)


def _write_deflated(fd: int, file: EncodedFile, edits: list[Edit]) -> None:
    head = file.head
    _write_all(fd, file.source.read(0, head))
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    size = 0

    def write(data: bytes) -> None:
        nonlocal size
        size += len(data)
        _write_all(fd, data)

    at = head
    for edit in [*edits, Edit(file.source.size, file.source.size, b"")]:
        for start in range(at, edit.start, CHUNK):
            write(deflater.compress(file.source.read(start, min(edit.start, start + CHUNK))))
        write(deflater.compress(edit.data))
        at = edit.end
    write(deflater.flush())
    if size % 2:  # PS3.5 A.5
        write(b"\0")


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _copy(source: int, target: int, start: int, end: int) -> None:
    """Copy a span inside the kernel, where the two file systems allow it, else through memory."""
    while start < end:
        try:
            count = os.copy_file_range(source, target, end - start, offset_src=start)
        except OSError:
            count = 0
        if not count:
            break
        start += count
    while start < end:
        data = os.pread(source, min(CHUNK, end - start), start)
        if not data:
            break  # the file became shorter, which demand_unchanged reports
        _write_all(target, data)
        start += len(data)
