"""Small files in the state folder that outlive the gateway: replaced as a whole, readable by their owner alone."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hsm_dicom.errors import DicomError

_LARGEST_FILE = 1 << 20


class StateFileError(DicomError):
    """A file of the state folder cannot be read or written, or others could have written it."""


def read_state(path: Path, schema: str) -> dict[str, Any] | None:
    """Return the JSON object of a file, or None if there is no file.

    Raises `StateFileError` if it cannot be read, is of another schema, may be written by others, or belongs to a
    user who is neither this one nor root.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _make_error(path, "read", error) from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            text = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise _make_error(path, "read", error) from error
    return _parse(path, text, schema)


def write_state(path: Path, schema: str, content: Mapping[str, Any]) -> None:
    """Replace a file by a JSON object. It is on the disk when this returns. Raises `StateFileError`."""
    text = json.dumps({"schema": schema, **content}, indent=1) + "\n"
    beside = path.with_suffix(f".{os.getpid()}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(beside, flags, 0o600), "w", encoding="ascii") as file:
            _give_to_owner(file.fileno(), path.parent)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise _make_error(path, "written", error) from error


@contextmanager
def lock_state(path: Path) -> Iterator[None]:
    """Keep other processes from changing a file until the block ends. Raises `StateFileError`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path.with_suffix(".lock"), flags, 0o600)
        _give_to_owner(descriptor, path.parent)
    except OSError as error:
        raise _make_error(path, "locked", error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held only while a small file is replaced
        yield
    finally:
        os.close(descriptor)


def _parse(path: Path, text: bytes, schema: str) -> dict[str, Any]:
    try:
        content = json.loads(text) if len(text) <= _LARGEST_FILE else None
    except (RecursionError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise StateFileError(
            f"{path} is not a file of the schema {schema}.",
            remedy="Restore it from a backup, or remove it; docs/howto/operate-a-gateway.md says what is lost then.",
        )
    return content


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StateFileError(f"{path} is not a regular file.", remedy=f"Remove {path}.")
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StateFileError(
            f"{path} belongs to another user, or may be written by others, so it is not used.",
            remedy=f"See who wrote it, then run: chmod go-w {path}, or remove it.",
        )


def _give_to_owner(descriptor: int, folder: Path) -> None:
    """Give a file that root has made to the owner of its folder, who runs the gateway and must be able to read it."""
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_error(path: Path, done: str, error: OSError) -> StateFileError:
    return StateFileError(
        f"{path} cannot be {done} ({error.strerror}).", remedy=f"Make the folder {path.parent} usable for this user."
    )
