"""The listening socket of the status page: a loopback address or a Unix socket, so that only this host reaches it.

The page has no login of its own. Whoever may see it from elsewhere passes a reverse proxy that checks them
(docs/howto/watch-a-gateway.md).
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from hsm_dicom.errors import DicomError
from hsm_dicom.gateway.pages.hosts import is_loopback
from hsm_dicom.gateway.settings import StatusSettings
from hsm_dicom.network.addresses import Address

BACKLOG = 64
"""Connections that wait to be accepted."""

SOCKET_MODE = 0o660
"""Permissions of a Unix socket: its user and its group connect, such as that of a reverse proxy."""


class StatusPageError(DicomError):
    """The status page cannot be served where it is configured, or is not served there. The message has the remedy."""


@dataclass(frozen=True)
class Door:
    """A listening socket, and the file of a Unix socket with its device and inode."""

    socket: socket.socket
    path: Path | None = None
    file: tuple[int, int] | None = None

    @property
    def address(self) -> Address | Path:
        """Where it listens: host and port, or the path of a Unix socket."""
        if self.path is not None:
            return self.path
        host, port, *_ = self.socket.getsockname()
        return host, port

    def close(self) -> None:
        """Remove the file of a Unix socket, unless another one took its place, and stop listening."""
        if self.path is not None:
            # Before the socket is closed: until then, no successor's file can have the same inode.
            with suppress(OSError), _locked(self.path.parent):
                if _identify(self.path) == self.file:
                    self.path.unlink()
        self.socket.close()


def open_door(settings: StatusSettings) -> Door:
    """Listen as the settings say. Raises `StatusPageError`."""
    check_place(settings)
    if settings.listen is not None:
        return _open_tcp(settings.listen)
    return _open_unix(cast("Path", settings.socket))


def check_place(settings: StatusSettings) -> None:
    """Raise `StatusPageError` unless the settings have one place, which only this host reaches."""
    if (settings.listen is None) is (settings.socket is None):
        raise StatusPageError("The status page needs either listen or socket in [status].")
    if settings.listen is not None and not is_loopback(_make_numeric(settings.listen[0])):
        host, port = settings.listen
        raise StatusPageError(
            f"The status page cannot listen on {host!r}: it has no login, so it is served on this host only. "
            f'Set listen = "127.0.0.1:{port}" in [status], or a Unix socket, and put a reverse proxy in front of it.'
        )


def _make_numeric(host: str) -> str:
    """Return the address of a host. A name is not resolved, because what resolves it can be changed."""
    return "127.0.0.1" if host == "localhost" else host


def _open_tcp(address: Address) -> Door:
    host, port = address
    numeric = _make_numeric(host)
    try:
        family = socket.AF_INET6 if ":" in numeric else socket.AF_INET
        return Door(socket.create_server((numeric, port), family=family, backlog=BACKLOG))
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise StatusPageError(
            f"The status page cannot listen on {host}, port {port}: {why}. Correct listen in [status], or stop the "
            "other program."
        ) from error


def _open_unix(path: Path) -> Door:
    listening = socket.socket(socket.AF_UNIX)
    try:
        with _locked(path.parent):
            _remove_stale(path)
            listening.bind(os.fspath(path))
            # Nobody can connect before listen().
            path.chmod(SOCKET_MODE)
            listening.listen(BACKLOG)
            return Door(listening, path, _identify(path))
    except OSError as error:
        listening.close()
        raise StatusPageError(
            f"The status page cannot use the Unix socket {path}: {error.strerror or error}. Correct socket in "
            "[status]: its folder must exist and be writable for this user, and the path have at most 107 bytes."
        ) from error
    except BaseException:
        listening.close()
        raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two processes that start do not remove each other's new socket."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove the socket of a process that has ended. Raises `StatusPageError` for anything else at this path."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StatusPageError(f"{path} exists and is no socket. Remove it, or correct socket in [status].")
    with socket.socket(socket.AF_UNIX) as probe:
        # Without a timeout, a server whose backlog is full would block this.
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise StatusPageError(f"Another process serves {path}. Stop it, or set another socket in [status].")


def _identify(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
