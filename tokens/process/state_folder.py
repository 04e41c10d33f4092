"""The state folder: small records that outlive a process, private to one user, locked between processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokens.errors import Facts, PinSourceError, Reason, TokenBusyError
from tokens.process import forking

LOCK_TIMEOUT = 30.0
"""Seconds to wait for another process that is logging in to the same token."""

RESERVE, RESERVE_BYTES = "reserve", 1 << 16
"""A file of zeros that is removed when the disk is full, so that there is space for a record."""

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class StateFolderName:
    """The rule by which the default state folder is found.

    Every process that uses a device must find the same folder. Otherwise a process may present a PIN that the device
    already refused to another process.
    """

    variable: str
    """The environment variable that holds the folder's path."""
    directory: str
    """The folder's name below /var/lib and $XDG_STATE_HOME."""

    def find(self) -> Path:
        """Return the folder: from the variable, else systemd's $STATE_DIRECTORY, else `directory` in a standard place.

        The place is /var/lib for root, and $XDG_STATE_HOME (~/.local/state) for others.
        """
        for name in (self.variable, "STATE_DIRECTORY"):
            if os.environ.get(name):
                return Path(os.environ[name].split(":")[0])
        if os.geteuid() == 0:
            return Path("/var/lib", self.directory)
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state", self.directory)


_default = StateFolderName("TOKENS_STATE", "tokens")


def use_state_folder(name: StateFolderName) -> None:
    """Set how the default state folder of this process, and of those that it forks, is found.

    An application calls this when it is imported, before the first key is opened.
    """
    global _default
    _default = name


def default_state_folder() -> Path:
    """Return the folder that is used if the caller gives none; see `StateFolderName.find`."""
    return _default.find()


class StateFolder:
    """A state folder. May be used by several threads and processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_state_folder()

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Lock one name in the state folder against all processes that use the folder, until the block ends.

        Raises `TokenBusyError` after `LOCK_TIMEOUT`, and `PinSourceError` if the folder cannot be used.
        """
        descriptor = self._open_lock(name)
        with _held.hold(descriptor):
            deadline = time.monotonic() + LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        # No PIN is at fault: a service may be started again after it.
                        raise TokenBusyError(
                            f"Another process has been logging in to this token for {LOCK_TIMEOUT:.0f} seconds.",
                            remedy="Check that the token still answers.",
                        ) from None
                    time.sleep(0.02)
            yield

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold one name, which others may hold too, until the block or the process ends.

        Raises `PinSourceError` if the folder cannot be used.
        """
        descriptor = self._open_lock(name)
        with _held.hold(descriptor):
            fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for no longer than `is_held` looks
            yield

    def is_held(self, name: str) -> bool:
        """Return whether a process holds the name; one thread at a time may ask.

        Raises `PinSourceError` if the folder cannot be used.
        """
        descriptor = self._open_lock(name)
        with _held.hold(descriptor):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            return False

    def _open_lock(self, name: str) -> int:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_private()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            return os.open(self.folder / f"{name}.lock", flags, 0o600)
        except OSError as error:
            raise self._unusable(error) from error

    def read(self, name: str) -> str | None:
        """Return the text of one file, or None if there is none. Raises `PinSourceError` and `UnicodeDecodeError`."""
        try:
            return (self.folder / name).read_text("utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error

    def write(self, name: str, text: str) -> None:
        """Replace a file, which only its owner can read. It is on the disk when this returns.

        A full disk does not prevent it while the reserve is there: a node whose disk is full of objects can still log
        in, and record a refusal.
        """
        try:
            try:
                self._replace(name, text)
            except OSError as error:
                if error.errno not in _FULL or not self._spend_reserve():
                    raise
                self._replace(name, text)
        except OSError as error:
            raise self._unusable(error) from error
        self._keep_reserve()

    def remove(self, name: str) -> None:
        """Remove one file, if it exists."""
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def names(self, beginning: str, ending: str) -> list[str]:
        """Return the names of the files with this beginning and ending, sorted."""
        try:
            found = [entry.name for entry in self.folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from error
        return sorted(name for name in found if name.startswith(beginning) and name.endswith(ending))

    def _replace(self, name: str, text: str) -> None:
        path = self.folder / name
        beside = path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(beside, _NEW_FILE, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)  # it has its part of a full disk
            raise
        self._sync_folder()

    def _spend_reserve(self) -> bool:
        """Make room on a full disk, and return whether there was anything to make it with."""
        try:
            (self.folder / RESERVE).unlink()
        except FileNotFoundError:
            return False
        return True

    def _keep_reserve(self) -> None:
        """Have space set aside, if there is any."""
        path = self.folder / RESERVE
        with contextlib.suppress(OSError):
            if path.exists():
                return
            descriptor = os.open(path, _NEW_FILE, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            except OSError:
                path.unlink()
            finally:
                os.close(descriptor)

    def _sync_folder(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _check_private(self) -> None:
        status = self.folder.stat()
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            raise PinSourceError(
                f"The state folder {self.folder} belongs to another user or may be written by others, so no PIN is "
                "presented.",
                remedy=f"Run: chmod go-w {self.folder}, or use another folder.",
                facts=Facts(reason=Reason.STATE_FOLDER_NOT_PRIVATE, path=str(self.folder)),
            )

    def _unusable(self, error: OSError) -> PinSourceError:
        return PinSourceError(
            f"The state folder {self.folder}, in which refused PINs are recorded, cannot be used "
            f"({error.strerror}), so no PIN is presented.",
            remedy="Use a folder to which this user can write.",
            facts=Facts(reason=Reason.STATE_FOLDER_UNUSABLE, path=str(self.folder)),
        )


class _HeldLocks:
    """The lock files that this process holds and a forked child must not hold."""

    def __init__(self) -> None:
        self._descriptors: set[int] = set()
        forking.register(self)

    @contextlib.contextmanager
    def hold(self, descriptor: int) -> Iterator[None]:
        self._descriptors.add(descriptor)
        try:
            yield
        finally:
            if descriptor in self._descriptors:
                self._descriptors.discard(descriptor)
                # Unlock before close(): a child that was forked just before may share the open file.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                os.close(descriptor)

    def before_fork(self) -> None:
        """Do nothing."""

    def after_fork_in_parent(self) -> None:
        """Do nothing."""

    def after_fork_in_child(self) -> None:
        """Close the descriptors: the locks stay with the parent."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


_held = _HeldLocks()
