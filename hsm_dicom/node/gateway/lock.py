"""One gateway for each state folder: the file that a running gateway locks, and by which other processes find it.

The kernel frees the lock when the process ends, however it ends. The file names the process and when it began, so that
a process with the same number, begun later, never receives a signal that is meant for the gateway.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsm_dicom.errors import DicomError
from hsm_dicom.gateway.state_file import StateFileError, read_state, write_state

log = logging.getLogger("hsm_dicom.gateway")

SCHEMA = "hsm-dicom/gateway-process/1"
FILE_NAME = "gateway.json"
LOCK_NAME = "gateway.lock"

_LOOK_SECONDS = 0.1
_RETRY_SECONDS, _SHARED_SECONDS = 0.01, 5.0


class GatewayRunsError(DicomError):
    """Another gateway runs with this state folder."""


class NoGatewayError(DicomError):
    """No gateway runs with this state folder."""


@dataclass(frozen=True)
class RunningGateway:
    """The process of a gateway that runs. `began` is the start time of the process, as the kernel counts it."""

    folder: Path
    process: int
    began: int

    @property
    def is_running(self) -> bool:
        """Whether this gateway still runs."""
        found = find_running_gateway(self.folder)
        return found is not None and (found.process, found.began) == (self.process, self.began)

    def send(self, number: signal.Signals) -> None:
        """Send a signal. Raises `NoGatewayError` if the process has ended, and for a process of another user."""
        try:
            descriptor = os.pidfd_open(self.process)
        except ProcessLookupError:
            raise _make_missing_error(self.folder) from None
        try:
            # The descriptor stands for one process. If that one began at the recorded time, it is the gateway.
            if _read_start_time(self.process) != self.began:
                raise _make_missing_error(self.folder)
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            raise _make_missing_error(self.folder) from None
        except PermissionError as error:
            raise NoGatewayError(
                f"The gateway (process {self.process}) belongs to another user.",
                remedy="Run the command as the gateway's user, or as root.",
            ) from error
        finally:
            os.close(descriptor)

    def wait(self, report: Callable[[], None] = lambda: None, seconds: float | None = None) -> bool:
        """Wait until the gateway has ended, calling `report` again and again; return False after `seconds`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.is_running:
            if deadline is not None and time.monotonic() > deadline:
                return False
            report()
            time.sleep(_LOOK_SECONDS)
        return True


@contextmanager
def hold_gateway_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a state folder during the block, so that no other gateway uses the folder.

    Raises `GatewayRunsError`, or `StateFileError` if the lock cannot be taken.
    """
    descriptor = _open_lock(folder)
    try:
        if not _lock(descriptor):
            running = _read(folder)
            who = f" (process {running.process})" if running else ""
            raise GatewayRunsError(
                f"A gateway{who} already runs with the state folder {folder}.",
                remedy="Stop it with hsm-dicom gateway drain, or give this one a state folder of its own.",
            )
        _tell_process(folder)
        yield
    finally:
        os.close(descriptor)


def _tell_process(folder: Path) -> None:
    """Write which process this is. A full disk does not keep a gateway from running."""
    process = os.getpid()
    content = {"process": process, "began": _read_start_time(process)}
    unwritten: StateFileError
    for makes_room in (False, True):
        if makes_room:
            with suppress(OSError):
                (folder / FILE_NAME).unlink()  # that of an earlier gateway
        try:
            write_state(folder / FILE_NAME, SCHEMA, content)
        except StateFileError as error:
            unwritten = error
        else:
            return
    log.error("%s The gateway runs, but gateway drain and gateway emergency do not find it.", unwritten)


def find_running_gateway(folder: Path) -> RunningGateway | None:
    """Return the gateway that runs with a state folder; None if none does. Raises `StateFileError`."""
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateFileError(
            f"{path} cannot be read ({error.strerror}).", remedy="Run the command as the gateway's user, or as root."
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(folder)
    finally:
        os.close(descriptor)
    return None


def require_running_gateway(folder: Path) -> RunningGateway:
    """Return the gateway that runs with a state folder. Raises `NoGatewayError`, or `StateFileError`."""
    found = find_running_gateway(folder)
    if found is None:
        raise _make_missing_error(folder)
    return found


def _lock(descriptor: int) -> bool:
    """Take the lock; return False if another gateway has it.

    A command that looks for a gateway shares the lock for a moment, which must not keep one from starting.
    """
    deadline = time.monotonic() + _SHARED_SECONDS
    while not _try_lock(descriptor, fcntl.LOCK_EX):
        if not _try_lock(descriptor, fcntl.LOCK_SH) or time.monotonic() > deadline:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        time.sleep(_RETRY_SECONDS)
    return True


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(folder: Path) -> RunningGateway | None:
    content: dict[str, Any] | None = read_state(folder / FILE_NAME, SCHEMA)
    try:
        return None if content is None else RunningGateway(folder, int(content["process"]), int(content["began"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StateFileError(f"{folder / FILE_NAME} cannot be read.", remedy="Restart the gateway.") from error


def _open_lock(folder: Path) -> int:
    path = folder / LOCK_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StateFileError(
            f"{path} cannot be written ({error.strerror}).", remedy=f"Make the folder {folder} usable for this user."
        ) from error


def _read_start_time(process: int) -> int | None:
    """Return when a process began, in clock ticks since the machine was booted (proc(5), field 22)."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])


def _make_missing_error(folder: Path) -> NoGatewayError:
    return NoGatewayError(
        f"No gateway runs with the state folder {folder}.",
        remedy="Start one with hsm-dicom gateway run, or give the configuration of the gateway with --config.",
    )
